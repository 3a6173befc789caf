// Package speaker finds the dominant speaker of a conference from audio levels, after Volfin and Cohen, "Dominant speaker
// identification for multipoint videoconferencing" (Computer Speech and Language 27, 2013): speech activity is scored on three time
// scales (immediate, 20 ms; medium, 100 ms; long, 1 s), and somebody else takes over only when ahead on all three.
//
// Level is called for each audio packet that carries a level (RFC 6464) and costs a map look-up; Tick, called as often as one likes,
// decides every 300 ms. A Detector has no goroutine, lock or clock and is for one user at a time; times are nanoseconds.
package speaker

import "math"

// interval is how often a decision is made.
const interval = 300 * 1e6

// None is the dominant speaker while nobody has spoken.
const None int32 = -1

// Parameters of the paper (§3.2 to §4.2) for 20 ms packets, levels 0 (silence) to 127.
const (
	levelStep  = 20 * 1e6                                 // ns that one level stands for
	maxLevel   = 127                                      // loudest
	subBands   = 13                                       // N1: height of the immediate scale
	perMedium  = 5                                        // N2: immediate values per medium one
	perLong    = 10                                       // N3: medium values per long one
	levels     = perMedium * perLong                      // levels that a decision looks at: one second
	subunit    = (maxLevel + 1 + subBands - 1) / subBands // level steps per sub-band
	medThresh  = 7                                        // sub-bands above the floor for an active 20 ms
	longThresh = 4                                        // active 20 ms for an active 100 ms
	minScore   = 1e-10
	floorLen   = 15 * 50 // levels after which the noise floor may rise: 15 s
	idleAfter  = 2       // missing levels after which silence is filled in
	maxRecent  = 10
	c1, c2, c3 = 3.0, 2.0, 0.0 // how far ahead: logarithms of score ratios, immediate, medium, long
)

// Detector judges the speakers of one conference. Use New.
type Detector struct {
	index    map[int32]int
	speakers []person
	dominant int32
	recent   [maxRecent + 1]int32 // former dominants, newest first
	nRecent  int
	next     int64 // time of the next decision

	imm, med, long [levels + 1]float64 // scores by count
}

type person struct {
	id     int32
	ring   [levels]uint8 // levels, newest at head
	head   int
	last   int64 // when the newest level was due
	floor  uint8 // estimate of the background, 0: none yet
	next   uint8 // candidate for the floor
	nextN  int
	scored bool // scores are of the present levels
	s      [3]float64
}

// New makes a detector.
func New() *Detector {
	d := &Detector{index: make(map[int32]int), dominant: None}
	for k := range subBands + 1 {
		d.imm[k] = score(k, subBands, 0.78)
	}
	for k := range perMedium + 1 {
		d.med[k] = score(k, perMedium, 24)
	}
	for k := range perLong + 1 {
		d.long[k] = score(k, perLong, 47)
	}
	return d
}

// score is the log-likelihood ratio of speech for k active of n parts, equation (14) of the paper with p = 0.5.
func score(k, n int, lambda float64) float64 {
	choose := 1.0
	for i := range k {
		choose = choose * float64(n-i) / float64(i+1)
	}
	return max(math.Log(choose)+float64(n)*math.Log(0.5)-math.Log(lambda)+lambda*float64(k), minScore)
}

// Level notes one audio packet of a speaker; level is in -dBov (127 silence) as in RFC 6464. An unknown id joins.
func (d *Detector) Level(id int32, level uint8, now int64) {
	i, ok := d.index[id]
	if !ok {
		i = len(d.speakers)
		d.index[id] = i
		d.speakers = append(d.speakers, person{id: id, last: now - levelStep})
	}
	p := &d.speakers[i]
	p.fill(now - levelStep)
	v := uint8(maxLevel) - min(level, maxLevel)
	p.push(v)
	p.updateFloor(v)
	p.last = max(p.last, now)
}

func (p *person) push(v uint8) {
	p.head = (p.head + 1) % levels
	p.ring[p.head] = v
	p.scored = false
}

// fill puts silence where levels are missing: senders stop packets in pauses.
func (p *person) fill(now int64) {
	n := (now - p.last) / levelStep
	if n < idleAfter {
		return
	}
	p.last += n * levelStep
	for range min(n, levels) {
		p.push(0)
	}
}

