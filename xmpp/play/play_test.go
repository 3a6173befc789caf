package play

import "testing"

// TestMatch: a runner that lets everything pass would be worth nothing.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		want, have string
		ok         bool
	}{
		{`<a/>`, `<a/>`, true},
		{`<a/>`, `<b/>`, false},
		{`<a xmlns='x'/>`, `<a/>`, false},
		{`<a/>`, `<a k='v'/>`, true},
		{`<a k='v'/>`, `<a/>`, false},
		{`<a k='v'/>`, `<a k='w'/>`, false},
		{`<a k='{none}'/>`, `<a k='w'/>`, false},
		{`<a k='{none}'/>`, `<a/>`, true},
		{`<a k='{any}'/>`, `<a k='w'/>`, true},
		{`<a k='{any}'/>`, `<a/>`, false},
		{`<a k='x{any}z'/>`, `<a k='xyz'/>`, true},
		{`<a k='x{any}z'/>`, `<a k='xy'/>`, false},
		{`<a k='{v}' l='{v}'/>`, `<a k='1' l='1'/>`, true},
		{`<a k='{v}' l='{v}'/>`, `<a k='1' l='2'/>`, false},
		{`<a>x</a>`, `<a>x</a>`, true},
		{`<a>x</a>`, `<a>y</a>`, false},
		{`<a/>`, `<a>y</a>`, false},
		{`<a><b/></a>`, `<a/>`, false},
		{`<a/>`, `<a><b/></a>`, false},
		{`<a><b/><c/></a>`, `<a><c/><b/></a>`, false},
		{`<a><etc/></a>`, `<a><c/><b/></a>`, true},
		{`<a><b/><etc/></a>`, `<a><c/><b/></a>`, false},
		{`<a><etc/><b/></a>`, `<a><c/><b/></a>`, true},
		{`<a><etc/><b k='1'/></a>`, `<a><b k='2'/></a>`, false},
		{`<a><etc/><b/><c/></a>`, `<a><c/><b/></a>`, false},
	} {
		want, err := element(c.want)
		if err != nil {
			t.Fatal(err)
		}
		have, err := element(c.have)
		if err != nil {
			t.Fatal(err)
		}
		if err := match(want, have, map[string]string{}); (err == nil) != c.ok {
			t.Errorf("%s against %s: %v", c.want, c.have, err)
		}
	}
}
