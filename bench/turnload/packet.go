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
	x := client*2654435761 + uint32(place)*40503 + 1
	for i := stampSize; i < len(p); i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x)
	}
}

// filled tells whether the rest is what fill wrote.
func filled(p []byte, client uint32, place int) bool {
	x := client*2654435761 + uint32(place)*40503 + 1
	for i := stampSize; i < len(p); i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		if p[i] != byte(x) {
			return false
		}
	}
	return true
}
