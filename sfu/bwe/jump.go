package bwe

// A path that changes (another route, another cell) makes all packets take longer by the same from one to the next; a queue grows burst by burst, and
// what follows a sudden one either waits as well or finds it shorter. So a single leap of the delay is held back from the trend until it is known which
// of the two it was.
const (
	leapMin   = 25.0 // ms of more delay from one burst to the next that may be a new path
	leapAfter = 3    // bursts that are looked at before it is believed
	leapLoss  = 0.15 // share of lost packets meanwhile that speaks against it: the queue is full
)

// leaps tells changes of path from queues.
type leaps struct {
	by    float64 // ms that are held back
	since float64 // ms by which the delay has changed after it
	left  int     // bursts still to be looked at, 0: nothing is held back
	got   int     // packets reported meanwhile, and
	lost  int     // those of them that are lost
}

// packet notes the fate of one.
func (l *leaps) packet(lost bool) {
	l.got++
	if lost {
		l.lost++
	}
}

// add takes by how many ms the delay has changed, and gives back what the trend may know of it. moved is not 0 when the path has become
// longer by so much.
func (l *leaps) add(d float64) (known, moved float64) {
	if l.left == 0 {
		if d < leapMin {
			l.got, l.lost = 0, 0
			return d, 0
		}
		*l = leaps{by: d, left: leapAfter, lost: l.lost, got: l.got} // with what was lost since the last burst
		return 0, 0
	}
	l.left--
	l.since += d
	by := l.by
	switch {
	case l.since > by/4 || l.since < -by/2, float64(l.lost) > leapLoss*float64(l.got): // the queue goes on growing, or drains, or overflows
		*l = leaps{}
		return d + by, 0
	case l.left == 0:
		*l = leaps{}
		return d, by
	}
	return d, 0
}
