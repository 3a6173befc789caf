package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"konzil/sfu/seal/gf128"
)

// gcmCounter is counter mode by the standard library, without an allocation. Its own counter mode cannot be set to another counter, and a new one
// for each packet is an object of 512 bytes; block by block AES-CM costs several times as much. AES-GCM is counter mode, too, and takes its counter with
// each packet: with a nonce of 16 bytes it starts from J0 = GHASH(nonce, length) (NIST SP 800-38D §7.1), which is linear in the nonce, so there is a
// nonce for every counter. GCM's tag is computed in vain and overwritten.
type gcmCounter struct {
	gcm   cipher.AEAD
	nonce nonces
	iv    [aes.BlockSize]byte
}

func newGCMCounter(key, salt []byte) (*gcmCounter, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	c := &gcmCounter{}
	if c.gcm, err = cipher.NewGCMWithNonceSize(block, aes.BlockSize); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	var h [aes.BlockSize]byte
	block.Encrypt(h[:], h[:])
	c.nonce.init(h, salt)
	return c, nil
}

func (c *gcmCounter) append(dst, payload []byte, ssrc uint32, index uint64) []byte {
	c.nonce.of(&c.iv, ssrc, index)
	n := len(dst) + len(payload)
	return c.gcm.Seal(dst, c.iv[:], payload, nil)[:n]
}

// nonces finds for each packet the 16-byte nonce with which GCM begins at the packet's AES-CM counter. GCM makes
// J0 = (N·H + L)·H of the nonce N, where L is its length in bits, and encrypts from J0+1 on. So N = (J0·H⁻¹ + L)·H⁻¹, and as that is
// linear, the part of each half byte of SSRC and index is looked up.
//
// The last 16 bits of the first counter are zero, so those of J0 are ones, and the 16 above them one less: the counter is the last 32.
type nonces struct {
	base  gf128.Element
	salt  uint16                // of the last two bytes of the index
	parts [20][16]gf128.Element // by half byte of bytes 4 to 13 of the counter, from the first on
}

// init takes H, which is the encrypted zero block, and the salt.
func (t *nonces) init(h [16]byte, salt []byte) {
	inv := gf128.Of(h).Inverse()
	square := inv.Mul(inv)
	var j0 [16]byte
	copy(j0[:12], salt)
	j0[14], j0[15] = 0xff, 0xff
	t.salt = binary.BigEndian.Uint16(salt[12:])
	t.base = gf128.Of(j0).Mul(square).Add(gf128.OfWords(0, 128).Mul(inv))
	for i := range t.parts {
		shift := uint(128 - (32 + 4*i) - 4)
		for v := 1; v < 16; v <<= 1 {
			f := gf128.OfWords(uint64(v)<<(shift-64), uint64(v)<<shift).Mul(square) // a shift by 64 and more is zero
			for w := range v {
				t.parts[i][v+w] = t.parts[i][w].Add(f)
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
		n = n.Add(t.parts[i][high>>(60-4*i)&15])
	}
	for i := range 4 {
		n = n.Add(t.parts[16+i][low>>(12-4*i)&15])
	}
	hi, lo := n.Words()
	binary.BigEndian.PutUint64(dst[:], hi)
	binary.BigEndian.PutUint64(dst[8:], lo)
}
