package xmppload

import (
	"context"
	"fmt"
	"time"

	"konzil/bench/measure"
)

// contacts is presence told to rosters: cfg.Hubs people whom cfg.Scale others are subscribed to change their presence; the next change of one comes when
// the last has reached everybody.
type contacts struct {
	w    *world
	hubs []*hub

	// of the loop
	t       *tally
	sending bool
	done    chan struct{}
	bare    map[string]*hub
}

type hub struct {
	lane  *lane
	seen  []window // by contact
	known []bool   // by contact: has had a presence at all
	count int      // of known
	left  [ring]int32
}

// subscribeTime bounds the making of the subscriptions.
const subscribeTime = 60 * time.Second

func (s *contacts) prepare(ctx context.Context, progress func(string)) error {
	h, n := s.w.cfg.Hubs, s.w.cfg.Scale
	s.bare = map[string]*hub{}
	all, err := s.w.loginAll(ctx, 0, h+n, progress, s.stanza)
	if err != nil {
		return err
	}
	s.w.loop.do(func() {
		for i := range h {
			x := &hub{lane: newLane(s.w, all[i]), seen: make([]window, n), known: make([]bool, n)}
			x.lane.tag = "status"
			s.hubs = append(s.hubs, x)
			s.bare[bareOf(all[i].jid)] = x
		}
		for _, c := range all[h:] {
			for to := range s.bare {
				_ = c.send("<presence type='subscribe' to='" + escape(to) + "'/>")
			}
		}
	})
	progress("subscribing")
	ctx, cancel := context.WithTimeout(ctx, subscribeTime)
	defer cancel()
	for {
		missing := 0
		s.w.loop.do(func() {
			for _, x := range s.hubs {
				if missing += n - x.count; x.count < n { // those who may see it by now will
					_ = x.lane.broadcast(time.Now())
				}
			}
		})
		if missing == 0 {
			return nil
		}
		s.w.wait(ctx, nil, time.Second)
		if ctx.Err() != nil || s.w.failure() != nil {
			return fmt.Errorf("xmppload: %d subscriptions were not made", missing)
		}
	}
}

func bareOf(jid string) string {
	for i := range jid {
		if jid[i] == '/' {
			return jid[:i]
		}
	}
	return jid
}

func (s *contacts) measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	s.w.wait(ctx, nil, time.Second/2) // for what was sent to find out who is subscribed
	s.w.loop.do(func() {
		s.t = newTally(s.w, "presences", "presence")
		s.sending, s.done = true, make(chan struct{})
		for _, x := range s.hubs {
			for range s.w.cfg.Under {
				s.send(x, time.Now())
			}
		}
		s.w.loop.begin(s.t.live, true)
	})
	s.w.wait(ctx, nil, d)
	s.w.loop.do(func() { s.sending = false })
	s.w.wait(ctx, s.done, s.w.cfg.Drain)
	var out *measure.Sample
	s.w.loop.do(func() { s.w.loop.finish(); out = s.t.finish(); s.t = nil })
	return out, ctx.Err()
}

func (s *contacts) send(x *hub, now time.Time) {
	x.left[x.lane.next%ring] = int32(s.w.cfg.Scale)
	if err := x.lane.broadcast(now); err != nil {
		s.w.failed(err)
		return
	}
	s.t.s.Sent++
	s.t.s.Expected += uint64(s.w.cfg.Scale)
}

func (s *contacts) stanza(c *client, el *elem, now time.Time) {
	c.answerSM(el)
	if string(el.name) != "presence" {
		return
	}
	i := c.n - s.w.cfg.Hubs
	if i < 0 {
		if string(el.typ) == "subscribe" {
			_ = c.send("<presence type='subscribed' to='" + string(el.from) + "'/>")
		}
		return
	}
	m, ok := s.w.parse(el.id)
	if !ok || int(m.sender) >= len(s.hubs) {
		return
	}
	x := s.hubs[m.sender]
	if !x.known[i] {
		x.known[i] = true
		x.count++
	}
	if s.t == nil { // while subscribing: a presence may come by probe and by broadcast
		if m.number >= x.seen[i].high {
			x.seen[i].note(m.number)
		}
		return
	}
	s.t.arrived(x.lane, &x.seen[i], m.number, c, el, now)
	if x.left[m.number%ring]--; x.left[m.number%ring] > 0 {
		return
	}
	switch {
	case s.sending:
		s.send(x, now)
	case s.t.s.Delivered >= s.t.s.Expected:
		select {
		case <-s.done:
		default:
			close(s.done)
		}
	}
}
