package seal

import "encoding/binary"

// field is an element of GF(2^128) as GCM writes it (NIST SP 800-38D §6.3): bit 0 is the highest of hi.
type field struct{ hi, lo uint64 }

func fieldOf(b [16]byte) field {
	return field{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (a field) add(b field) field { return field{a.hi ^ b.hi, a.lo ^ b.lo} }

// mul is the product modulo x^128 + x^7 + x^2 + x + 1.
func (a field) mul(b field) (z field) {
	for i := range 128 {
		w := a.hi
		if i >= 64 {
			w = a.lo
		}
		if w<<(i%64)>>63 != 0 {
			z = z.add(b)
		}
		carry := b.lo & 1
		b.lo = b.lo>>1 | b.hi<<63
		b.hi >>= 1
		b.hi ^= carry * 0xe1 << 56
	}
	return z
}

// inverse is a^(2^128-2); a is not zero.
func (a field) inverse() field {
	z := field{hi: 1 << 63} // one
	for range 127 {
		a = a.mul(a)
		z = z.mul(a)
	}
	return z
}

// nonces finds for each packet the 16-byte nonce with which GCM begins at the packet's AES-CM counter. GCM makes
// J0 = (N·H + L)·H of the nonce N, where L is its length in bits, and encrypts from J0+1 on. So N = (J0·H⁻¹ + L)·H⁻¹, and as that is
// linear, the part of each half byte of SSRC and index is looked up.
//
// The last 16 bits of the first counter are zero, so those of J0 are ones, and the 16 above them one less: the counter is the last 32.
type nonces struct {
	base  field
	salt  uint16        // of the last two bytes of the index
	parts [20][16]field // by half byte of bytes 4 to 13 of the counter, from the first on
}

// init takes H, which is the encrypted zero block, and the salt.
func (t *nonces) init(h [16]byte, salt []byte) {
	inv := fieldOf(h).inverse()
	square := inv.mul(inv)
	var j0 [16]byte
	copy(j0[:12], salt)
	j0[14], j0[15] = 0xff, 0xff
	t.salt = binary.BigEndian.Uint16(salt[12:])
	t.base = fieldOf(j0).mul(square).add(field{lo: 128}.mul(inv))
	for i := range t.parts {
		shift := uint(128 - (32 + 4*i) - 4)
		for v := 1; v < 16; v <<= 1 {
			var f field
			if shift >= 64 {
				f.hi = uint64(v) << (shift - 64)
			} else {
				f.lo = uint64(v) << shift
			}
			f = f.mul(square)
			for w := range v {
				t.parts[i][v+w] = t.parts[i][w].add(f)
			}
		}
	}
}

// of writes the nonce of a packet.
func (t *nonces) of(dst *[16]byte, ssrc uint32, index uint64) {
	high := uint64(ssrc)<<32 | index>>16
	low := uint64((uint16(index) ^ t.salt) - 1)
	n := t.base
	for i := range 16 {
		n = n.add(t.parts[i][high>>(60-4*i)&15])
	}
	for i := range 4 {
		n = n.add(t.parts[16+i][low>>(12-4*i)&15])
	}
	binary.BigEndian.PutUint64(dst[:], n.hi)
	binary.BigEndian.PutUint64(dst[8:], n.lo)
}
