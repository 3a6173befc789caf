package sfu

import "testing"

// A control loop that was held up must not take what came in between for the rate of a tenth of a second.
func TestRateOfLateLooks(t *testing.T) {
	const ms = int64(1e6)
	var o observed
	o.filled = 1
	note := func(at int64, b uint64) bool {
		var bytes rates[uint64]
		var frames rates[uint32]
		bytes[0][0], frames[0][0] = b, uint32(b/4000)
		_, full := o.note(at, &bytes, &frames)
		return full
	}
	rate := func() (bps uint64, fps float64) {
		ls := o.layers(nil, 1, guessTop)
		return ls[0].Bitrate, ls[0].FPS
	}
	note(1000*ms, 0)
	note(1700*ms, 84000) // 700 ms at 960 kb/s
	o.filled = 1         // as observe does when the source begins
	if bps, fps := rate(); bps != 960000 || int(fps) != 30 {
		t.Errorf("after a late look: %d b/s, %v fps", bps, fps)
	}
	note(1701*ms, 0) // the next tick comes at once
	if bps, _ := rate(); bps != 840000 {
		t.Errorf("after two looks: %d b/s", bps)
	}
	full := 0
	for i := range int64(20) {
		if note(1800*ms+i*100*ms, 12000) {
			full++
		}
	}
	if bps, fps := rate(); bps != 960000 || int(fps) != 30 {
		t.Errorf("looks in time: %d b/s, %v fps", bps, fps)
	}
	if full != 1 {
		t.Errorf("the window became full %d times", full)
	}
}
