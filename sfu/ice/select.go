package ice

// better says whether p should be used instead of q: what is not relayed first, UDP before TCP, then what costs the peer less, then the
// priority.
func (a *Agent) better(p, q *pair) bool {
	switch {
	case q == nil:
		return true
	case p.gen != q.gen:
		return p.gen == a.cur
	case q.state != valid:
		return true
	case p.relayed != q.relayed:
		return q.relayed
	case a.cfg.isTCP(p.local) != a.cfg.isTCP(q.local):
		return a.cfg.isTCP(q.local)
	case p.cost != q.cost:
		return p.cost < q.cost
	}
	return a.rank(p) > a.rank(q)
}

// best is the valid pair to be used instead of p, which does not answer: only one that was heard after p counts.
func (a *Agent) best(p *pair, now int64) *pair {
	var best *pair
	for _, q := range a.cur.pairs {
		if q != p && q.state == valid && now-q.confirmed < staleValid && q.heard > p.confirmed && (best == nil || a.better(q, best)) {
			best = q
		}
	}
	return best
}

// validated is told when a check of p was answered.
func (a *Agent) validated(p *pair, now int64, out *Out) {
	switch {
	case p == a.selected:
		a.verify = 0
		if a.controlling && !p.nominated && a.nomination == 0 { // the role has changed
			a.nominate(p, now, out)
		}
	case a.controlling:
		if a.better(p, a.selected) {
			a.use(p, now, out)
		}
	case p.wanted:
		p.wanted = false
		p.nominated = true
		if a.follows(p) {
			a.use(p, now, out)
		}
	case a.selected == nil || a.selected.gen != p.gen || !a.selected.nominated && a.better(p, a.selected):
		a.use(p, now, out) // until the peer nominates one
	}
}

// follows says whether the controlled side takes the peer's nomination of p. The latest counts with a peer that nominates one pair after
// another; one that nominates with every check means the pair with the highest priority (RFC 5245 §8.1.1.2).
func (a *Agent) follows(p *pair) bool {
	s := a.selected
	return s == nil || s.gen != p.gen || s.state != valid || !s.nominated || p.plain || a.rank(p) >= a.rank(s)
}

// use makes p the selected pair, and tells the peer when we control: at once, or in a moment if there may soon be a better one.
func (a *Agent) use(p *pair, now int64, out *Out) {
	a.selected = p
	a.state = Connected
	a.verify = 0
	a.consent = now + consentMin + int64(a.cfg.Rand()%(consentMax-consentMin))
	if p.gen == a.cur {
		a.old = nil
	}
	a.nomination = 0
	switch at := a.since + tcpWait; {
	case !a.controlling || p.tx.live && p.tx.use:
	case a.cfg.isTCP(p.local) && now < at:
		a.nomination = at
	default:
		a.nominate(p, now, out)
	}
}

// ask finds out whether the selected pair is still there, since the peer was heard on p: it may have moved.
func (a *Agent) ask(p *pair, now int64, out *Out) {
	s := a.selected
	if s == nil || s == p || s.gen != p.gen || a.verify != 0 || now-s.heard < quietSelected {
		return
	}
	a.verify = now + verifyTime
	a.begin(s, false, verifyRTO, verifySends, now, out)
}
