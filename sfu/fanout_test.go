package sfu

import (
	"testing"
	"unsafe"

	"konzil/internal/udpio"
)

// What is fetched ahead is all that a packet needs, and no more than a line too much.
func TestHotLines(t *testing.T) {
	const line = 64
	for _, c := range []struct {
		name  string
		end   uintptr // of what each packet needs
		lines uintptr
	}{
		{"media", unsafe.Offsetof(media{}.opener), mediaLines},
		{"send", unsafe.Offsetof(send{}.rtxIndex), sendLines},
	} {
		t.Logf("%s: %d bytes", c.name, c.end)
		if c.end > c.lines*line || c.end+2*line <= c.lines*line {
			t.Errorf("%s: %d bytes are not in %d lines", c.name, c.end, c.lines)
		}
	}
	if unsafe.Offsetof(Endpoint{}.m) != 0 {
		t.Error("an Endpoint does not begin with its media")
	}
}

// A socket's scratch refers to nobody after the batch: what it did would be kept until as many datagrams come at once again.
func TestBatchForgets(t *testing.T) {
	bd := newBed(t, 1, 1, nil)
	bd.drain()
	var scratch batch
	bd.feed(&scratch, bd.frame(true), make([]udpio.Packet, 0, 64))
	if bd.s.Counters()["rtp_in"] == 0 {
		t.Fatal("nothing came in")
	}
	for i, o := range scratch.owner {
		if o != nil {
			t.Fatalf("datagram %d is still somebody's", i)
		}
	}
}
