package pubsub

import (
	"strconv"
	"testing"

	"konzil/xmpp/stanza"
)

func query(t testing.TB, xml string) *stanza.Element {
	t.Helper()
	el, err := stanza.ParseElement([]byte(`<query xmlns='http://jabber.org/protocol/disco#info'>` + xml + `</query>`))
	if err != nil {
		t.Fatal(err)
	}
	return el
}

const exodus = `<identity category='client' type='pc' name='Exodus 0.9.1'/><feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
	<feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>`

// TestVerified: the example of XEP-0115 §5.2, and what §5.4 calls ill-formed.
func TestVerified(t *testing.T) {
	id := capsID{"sha-1", "QgayPKawpkPSDYmwT/WM94uAlu0="}
	for xml, want := range map[string]bool{
		exodus: true,
		exodus + `<feature var='http://jabber.org/protocol/nick+notify'/>`: false,
		exodus + `<feature var='http://jabber.org/protocol/muc'/>`:         false, // twice
		`<identity category='client' type='pc' name='Exodus 0.9.1&lt;http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
			<feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>`: false, // the same string
		exodus + `<x xmlns='jabber:x:data' type='result'><field var='a'><value>b</value></field></x>`:                         true, // a form without type does not count
		exodus + `<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>a</value><value>b</value></field></x>`: false,
	} {
		if verified(id, query(t, xml)) != want {
			t.Errorf("%v: %s", !want, xml)
		}
	}
	if verified(capsID{"md2", id.ver}, query(t, exodus)) || verified(capsID{"", id.ver}, query(t, exodus)) {
		t.Error("an unknown hash is no proof")
	}
}

// TestCapsBounded: what strangers announce fills no memory.
func TestCapsBounded(t *testing.T) {
	c := newCaps()
	for i := range maxCaps + 100 {
		c.put(capsID{"sha-1", strconv.Itoa(i)}, &interests{})
	}
	if len(c.known) != maxCaps || len(c.order) != maxCaps {
		t.Errorf("%d, %d remembered", len(c.known), len(c.order))
	}
	if _, ok := c.get(capsID{"sha-1", "0"}); ok {
		t.Error("the oldest is still there")
	}
	asked := 0
	for i := range maxQuestions + 100 {
		if c.ask(strconv.Itoa(i), question{}) {
			asked++
		}
	}
	if asked != maxQuestions {
		t.Errorf("%d questions", asked)
	}
	var long string
	for i := range maxInterests + 10 {
		long += "<feature var='n" + strconv.Itoa(i) + "+notify'/>"
	}
	if n := len(read(query(t, long)).nodes); n != maxInterests {
		t.Errorf("%d interests", n)
	}
}

// TestCapsAnswer: an answer is believed from who was asked, for the account that asked, and once (CVE-2024-46957).
func TestCapsAnswer(t *testing.T) {
	c := newCaps()
	bob, alice, mallory := stanza.MustJID("bob@x/1"), stanza.MustJID("alice@y"), stanza.MustJID("mallory@z/1")
	c.ask("q", question{to: bob, account: alice})
	for _, forged := range []*stanza.Stanza{stanza.NewIQ("result", "q", mallory, alice), stanza.NewIQ("result", "q", bob.Bare(), alice),
		stanza.NewIQ("result", "q", bob, mallory), stanza.NewIQ("result", "r", bob, alice)} {
		if _, ok := c.answered(forged); ok {
			t.Errorf("believed: %s", forged)
		}
	}
	if _, ok := c.answered(stanza.NewIQ("result", "q", bob, alice)); !ok {
		t.Error("the answer is not believed")
	}
	if _, ok := c.answered(stanza.NewIQ("result", "q", bob, alice)); ok {
		t.Error("believed twice")
	}
}

func FuzzForm(f *testing.F) {
	f.Add(`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field><field var='pubsub#max_items'><value>max</value></field><field var='pubsub#item_expire'><value>60</value></field></x>`)
	f.Add(`<x xmlns='jabber:x:data'><field var='pubsub#access_model'><value>open</value></field><field var='pubsub#persist_items'/></x>`)
	f.Add(`<set xmlns='http://jabber.org/protocol/rsm'><max>-1</max><before/></set>`)
	f.Fuzz(func(t *testing.T, s string) {
		el, err := stanza.ParseElement([]byte(s))
		if err != nil {
			return
		}
		if x, bad := readForm(el, formConfig); bad == nil {
			c := defaults(true, "")
			if bad := c.apply(x); bad == nil && (c.MaxItems < 1 || c.MaxItems > maxItems || c.Expire < 0 || c.Access == "") {
				t.Fatal(c)
			}
		}
		if max, _, _, bad := readSet(el, maxItems); bad == nil && (max < 0 || max > maxItems) {
			t.Fatal(max)
		}
		capsString(el)
		read(el)
	})
}

func FuzzCut(f *testing.F) {
	f.Add("b", "", 2, false)
	f.Add("", "c", 1, true)
	f.Fuzz(func(t *testing.T, after, before string, max int, back bool) {
		set := stanza.NewElement(nsRSM, "set").Add(stanza.TextElement(nsRSM, "max", strconv.Itoa(max)), stanza.TextElement(nsRSM, "after", after))
		if back {
			set.Add(stanza.TextElement(nsRSM, "before", before))
		}
		page, _, bad := cut([]string{"a", "b", "c", "d"}, set)
		if bad == nil && (len(page) > max || len(page) > 4) {
			t.Fatal(page)
		}
	})
}
