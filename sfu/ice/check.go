package ice

import "net/netip"

// Datagram is one that has to be sent from listening address Local.
type Datagram struct {
	Local int
	To    netip.AddrPort
	B     []byte
}

// outRoom is the largest message that an agent writes, in bytes: a USERNAME of 513 and 100 for the rest.
const outRoom = 640

// Out collects what an agent sends. It is reused: Reset it when all was sent.
type Out struct {
	List []Datagram
	buf  []byte
}

// Reset forgets what was sent.
func (o *Out) Reset() { o.List, o.buf = o.List[:0], o.buf[:0] }

// room makes sure that a message fits without moving the others.
func (o *Out) room() []byte {
	if cap(o.buf)-len(o.buf) < outRoom {
		o.buf = make([]byte, 0, 16*outRoom) // those written before keep the old array
	}
	return o.buf[len(o.buf):len(o.buf):cap(o.buf)]
}

func (o *Out) put(local int, to netip.AddrPort, b []byte) {
	o.buf = o.buf[:len(o.buf)+len(b)]
	o.List = append(o.List, Datagram{local, to, b[:len(b):len(b)]})
}

// begin starts a new check on p with its first request.
func (a *Agent) begin(p *pair, use bool, rto int64, sends int, now int64, out *Out) {
	t := &p.tx
	t.id = a.cfg.NewID()
	t.live, t.use, t.controlling, t.sends, t.max, t.first, t.rto = true, use, a.controlling, 0, sends, now, rto
	a.send(p, now, out)
	if p.state != valid {
		p.state = inProgress
	}
}

// start is begin for an ordinary or triggered check.
func (a *Agent) start(p *pair, now int64, out *Out) {
	p.triggered = false
	a.begin(p, false, firstRTO, maxSends, now, out)
}

// nominate asks the peer to use p too.
func (a *Agent) nominate(p *pair, now int64, out *Out) {
	a.begin(p, true, firstRTO, maxSends, now, out)
}

// send writes the request of the check under way on p, for the first time or again.
func (a *Agent) send(p *pair, now int64, out *Out) {
	t := &p.tx
	b := out.room()
	b = begin(b, Request, &t.id)
	b = attrBytes(b, attrUsername, p.gen.user)
	b = attr32(b, attrPriority, a.cfg.checkPriority(p.local))
	if t.controlling {
		b = attr64(b, attrControlling, a.tie)
		if t.use {
			b = attrHead(b, attrUseCandidate, 0)
		}
	} else {
		b = attr64(b, attrControlled, a.tie)
	}
	out.put(p.local, p.remote, finish(b, 0, p.gen.out))
	t.sends++
	t.last = now
	t.due = now + t.rto
	t.rto = min(2*t.rto, maxRTO)
}

// Tick does what is due: checks, retransmissions, consent. Call it when Next says.
func (a *Agent) Tick(now int64, out *Out) {
	if a.next > now {
		return
	}
	for _, p := range a.cur.pairs {
		a.overdue(p, now, out)
	}
	if s := a.selected; s != nil && s.gen != a.cur {
		a.overdue(s, now, out)
	}
	if p := a.waiting(); p != nil && now >= a.paced {
		a.paced = now + pace
		a.start(p, now, out)
	}
	a.keep(now, out)
	if a.state == Checking && now-a.since >= a.cfg.Timeout {
		a.state = Failed
		a.halt()
	}
	a.schedule(now)
}

// overdue repeats or ends the check on p.
func (a *Agent) overdue(p *pair, now int64, out *Out) {
	t := &p.tx
	switch {
	case !t.live || now < t.due:
	case t.sends < t.max:
		a.send(p, now, out)
	default:
		t.live = false
		if p == a.selected && p.confirmed != 0 && !t.use {
			break // consent decides
		}
		p.state = failed
		if p == a.selected {
			if alt := a.best(p, now); alt != nil {
				a.use(alt, now, out)
			}
		}
	}
}

// waiting is the pair to be checked next.
func (a *Agent) waiting() *pair {
	var best *pair
	if a.cur.out == nil || a.state == Failed {
		return nil
	}
	for _, p := range a.cur.pairs {
		if p.state == waiting && (best == nil || p.triggered && !best.triggered || p.triggered == best.triggered && a.rank(p) > a.rank(best)) {
			best = p
		}
	}
	return best
}

// keep asks for consent on the selected pair, and gives it up when there is none (RFC 7675 §5.1).
func (a *Agent) keep(now int64, out *Out) {
	s := a.selected
	if s == nil {
		return
	}
	if a.verify != 0 && now >= a.verify {
		a.verify = 0
		s.state = failed
		if alt := a.best(s, now); alt != nil {
			a.use(alt, now, out)
			return
		}
	}
	if now-s.confirmed >= a.cfg.Timeout {
		s.state = failed
		s.tx.live = false
		if alt := a.best(s, now); alt != nil {
			a.use(alt, now, out)
			return
		}
		a.selected, a.state, a.old, a.verify = nil, Failed, nil, 0
		a.halt()
		return
	}
	if a.nomination != 0 && now >= a.nomination {
		a.nomination = 0
		if a.controlling && s.state == valid {
			a.nominate(s, now, out)
		}
	}
	if now >= a.consent {
		a.consent = now + consentMin + int64(a.cfg.Rand()%(consentMax-consentMin))
		if !s.tx.live {
			a.begin(s, false, consentMin, 1, now, out) // not repeated: the next is another transaction
		}
	}
}

// halt ends all checks.
func (a *Agent) halt() {
	for _, p := range a.cur.pairs {
		p.tx.live = false
		if p.state != valid {
			p.state = failed
		}
	}
}

// schedule finds out when Tick is due next.
func (a *Agent) schedule(now int64) {
	next := int64(Never)
	for _, p := range a.cur.pairs {
		if p.tx.live {
			next = min(next, p.tx.due)
		}
	}
	if a.waiting() != nil {
		next = min(next, max(a.paced, now))
	}
	if s := a.selected; s != nil {
		if s.tx.live {
			next = min(next, s.tx.due)
		}
		next = min(next, a.consent, s.confirmed+a.cfg.Timeout)
		if a.verify != 0 {
			next = min(next, a.verify)
		}
		if a.nomination != 0 {
			next = min(next, a.nomination)
		}
	} else if a.state == Checking {
		next = min(next, a.since+a.cfg.Timeout)
	}
	a.next = next
}
