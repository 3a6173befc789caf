package conf

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Port  uint16         `yaml:"port" doc:"Port to listen on."`
	Addrs []netip.Addr   `yaml:"addrs" doc:"Addresses."`
	Net   netip.Prefix   `yaml:"net"`
	AP    netip.AddrPort `yaml:"ap" doc:"Address and port."`
	Limit Size           `yaml:"limit" doc:"Bytes."`
}

type item struct {
	Name string `yaml:"name"`
	N    int    `yaml:"n"`
}

type Common struct {
	Level string `yaml:"level" doc:"Inline setting."`
}

type whole struct {
	Domain string         `yaml:"domain" doc:"The domain of the service. This sentence is there to be so long that the comment has to be wrapped into a second line at least."`
	HTTP   inner          `yaml:"http" doc:"The web."`
	Wait   time.Duration  `yaml:"wait" doc:"How long."`
	Ratio  float64        `yaml:"ratio"`
	On     bool           `yaml:"on"`
	Neg    int8           `yaml:"neg"`
	Names  []string       `yaml:"names" doc:"Some names."`
	Items  []item         `yaml:"items"`
	Map    map[string]int `yaml:"map"`
	None   []item         `yaml:"none"`
	Common `yaml:",inline"`
	Sub    Common `yaml:"sub"`
	Hidden string
}

func defaults() whole {
	return whole{
		Domain: "example.org",
		HTTP: inner{Port: 8443, Addrs: []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")}, Net: netip.MustParsePrefix("10.0.0.0/8"),
			AP: netip.MustParseAddrPort("[::]:443"), Limit: 256 << 10},
		Wait: 90 * time.Minute, Ratio: 0.25, On: true, Neg: -7,
		Names: []string{"a: b", "", "null", "007", "yes", "#x", "tab\tnl\n", "ü\u2028", "- x", "1e3", "~"},
		Items: []item{{"one", 1}, {"two: #", 2}},
		Map:   map[string]int{"x": 1, "y z": 2},
		None:  []item{},
	}
}

func TestDescribeParsesToTheSame(t *testing.T) {
	want := defaults()
	text := Describe(want)
	got := whole{}
	if err := Load([]byte(text), &got); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v\nfrom\n%s", got, want, text)
	}
	for _, doc := range []string{"# The domain of the service.", "  # Port to listen on.\n  port: 8443\n", "# How long.\nwait: 1h30m\n"} {
		if !strings.Contains(text, doc) {
			t.Errorf("%q is missing in\n%s", doc, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "#") && len(line) > lineWidth+1 {
			t.Errorf("long line: %s", line)
		}
	}
}

