package archive

import (
	"errors"
	"hash/fnv"
	"strings"

	"konzil/internal/packed"
)

var errDamaged = errors.New("archive: a record is damaged")

// encodeBatch writes records one after another: op, id, number of copies, owner and peer of each, bytes. Strings have their length before them.
func encodeBatch(dst []byte, recs []record) []byte {
	for _, r := range recs {
		dst = append(dst, byte(r.op))
		dst = packed.Numbers(dst, uint64(r.id), uint64(len(r.copies)))
		for _, c := range r.copies {
			dst = packed.String(packed.String(dst, c.Owner), c.Peer)
		}
		dst = packed.String(dst, r.xml)
	}
	return dst
}

func decodeBatch(b []byte) ([]record, error) {
	var out []record
	d := packed.Reader{Rest: b}
	for len(d.Rest) > 0 && !d.Bad {
		r := record{op: op(d.Byte()), id: ID(d.Number())}
		for n := d.Number(); n > 0 && !d.Bad; n-- {
			r.copies = append(r.copies, Copy{string(d.Bytes()), string(d.Bytes())})
		}
		r.xml = d.Bytes()
		if !d.Bad {
			out = append(out, r)
		}
	}
	if d.Bad {
		return nil, errDamaged
	}
	return out, nil
}

// encodeChunk writes messages: id, peer, bytes of each.
func encodeChunk(dst []byte, ms []Message) []byte {
	for _, m := range ms {
		dst = packed.String(packed.String(packed.Numbers(dst, uint64(m.ID)), m.Peer), m.XML)
	}
	return dst
}

// decodeChunk gives the messages of a chunk; they share b.
func decodeChunk(b []byte) ([]Message, error) {
	var out []Message
	d := packed.Reader{Rest: b}
	for len(d.Rest) > 0 && !d.Bad {
		m := Message{ID: ID(d.Number()), Peer: string(d.Bytes()), XML: d.Bytes()}
		if !d.Bad {
			out = append(out, m)
		}
	}
	if d.Bad {
		return nil, errDamaged
	}
	return out, nil
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
