package sfu

// What senders are told of what others want to see.

// unwantedFor is how long nobody must have wanted a source before its sender is told so for the first time. Receivers say what they
// want only once their channel is open; a sender told 0 in between would stop for nothing.
const unwantedFor = 1500 * 1e6

// constrainSenders tells each sender the tallest that anybody wants of its sources, when that has changed. When somebody has said for
// the first time what it wants, all are told again: Jitsi clients keep the figure with the session that is active when it comes, so two who
// were connected to each other may not know it.
func (c *Conference) constrainSenders(tallest map[*source]int, now int64) {
	retell := c.retell
	c.retell = false
	for _, e := range c.ordered {
		for _, name := range e.ownNames() {
			src := e.sources[name]
			if src.kind != Video {
				continue
			}
			h := tallest[src]
			old, told := e.constraint[name]
			if !told && h == 0 {
				if !c.othersHaveSpoken(e) {
					continue
				}
				since, ok := e.unwanted[name]
				if !ok {
					since, e.unwanted[name] = now, now
				}
				if now-since < unwantedFor && !e.cfg.Relay {
					c.again = sooner(c.again, since+unwantedFor)
					continue
				}
			}
			delete(e.unwanted, name)
			// Two may be connected to each other, and would take the figure for that path: wait until media comes here again. Who was told 0
			// sends nothing before it is told otherwise.
			if len(c.voices) == 2 && !e.cfg.Relay && !src.sending() && h != 0 && (!told || old != 0) {
				continue
			}
			if !told || old != h || retell {
				e.constraint[name] = h
				c.ev.SenderConstraint(e.id, name, h)
			}
		}
	}
}

// sending tells whether anything of src has come lately.
func (src *source) sending() bool {
	for _, tr := range src.tracks {
		if tr.seen.active {
			return true
		}
	}
	return false
}

// othersHaveSpoken tells whether any receiver but e has said what it wants.
func (c *Conference) othersHaveSpoken(e *Endpoint) bool {
	for _, o := range c.ordered {
		if o != e && o.want != nil {
			return true
		}
	}
	return false
}
