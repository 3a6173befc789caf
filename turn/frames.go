package turn

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"konzil/internal/udpio"
)

// maxFrame is the longest frame of a TCP or TLS connection, bytes; one that is longer is skipped.
const maxFrame = 32 << 10

// keepRest is the largest room for a part of a frame that a connection keeps, bytes: a frame of media.
const keepRest = 2 << 10

var errFrame = errors.New("turn: neither STUN nor channel data")

// framer cuts the bytes of a connection into frames (RFC 8489 §6.2.2, RFC 8656 §12.5).
type framer struct {
	rest []byte // of a frame that is still to come
	skip int    // bytes of a frame that is too long that are
}

// cut appends the whole frames of p to out; p begins with the rest that was kept. oversized is how many too long frames there are. After an error, which
// concerns what stands behind the frames, nothing more can be told from it.
func (f *framer) cut(p []byte, from netip.AddrPort, out []udpio.Datagram) (frames []udpio.Datagram, oversized uint64, err error) {
	for {
		n := min(f.skip, len(p))
		p, f.skip = p[n:], f.skip-n
		n, err = frameSize(p)
		switch {
		case err != nil:
			return out, oversized, err
		case n > maxFrame:
			oversized++
			f.skip = n
		case n == 0 || n > len(p):
			f.keep(p)
			return out, oversized, nil
		default:
			out = append(out, udpio.Datagram{Data: p[:n:n], From: from})
			p = p[n:]
		}
	}
}

// keep keeps a part of a frame. A connection with nothing to keep, or not much, has no large buffer.
func (f *framer) keep(p []byte) {
	if cap(f.rest) > keepRest {
		f.rest = nil
	}
	f.rest = append(f.rest[:0], p...)
}

// frameSize gives the size of the STUN message or channel data with its padding that p begins with, 0 when too little is there to tell.
func frameSize(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if p[0]>>6 > 1 {
		return 0, errFrame
	}
	if len(p) < 4 {
		return 0, nil
	}
	length := int(binary.BigEndian.Uint16(p[2:]))
	if p[0]>>6 == 1 {
		return 4 + (length+3)&^3, nil // padded over streams
	}
	if length%4 != 0 { // RFC 8489 §5
		return 0, errFrame
	}
	return stunHeader + length, nil
}
