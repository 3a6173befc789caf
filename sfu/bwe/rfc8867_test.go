package bwe

import "testing"

// The cases of RFC 8867 as far as they concern a sender-side estimate, over a path of 100 ms round trip with a queue of 300 ms (RFC 8867
// §4.2). Flows without layers send as much as they may.

// used measures a stretch: share of the link, per flow in Mbit/s, and the queue.
func (s *sim) used(d int64) (share float64, each []float64) {
	s.reset()
	for _, f := range s.flows {
		f.got = 0
	}
	for _, t := range s.tcp {
		t.got = 0
	}
	var bits float64
	s.run(d, func() { bits += s.link.Rate * float64(ms) / 1e9 })
	var sum float64
	for _, f := range s.flows {
		sum += f.got
		each = append(each, f.got/float64(d)*1e3)
	}
	for _, t := range s.tcp {
		sum += t.got
	}
	return sum / bits, each
}

func jain(x []float64) float64 {
	var a, b float64
	for _, v := range x {
		a += v
		b += v * v
	}
	return a * a / (float64(len(x)) * b)
}

// §5.1: 1 → 2.5 → 0.6 → 1 Mbit/s, one flow.
func TestVariableCapacity(t *testing.T) {
	s := newSim(1e6, 50*ms, 300*ms)
	s.flow()
	s.run(20e9, nil)
	for _, c := range []struct{ rate, seconds, least float64 }{{1e6, 20, 0.7}, {2.5e6, 20, 0.6}, {0.6e6, 20, 0.6}, {1e6, 20, 0.7}} {
		s.link.Rate = c.rate
		share, _ := s.used(int64(c.seconds * 1e9))
		row(t, "8867 §5.1 variable capacity, one flow", "%.1f Mbit/s: used %3.0f %%, queue mean %3d ms worst %3d ms", c.rate/1e6, 100*share, s.meanQueue()/ms, s.worst/ms)
		if share < c.least {
			t.Errorf("%g: only %.2f used", c.rate, share)
		}
		if q := s.meanQueue(); q > 100*ms {
			t.Errorf("%g: mean queue %d ms", c.rate, q/ms)
		}
	}
}

// §5.2: two flows share what varies.
func TestVariableCapacityTwoFlows(t *testing.T) {
	s := newSim(4e6, 50*ms, 300*ms)
	s.flow()
	s.flow()
	s.run(25e9, nil)
	for _, rate := range []float64{4e6, 2e6, 3.5e6, 1e6, 2e6} {
		s.link.Rate = rate
		share, each := s.used(25e9)
		row(t, "8867 §5.2 variable capacity, two flows", "%.1f Mbit/s: used %3.0f %%, flows %.2f and %.2f, queue mean %3d ms", rate/1e6, 100*share, each[0], each[1], s.meanQueue()/ms)
		if share < 0.55 || s.meanQueue() > 120*ms {
			t.Errorf("%g: %.2f used, queue %d ms", rate, share, s.meanQueue()/ms)
		}
	}
}

// §5.3: feedback is late and partly lost.
func TestCongestedFeedback(t *testing.T) {
	s := newSim(2e6, 50*ms, 300*ms)
	f := s.flow()
	f.fbWait, f.fbLost = 150*ms, 0.1
	s.run(20e9, nil)
	s.link.Rate = 1e6
	s.run(5e9, nil)
	share, _ := s.used(20e9)
	row(t, "8867 §5.3 congested feedback", "used %3.0f %%, queue mean %3d ms worst %3d ms", 100*share, s.meanQueue()/ms, s.worst/ms)
	if share < 0.6 || s.meanQueue() > 120*ms {
		t.Errorf("%.2f used, queue %d ms", share, s.meanQueue()/ms)
	}
}

