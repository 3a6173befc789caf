package sfu

import (
	"testing"
	"unsafe"
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
