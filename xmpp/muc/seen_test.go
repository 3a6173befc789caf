package muc

import (
	"log/slog"
	"testing"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// TestMemberships: the rooms of somebody with what they have seen there (XEP-0333), which a restart does not forget.
func TestMemberships(t *testing.T) {
	w := newArchivedWorld(t)
	dir := t.TempDir()
	open := func() *ledger.Ledger {
		l, err := ledger.Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	w.cfg.Ledger = open()
	w.close()
	w.open()
	bare := stanza.MustJID("crone1@example.org")
	if got := w.svc.Memberships(bare); len(got) != 0 {
		t.Errorf("rooms of nobody: %v", got)
	}
	c, g := w.client("crone", "crone1@example.org/desktop"), w.client("guest", "wolf@guest.example.org/x")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	c.send(`<iq to='cave@rooms.example.org' type='set' id='c'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>`)
	g.send(`<presence to='cave@rooms.example.org/wolf'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.settle()
	w.Pending("crone")
	g.send(`<message to='cave@rooms.example.org' type='groupchat' id='m1'><body>hail</body></message>`)
	w.settle()
	id := w.Pending("crone")[0].Child(nsSID, "stanza-id").Attr("id")
	for _, named := range []string{"m1", id} {
		c.send(`<message to='cave@rooms.example.org' type='groupchat' id='m2'><displayed xmlns='urn:xmpp:chat-markers:0' id='` + named + `'/></message>`)
		w.settle()
		got := w.svc.Memberships(bare)
		if len(got) != 1 || got[0].Room.String() != "cave@rooms.example.org" || got[0].Seen != id || got[0].OccupantID == "" {
			t.Fatalf("rooms %v, seen %s wanted", got, id)
		}
	}
	w.close()
	if err := w.cfg.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	w.cfg.Ledger = open()
	w.open()
	w.svc.Restore(func(stanza.JID) bool { return false })
	if got := w.svc.Memberships(bare); len(got) != 1 || got[0].Seen != id {
		t.Errorf("after a restart: rooms %v, seen %s wanted", got, id)
	}
	if err := w.cfg.Ledger.Close(); err != nil {
		t.Error(err)
	}
}
