package xmppload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
)

// storm is logins, each with its end: connect, TLS, SCRAM, bind, close, cfg.At at a time, over cfg.Scale accounts in turn.
type storm struct {
	w    *world
	next atomic.Int64
}

// prepare logs each account in once, so that the cost of PBKDF2 in the generator is behind us.
func (s *storm) prepare(ctx context.Context, progress func(string)) error {
	return s.w.each(ctx, s.w.cfg.Scale, func(i int) error {
		if i%100 == 0 {
			progress(fmt.Sprintf("account %d of %d", i, s.w.cfg.Scale))
		}
		c, _, err := s.w.login(ctx, i, s.w.account(i), "bench")
		if err == nil {
			c.bye(true)
		}
		return err
	})
}

func (s *storm) measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	names := []string{"connect", "tls", "auth", "bind", "login"}
	out := &measure.Sample{Unit: "logins", Wrong: map[string]uint64{}, Figures: map[string]float64{}, Labels: s.w.labels(), Steps: map[string]*hdrhistogram.Histogram{}}
	for _, n := range names {
		out.Steps[n] = measure.NewHistogram()
	}
	var mu sync.Mutex // guards out, first
	var first error
	begun := time.Now()
	end := begun.Add(d)
	var wg sync.WaitGroup
	for range s.w.cfg.At {
		wg.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				i := int(s.next.Add(1)-1) % s.w.cfg.Scale
				at := time.Now()
				c, st, err := s.w.login(ctx, i, s.w.account(i), "bench")
				took := time.Since(at)
				if err == nil { // not waiting for the server's own end: some take a tenth of a second for it, without work
					c.bye(false)
				}
				mu.Lock()
				out.Sent++
				out.Expected++
				s.w.sent.Add(1)
				if err != nil {
					out.Wrong["rejected"]++
					if first == nil {
						first = err
					}
				} else {
					out.Delivered++
					out.Verified++
					s.w.delivered.Add(1)
					for k, v := range []time.Duration{st.connect, st.tls, st.auth, st.bind, took} {
						_ = out.Steps[names[k]].RecordValue(max(int64(v), 1000))
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	out.Elapsed = time.Since(begun)
	if first != nil {
		out.Notes = append(out.Notes, "first failed login: "+first.Error())
	}
	return out, ctx.Err()
}

// idle adds cfg.Scale silent sessions in each interval; they stay. Memory is read before and after.
type idle struct {
	w    *world
	have int
}

func (s *idle) prepare(context.Context, func(string)) error {
	if len(s.w.target.PIDs) == 0 && s.w.target.Cgroup == "" {
		return errors.New("xmppload: idle needs the server's process ids")
	}
	return nil
}

func (s *idle) measure(ctx context.Context, _ time.Duration) (*measure.Sample, error) {
	rss0, pss0, err := s.w.memory()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	all, err := s.w.loginAll(ctx, s.have, s.w.cfg.Scale, nil, func(c *client, el *elem, _ time.Time) { c.answerSM(el) })
	if err != nil {
		return nil, err
	}
	s.have += len(all)
	took := time.Since(begun)
	s.w.sent.Store(uint64(s.have))
	s.w.delivered.Store(uint64(s.have))
	s.w.wait(ctx, nil, s.w.cfg.Settle)
	rss1, pss1, err := s.w.memory()
	if err != nil {
		return nil, err
	}
	n := uint64(len(all))
	per := func(a, b int64) float64 { return float64(b-a) / 1024 / float64(n) }
	return &measure.Sample{Unit: "sessions", Elapsed: took, Sent: n, Expected: n, Delivered: n, Verified: n, Wrong: map[string]uint64{}, Labels: s.w.labels(), Figures: map[string]float64{
		"memory KB/session, RSS": per(rss0, rss1), "memory KB/session, PSS": per(pss0, pss1),
		"RSS MB before": float64(rss0) / (1 << 20), "RSS MB after": float64(rss1) / (1 << 20), "sessions": float64(s.have),
	}}, ctx.Err()
}
