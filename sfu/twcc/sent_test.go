package twcc

import "testing"

// The notes grow with what is under way, and lose nothing younger than sentYoung on the way.
func TestSentGrows(t *testing.T) {
	for _, c := range []struct {
		rate   int64 // packets a second
		behind int   // packets until feedback
		slots  int
	}{{260, 30, sentFirst}, {260, 500, 512}, {2000, 200, 256}, {5000, 5000, sentWindow}} {
		var s Sent
		first := uint16(65000)
		for n := range 10 * int(c.rate) {
			s.Add(first+uint16(n), 1200, int64(n)*1e9/c.rate, 0)
			if back := min(c.behind, sentWindow-1); n >= back {
				got := s.received(first+uint16(n-back), 1, nil)
				if len(got) != 1 || got[0].SendTime != int64(n-back)*1e9/c.rate {
					t.Fatalf("%d a second: packet %d of %d: %v", c.rate, n-back, n, got)
				}
			}
		}
		if len(s.ring) != c.slots {
			t.Errorf("%d packets a second, %d under way, take %d slots, want %d", c.rate, c.behind, len(s.ring), c.slots)
		}
	}
}

// Without any feedback two seconds are kept.
func TestSentWithoutFeedback(t *testing.T) {
	var s Sent
	for n := range 10000 {
		s.Add(uint16(n), 112, int64(n)*20e6, 0)
	}
	if len(s.ring) != 128 {
		t.Errorf("%d slots for 50 packets a second", len(s.ring))
	}
}
