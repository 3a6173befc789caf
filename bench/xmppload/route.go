package xmppload

import (
	"context"
	"fmt"
	"time"

	"konzil/bench/measure"
)

// route is one-to-one messages: account 2i writes to account 2i+1. Closed loop: each arrival allows the next message. Open loop: messages are due at
// times that nothing changes.
type route struct {
	w     *world
	pairs []*pair

	// of the loop
	t       *tally
	sending bool
	due     float64   // open loop: messages that should have been sent
	at      time.Time // when due was counted
	turn    int
	done    chan struct{} // closed when nothing is under way any more
}

type pair struct {
	lane *lane
	to   string
	seen window
	way  int // under way
}

func (r *route) prepare(ctx context.Context, progress func(string)) error {
	n := r.w.cfg.Scale
	if r.w.cfg.Scenario == "s2s" {
		return r.across(ctx, progress)
	}
	all, err := r.w.loginAll(ctx, 0, 2*n, progress, r.stanza)
	if err != nil {
		return err
	}
	r.w.loop.do(func() {
		for i := range n {
			p := &pair{lane: newLane(r.w, all[2*i]), to: escape(all[2*i+1].jid)}
			r.pairs = append(r.pairs, p)
			all[2*i+1].data = p
		}
	})
	return nil
}

// across is prepare for two servers: account i of one writes to account i of the other.
func (r *route) across(ctx context.Context, progress func(string)) error {
	other, err := r.w.beside(r.w.cfg.Peer)
	if err != nil {
		return err
	}
	n := r.w.cfg.Scale
	from, err := r.w.loginAll(ctx, 0, n, progress, r.stanza)
	if err != nil {
		return err
	}
	to, err := other.loginAll(ctx, 0, n, progress, r.stanza)
	if err != nil {
		return err
	}
	r.w.loop.do(func() {
		for i := range n {
			p := &pair{lane: newLane(r.w, from[i]), to: escape(to[i].jid)}
			r.pairs = append(r.pairs, p)
			to[i].data = p
		}
	})
	return nil
}

func (r *route) measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	r.w.loop.do(func() {
		r.t = newTally(r.w, "messages", "message")
		r.sending, r.done, r.due, r.at = true, make(chan struct{}), 0, time.Now()
		for _, p := range r.pairs {
			p.way = 0
		}
		if r.w.cfg.Rate == 0 {
			for _, p := range r.pairs {
				for range r.w.cfg.Under {
					r.send(p, time.Now())
				}
			}
		}
		r.w.loop.begin(r.tick, r.w.cfg.Rate == 0)
	})
	r.w.wait(ctx, nil, d)
	r.w.loop.do(func() { r.sending = false; r.settle() })
	r.w.wait(ctx, r.done, r.w.cfg.Drain)
	var s *measure.Sample
	r.w.loop.do(func() {
		r.w.loop.finish()
		s = r.t.finish()
		if r.w.cfg.Rate > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("open loop, %.0f messages/s", r.w.cfg.Rate))
		}
	})
	return s, ctx.Err()
}

func (r *route) send(p *pair, now time.Time) {
	if err := p.lane.send(p.to, "chat", now); err != nil {
		r.w.failed(err)
		return
	}
	p.way++
	r.t.s.Sent++
	r.t.s.Expected++
}

func (r *route) stanza(c *client, el *elem, now time.Time) {
	c.answerSM(el)
	if string(el.name) != "message" {
		return
	}
	m, ok := r.w.parse(el.id)
	p, _ := c.data.(*pair)
	if !ok || r.t == nil {
		return
	}
	if string(el.typ) == "error" {
		r.t.s.Wrong["rejected"]++
		return
	}
	if p == nil || p.lane.sender != m.sender {
		r.t.s.Wrong["foreign"]++
		return
	}
	r.t.arrived(p.lane, &p.seen, m.number, c, el, now)
	p.way--
	if r.sending && r.w.cfg.Rate == 0 {
		r.send(p, now)
	}
	r.settle()
}

// settle ends the interval when all is there.
func (r *route) settle() {
	if r.sending || r.done == nil || r.t.s.Delivered < r.t.s.Expected {
		return
	}
	select {
	case <-r.done:
	default:
		close(r.done)
	}
}

// tick sends what is due in an open loop, and tells Live.
func (r *route) tick(now time.Time) {
	r.t.live(now)
	if r.w.cfg.Rate == 0 || !r.sending {
		return
	}
	r.due += r.w.cfg.Rate * now.Sub(r.at).Seconds()
	r.at = now
	for ; r.due >= 1; r.due-- {
		p := r.pairs[r.turn%len(r.pairs)]
		r.turn++
		if p.way >= ring/2 {
			r.t.s.Skipped++
			continue
		}
		r.send(p, now)
	}
}

// answerSM acknowledges when the server asks.
func (c *client) answerSM(el *elem) {
	if !c.w.cfg.SM {
		return
	}
	switch string(el.name) {
	case "message", "presence", "iq":
		c.handled++
	case "r":
		_ = c.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", c.handled))
	}
}
