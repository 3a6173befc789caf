package muc

import (
	"testing"

	"konzil/xmpp/stanza"
)

// FuzzForm: no form breaks the parser; what it accepts keeps the bounds, and settings made of it too.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		`<x xmlns='jabber:x:data' type='submit'/>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_roomsecret'><value>a</value></field><field var='muc#roomconfig_whois'><value>anyone</value></field></x>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field></x>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='a'/><field var='a'/></x>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_maxusers'><value>-1</value></field></x>`,
		`<x xmlns='jabber:x:data' type='form'><field><value/></field></x>`,
	} {
		f.Add([]byte(s))
	}
	limits := Config{}.withDefaults()
	f.Fuzz(func(t *testing.T, b []byte) {
		el, err := stanza.ParseElement(b)
		if err != nil {
			return
		}
		got, err := parseForm(el)
		if err != nil {
			if got != nil {
				t.Fatal("a form and an error")
			}
			return
		}
		if len(got) > maxFields {
			t.Fatalf("%d fields", len(got))
		}
		old := settings{Title: "old", Secret: "s"}
		set, serr := parseSettings(got, old, limits)
		if serr != nil {
			if set != old {
				t.Fatal("a refused form changed something")
			}
			return
		}
		if set.MaxUsers < 0 || set.MaxUsers > limits.MaxOccupants || len(set.Title) > limits.MaxSubject || len(set.Secret) > limits.MaxSubject {
			t.Fatalf("out of bounds: %+v", set)
		}
		if !got.has("muc#roomconfig_roomname") && set.Title != old.Title {
			t.Fatal("a field that was not mentioned changed")
		}
	})
}
