package muc

import "konzil/xmpp/stanza"

// pendingKey is a vcard request that was passed on: who asked, with which id.
type pendingKey struct {
	from stanza.JID
	id   string
}

// handleIQ takes iqs for the room and for occupants. The room is locked, as for all of this file.
func (r *room) handleIQ(st *stanza.Stanza) {
	switch {
	case !st.To.IsBare():
		r.relay(st)
	case st.Type == "result" || st.Type == "error":
		// The room itself asks nothing.
	default:
		r.roomIQ(st)
	}
}

// roomIQ is an iq to the room itself.
func (r *room) roomIQ(st *stanza.Stanza) {
	switch n := st.First(); {
	case n == stanza.Name{Space: nsAdmin, Local: "query"}:
		r.adminIQ(st)
	case n == stanza.Name{Space: nsOwner, Local: "query"}:
		r.ownerIQ(st)
	case n == stanza.Name{Space: nsRegister, Local: "query"}:
		r.registerIQ(st)
	case n == stanza.Name{Space: nsVCard, Local: "vCard"}:
		r.vcardIQ(st)
	case isMAM(n):
		r.archiveIQ(st)
	case st.Type == "set" && n == stanza.Name{Space: nsCommands, Local: "command"}:
		r.commandIQ(st)
	case st.Type == "set" && (n == stanza.Name{Space: nsModerate, Local: "moderate"} || n == stanza.Name{Space: nsFasten, Local: "apply-to"}):
		r.moderate(st)
	case st.Type != "get":
		r.fail(st, stanza.ErrServiceUnavailable)
	case n == stanza.Name{Space: nsDiscoInfo, Local: "query"}:
		r.discoInfo(st)
	case n == stanza.Name{Space: nsDiscoItem, Local: "query"}:
		r.discoItems(st)
	case n == stanza.Name{Space: nsPing, Local: "ping"}:
		r.answer(st.Result())
	default:
		r.fail(st, stanza.ErrServiceUnavailable)
	}
}

// relay passes an iq from one occupant to another (XEP-0045 §7.5 and what Jingle needs), with the sender's occupant JID and the same id.
func (r *room) relay(st *stanza.Stanza) {
	request := st.Type == "get" || st.Type == "set"
	from, to := r.sessions[st.From], r.nicks[st.To.Resource()]
	if !request {
		r.relayAnswer(st, from, to)
		return
	}
	switch {
	case from == nil && st.First().Local == "query" && (st.First().Space == nsDiscoInfo || st.First().Space == nsDiscoItem): // XEP-0045 §6.6
		r.fail(st, stanza.ErrBadRequest.With("You are not in this room"))
		return
	case from == nil: // also what XEP-0410 §3 asks of a self-ping from outside
		r.fail(st, &stanza.Error{Type: "cancel", Condition: "not-acceptable", Text: "You are not in this room"})
		return
	case to == nil:
		r.fail(st, stanza.ErrItemNotFound.With("There is nobody of that name in the room"))
		return
	case to == from && st.First() == stanza.Name{Space: nsPing, Local: "ping"}:
		r.answer(st.Result()) // XEP-0410 §4: the room can tell by itself
		return
	case r.full(st):
		return
	}
	r.svc.count.iqs.Add(1)
	st = st.WithFrom(from.addr)
	if st.First() != (stanza.Name{Space: nsVCard, Local: "vCard"}) {
		r.send(st, to.real())
		return
	}
	// A vcard is kept by the account's server, not by the client; the answer will come from the bare JID.
	if len(r.pending) >= maxPending {
		clear(r.pending) // old ones whose answer never came; who still waits gets none
		r.svc.count.overflows.Add(1)
	}
	r.pending[pendingKey{from.addr, st.ID}] = to.nick
	r.send(st, to.bare())
}

// relayAnswer passes on a result or error. An answer that cannot be delivered is dropped: nothing may answer an answer.
func (r *room) relayAnswer(st *stanza.Stanza, from, to *occupant) {
	if to == nil {
		return
	}
	sender := stanza.JID{}
	if from != nil {
		sender = from.addr
	}
	if k := (pendingKey{to.addr, st.ID}); r.pending[k] != "" && st.From.IsBare() {
		if o := r.nicks[r.pending[k]]; o != nil && o.bare() == st.From {
			sender = o.addr
		}
		delete(r.pending, k)
	}
	if sender.IsZero() {
		return
	}
	r.svc.count.iqs.Add(1)
	r.send(st.WithFrom(sender), to.jids()...) // to all sessions of the nick: only the one that asked knows the id
}
