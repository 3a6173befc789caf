package muc

import (
	"testing"

	"konzil/xmpp/stanza"
)

// TestHats: all see the hats that the server gives, and none that a client puts on itself; a change is shown at once.
func TestHats(t *testing.T) {
	w := newWorld(t, nil)
	title := "Lecturer"
	w.svc.cfg.Hats = func(_, bare stanza.JID) []Hat {
		if bare.Local() != "crone1" || title == "" {
			return nil
		}
		return []Hat{{URI: "urn:campus:lecturer", Title: title}}
	}
	c, h := w.client("crone", "crone1@example.org/desktop"), w.client("hag", "hag66@example.org/pda")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	c.send(`<iq to='cave@rooms.example.org' type='set' id='c'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>`)
	w.Pending("crone")
	h.send(`<presence to='cave@rooms.example.org/hag'><x xmlns='http://jabber.org/protocol/muc'/><hats xmlns='urn:xmpp:hats:0'><hat uri='urn:campus:dean' title='Dean'/></hats></presence>`)
	worn := func(st *stanza.Stanza) string { return st.Child(nsHats, "hats").Child(nsHats, "hat").Attr("title") }
	if got := w.Pending("hag"); worn(got[0]) != "Lecturer" || worn(got[1]) != "" {
		t.Errorf("hag got %v", got)
	}
	if got := w.Pending("crone"); len(got) != 1 || got[0].Has(nsHats, "hats") {
		t.Errorf("crone got %v", got)
	}
	title = "Dean"
	w.svc.RefreshHats(stanza.MustJID("crone1@example.org"))
	if got := w.Pending("hag"); len(got) != 1 || worn(got[0]) != "Dean" {
		t.Errorf("hag got %v", got)
	}
}
