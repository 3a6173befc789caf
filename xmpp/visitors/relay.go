package visitors

import (
	"github.com/google/uuid"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// player is who is in the meeting with that real address.
func (a *audience) player(real stanza.JID) (addr stanza.JID, ok bool) {
	for _, p := range a.stage {
		if p.real == real {
			return p.shown.From, true
		}
	}
	return stanza.JID{}, false
}

// iq carries one between a visitor and somebody in the meeting, or answers for the room. Visitors command nobody but the focus.
func (a *audience) iq(st *stanza.Stanza) {
	from := a.byReal[st.From]
	ask := st.Type == "get" || st.Type == "set"
	fail := func(err *stanza.Error) {
		if ask {
			a.Put(st.ErrorReply(err))
		}
	}
	if st.To.IsBare() {
		a.roomIQ(from, st)
		return
	}
	if a.full() {
		fail(stanza.ErrResourceConstraint.With("The room is too busy"))
		return
	}
	if from == nil { // of the meeting, to a visitor
		to := a.seats[st.To.Resource()]
		switch addr, ok := a.player(st.From); {
		case !ok:
			fail(stanza.ErrNotAcceptable.With("You are not in this room"))
		case to == nil:
			fail(stanza.ErrItemNotFound.With("There is nobody of that name in the room"))
		default:
			a.Put(st.WithFromTo(addr, to.real))
		}
		return
	}
	to, ok := a.stage[st.To.Resource()]
	switch {
	case st.To == from.addr && ask && st.First() == stanza.Name{Space: nsPing, Local: "ping"}: // XEP-0410 §4
		a.Put(st.Result())
	case !ok || to.real.IsZero():
		fail(stanza.ErrItemNotFound.With("There is nobody of that name in the room"))
	case st.Type == "set" && to.real != a.c.opt.Focus:
		fail(stanza.ErrForbidden.With("Visitors do not take part"))
	case ask && !from.limit.Allow():
		fail(stanza.ErrResourceConstraint.With("Too much at once, wait a little"))
	default:
		a.Put(st.WithFromTo(from.addr, to.real))
	}
}

// roomIQ is for the room itself.
func (a *audience) roomIQ(from *seat, st *stanza.Stanza) {
	if st.Type != "get" && st.Type != "set" {
		return // an answer to a promotion
	}
	switch n := st.First(); {
	case from == nil:
		a.Put(st.ErrorReply(stanza.ErrForbidden.With("Only who is in the meeting may ask")))
	case st.Type == "get" && n == stanza.Name{Space: nsPing, Local: "ping"}:
		a.Put(st.Result())
	case st.Type == "get" && n == stanza.Name{Space: jitsi.NSDiscoInfo, Local: "query"}:
		stage, ok := a.c.rooms.Stage(a.main)
		if !ok {
			a.Put(st.ErrorReply(stanza.ErrItemNotFound))
			return
		}
		a.Put(st.Result(stage.Description))
	case st.Type == "set":
		a.Put(st.ErrorReply(stanza.ErrForbidden.With("Visitors do not take part")))
	default:
		a.Put(st.ErrorReply(stanza.ErrServiceUnavailable))
	}
}

// message is conversation of a visitor, or a private word of somebody in the meeting to one.
func (a *audience) message(st *stanza.Stanza) {
	from := a.byReal[st.From]
	switch {
	case st.Type == "error":
	case from == nil:
		a.toVisitor(st)
	case !a.may(from, st):
	case st.Child(stanza.NSClient, "body").Text() == "":
		a.Put(st.ErrorReply(stanza.ErrForbidden.With("Visitors may only talk")))
	case st.To.IsBare() && st.Type == "groupchat":
		a.groupchat(from, st)
	default:
		a.private(from, st)
	}
}

// words are the children of a visitor's message with its name as the server knows it.
func (from *seat) words(st *stanza.Stanza) []*stanza.Element {
	var out []*stanza.Element
	for _, e := range st.Payload() {
		switch {
		case e.Space == nsNick, e.Space == nsDisplayName, e.Space == nsUser, e.Space == nsAddress, e.Local == "json-message", e.Local == "subject",
			e.Space == "urn:xmpp:delay", e.Space == "urn:xmpp:sid:0", e.Space == "urn:xmpp:occupant-id:0", e.Space == "urn:xmpp:carbons:2":
		default:
			out = append(out, e)
		}
	}
	name := from.name
	if name == "" {
		name = "anonymous"
	}
	return append(out, stanza.TextElement(nsNick, "nick", name), stanza.TextElement(nsDisplayName, "display-name", name, "source", "visitor"))
}

// groupchat says a visitor's words to all: in the meeting they come from the room, for nobody knows the visitor there.
func (a *audience) groupchat(from *seat, st *stanza.Stanza) {
	if st.ID == "" {
		st = st.WithID(uuid.NewString())
	}
	words := from.words(st)
	a.c.count.messages.Add(1)
	a.PutTo(st.WithPayload(words...).WithFrom(from.addr), a.reals)
	a.Later(func() { a.c.rooms.Broadcast(a.main, "", words...) })
}

// private is for one in the meeting, not for another visitor. The answer's address is beside it (XEP-0033).
func (a *audience) private(from *seat, st *stanza.Stanza) {
	to, ok := a.stage[st.To.Resource()]
	switch {
	case a.seats[st.To.Resource()] != nil:
		a.Put(st.ErrorReply(stanza.ErrForbidden.With("Private messaging between visitors is disabled on visitor nodes")))
	case !ok || to.real.IsZero() || st.To.IsBare() || st.Type == "groupchat":
		a.Put(st.ErrorReply(stanza.ErrItemNotFound.With("There is nobody of that name in the room")))
	default:
		a.c.count.messages.Add(1)
		where := stanza.NewElement(nsAddress, "addresses").Add(stanza.NewElement(nsAddress, "address", "type", "ofrom", "jid", from.addr.String()))
		a.Put(st.WithPayload(append(from.words(st), where)...).WithFromTo(a.main, to.real))
	}
}

// toVisitor is a private word from the meeting.
func (a *audience) toVisitor(st *stanza.Stanza) {
	to := a.seats[st.To.Resource()]
	switch addr, ok := a.player(st.From); {
	case !ok:
		a.Put(st.ErrorReply(stanza.ErrNotAcceptable.With("You are not in this room")))
	case to == nil || st.Type == "groupchat":
		a.Put(st.ErrorReply(stanza.ErrItemNotFound.With("There is nobody of that name in the room")))
	case a.full():
		a.Put(st.ErrorReply(stanza.ErrResourceConstraint.With("The room is too busy")))
	default:
		a.c.count.messages.Add(1)
		a.Put(st.WithFromTo(addr, to.real))
	}
}
