package xmppload

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
)

// enter lets clients into a room, some at a time, and counts what they are told.
type enter struct {
	w       *world
	room    string
	clients []*client

	// of the loop
	next     int // to be sent in
	inside   int // have got their own presence
	presence uint64
	seen     [][]uint64 // by client, bits of nicks: presences that it has got
	extra    uint64
	asked    []time.Time
	lat      *hdrhistogram.Histogram
	last     time.Time
	open     bool // the creator has unlocked the room
	done     chan struct{}
	all      chan struct{} // closed when everybody has seen everybody
}

func (w *world) newEnter(room string, clients []*client) *enter {
	e := &enter{w: w, room: room, clients: clients, seen: make([][]uint64, len(clients)), asked: make([]time.Time, len(clients)),
		lat: measure.NewHistogram(), done: make(chan struct{}), all: make(chan struct{})}
	for i := range e.seen {
		e.seen[i] = make([]uint64, (len(clients)+63)/64)
	}
	return e
}

// begin sends the creator in; the others follow when the room is open.
func (e *enter) begin(now time.Time) {
	e.last = now
	e.join(now)
}

func (e *enter) join(now time.Time) {
	i := e.next
	e.next++
	e.asked[i] = now
	c := e.clients[i]
	if err := c.send(fmt.Sprintf("<presence to='%s/n%d'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>", e.room, i)); err != nil {
		e.w.failed(err)
	}
}

// stanza takes what client i of the room gets; true: it was about the entering.
func (e *enter) stanza(i int, el *elem, now time.Time) bool {
	switch string(el.name) {
	case "iq":
		if i == 0 && string(el.id) == "unlock" && !e.open {
			e.open = true
			e.more(now)
			return true
		}
		return false
	case "presence":
	default:
		return false
	}
	from := el.from
	if len(from) <= len(e.room)+2 || string(from[:len(e.room)]) != e.room {
		return false
	}
	if typ := el.typ; typ != nil {
		if string(typ) == "error" {
			e.w.failed(fmt.Errorf("%s: room not entered: %.300s", e.clients[i].jid, el.raw))
		}
		return true
	}
	n := 0
	for _, d := range from[len(e.room)+2:] {
		n = n*10 + int(d-'0')
	}
	if n < 0 || n >= len(e.clients) {
		return false
	}
	e.last = now
	if e.seen[i][n/64]>>(n%64)&1 != 0 {
		e.extra++
		return true
	}
	e.seen[i][n/64] |= 1 << (n % 64)
	e.presence++
	if n == i {
		e.entered(i, el.raw, now)
	}
	if e.presence == uint64(len(e.clients))*uint64(len(e.clients)) {
		close(e.all)
	}
	return true
}

// entered is somebody's own presence.
func (e *enter) entered(i int, raw []byte, now time.Time) {
	_ = e.lat.RecordValue(max(int64(now.Sub(e.asked[i])), 1000))
	e.inside++
	if e.inside == len(e.clients) {
		close(e.done)
	}
	switch {
	case i > 0 || e.open:
		e.more(now)
	case bytes.Contains(raw, []byte("'201'")) || bytes.Contains(raw, []byte(`"201"`)): // XEP-0045 §10.1.2: an instant room
		form := ""
		if e.w.cfg.Persistent { // XEP-0045 §10.1.3: a reserved one
			form = "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roomconfig</value></field>" +
				"<field var='muc#roomconfig_persistentroom'><value>1</value></field>"
		}
		if err := e.clients[0].send("<iq type='set' id='unlock' to='" + e.room +
			"'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>" + form + "</x></query></iq>"); err != nil {
			e.w.failed(err)
		}
	default:
		e.open = true
		e.more(now)
	}
}

// more keeps cfg.At joins under way.
func (e *enter) more(now time.Time) {
	for e.next < len(e.clients) && e.next-e.inside < e.w.cfg.At {
		e.join(now)
	}
}

// joining is the load in which whole rooms are entered.
type joining struct {
	w   *world
	all []*client
	e   *enter
	n   int // rooms so far
}

func (j *joining) prepare(ctx context.Context, progress func(string)) (err error) {
	j.all, err = j.w.loginAll(ctx, 0, j.w.cfg.Scale, progress, func(c *client, el *elem, now time.Time) {
		c.answerSM(el)
		if e := j.e; e != nil {
			e.stanza(c.n, el, now)
		}
	})
	return err
}

// joinTime bounds one whole-room join.
const joinTime = 10 * time.Minute

func (j *joining) measure(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
	n := len(j.all)
	begun := time.Now()
	j.w.loop.do(func() {
		j.n++
		j.e = j.w.newEnter(fmt.Sprintf("bench-%08x-%d@%s", j.w.run, j.n, j.w.target.Rooms), j.all)
		sent, delivered := j.w.sent.Load(), j.w.delivered.Load()
		j.w.loop.begin(func(time.Time) {
			j.w.sent.Store(sent + uint64(j.e.next))
			j.w.delivered.Store(delivered + j.e.presence)
		}, false)
		j.e.begin(time.Now())
	})
	j.w.wait(ctx, j.e.all, joinTime)
	var s *measure.Sample
	j.w.loop.do(func() {
		j.w.loop.finish()
		e := j.e
		s = &measure.Sample{Unit: "presences", Began: begun, Elapsed: e.last.Sub(begun), Sent: uint64(n), Expected: uint64(n) * uint64(n), Delivered: e.presence, Verified: e.presence,
			Wrong: map[string]uint64{}, Steps: map[string]*hdrhistogram.Histogram{"join": e.lat},
			Figures: map[string]float64{"further presences": float64(e.extra)}, Labels: j.w.labels()}
	})
	return s, ctx.Err()
}

