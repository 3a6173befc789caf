package signaling

import (
	"log/slog"
	"testing"

	"konzil/xmpp/stanza"
)

// FuzzStanza gives a meeting any stanza as if the room had relayed it from an occupant: nothing panics, and what is answered is an answer to it.
func FuzzStanza(f *testing.F) {
	for _, s := range []string{
		`<presence><x xmlns='http://jabber.org/protocol/muc#user'><item jid='a@b/c' role='visitor' affiliation='owner'/></x><SourceInfo>{"x-a0":{"muted":false},"-":{},"x-":{"muted":false}}</SourceInfo><c xmlns='http://jabber.org/protocol/caps' node='n' hash='sha-1' ver='v'/><features><feature var='x'/></features></presence>`,
		`<presence type='unavailable'/>`,
		`<iq type='set' id='1'><jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='s'><content name='audio'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'/></content></jingle></iq>`,
		`<iq type='set' id='1'><jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='s'><bridge-session xmlns='http://jitsi.org/protocol/focus' id='a' restart='true'/></jingle></iq>`,
		`<iq type='set' id='1'><mute xmlns='http://jitsi.org/jitmeet/audio' jid='standup@conference.meet.example/x'>true</mute></iq>`,
		`<iq type='result' id='k1'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='a'/></query></iq>`,
		`<iq type='error' id='k1'/>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		st, err := stanza.Parse(in)
		if err != nil {
			return
		}
		var sent recorder
		fo, err := New(Config{Domain: "meet.example"}, &sent, newFakeBridge(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		m, err := newMeeting(fo, stanza.MustJID(testRoom), nil)
		if err != nil {
			t.Fatal(err)
		}
		// The meeting's goroutine is not started: its work is done here, and the bridge's questions stay in the queue.
		m.id, m.inRoom, m.joined = "id", true, true
		occ := stanza.MustJID(testRoom + "/aaaaaaaa")
		mem := &member{nick: "aaaaaaaa", occ: occ, real: stanza.MustJID("a@b/c"), features: set(webFeatures), role: "moderator"}
		mem.session = &session{sid: "s", allocID: "a", state: offered}
		m.members[mem.nick] = mem
		m.sendIQ("get", occ, stanza.NewElement(nsDiscoInfo, "query"), fo.cfg.IQTimeout, func(r *stanza.Stanza) {
			if q := r.Child(nsDiscoInfo, "query"); q != nil {
				capsHash(q)
			}
		})
		sent = nil
		m.handle(st.WithFromTo(occ, fo.self))
		answers := 0
		for _, out := range sent {
			if out.Kind == stanza.IQ && (out.Type == "result" || out.Type == "error") {
				if answers++; out.ID != st.ID || out.To != occ || st.Kind != stanza.IQ || answers > 1 {
					t.Fatalf("%s was answered with %s", st, out)
				}
			}
		}
		m.ended = true // timers that are still set do nothing
		for _, p := range m.iqs {
			p.timer.Stop()
		}
		stop(&m.lastTimer, &m.emptyTimer, &m.sourceTimer)
	})
}

type recorder []*stanza.Stanza

func (r *recorder) Route(st *stanza.Stanza) { *r = append(*r, st) }
