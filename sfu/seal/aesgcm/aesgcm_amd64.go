package aesgcm

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/cpu"

	"konzil/sfu/seal/gf128"
)

// Accelerated reports that this processor has what the assembly needs.
func Accelerated() bool {
	x := &cpu.X86
	return x.HasAES && x.HasAVX2 && x.HasBMI2 && x.HasAVX512F && x.HasAVX512VL && x.HasAVX512BW && x.HasAVX512DQ &&
		x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ
}

// powers is how many powers of H the assembly multiplies with before it reduces: 18 blocks, which is what may be left after the last big
// turn, and that of the lengths make 19.
const powers = 20

// key is what the assembly reads; it knows the offsets.
type key struct {
	powers [powers + 3][16]byte // H^20/x to H/x as little-endian integers, then zeros
	round  [15][16]byte         // the last one stands at 14 with fewer rounds, too
	rounds int
}

// block is one in two words, which are handed over as such: reading 16 bytes that were just written in parts would wait for the cache.
type block struct{ a, b uint64 }

//go:noescape
func seal(k *key, j0 block, dst, src unsafe.Pointer, n int, aad unsafe.Pointer, an int, tag unsafe.Pointer)

//go:noescape
func open(k *key, j0 block, dst, src unsafe.Pointer, n int, aad unsafe.Pointer, an int, tag unsafe.Pointer)

//go:noescape
func stream(k *key, iv block, dst, src unsafe.Pointer, n int)

// subWord is SubWord of FIPS 197 §5.2.
func subWord(x uint32) uint32

// expand is the key expansion of FIPS 197 §5.2.
func (k *key) expand(secret []byte) {
	nk := len(secret) / 4
	k.rounds = nk + 6
	var w [60]uint32
	for i := range nk {
		w[i] = binary.LittleEndian.Uint32(secret[4*i:])
	}
	rcon := uint32(1)
	for i := nk; i < 4*(k.rounds+1); i++ {
		t := w[i-1]
		switch {
		case i%nk == 0:
			t = bits.RotateLeft32(subWord(t), -8) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case nk == 8 && i%nk == 4:
			t = subWord(t)
		}
		w[i] = w[i-nk] ^ t
	}
	for r := range k.rounds + 1 {
		to := &k.round[r]
		if r == k.rounds {
			to = &k.round[len(k.round)-1]
		}
		for i := range 4 {
			binary.LittleEndian.PutUint32(to[4*i:], w[4*r+i])
		}
	}
}

// init prepares a key, for which c encrypts.
func (k *key) init(secret []byte, c cipher.Block) {
	k.expand(secret)
	var zero [16]byte
	c.Encrypt(zero[:], zero[:])
	h := gf128.Of(zero)
	for p, i := h, powers-1; i >= 0; i-- {
		hi, lo := p.OverX().Words()
		binary.LittleEndian.PutUint64(k.powers[i][:], lo)
		binary.LittleEndian.PutUint64(k.powers[i][8:], hi)
		p = p.Mul(h)
	}
}

func (k *key) seal(dst, nonce, plaintext, data []byte) []byte {
	n := len(plaintext)
	out, to := grow(dst, n+TagSize)
	j0 := first(nonce)
	check(to[:n], plaintext)
	p := unsafe.Pointer(unsafe.SliceData(to))
	seal(k, j0, p, unsafe.Pointer(unsafe.SliceData(plaintext)), n, unsafe.Pointer(unsafe.SliceData(data)), len(data), unsafe.Add(p, n))
	return out
}

func (k *key) open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	n := len(ciphertext) - TagSize
	if n < 0 {
		return nil, errOpen
	}
	out, to := grow(dst, n)
	j0 := first(nonce)
	check(to, ciphertext[:n])
	var tag [TagSize]byte
	open(k, j0, unsafe.Pointer(unsafe.SliceData(to)), unsafe.Pointer(unsafe.SliceData(ciphertext)), n,
		unsafe.Pointer(unsafe.SliceData(data)), len(data), unsafe.Pointer(&tag))
	if subtle.ConstantTimeCompare(tag[:], ciphertext[n:]) != 1 {
		clear(to)
		return nil, errOpen
	}
	return out, nil
}

// first is J0 of a nonce of 96 bits (SP 800-38D §7.1), in the order of memory.
func first(nonce []byte) block {
	if len(nonce) != NonceSize {
		panic("aesgcm: nonce of a wrong length")
	}
	return block{binary.LittleEndian.Uint64(nonce), uint64(binary.LittleEndian.Uint32(nonce[8:])) | 1<<56}
}

// grow returns b with room for n more bytes, and these.
func grow(b []byte, n int) (whole, tail []byte) {
	if cap(b)-len(b) >= n {
		whole = b[:len(b)+n]
	} else {
		whole = make([]byte, len(b)+n)
		copy(whole, b)
	}
	return whole, whole[len(b):]
}

// check panics when to overlaps from without being in the same place, as crypto/cipher does. Both have the same length.
func check(to, from []byte) {
	a, b := uintptr(unsafe.Pointer(unsafe.SliceData(to))), uintptr(unsafe.Pointer(unsafe.SliceData(from)))
	if n := uintptr(len(to)); a != b && a < b+n && b < a+n {
		panic("aesgcm: invalid overlap of buffers")
	}
}

// stream does the work of GCM.XOR.
func (k *key) stream(dst, src []byte, hi, lo uint64) {
	dst = dst[:len(src)]
	check(dst, src)
	iv := block{bits.ReverseBytes64(hi), bits.ReverseBytes64(lo)}
	stream(k, iv, unsafe.Pointer(unsafe.SliceData(dst)), unsafe.Pointer(unsafe.SliceData(src)), len(src))
}
