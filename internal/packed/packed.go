// Package packed writes and reads numbers and strings packed behind one another: numbers as varints (encoding/binary), strings with their length before them.
package packed

import "encoding/binary"

// Numbers appends numbers.
func Numbers(dst []byte, ns ...uint64) []byte {
	for _, n := range ns {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// String appends a string, or bytes.
func String[S ~string | ~[]byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Reader reads from the front of Rest. Bad stays true after the first thing that does not fit; what is read then is empty.
type Reader struct {
	Rest []byte
	Bad  bool
}

// Byte reads one.
func (r *Reader) Byte() byte {
	if r.Bad || len(r.Rest) == 0 {
		r.Bad = true
		return 0
	}
	c := r.Rest[0]
	r.Rest = r.Rest[1:]
	return c
}

// Number reads one.
func (r *Reader) Number() uint64 {
	n, k := binary.Uvarint(r.Rest)
	if r.Bad || k <= 0 {
		r.Bad = true
		return 0
	}
	r.Rest = r.Rest[k:]
	return n
}

// Bytes reads a string, whose memory is that of Rest.
func (r *Reader) Bytes() []byte {
	n := r.Number()
	if r.Bad || n > uint64(len(r.Rest)) {
		r.Bad = true
		return nil
	}
	s := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return s
}
