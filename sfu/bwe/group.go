package bwe

// burst is how far apart in time packets of one group are sent at most (draft-ietf-rmcat-gcc-02 §5.2).
const burst = 5 * 1e6

// Packets that were held up somewhere and then arrive together belong together too, whatever their sending times: they tell of a
// scheduler's pause, not of a queue that grows.
const (
	clump    = 5 * 1e6   // ns between two arrivals of a clump at most
	maxClump = 100 * 1e6 // ns from its first to its last arrival
)

// maxGap is a pause in arrivals after which the comparison starts anew: clocks and paths may have changed.
const maxGap = 3 * 1000 * 1000 * 1000

type group struct {
	firstSend, lastSend, firstArrive, lastArrive int64
	set                                          bool
}

// groups joins packets to bursts and compares each finished burst with the one before.
type groups struct{ cur, prev group }

// add takes one received packet; ok is true when a burst was finished: then dSend and dArrive are the gaps to the burst before it, and
// at is when it arrived.
func (g *groups) add(send, arrive int64) (dSend, dArrive, at int64, ok bool) {
	c := &g.cur
	switch {
	case !c.set:
		*c = group{send, send, arrive, arrive, true}
		return
	case send < c.firstSend:
		return // sent before the present burst: reordered
	case arrive-c.lastArrive > maxGap || c.lastArrive-arrive > maxGap:
		*g = groups{cur: group{send, send, arrive, arrive, true}}
		return
	case send-c.firstSend <= burst, arrive-c.lastArrive <= clump && arrive-c.lastArrive < send-c.lastSend && arrive-c.firstArrive < maxClump:
		c.lastSend = max(c.lastSend, send)
		c.lastArrive = max(c.lastArrive, arrive)
		return
	}
	if g.prev.set {
		dSend, dArrive = c.lastSend-g.prev.lastSend, c.lastArrive-g.prev.lastArrive
		at, ok = c.lastArrive, dArrive >= 0
	}
	g.prev = *c
	*c = group{send, send, arrive, arrive, true}
	return
}
