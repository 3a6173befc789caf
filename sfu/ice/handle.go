package ice

import "net/netip"

// Result says what became of a message.
type Result uint8

// Results of Handle. Authentic: the sender knows the password, and was answered or has answered.
const (
	Authentic          Result = iota
	Ignored                   // an indication: it keeps a binding open and needs nothing
	UnknownUser               // a request for other credentials than ours
	UnknownTransaction        // a response to nothing that we wait for
	Unauthorized              // MESSAGE-INTEGRITY is missing or wrong
	Refused                   // authentic, but answered with an error
)

// Handle takes one message that came from `from` at listening address local; relayed says that it came through a relay. What has to be sent,
// the response first, is added to out. Afterwards Selected, State and Next may have changed.
func (a *Agent) Handle(m *Message, local int, from netip.AddrPort, relayed bool, now int64, out *Out) Result {
	r := Ignored
	switch m.Class {
	case Request:
		r = a.request(m, local, from, relayed, now, out)
	case Success, Failure:
		r = a.response(m, local, from, now, out)
	case Indication:
	}
	if r == Authentic {
		a.schedule(now)
	}
	return r
}

// request answers a check (RFC 8445 §7.3).
func (a *Agent) request(m *Message, local int, from netip.AddrPort, relayed bool, now int64, out *Out) Result {
	g := a.cur
	if string(m.User()) != g.local.Ufrag {
		if g = a.old; g == nil || string(m.User()) != g.local.Ufrag {
			return UnknownUser
		}
	}
	if !g.in.proves(m) {
		return Unauthorized
	}
	if m.unknowns > 0 {
		b := attrError(begin(out.room(), Failure, &m.ID), codeUnknownAttribute)
		b = attrHead(b, attrUnknown, 2*m.unknowns)
		for _, t := range m.unknown[:m.unknowns] {
			b = append(b, byte(t>>8), byte(t))
		}
		if m.unknowns&1 != 0 {
			b = append(b, 0, 0)
		}
		out.put(local, from, finish(b, 0, g.in))
		return Refused
	}
	if a.conflict(m) {
		out.put(local, from, finish(attrError(begin(out.room(), Failure, &m.ID), codeRoleConflict), 0, g.in))
		return Refused
	}
	b := attrMapped(begin(out.room(), Success, &m.ID), from, &m.ID)
	out.put(local, from, finish(b, 0, g.in))
	p := g.find(local, from)
	if p == nil && g != a.cur {
		return Authentic // of before the restart: answered, but no candidate any more
	}
	if p == nil {
		p = a.add(local, from, m.priority, relayed)
	}
	p.heard, p.cost = now, m.cost
	p.relayed = p.relayed || relayed
	if p.gen == a.cur {
		a.trigger(p, m.useCandidate, now, out)
	}
	return Authentic
}

// conflict settles a role conflict (RFC 8445 §7.3.1.1): true when the peer has to change.
func (a *Agent) conflict(m *Message) bool {
	switch {
	case a.controlling && m.controlling:
		if a.tie >= m.tie {
			return true
		}
		a.controlling = false
	case !a.controlling && m.controlled:
		if a.tie < m.tie {
			return true
		}
		a.controlling = true
		if s := a.selected; s != nil {
			s.nominated = false
		}
	}
	return false
}

// trigger checks in turn what the peer has checked (RFC 8445 §7.3.1.4), and takes its nomination (§7.3.1.5).
func (a *Agent) trigger(p *pair, nominated bool, now int64, out *Out) {
	if nominated && !a.controlling {
		switch {
		case p.state != valid:
			p.wanted = true
		case p != a.selected || !p.nominated:
			p.nominated = true
			if p != a.selected && a.follows(p) {
				a.use(p, now, out)
			}
		}
	}
	p.plain = p.plain || !nominated
	switch {
	case p.gen.out == nil:
		p.triggered = true // as soon as the credentials are there
	case p.state == valid && a.selected != nil && (p == a.selected || now-p.confirmed < staleValid):
	case p.tx.live && now-p.tx.last < repeatGap:
	case p.tx.live && p.state == inProgress:
		p.tx.rto, p.tx.sends = firstRTO, 1
		a.send(p, now, out)
	default:
		if a.state == Failed {
			a.state, a.since = Checking, now // the peer is back
		}
		a.start(p, now, out)
	}
	a.ask(p, now, out)
}

// response ends a check (RFC 8445 §7.2.5).
func (a *Agent) response(m *Message, local int, from netip.AddrPort, now int64, out *Out) Result {
	p := a.asked(m.ID)
	if p == nil {
		return UnknownTransaction
	}
	if !p.gen.out.proves(m) {
		return Unauthorized
	}
	p.tx.live = false
	switch {
	case m.Class == Failure && m.code == codeRoleConflict:
		if p.tx.controlling == a.controlling { // else another check has changed it already
			a.controlling = !a.controlling
			a.tie = a.cfg.Rand()
		}
		a.start(p, now, out)
	case m.Class == Failure, local != p.local || from != p.remote: // §7.2.5.2.1: addresses must be symmetric
		if p != a.selected || p.tx.use {
			p.state = failed
		}
	default:
		p.state = valid
		p.heard, p.confirmed = now, now
		if p.tx.sends == 1 {
			p.rtt = now - p.tx.first
		}
		if p.tx.use && p.tx.controlling {
			p.nominated = true
		}
		a.validated(p, now, out)
	}
	return Authentic
}

// asked is the pair whose check has this transaction.
func (a *Agent) asked(id TxID) *pair {
	for _, p := range a.cur.pairs {
		if p.tx.live && p.tx.id == id {
			return p
		}
	}
	if s := a.selected; s != nil && s.tx.live && s.tx.id == id {
		return s
	}
	return nil
}
