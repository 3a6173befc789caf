package sfu

import (
	"konzil/sfu/rtp"
)

// Playout delay. A browser shows a frame as soon as its jitter buffer believes that it may, and of a stream with temporal layers it goes on
// without a frame whose repair is still under way: where much is lost and the round trip is longer than that buffer, repairs come too late and
// the picture loses frames. So receivers that have negotiated the extension are told to wait for a repair, where very much is lost for two. Others, and paths that lose
// little, are left alone.
const (
	// lossLate is the loss from which frames are worth waiting for; below, what is skipped does not show.
	lossLate = 0.03
	// playoutRest is what a repair takes beside the round trip, ns: the loss of a frame's last packet shows when the next frame comes.
	playoutRest = 70e6
	// playoutUnknown stands in for a round trip that is not known yet, playoutMost bounds the whole, ns: later is no conversation.
	playoutUnknown, playoutMost = 100e6, 400e6
	// playoutSlack is a change, in units of rtp.PlayoutUnit, that is not worth telling.
	playoutSlack = 3
	// playoutTold is on how many packets a change is told, so that some arrive.
	playoutTold = 48
)

// playout is what one outgoing SSRC has told of its delay.
type playout struct {
	units uint8 // of rtp.PlayoutUnit
	left  uint8 // packets on which it is yet to be told
}

// judgePlayout decides how long m's receiver is to hold pictures back, after its loss was noted.
func (m *media) judgePlayout(now int64) {
	if m.ext.playout == 0 {
		return
	}
	want := 0
	if now < m.loss.late {
		trip := m.rtt
		if trip == 0 {
			trip = playoutUnknown
		}
		if m.loss.level(now) == 2 {
			trip *= 2 // a repair is lost as well
		}
		want = int(min(trip+playoutRest, playoutMost) / rtp.PlayoutUnit)
	}
	if d := want - int(m.playout); want == 0 || m.playout == 0 || d > playoutSlack || d < -playoutSlack {
		m.playout = uint8(want)
	}
}

// playoutExt is the extension for the next packet of o, nil when there is nothing to tell.
func (sh *shard) playoutExt(m *media, o *send) []byte {
	p := &o.playout
	if p.units != m.playout {
		*p = playout{units: m.playout, left: playoutTold}
	}
	if p.left == 0 {
		return nil
	}
	p.left--
	rtp.PutPlayoutDelay(&sh.playout, uint16(p.units), rtp.MaxPlayoutDelay)
	return sh.playout[:]
}
