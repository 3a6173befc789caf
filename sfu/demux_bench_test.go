package sfu

import "testing"

// BenchmarkClass sorts datagrams by their first byte, the first thing that happens to each; the way behind it is BenchmarkForward.
func BenchmarkClass(b *testing.B) {
	pkts := [][]byte{{0x80, 96}, {0x90, 111}, {0x00, 1}, {0x80, 200}, {0x16, 0xfe}}
	n := 0
	for b.Loop() {
		for _, p := range pkts {
			if classOf(p) == classMedia {
				n++
			}
		}
	}
	if n == 0 {
		b.Fatal("nothing is media")
	}
}
