package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestImportExport: an account of Prosody and one of ejabberd come over with their passwords and what belongs to them, and what is exported
// comes over the same way.
func TestImportExport(t *testing.T) {
	text := func(name string) string {
		b, err := os.ReadFile(filepath.Join("xmpp/portable/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ask := map[string]string{
		"roster":  "<query xmlns='jabber:iq:roster'/>",
		"private": "<query xmlns='jabber:iq:private'><exodus xmlns='exodus:prefs'/></query>",
		"vcard":   "<vCard xmlns='vcard-temp'/>", "blocked": "<blocklist xmlns='urn:xmpp:blocking'/>",
		"nick": "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='http://jabber.org/protocol/nick'/></pubsub>",
	}
	see := func(h *house, wants map[string]string, messages ...string) {
		t.Helper()
		w, said := h.login("romeo", "pencil")
		if w == nil {
			t.Fatal(said)
		}
		for what, want := range wants {
			if answer := w.ask("get", "", ask[what]); !strings.Contains(answer, want) {
				t.Errorf("%s: no %s in %s", what, want, answer)
			}
		}
		w.send("<presence/><iq type='set' id='mam'><query xmlns='urn:xmpp:mam:2'/></iq>")
		got := w.wants("<fin ") + w.wants("</iq>")
		for deadline := time.Now().Add(patience); !containsAll(got, messages) && time.Now().Before(deadline); {
			got += w.wants(">")
		}
	}
	contacts := "<item jid='nurse@campus.example' name='Nurse' subscription='none'><group>House</group></item>"
	prosody := map[string]string{"roster": contacts, "private": "<defaultnick>Romeo</defaultnick>", "nick": "Romy"}
	ejabberd := map[string]string{"roster": "<item jid='juliet@campus.example' subscription='to'/>", "private": "<defaultnick>Romeo</defaultnick>", "vcard": "Romeo Montague", "blocked": "tybalt@capulet.example"}

	a := openHouse(t, "domain: campus.example\n")
	if out, code := a.does(text("prosody.xml"), "user", "import"); code != 0 || !strings.Contains(out, "2 contacts, 2 nodes, 0 messages waiting, 3 archived") {
		t.Fatalf("%d %s", code, out)
	}
	if out, code := a.does(text("prosody.xml"), "user", "import"); code != 0 || !strings.Contains(out, "romeo is there already: left out\n0 accounts") {
		t.Errorf("%d %s", code, out)
	}
	see(a, prosody, "But soft", "Good night")
	exported, code := a.does("", "user", "export", "romeo")
	if code != 0 || !strings.Contains(exported, "<server-data xmlns='urn:xmpp:pie:0'>") {
		t.Fatalf("%d %s", code, exported)
	}
	b := openHouse(t, "domain: campus.example\n")
	if out, code := b.does(exported, "user", "import"); code != 0 || !strings.Contains(out, "2 contacts, 2 nodes, 0 messages waiting, 3 archived") {
		t.Fatalf("%d %s", code, out)
	}
	see(b, prosody, "But soft", "Good night")

	c := openHouse(t, "domain: campus.example\n")
	if out, code := c.does(text("ejabberd.xml"), "user", "import"); code != 0 || !strings.Contains(out, "2 accounts imported") {
		t.Fatalf("%d %s", code, out)
	}
	see(c, ejabberd, "Good night")
	if out, code := c.does("<server-data xmlns='urn:xmpp:pie:0'><host jid='other.example'><user name='x' password='y'/></host></server-data>", "user", "import"); code != 0 || !strings.Contains(out, "x@other.example is of another host") {
		t.Errorf("%d %s", code, out)
	}
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