// §5.4: three flows that begin one after the other.
func TestCompetingFlows(t *testing.T) {
	s := newSim(3.5e6, 50*ms, 300*ms)
	for range 3 {
		s.flow()
		s.run(20e9, nil)
	}
	s.run(40e9, nil)
	share, each := s.used(40e9)
	row(t, "8867 §5.4 three flows, one after the other", "used %3.0f %%, flows %.2f, fairness %.2f, queue mean %3d ms", 100*share, each, jain(each), s.meanQueue()/ms)
	if share < 0.7 || jain(each) < 0.75 {
		t.Errorf("%.2f used, fairness %.2f", share, jain(each))
	}
}

// §5.5: five flows of 20 to 200 ms round trip.
func TestRTTFairness(t *testing.T) {
	s := newSim(4e6, 10*ms, 300*ms)
	for _, extra := range []int64{0, 15, 40, 65, 90} {
		f := s.flow()
		f.extra = extra * ms
		s.run(10e9, nil)
	}
	s.run(30e9, nil)
	share, each := s.used(60e9)
	row(t, "8867 §5.5 five flows, round trips 20 to 200 ms", "used %3.0f %%, flows %.2f, fairness %.2f, queue mean %3d ms", 100*share, each, jain(each), s.meanQueue()/ms)
	if share < 0.7 || jain(each) < 0.6 {
		t.Errorf("%.2f used, fairness %.2f", share, jain(each))
	}
}

// §5.6 and §5.7: against a long TCP flow, which fills the queue, and after it has ended.
func TestAgainstTCP(t *testing.T) {
	s := newSim(2e6, 50*ms, 300*ms)
	s.flow()
	s.run(20e9, nil)
	tcp := s.addTCP()
	s.run(10e9, nil)
	_, each := s.used(60e9)
	row(t, "8867 §5.6 against a long TCP flow", "flow %.2f, TCP %.2f Mbit/s, queue mean %3d ms", each[0], tcp.got/60e9*1e3, s.meanQueue()/ms)
	if each[0] < 0.1 {
		t.Errorf("starved: %.2f", each[0])
	}
	s.tcp = nil
	s.run(10e9, nil)
	share, each := s.used(20e9)
	row(t, "8867 §5.7 after TCP has ended", "flow %.2f Mbit/s", each[0])
	if share < 0.5 {
		t.Errorf("%.2f used after TCP", share)
	}
}

// §5.8: a flow pauses and resumes among others.
func TestPauseAndResume(t *testing.T) {
	s := newSim(3.5e6, 50*ms, 300*ms)
	for range 3 {
		s.flow()
	}
	s.run(40e9, nil)
	s.flows[0].off = true
	s.run(20e9, nil)
	s.flows[0].off = false
	begin, back := s.now, int64(-1)
	s.run(20e9, func() {
		if back < 0 && s.flows[0].e.Bitrate() > 500e3 {
			back = s.now - begin
		}
	})
	share, each := s.used(20e9)
	row(t, "8867 §5.8 pause and resume", "back above 0.5 Mbit/s after %d ms, then used %3.0f %%, flows %.2f", back/ms, 100*share, each)
	if back < 0 || back > 10e9 || share < 0.7 {
		t.Errorf("resumed after %d ms", back/ms)
	}
}

// A policer drops what is above its rate, without a queue.
func TestPolicer(t *testing.T) {
	s := newSim(1e6, 20*ms, 40*ms)
	f := s.flow(camera...)
	s.run(10e9, nil)
	f.sent, f.got = 0, 0
	s.run(30e9, nil)
	loss := 1 - f.got/f.sent
	row(t, "policer of 1 Mbit/s", "layer %d, loss %.1f %%", f.layer, 100*loss)
	if f.layer < 1 || loss > 0.06 {
		t.Errorf("layer %d, loss %.3f", f.layer, loss)
	}
}

// With a second of delay either way nothing may swing.
func TestLongRoundTrip(t *testing.T) {
	s := newSim(2e6, 400*ms, 300*ms)
	s.flow()
	s.run(60e9, nil)
	share, _ := s.used(60e9)
	row(t, "round trip 800 ms", "used %3.0f %%, queue mean %3d ms worst %3d ms", 100*share, s.meanQueue()/ms, s.worst/ms)
	if share < 0.5 {
		t.Errorf("%.2f used", share)
	}
}
