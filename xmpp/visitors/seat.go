package visitors

import (
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// refusal is why who sent st may not enter the audience of main, before it is opened; nil if it may.
func (c *Component) refusal(main stanza.JID, st *stanza.Stanza) *stanza.Error {
	nick := st.To.Resource()
	there, membersOnly, unlocked := c.rooms.Door(main, st.Child(nsMUC, "x").Child(nsMUC, "password").Text())
	switch {
	case !jitsi.ValidNick(nick) || !strings.HasPrefix(st.From.Local()+"-", nick+"-"): // it is the endpoint id, which must be nobody else's
		return stanza.ErrNotAllowed.With("The nickname is not that of your address")
	case st.Size() > maxPresence:
		return stanza.ErrPolicyViolation.With("The presence is too big")
	case c.facts(main).Off:
		return stanza.ErrNotAllowed.With("This meeting takes no visitors")
	case !there || len(c.takingPart(main)) == 0:
		return stanza.ErrNotAllowed.With("Nobody is in the meeting yet", stanza.NewElement(nsVisitors, "no-main-participants"))
	case membersOnly:
		return stanza.ErrNotAllowed.With("Visitors not allowed while lobby is on!", stanza.NewElement(nsVisitors, "no-visitors-lobby"))
	case c.rooms.Affiliation(main, st.From.Bare()) == "outcast":
		return stanza.ErrForbidden.With("You are banned from this room")
	case !unlocked:
		return stanza.ErrNotAuthorized.With("The room needs a password")
	}
	if c.opt.Refuse != nil {
		return c.opt.Refuse(main, st.From)
	}
	return nil
}

// takingPart are the people in a meeting.
func (c *Component) takingPart(main stanza.JID) []jitsi.Person {
	return slices.DeleteFunc(c.rooms.People(main), func(p jitsi.Person) bool { return p.Hidden })
}

// presence is somebody's who enters, changes or leaves.
func (a *audience) presence(st *stanza.Stanza, entering bool) {
	s := a.byReal[st.From]
	switch {
	case st.Type == "unavailable" || st.Type == "error":
		if s != nil {
			a.leave(s, st)
		}
	case st.Type != "":
		// Subscriptions and probes mean nothing to a room.
	case s == nil && !entering:
		a.Put(st.ErrorReply(stanza.ErrItemNotFound.With("You are not in this room")))
	case s == nil:
		a.enter(st)
	case st.To != s.addr:
		a.Put(st.ErrorReply(stanza.ErrNotAcceptable.With("The nickname cannot change")))
	case st.Size() > maxPresence:
		a.Put(st.ErrorReply(stanza.ErrPolicyViolation.With("The presence is too big")))
	case !a.may(s, st):
	case entering: // its client has lost what it knew
		s.take(st)
		a.welcome(s, st)
	default:
		s.take(st)
		a.Put(s.shown("", "110").WithID(st.ID).WithTo(s.real))
		a.tellFocus(s, "")
		a.handOf(s)
	}
}

// may takes from the visitor's allowance, or answers st.
func (a *audience) may(s *seat, st *stanza.Stanza) bool {
	if a.full() || !s.limit.Allow() {
		a.Put(st.ErrorReply(stanza.ErrResourceConstraint.With("Too much at once, wait a little")))
		return false
	}
	return true
}

// enter seats a visitor.
func (a *audience) enter(st *stanza.Stanza) {
	c, nick := a.c, st.To.Resource()
	var err *stanza.Error
	_, plays := a.stage[nick]
	switch {
	case plays || a.seats[nick] != nil:
		err = stanza.ErrConflict.With("The nickname is taken")
	case len(a.seats) >= c.opt.MaxVisitors:
		err = &stanza.Error{Type: "wait", Condition: "service-unavailable", Text: "There are too many visitors"}
	case a.full():
		err = stanza.ErrResourceConstraint.With("The room is too busy")
	}
	if err != nil {
		c.count.refused.Add(1)
		a.Put(st.ErrorReply(err))
		return
	}
	a.stopTimer()
	s := &seat{nick: nick, addr: st.To, real: st.From, limit: rate.NewLimiter(rate.Limit(c.opt.Rate), 5*c.opt.Rate)}
	s.take(st)
	a.seats[nick], a.byReal[s.real] = s, s
	a.reals = append(slices.Clip(a.reals), s.real)
	c.count.joins.Add(1)
	c.count.seats.Add(1)
	a.welcome(s, st)
}

// take keeps what a visitor says of itself.
func (s *seat) take(st *stanza.Stanza) {
	s.presence, s.name = nil, ""
	for _, e := range st.Payload() {
		switch {
		case e.Space == nsMUC, e.Space == nsUser, e.Name == stanza.Name{Space: stanza.NSClient, Local: "identity"}:
			continue
		case e.Space == nsNick && e.Local == "nick":
			s.name = e.Text()
		}
		s.presence = append(s.presence, e)
	}
}

// shown is the visitor's presence with status codes.
func (s *seat) shown(typ string, codes ...string) *stanza.Stanza {
	if typ != "" {
		return stanza.NewPresence(typ, s.addr, stanza.JID{}, userX("none", "none", s.real, codes...))
	}
	return stanza.NewPresence("", s.addr, stanza.JID{}, append([]*stanza.Element{userX("none", "visitor", s.real, codes...)}, s.presence...)...)
}

// tellFocus sends the focus the visitor's presence: it is the only one who gets it.
func (a *audience) tellFocus(s *seat, typ string) { a.Put(s.shown(typ).WithTo(a.c.opt.Focus)) }

// welcome sends a visitor, in this order: who takes part, its own presence, conversation and subject (XEP-0045 §7.2).
func (a *audience) welcome(s *seat, st *stanza.Stanza) {
	for _, nick := range a.order {
		a.Put(a.stage[nick].shown.WithTo(s.real))
	}
	a.Put(s.shown("", "100", "110").WithID(st.ID).WithTo(s.real))
	if stage, ok := a.c.rooms.Stage(a.main); ok {
		for _, m := range append(stage.Past, stage.Subject) {
			a.Put(m.WithFromTo(a.mirrored(m.From), s.real))
		}
	}
	a.tellFocus(s, "")
	a.handOf(s)
	if seated := a.c.opt.Seated; seated != nil {
		a.Later(func() { seated(a.main, s.real) })
	}
}

// leave takes a visitor out.
func (a *audience) leave(s *seat, st *stanza.Stanza) {
	if s.hand {
		s.hand = false
		a.tellHand(s)
	}
	delete(a.seats, s.nick)
	delete(a.byReal, s.real)
	a.reals = slices.DeleteFunc(slices.Clone(a.reals), func(j stanza.JID) bool { return j == s.real })
	a.c.count.seats.Add(-1)
	if st != nil {
		a.Put(s.shown("unavailable", "110").WithID(st.ID).WithTo(s.real))
	}
	a.tellFocus(s, "unavailable")
	if len(a.seats) == 0 {
		a.wait(linger)
	}
}

// putOut takes a visitor out whose nick somebody has who enters the meeting.
func (a *audience) putOut(s *seat) {
	a.Put(s.shown("unavailable", "110", "307").WithTo(s.real))
	a.leave(s, nil)
}
