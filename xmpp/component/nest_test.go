package component

import (
	"fmt"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

// TestNested: what a component announces of its namespace is known, of the server and of accounts (XEP-0355 §7.2), and it gets changes of contact lists where
// it may read them (XEP-0356 §4.4).
func TestNested(t *testing.T) {
	addr, s, _ := rig(t)
	changed := make(chan struct{}, 10)
	s.Changed(func() { changed <- struct{}{} })
	if n := s.Nested(false); len(n) != 1 || n["urn:delegated"] != nil {
		t.Error(n)
	}
	p := dial(t, addr, "d.x.test").handshake("secret-d")
	p.wants("handshake")
	if st := p.wants("message").Stanza; st.Child(nsPrivilege, "privilege").Child(nsPrivilege, "perm").Attr("push") != "true" {
		t.Error(st)
	}
	p.wants("message")
	for range 2 {
		iq := p.wants("iq").Stanza
		switch node := iq.Child(nsInfo, "query").Attr("node"); node {
		case "urn:xmpp:delegation:2::urn:delegated":
			fmt.Fprintf(p.conn, "<iq type='result' id='%s' from='d.x.test' to='x.test'><query xmlns='%s' node='%s'><feature var='urn:delegated#more'/></query></iq>", iq.ID, nsInfo, node)
		case "urn:xmpp:delegation:2:bare:urn:delegated":
			fmt.Fprintf(p.conn, "<iq type='error' id='%s' from='d.x.test' to='x.test'><error type='cancel'><item-not-found xmlns='%s'/></error></iq>", iq.ID, stanza.NSStanzas)
		default:
			t.Error(node)
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing has changed")
		}
	}
	if q := s.Nested(false)["urn:delegated"]; q.Child(nsInfo, "feature").Attr("var") != "urn:delegated#more" {
		t.Error(q)
	}
	if q := s.Nested(true)["urn:delegated"]; q != nil {
		t.Error(q)
	}
	s.Pushed(stanza.MustJID("u@x.test"), stanza.NewElement(nsRoster, "query"))
	if st := p.wants("iq").Stanza; st.Type != "set" || st.From.String() != "u@x.test" || !st.Has(nsRoster, "query") {
		t.Error(st)
	}
}
