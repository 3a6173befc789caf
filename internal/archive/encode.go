package archive

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"strings"
)

var errDamaged = errors.New("archive: a record is damaged")

// encodeBatch writes records one after another: op, id, number of copies, owner and peer of each, bytes. Strings have their length before them.
func encodeBatch(dst []byte, recs []record) []byte {
	for _, r := range recs {
		dst = append(dst, byte(r.op))
		dst = binary.AppendUvarint(dst, uint64(r.id))
		dst = binary.AppendUvarint(dst, uint64(len(r.copies)))
		for _, c := range r.copies {
			dst = appendString(appendString(dst, c.Owner), c.Peer)
		}
		dst = binary.AppendUvarint(dst, uint64(len(r.xml)))
		dst = append(dst, r.xml...)
	}
	return dst
}

func decodeBatch(b []byte) ([]record, error) {
	var out []record
	d := decoder{b: b}
	for len(d.b) > 0 && !d.bad {
		r := record{op: op(d.byte()), id: ID(d.uvarint())}
		for n := d.uvarint(); n > 0 && !d.bad; n-- {
			r.copies = append(r.copies, Copy{string(d.bytes()), string(d.bytes())})
		}
		r.xml = d.bytes()
		if !d.bad {
			out = append(out, r)
		}
	}
	if d.bad {
		return nil, errDamaged
	}
	return out, nil
}

// encodeChunk writes messages: id, peer, bytes of each.
func encodeChunk(dst []byte, ms []Message) []byte {
	for _, m := range ms {
		dst = binary.AppendUvarint(dst, uint64(m.ID))
		dst = appendString(dst, m.Peer)
		dst = binary.AppendUvarint(dst, uint64(len(m.XML)))
		dst = append(dst, m.XML...)
	}
	return dst
}

// decodeChunk gives the messages of a chunk; they share b.
func decodeChunk(b []byte) ([]Message, error) {
	var out []Message
	d := decoder{b: b}
	for len(d.b) > 0 && !d.bad {
		m := Message{ID: ID(d.uvarint()), Peer: string(d.bytes()), XML: d.bytes()}
		if !d.bad {
			out = append(out, m)
		}
	}
	if d.bad {
		return nil, errDamaged
	}
	return out, nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// decoder reads from the front of b; bad stays true after the first thing that does not fit.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if d.bad || len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	n, k := binary.Uvarint(d.b)
	if d.bad || k <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[k:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	s := d.b[:n:n]
	d.b = d.b[n:]
	return s
}

// bare is an address up to its slash.
func bare(addr string) string {
	s, _, _ := strings.Cut(addr, "/")
	return s
}

// peerBit is the bit of a counterpart in a chunk's filter. It is stored, so it must be the same for ever.
func peerBit(addr string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(bare(addr)))
	return 1 << (h.Sum64() >> 58)
}
