package rtc

import "time"

// What an engine sends and when is the same in each run: tracks have fixed places in a schedule that repeats after period, and ticks have
// theirs between. Were the places random, then a camera and a microphone that happen to send together in one run and apart in the next would
// make two different loads, by several per cent of a server's CPU time.

// period is a multiple of all distances: 20 ms of Opus and of ticks, 100 ms of feedback, 33 and 200 ms of pictures.
const period = int64(200 * time.Millisecond)

// goldenRatio's multiples, without what is before the point, are spread evenly however many there are (Weyl's sequence).
const goldenRatio = 0.6180339887498949

// phase is the place of the n-th track of a kind (0 audio, 1 video) that sends each every ns. Video lies half way between audio.
func phase(kind, n int, every int64) int64 {
	x := float64(n)*goldenRatio + float64(kind)/2
	return int64((x - float64(int(x))) * float64(every))
}

// startAfter a track is bound to a transport that is up it begins: the other side of the handshake may not be quite there.
const startAfter = int64(50 * time.Millisecond)

// after is the first moment from now on at which something is due that has this phase and comes each every ns.
func (e *Engine) after(now, phase, every int64) int64 {
	first := e.epoch + phase
	if now <= first {
		return first
	}
	return first + (now-first+every-1)/every*every
}