func TestLoad(t *testing.T) {
	c := defaults()
	err := Load([]byte("# comment\nhttp:\n  port: 1\n  limit: 10 MB\nwait: 1d12h\nnames: [x]\nmap: {z: 3}\ndomain: 42\nratio: 2\nneg: -1_0\nlevel: loud\nitems:\n"), &c)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.HTTP.Port, want.HTTP.Limit, want.Wait, want.Names, want.Domain, want.Ratio, want.Neg, want.Level = 1, 10e6, 36*time.Hour, []string{"x"}, "42", 2, -10, "loud"
	want.Map = map[string]int{"x": 1, "y z": 2, "z": 3}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n"} {
		if err := Load([]byte(empty), &c); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"domain: x\nhttp:\n  prot: 1\n":              "line 3: http.prot: there is no such setting: is http.port meant?",
		"domian: x\n":                                "line 1: domian: there is no such setting: is domain meant?",
		"port: 1\n":                                  "line 1: port: there is no such setting here: is http.port meant?",
		"quite_another: 1\n":                         "line 1: quite_another: there is no such setting: `konzil config` prints all settings",
		"Hidden: x\n":                                "line 1: Hidden: there is no such setting: `konzil config` prints all settings",
		"\nhttp:\n  port: abc\n":                     `line 3: http.port: "abc" is not a whole number between 0 and 65535`,
		"http:\n  port: 70000\n":                     `line 2: http.port: "70000" is not a whole number between 0 and 65535`,
		"http:\n  port: '1'\n":                       `line 2: http.port: "1" is not a whole number between 0 and 65535`,
		"neg: 128\n":                                 `line 1: neg: "128" is not a whole number between -128 and 127`,
		"on: yes\n":                                  `line 1: on: "yes" is not true or false`,
		"wait: 30\n":                                 `line 1: wait: "30" is not a duration, like 30s, 5m, 1h30m or 7d`,
		"wait: -3s\n":                                `line 1: wait: "-3s" is not a duration, like 30s, 5m, 1h30m or 7d`,
		"ratio: .nan\n":                              `line 1: ratio: ".nan" is not a number`,
		"http: {limit: 9999999999GiB}\n":             `line 1: http.limit: "9999999999GiB" is not a size, like 65536, 256KiB or 10MB`,
		"http: {net: 10.0.0.0}\n":                    `line 1: http.net: "10.0.0.0" is not a network, like 10.0.0.0/8 or 2001:db8::/32`,
		"http: {ap: 443}\n":                          `line 1: http.ap: "443" is not an IP address and port, like 0.0.0.0:443 or [::]:443`,
		"http: {addrs: [1.2.3]}\n":                   `line 1: http.addrs[0]: "1.2.3" is not an IP address, like 192.0.2.1 or 2001:db8::1`,
		"http: {addrs: 1.2.3.4}\n":                   "line 1: http.addrs: a list is wanted here, like [192.0.2.1]",
		"http: 3\n":                                  "line 1: http: settings are wanted below this, indented, like the ones that `konzil config` prints",
		"domain: [x]\n":                              "line 1: domain: a single value is wanted here: a text",
		"- x\n":                                      "line 1: settings are wanted here, like domain: example.org",
		"domain: a\nwait: 1s\ndomain: b\n":           "line 3: domain: given already in line 1: keep one of them",
		"domain: &a x\n":                             "line 1: domain: anchors and aliases (& and *) are not supported: write the value out",
		"domain: a\n---\ndomain: b\n":                "line 2: a second document begins here; there may be one only",
		"domain: a\n  b: c\n":                        "line 2: not valid YAML: mapping values are not allowed in this context",
		"items:\n- name: x\n  nn: 3\n":               "line 3: items[0].nn: there is no such setting: is items[0].n meant?",
		"map:\n  a: b\n":                             `line 2: map.a: "b" is not a whole number`,
		"? [a]\n: b\n":                               "line 1: a setting's name is wanted here",
		"domain: x\n" + strings.Repeat("#", maxFile): "the file is longer than 1048576 bytes",
	} {
		c := defaults()
		err := Load([]byte(text), &c)
		var e *Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%.60q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]Size{"0": 0, "1": 1, "1B": 1, "64kB": 64000, "64KiB": 65536, "64kib": 65536, "1_000": 1000, "3 GiB": 3 << 30} {
		var got Size
		if err := got.UnmarshalText([]byte(s)); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
		var again Size
		if err := again.UnmarshalText([]byte(want.String())); err != nil || again != want {
			t.Errorf("%d prints as %s", want, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "1XB", "1.5MB", "B"} {
		var got Size
		if err := got.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q was read as %d", s, got)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"port", "prot", 1}, {"listen", "lisen", 1}, {"abc", "xyz", 3}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%s %s: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(Describe(defaults())))
	for _, s := range []string{"a: *b", "a: &a [*a]", "? ? ?", "{", "- - -", "http: {port: 1, port: 2}", "<<: {a: b}", "!!binary x: y", "wait: 1d", "map: {? x}", "%YAML 1.1\n---\n", "\x00", "domain: |\n  x\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c whole
		if err := Load(text, &c); err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		var again whole
		if err := Load([]byte(Describe(c)), &again); err != nil {
			t.Errorf("%v in\n%s", err, Describe(c))
		}
	})
}

func FuzzQuoted(f *testing.F) {
	for _, s := range defaults().Names {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "x")
		want := whole{Domain: s, Names: []string{s, s}, Map: map[string]int{s: 1}}
		if len(quoted(s)) > 1024 { // the longest key on one line, YAML 1.2 §7.4.2
			delete(want.Map, s)
		}
		var got whole
		if err := Load([]byte(Describe(want)), &got); err != nil || got.Domain != s || !reflect.DeepEqual(got.Names, want.Names) || len(got.Map) != len(want.Map) || got.Map[s] != want.Map[s] {
			t.Errorf("%q: got %q %q %v, %v", s, got.Domain, got.Names, got.Map, err)
		}
	})
}
