package random

import (
	"encoding/hex"
	"testing"
)

func TestHex(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := ID()
		if b, err := hex.DecodeString(id); err != nil || len(b) != 16 || seen[id] {
			t.Fatalf("%q: %v, seen before: %v", id, err, seen[id])
		}
		seen[id] = true
	}
	if h := Hex(3); len(h) != 6 {
		t.Errorf("three bytes are %q", h)
	}
}
