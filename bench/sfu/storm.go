package sfu

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
	"konzil/bench/sfuload"
)

// stormMost bounds one storm.
const stormMost = time.Minute

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
	s := &measure.Sample{Unit: "joins", Elapsed: elapsed, Sent: uint64(l.o.Scale), Expected: uint64(l.o.Scale), Wrong: map[string]uint64{}, Figures: map[string]float64{},
		Labels: map[string]string{"srtp": l.eng.Profile(), "trace": l.o.Trace}, Steps: map[string]*hdrhistogram.Histogram{}}
	maps.Copy(s.Steps, l.steps(came))
	l.counters(before, after, s)
	for _, m := range came {
		if _, ok := m.peer.Steps()["first packet"]; ok {
			s.Delivered++
		}
	}
	l.members = stay
	return s, l.leave(ctx, came)
}