// updateFloor follows the quietest level: down at once, up by the geometric mean after floorLen levels.
func (p *person) updateFloor(v uint8) {
	switch {
	case v == 0:
	case p.floor == 0 || p.floor > v:
		p.floor, p.next, p.nextN = v, 0, 0
	case p.next == 0:
		p.next, p.nextN = v, 1
	default:
		p.next = min(p.next, v)
		if p.nextN++; p.nextN >= floorLen {
			p.floor = uint8(min(math.Sqrt(float64(p.floor)*float64(p.next)), maxLevel))
			p.next, p.nextN = 0, 0
		}
	}
}

// scores evaluates the three scales.
func (d *Detector) scores(p *person) *[3]float64 {
	if p.scored {
		return &p.s
	}
	p.scored = true
	limit := p.floor + subunit
	first, mediums, longs := 0, 0, 0
	firstMedium := 0
	for m := range perLong {
		active := 0
		for k := range perMedium {
			i := m*perMedium + k // 0 is the newest
			v := p.ring[(p.head-i+levels)%levels]
			if v < limit {
				continue
			}
			band := int(v) / subunit
			if i == 0 {
				first = band
			}
			if band > medThresh {
				active++
			}
		}
		if m == 0 {
			firstMedium = active
		}
		mediums = active
		if mediums > longThresh {
			longs++
		}
	}
	p.s = [3]float64{d.imm[min(first, subBands)], d.med[firstMedium], d.long[longs]}
	return &p.s
}

// Tick decides when a decision is due, and returns the dominant speaker (None at first). changed says that this call changed it.
func (d *Detector) Tick(now int64) (dominant int32, changed bool) {
	if now < d.next {
		return d.dominant, false
	}
	d.next = now + interval
	// Somebody must be ahead of the dominant speaker, or of a silent one when there is none.
	ref := [3]float64{minScore, minScore, minScore}
	if i, ok := d.index[d.dominant]; ok {
		p := &d.speakers[i]
		p.fill(now)
		ref = *d.scores(p)
	}
	best, bestC2 := None, c2
	for i := range d.speakers {
		p := &d.speakers[i]
		if p.id == d.dominant {
			continue
		}
		p.fill(now)
		s := d.scores(p)
		a, b, c := math.Log(s[0]/ref[0]), math.Log(s[1]/ref[1]), math.Log(s[2]/ref[2])
		if a > c1 && b > c2 && c > c3 && b > bestC2 {
			best, bestC2 = p.id, b
		}
	}
	if _, there := d.index[d.dominant]; best == None && !there {
		best = d.loudest() // nobody is to be beaten: short sounds will do, so that a meeting soon has an order
	}
	if best == None {
		return d.dominant, false
	}
	d.become(best)
	return best, true
}

func (d *Detector) become(id int32) {
	d.forget(id)
	if d.dominant != None {
		copy(d.recent[1:], d.recent[:])
		d.recent[0] = d.dominant
		d.nRecent = min(d.nRecent+1, maxRecent)
	}
	d.dominant = id
}

// forget takes id out of the recent ones.
func (d *Detector) forget(id int32) {
	for i := range d.nRecent {
		if d.recent[i] == id {
			copy(d.recent[i:d.nRecent], d.recent[i+1:d.nRecent])
			d.nRecent--
			return
		}
	}
}

// Recent appends the former dominant speakers to dst, newest first, at most 10, without the present one.
func (d *Detector) Recent(dst []int32) []int32 { return append(dst, d.recent[:d.nRecent]...) }

// Remove takes a speaker out. If it was dominant, nobody is until the next decision.
func (d *Detector) Remove(id int32) {
	d.forget(id)
	if d.dominant == id {
		d.dominant = None
		d.next = 0
	}
	i, ok := d.index[id]
	if !ok {
		return
	}
	delete(d.index, id)
	last := len(d.speakers) - 1
	if i != last {
		d.speakers[i] = d.speakers[last]
		d.index[d.speakers[i].id] = i
	}
	d.speakers = d.speakers[:last]
}

// audible is the level, above silence, that a voice or a knock has and the noise of a room has not.
const audible = 67

// loudest is who has the loudest level of the last second, None when nobody is audible.
func (d *Detector) loudest() int32 {
	who, most := None, uint8(audible-1)
	for i := range d.speakers {
		for _, v := range d.speakers[i].ring {
			if v > most {
				who, most = d.speakers[i].id, v
			}
		}
	}
	return who
}
