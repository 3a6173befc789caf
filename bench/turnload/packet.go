package turnload

import (
	"encoding/binary"
)

// A packet of the load, after the headers of TURN: who sent it, its number, when, and bytes that follow from the first two.
const (
	stampSize  = 24
	verifyEach = 64 // every 64th packet is compared byte by byte; the stamps of all are
	magic      = 0x6b7a5431
)

// stamp writes the head of a packet; the rest was filled once.
func stamp(p []byte, client, seq uint32, now int64) {
	binary.BigEndian.PutUint32(p, magic)
	binary.BigEndian.PutUint32(p[4:], client)
	binary.BigEndian.PutUint32(p[8:], seq)
	binary.BigEndian.PutUint32(p[12:], uint32(len(p)))
	binary.BigEndian.PutUint64(p[16:], uint64(now))
}

// fill writes the rest of a packet, which depends on the client and the place of the packet in its burst.
func fill(p []byte, client uint32, place int) {
	x := seed(client, place)
	for b := p[stampSize:]; len(b) > 0; {
		x = next(x)
		if len(b) < 8 {
			for i := range b {
				b[i] = byte(x >> (8 * i))
			}
			return
		}
		binary.LittleEndian.PutUint64(b, x)
		b = b[8:]
	}
}

// filled tells whether the rest is what fill wrote.
func filled(p []byte, client uint32, place int) bool {
	x := seed(client, place)
	for b := p[stampSize:]; len(b) > 0; {
		x = next(x)
		if len(b) < 8 {
			for i := range b {
				if b[i] != byte(x>>(8*i)) {
					return false
				}
			}
			return true
		}
		if binary.LittleEndian.Uint64(b) != x {
			return false
		}
		b = b[8:]
	}
	return true
}

// seed begins the bytes of a client and a place; next is a step of xorshift64 (Marsaglia, Xorshift RNGs, 2003).
func seed(client uint32, place int) uint64 { return uint64(client)<<32 | uint64(place)<<1 | 1 }

func next(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}
