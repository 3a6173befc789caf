package translator

import "testing"

// FuzzClassify: no datagram is more than its bytes say, and what may latch was classified first.
func FuzzClassify(f *testing.F) {
	for _, b := range [][]byte{nil, rtpPacket(1, 20), rtcpPacket(1), zrtpPacket(1), {0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0xff, 0xff}, {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k := classify(b)
		if plausible(k, b) && (k == unknown || k == stunMsg) {
			t.Errorf("%x may latch", b)
		}
		if k == rtp && b[1] >= 192 && b[1] < 224 {
			t.Errorf("%x is RTP", b)
		}
	})
}
