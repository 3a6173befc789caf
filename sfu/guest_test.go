package sfu

import (
	"encoding/binary"
	"testing"
)

// TestGuests sorts what belongs to another protocol (RFC 7983 §7, RFC 8489 §5).
func TestGuests(t *testing.T) {
	msg := func(kind uint16, n int) []byte {
		p := make([]byte, n)
		binary.BigEndian.PutUint16(p, kind)
		return p
	}
	for name, tc := range map[string]struct {
		p    []byte
		want bool
	}{
		"nothing":              {nil, false},
		"channel":              {[]byte{0x40, 0, 0, 0}, true},
		"last channel":         {[]byte{0x4f, 0xff, 0, 0}, true},
		"beyond":               {[]byte{0x50, 0, 0, 0}, false},
		"media":                {msg(0x8000, 40), false},
		"DTLS":                 {msg(0x16fe, 40), false},
		"Allocate":             {msg(0x0003, 20), true},
		"Send indication":      {msg(0x0016, 60), true},
		"cut off":              {msg(0x0003, 19), false},
		"STUN client":          {msg(0x0001, 20), true},
		"ICE check":            {msg(0x0001, 80), false},
		"answer to our check":  {msg(0x0101, 40), false},
		"error to our check":   {msg(0x0111, 40), false},
		"Binding indication":   {msg(0x0011, 20), false},
		"CreatePermission 401": {msg(0x0118, 60), true},
	} {
		if got := isGuests(tc.p); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
