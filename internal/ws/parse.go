package ws

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Opcodes (RFC 6455 §5.2).
const (
	opContinue = 0
	Text       = 1
	Binary     = 2
	opClose    = 8
	opPing     = 9
	opPong     = 10
)

const (
	maxControl = 125     // RFC 6455 §5.5
	firstGrow  = 4 << 10 // of a message: no more memory is taken before bytes have come
)

// parser takes a client's bytes as they come and cuts frames; it holds no buffer but that of a message that has begun.
type parser struct {
	head  [14]byte // of the frame at hand
	have  int      // bytes in head
	inFrm bool     // the header is whole
	op    byte
	fin   bool
	left  uint64 // of the payload
	mask  [4]byte
	pos   int // in mask

	kind byte // of the message; 0: none has begun
	msg  []byte
	ctl  []byte // payload of a control frame
}

// CloseError ends a connection: the peer has sent a close frame, or broken the protocol (Sent false).
type CloseError struct {
	Code int    // RFC 6455 §7.4; 1005: none was given
	Text string // the peer's reason, or what was wrong
	Sent bool   // by the peer
}

func (e *CloseError) Error() string { return fmt.Sprintf("ws: closed with %d: %s", e.Code, e.Text) }

func broken(text string) *CloseError { return &CloseError{Code: StatusProtocolError, Text: text} }

// feed consumes bytes of b until a frame is whole that is for the caller: a control frame (in p.ctl) or the last of a message (in
// p.msg). kind is its opcode, 0 when b is used up. A message may have limit bytes; of a longer one limit+1 are given, and over is true.
func (p *parser) feed(b []byte, limit int) (n int, kind byte, over bool, err error) {
	for n < len(b) || p.inFrm && p.left == 0 {
		if !p.inFrm {
			k, err := p.header(b[n:])
			if n += k; err != nil {
				return n, 0, false, err
			}
			continue
		}
		k := int(min(p.left, uint64(len(b)-n)))
		if p.op < opClose {
			if room := limit + 1 - len(p.msg); k >= room {
				p.add(&p.msg, b[n:n+room])
				p.left -= uint64(room)
				kind := p.kind
				if p.left == 0 {
					p.end()
				}
				return n + room, kind, true, nil
			}
			p.add(&p.msg, b[n:n+k])
		} else {
			p.add(&p.ctl, b[n:n+k])
		}
		n += k
		if p.left -= uint64(k); p.left > 0 {
			continue
		}
		if kind = p.end(); kind != 0 {
			return n, kind, false, nil
		}
	}
	return n, 0, false, nil
}

// end goes on after the last byte of a frame: the opcode of what has become whole, 0 if more fragments follow.
func (p *parser) end() (kind byte) {
	p.inFrm, p.have = false, 0
	switch {
	case p.op >= opClose:
		return p.op
	case p.fin:
		kind, p.kind = p.kind, 0
	}
	return kind
}

// add unmasks and appends.
func (p *parser) add(to *[]byte, b []byte) {
	*to = slices.Grow(*to, len(b))
	for _, x := range b {
		*to = append(*to, x^p.mask[p.pos&3])
		p.pos++
	}
}

// header takes bytes of a frame's header.
func (p *parser) header(b []byte) (n int, err error) {
	for n < len(b) {
		p.head[p.have] = b[n]
		p.have++
		n++
		if p.have < 2 {
			continue
		}
		size := int(p.head[1] & 0x7f)
		ext := 0
		switch size {
		case 126:
			ext = 2
		case 127:
			ext = 8
		}
		if p.have == 2 {
			if err := p.check(size); err != nil {
				return n, err
			}
		}
		if p.have < 2+ext+4 {
			continue
		}
		p.left = uint64(size)
		switch ext {
		case 2:
			p.left = uint64(binary.BigEndian.Uint16(p.head[2:]))
		case 8:
			p.left = binary.BigEndian.Uint64(p.head[2:])
		}
		if p.left>>63 != 0 {
			return n, broken("a length of 64 bits")
		}
		copy(p.mask[:], p.head[2+ext:])
		p.pos, p.inFrm = 0, true
		if p.op < opClose {
			p.msg = slices.Grow(p.msg, int(min(p.left, firstGrow)))
		} else {
			p.ctl = p.ctl[:0]
		}
		return n, nil
	}
	return n, nil
}

// check looks at the first two bytes of a frame, of which size is the short length.
func (p *parser) check(size int) error {
	first := p.head[0]
	p.fin, p.op = first&0x80 != 0, first&0x0f
	switch {
	case first&0x70 != 0:
		return broken("a bit of an extension")
	case p.head[1]&0x80 == 0:
		return broken("a frame without mask") // RFC 6455 §5.1
	case p.op >= opClose:
		if p.op > opPong || !p.fin || size > maxControl {
			return broken("a bad control frame")
		}
	case p.op == opContinue:
		if p.kind == 0 {
			return broken("a continuation of nothing")
		}
	case p.op > Binary:
		return broken("an unknown opcode")
	case p.kind != 0:
		return broken("a message in a message")
	default:
		p.kind, p.msg = p.op, nil
	}
	return nil
}

// closing makes an error of a close frame's payload (RFC 6455 §5.5.1).
func closing(b []byte) *CloseError {
	switch {
	case len(b) == 0:
		return &CloseError{Code: StatusNoStatus, Sent: true}
	case len(b) == 1:
		return broken("a close frame of one byte")
	}
	return &CloseError{Code: int(binary.BigEndian.Uint16(b)), Text: string(b[2:]), Sent: true}
}

// AppendFrame appends a whole message, or control frame, to dst.
func AppendFrame(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(dst, payload...)
}
