package sfu

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
	"konzil/bench/rtc"
	"konzil/bench/sfuload"
)

// stormMost bounds one storm, and each of joins one after another.
const stormMost = time.Minute

// joinLook is how often it is looked whether the one who joins has seen and heard something.
const joinLook = 5 * time.Millisecond

// storm lets all join at once and waits until each has media. Then they leave again.
func (l *Load) storm(ctx context.Context) (*measure.Sample, error) {
	first := l.members[0].spec
	before, err := l.eng.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	stay := l.members
	ps := make([]*sfuload.Participant, l.o.Scale)
	for i := range ps {
		ps[i] = &sfuload.Participant{Name: fmt.Sprintf("s%dx%d", l.stage, i), Room: first.Room, Want: first.Want}
	}
	l.stage++
	jctx, cancel := context.WithTimeout(ctx, stormMost)
	defer cancel()
	joins := l.o.Joins
	l.o.Joins = l.o.Scale
	began := time.Now()
	err = l.join(jctx, ps, func(string) {})
	came := l.members[len(stay):]
	if err == nil {
		err = l.ready(jctx, came, func(string) {})
	}
	elapsed := time.Since(began)
	l.o.Joins = joins
	if err != nil {
		return nil, err
	}
	after, err := l.eng.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	s := l.joins(came, before, after, elapsed)
	l.members = stay
	return s, l.leave(ctx, came)
}

// joins makes a sample of those who came.
func (l *Load) joins(came []*member, before, after *rtc.Snapshot, elapsed time.Duration) *measure.Sample {
	s := &measure.Sample{Unit: "joins", Elapsed: elapsed, Sent: after.Counters.SentPackets - before.Counters.SentPackets, Expected: uint64(l.o.Scale), Wrong: map[string]uint64{}, Figures: map[string]float64{},
		Labels: map[string]string{"srtp": l.eng.Profile(), "trace": l.o.Trace}, Steps: map[string]*hdrhistogram.Histogram{}}
	maps.Copy(s.Steps, l.steps(came))
	l.counters(before, after, s)
	for _, m := range came {
		if _, ok := m.peer.Steps()["first packet"]; ok {
			s.Delivered++
		}
	}
	return s
}

// oneByOne lets one join after another: each when the one before has left and Options.Apart has passed, and a part of a picture's time more, so that
// they meet the sender's pictures at all distances.
func (l *Load) oneByOne(ctx context.Context) (*measure.Sample, error) {
	before, err := l.eng.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	stay := l.members
	defer func() { l.members = stay }()
	var came []*member
	began := time.Now()
	for i := range l.o.Scale {
		if err := measure.Pause(ctx, l.o.Apart+time.Duration(rand.Int64N(int64(pictureTime)))); err != nil {
			return nil, err
		}
		p := &sfuload.Participant{Name: fmt.Sprintf("s%dx%d", l.stage, i), Room: stay[0].spec.Room, Want: stay[0].spec.Want}
		m, err := l.joinAlone(ctx, p)
		if err != nil {
			return nil, err
		}
		came = append(came, m)
		if err := l.leave(ctx, []*member{m}); err != nil {
			return nil, err
		}
	}
	elapsed := time.Since(began)
	l.stage++
	after, err := l.eng.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return l.joins(came, before, after, elapsed), nil
}

// pictureTime is the time of a picture at 30 a second.
const pictureTime = 33 * time.Millisecond

// joinAlone lets one join and waits until it has seen a whole keyframe and heard something.
func (l *Load) joinAlone(ctx context.Context, p *sfuload.Participant) (*member, error) {
	ctx, cancel := context.WithTimeout(ctx, stormMost)
	defer cancel()
	m, err := l.joinOne(ctx, p)
	if err != nil {
		return nil, err
	}
	for {
		if err := m.failed(); err != nil {
			return nil, err
		}
		steps := m.peer.Steps()
		_, seen := steps["first keyframe"]
		_, heard := steps["first audio"]
		if seen && heard {
			return m, nil
		}
		if err := measure.Pause(ctx, joinLook); err != nil {
			return nil, fmt.Errorf("%s has no media (%v): %w", p.Name, steps, err)
		}
	}
}
