package signaling

import (
	"konzil/xmpp/stanza"
)

// transcribeTo is what clients dial to get a transcriber.
const transcribeTo = "jitsi_meet_transcribe"

// maxDialTries is how many gateways are asked for one call.
const maxDialTries = 3

// dial answers a client that wants a telephone call, or a transcriber: a gateway of the brewery gets the wish, and the client its answer
// (XEP-0327, as jicofo has it).
func (m *meeting) dial(mem *member, iq *stanza.Stanza) {
	el := iq.Child(nsRayo, "dial")
	transcribe := el.Attr("to") == transcribeTo
	feature := "outbound-call"
	if transcribe {
		feature = "transcription"
	}
	for _, h := range el.ChildrenNamed(nsRayo, "header") {
		if h.Attr("name") == "JvbRoomName" && h.Attr("value") != m.room.String() {
			m.f.refuse(iq, stanza.ErrForbidden.With("JvbRoomName is that of another meeting"))
			return
		}
	}
	switch {
	case !m.mayUse(mem, feature):
		m.f.refuse(iq, stanza.ErrForbidden.With("You may not do that"))
	case transcribe && m.hasTranscriber():
		m.f.refuse(iq, stanza.ErrConflict.With("There is a transcriber already"))
	default:
		m.f.count.dials.Add(1)
		m.tryGateway(iq, el, transcribe, nil)
	}
}

func (m *meeting) hasTranscriber() bool {
	return len(m.sorted(func(mem *member) bool { return mem.offers(featTranscriber) })) > 0
}

func (m *meeting) tryGateway(iq *stanza.Stanza, el *stanza.Element, transcribe bool, tried []stanza.JID) {
	to, _ := m.f.jigasis.pick(func(in *instance) bool { return transcribe && in.scribe || !transcribe && in.sip }, tried)
	if to.IsZero() {
		err := stanza.ErrServiceUnavailable.With("no gateway available")
		if len(tried) > 0 {
			err = &stanza.Error{Type: "wait", Condition: "remote-server-timeout", Text: "no gateway could do it"}
		}
		m.f.refuse(iq, err)
		return
	}
	m.f.ask(m, to, el, func(a *stanza.Stanza) {
		switch {
		case a != nil && a.Type == "result":
			m.send(stanza.NewIQ("result", iq.ID, iq.To, iq.From, a.Payload()...))
		case len(tried)+1 >= maxDialTries:
			m.f.refuse(iq, &stanza.Error{Type: "wait", Condition: "remote-server-timeout", Text: "no gateway could do it"})
		default:
			m.f.jigasis.failed(to)
			m.tryGateway(iq, el, transcribe, append(tried, to))
		}
	})
}
