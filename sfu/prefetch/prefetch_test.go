package prefetch

import (
	"testing"
	"unsafe"
)

// What is asked for is neither changed nor has to exist.
func TestLines(t *testing.T) {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	Lines(unsafe.Pointer(&b[0]), 4)
	Lines(nil, 1)
	Lines(nil, 0)
	for i := range b {
		if b[i] != byte(i) {
			t.Fatal("changed")
		}
	}
}
