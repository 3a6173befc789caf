package jitsi

import (
	"testing"

	"konzil/xmpp/stanza"
)

// house routes to nobody, and has one meeting with nobody in it.
type house struct{ got []*stanza.Stanza }

func (h *house) Route(st *stanza.Stanza)                 { h.got = append(h.got, st) }
func (*house) Meeting(stanza.JID) bool                   { return true }
func (*house) Standing(_, _ stanza.JID) (bool, bool)     { return false, false }
func (*house) Recipients(stanza.JID) (none []stanza.JID) { return none }

// TestRefusalsAreCounted: what a component refuses is answered with the error of its kind and counted, for each of them; errors, results and presence
// are answered by nothing.
func TestRefusalsAreCounted(t *testing.T) {
	h := &house{}
	b, err := New("polls", "polls.example.org", h, h)
	if err != nil {
		t.Fatal(err)
	}
	eve := stanza.MustJID("eve@example.org/x")
	message := func(st *stanza.Stanza) *stanza.Error {
		_, serr := b.Moderator(st.From)
		return serr
	}
	for range 3 {
		b.Serve(stanza.NewMessage("", eve, b.Domain), message)
	}
	if len(h.got) != 3 || h.got[0].Type != "error" || h.got[0].Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "forbidden") == nil {
		t.Errorf("got %v", h.got)
	}
	for _, typ := range []string{"error", "result"} {
		b.Serve(stanza.NewIQ(typ, "1", eve, b.Domain), message)
	}
	b.Serve(stanza.NewMessage("error", eve, b.Domain), message)
	b.Serve(stanza.NewPresence("", eve, b.Domain), message)
	if n := b.Counters(1); len(h.got) != 3 || n["refused_total"] != 3 || n["changes_total"] != 0 {
		t.Errorf("%d answers, %v", len(h.got), n)
	}
	b.Serve(stanza.NewIQ("set", "2", eve, b.Domain, stanza.NewElement("urn:x", "y")), message)
	if st := h.got[len(h.got)-1]; st.Type != "error" || st.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "service-unavailable") == nil {
		t.Errorf("got %s", st)
	}
}

// TestQueue: what is queued by who routes comes after what it routes, in order, and nothing is routed with the lock held.
func TestQueue(t *testing.T) {
	r := &echo{}
	r.q.Router = r
	r.q.Lock()
	r.q.Put(stanza.NewMessage("", stanza.JID{}, stanza.JID{}).WithID("1"))
	r.q.Put(nil)
	r.q.PutTo(stanza.NewMessage("", stanza.JID{}, stanza.JID{}).WithID("2"), []stanza.JID{stanza.MustJID("a@x"), stanza.MustJID("b@x")})
	r.q.Later(func() { r.said = append(r.said, "done") })
	if n := r.q.Waiting(); n != 3 {
		t.Errorf("%d wait", n)
	}
	r.q.Unlock()
	want := []string{"1 to ", "2 to a@x", "2 to b@x", "done", "again to "}
	for i := range want {
		if i >= len(r.said) || r.said[i] != want[i] {
			t.Fatalf("said %q, want %q", r.said, want)
		}
	}
}

// echo queues something more at the first stanza that it routes.
type echo struct {
	q    Queue
	said []string
}

func (e *echo) Route(st *stanza.Stanza) {
	e.said = append(e.said, st.ID+" to "+st.To.String())
	if st.ID == "1" {
		e.q.Lock()
		e.q.Put(stanza.NewMessage("", stanza.JID{}, stanza.JID{}).WithID("again"))
		e.q.Unlock()
	}
}
