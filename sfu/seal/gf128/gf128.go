// Package gf128 is the field of 2^128 elements as GCM writes it (NIST SP 800-38D §6.3). It is for setting keys up, not for packets: a product
// takes some 200 ns. Nothing branches on or looks up by an element.
package gf128

import "encoding/binary"

// Element is a polynomial over GF(2), modulo x^128 + x^7 + x^2 + x + 1. Its coefficient of x^0 is the highest bit of hi.
type Element struct{ hi, lo uint64 }

// Of is the element of a block.
func Of(b [16]byte) Element {
	return Element{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// Words is the block in two big-endian words.
func (a Element) Words() (hi, lo uint64) { return a.hi, a.lo }

// Add is the sum, and the difference.
func (a Element) Add(b Element) Element { return Element{a.hi ^ b.hi, a.lo ^ b.lo} }

// OfWords is the element of a block in two big-endian words.
func OfWords(hi, lo uint64) Element { return Element{hi, lo} }

// Mul is the product.
func (a Element) Mul(b Element) (z Element) {
	for i := range 128 {
		w := a.hi
		if i >= 64 {
			w = a.lo
		}
		take := -(w << (i % 64) >> 63) // all ones or zero
		z.hi ^= b.hi & take
		z.lo ^= b.lo & take
		carry := -(b.lo & 1)
		b.lo = b.lo>>1 | b.hi<<63
		b.hi = b.hi>>1 ^ 0xe1<<56&carry
	}
	return z
}

// OverX is the quotient by x.
func (a Element) OverX() Element {
	carry := -(a.hi >> 63) // 1/x is x^127 + x^6 + x + 1
	return Element{a.hi<<1 ^ a.lo>>63 ^ 0xc2<<56&carry, a.lo<<1 ^ 1&carry}
}

// Inverse is a^(2^128-2); a is not zero.
func (a Element) Inverse() Element {
	z := Element{hi: 1 << 63} // one
	for range 127 {
		a = a.Mul(a)
		z = z.Mul(a)
	}
	return z
}
