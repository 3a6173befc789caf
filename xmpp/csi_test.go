package xmpp

import (
	"slices"
	"strconv"
	"testing"

	"konzil/xmpp/stanza"
)

// waiting are the ids in the queue of a session.
func (x *Session) waiting() (ids []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.pending.items[x.pending.head:] {
		ids = append(ids, o.st.ID)
	}
	return ids
}

// TestHeld: what waits for an inactive client, what does not, and that what comes out is in order and the newest of each kind (XEP-0352).
func TestHeld(t *testing.T) {
	cfg := DefaultConfig()
	x := &Session{srv: &Server{cfg: cfg}, jid: stanza.MustJID("juliet@example.org/phone")}
	get := func(xml string) {
		t.Helper()
		st, err := stanza.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		if !x.push(outItem{st: st}) {
			t.Fatal("refused")
		}
	}
	want := func(ids ...string) {
		t.Helper()
		if got := x.waiting(); !slices.Equal(got, ids) {
			t.Errorf("in the queue: %v, want %v", got, ids)
		}
	}
	get(`<presence from='a@b/c' id='0'/>`)
	want("0")
	x.indicate(false)
	if !x.Inactive() {
		t.Error("not inactive")
	}
	get(`<presence from='a@b/c' id='1'/>`)
	get(`<presence from='d@b/c' id='2'/>`)
	get(`<presence from='a@b/c' id='3' type='unavailable'/>`)
	get(`<message from='a@b/c' id='4' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`)
	get(`<message from='a@b' id='5' type='headline'><event xmlns='http://jabber.org/protocol/pubsub#event'/></message>`)
	get(`<message from='a@b/c' id='6' type='chat'><paused xmlns='http://jabber.org/protocol/chatstates'/></message>`)
	get(`<message from='juliet@example.org' id='7'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><gone xmlns='http://jabber.org/protocol/chatstates'/></message></forwarded></received></message>`)
	want("0")
	get(`<message from='a@b/c' id='8' type='chat'><body>x</body></message>`)
	want("0", "2", "3", "5", "6", "7", "8")
	get(`<presence from='a@b/c' id='9'/>`)
	want("0", "2", "3", "5", "6", "7", "8")
	x.indicate(true)
	want("0", "2", "3", "5", "6", "7", "8", "9")
	x.indicate(false)
	for _, xml := range []string{
		`<iq from='a@b' id='i' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<presence from='a@b' id='i' type='subscribe'/>`,
		`<presence from='a@b' id='i' type='error'/>`,
		`<presence from='r@rooms/me' id='i'><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>`,
		`<message from='a@b/c' id='i' type='error'><active xmlns='http://jabber.org/protocol/chatstates'/></message>`,
		`<message from='juliet@example.org' id='i'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded></received></message>`,
	} {
		n := len(x.waiting())
		get(xml)
		if len(x.waiting()) != n+1 {
			t.Errorf("held: %s", xml)
		}
	}
	// No more than so much is held.
	n := len(x.waiting())
	for i := range maxHeld + 10 {
		get(`<presence from='a@b/` + strconv.Itoa(i) + `'/>`)
	}
	if got := len(x.waiting()) - n; got != maxHeld {
		t.Errorf("%d of %d are in the queue", got, maxHeld+10)
	}
}
