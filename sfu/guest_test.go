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
	with := func(p []byte, kind uint16, value string) []byte {
		p = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(p, kind), uint16(len(value)))
		return append(append(p, value...), make([]byte, -len(value)&3)...)
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
		"STUN client by name":  {with(msg(0x0001, 20), 0x8022, "stunner"), true},
		"with FINGERPRINT":     {with(with(msg(0x0001, 20), 0x8022, "x"), 0x8028, "1234"), true},
		"ICE check":            {with(with(msg(0x0001, 20), 0x0024, "1234"), 0x0006, "frag:other"), false},
		"cut off attribute":    {append(msg(0x0001, 20), 0, 6, 0), true},
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