// fanout is messages to rooms: as many under way in each as cfg.Under; the next goes out when one has reached everybody.
type fanout struct {
	w     *world
	rooms []*hall

	// of the loop
	t       *tally
	sending bool
	done    chan struct{}
}

type hall struct {
	f        *fanout
	addr     string
	clients  []*client
	e        *enter
	speakers []*lane
	index    map[uint32]int // of a speaker by its number among all clients
	seen     [][]window     // by occupant, by speaker
	left     [][]int32      // by speaker, by number % ring: deliveries that are still to come
	copies   copies
	follows  []uint32 // by occupant, which of copies must come next
	turn     int
}

type seat struct {
	h *hall
	i int
}

func (f *fanout) prepare(ctx context.Context, progress func(string)) error {
	n := f.w.cfg.Scale
	for k := range f.w.cfg.Rooms {
		h := &hall{f: f, addr: fmt.Sprintf("bench-%08x-%d@%s", f.w.run, k, f.w.target.Rooms), index: map[uint32]int{}}
		all, err := f.w.loginAll(ctx, k*n, n, progress, f.stanza)
		if err != nil {
			return err
		}
		progress("entering " + h.addr)
		f.w.loop.do(func() {
			h.clients = all
			h.e = f.w.newEnter(h.addr, all)
			h.seen, h.follows = make([][]window, n), make([]uint32, n)
			for i, c := range all {
				c.data, c.known = seat{h, i}, f.known
				h.seen[i] = make([]window, min(f.w.cfg.Speakers, n))
			}
			for i := range min(f.w.cfg.Speakers, n) {
				l := newLane(f.w, all[i])
				h.index[l.sender] = i
				h.speakers = append(h.speakers, l)
				h.left = append(h.left, make([]int32, ring))
			}
			f.rooms = append(f.rooms, h)
			h.e.begin(time.Now())
		})
		if !f.w.wait(ctx, h.e.all, joinTime) {
			return fmt.Errorf("xmppload: room not entered by all: %d presences of %d", h.e.presence, n*n)
		}
	}
	return nil
}

func (f *fanout) measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	f.w.loop.do(func() {
		f.t = newTally(f.w, "deliveries", "message")
		f.sending, f.done = true, make(chan struct{})
		for _, h := range f.rooms {
			for range f.w.cfg.Under {
				h.send(time.Now())
			}
		}
		f.w.loop.begin(f.t.live, true)
	})
	f.w.wait(ctx, nil, d)
	f.w.loop.do(func() { f.sending = false })
	f.w.wait(ctx, f.done, f.w.cfg.Drain)
	var s *measure.Sample
	f.w.loop.do(func() { f.w.loop.finish(); s = f.t.finish() })
	return s, ctx.Err()
}

func (h *hall) send(now time.Time) {
	k := h.turn % len(h.speakers)
	l := h.speakers[k]
	h.turn++
	h.left[k][l.next%ring] = int32(len(h.clients))
	if err := l.send(h.addr, "groupchat", now); err != nil {
		h.f.w.failed(err)
		return
	}
	h.f.t.s.Sent++
	h.f.t.s.Expected += uint64(len(h.clients))
}

func (f *fanout) stanza(c *client, el *elem, now time.Time) {
	c.answerSM(el)
	at, ok := c.data.(seat)
	if !ok {
		return
	}
	h := at.h
	if string(el.name) != "message" {
		h.e.stanza(at.i, el, now)
		return
	}
	m, ok := f.w.parse(el.id)
	if !ok || f.t == nil {
		return
	}
	k, ok := h.index[m.sender]
	switch {
	case string(el.typ) == "error":
		f.t.s.Wrong["rejected"]++
		return
	case !ok:
		f.t.s.Wrong["foreign"]++
		return
	}
	if f.t.arrived(h.speakers[k], &h.seen[at.i][k], m.number, c, el, now) {
		h.follows[at.i] = h.copies.keep(k, m.number, el)
	}
	h.came(k, m.number, now)
}

// known takes a message that begins b when it is the one that c must get next, and others have it already. Damage on purpose is done to what is taken
// apart.
func (f *fanout) known(c *client, b []byte, now time.Time) int {
	at, ok := c.data.(seat)
	if !ok || f.t == nil || f.w.cfg.Fault != nil {
		return 0
	}
	h := at.h
	m := h.copies.get(h.follows[at.i])
	n := m.length(b, c.jid)
	if n == 0 {
		return 0
	}
	h.follows[at.i]++
	c.handled++
	f.t.count(h.speakers[m.speaker], &h.seen[at.i][m.speaker], m.number, n, now)
	h.came(m.speaker, m.number, now)
	return n
}

// came notes that a message of speaker k has reached one more. When it has reached everybody the next one goes out.
func (h *hall) came(k int, number uint32, now time.Time) {
	f := h.f
	if h.left[k][number%ring]--; h.left[k][number%ring] > 0 {
		return
	}
	switch {
	case f.sending:
		h.send(now)
	case f.t.s.Delivered >= f.t.s.Expected:
		select {
		case <-f.done:
		default:
			close(f.done)
		}
	}
}
