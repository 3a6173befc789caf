package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
)

// longest is more than any packet, and more than a few turns of the big loop.
const longest = 1600

// pair is a GCM and crypto/cipher's own of one key.
func pair(t testing.TB, key []byte) (got, want cipher.AEAD) {
	t.Helper()
	g := &GCM{}
	if err := g.Init(key); err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	if want, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	return g, want
}

func random(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// same seals and opens by both, in place and not, and wants equal bytes; nothing around the result may be touched.
func same(t *testing.T, got, want cipher.AEAD, nonce, text, data []byte) {
	t.Helper()
	const margin = 70
	name := fmt.Sprintf("%d bytes, %d of additional data", len(text), len(data))
	sealed := want.Seal(nil, nonce, text, data)

	room := bytes.Repeat([]byte{0xa5}, margin+len(sealed)+margin)
	if out := got.Seal(room[:margin:margin+len(sealed)], nonce, text, data); &out[0] != &room[0] || !bytes.Equal(out[margin:], sealed) {
		t.Fatalf("%s: sealed\n%x, want\n%x", name, out[margin:], sealed)
	}
	copy(room[margin:], text)
	if out := got.Seal(room[margin:margin:margin+len(sealed)], nonce, room[margin:margin+len(text)], data); !bytes.Equal(out, sealed) {
		t.Fatalf("%s: sealed in place\n%x, want\n%x", name, out, sealed)
	}
	out, err := got.Open(room[margin:margin:margin+len(sealed)], nonce, room[margin:margin+len(sealed)], data)
	if err != nil || !bytes.Equal(out, text) {
		t.Fatalf("%s: opened in place: %v\n%x, want\n%x", name, err, out, text)
	}
	if out, err = got.Open(nil, nonce, sealed, data); err != nil || !bytes.Equal(out, text) {
		t.Fatalf("%s: opened: %v\n%x, want\n%x", name, err, out, text)
	}
	for i, b := range room {
		if (i < margin || i >= margin+len(sealed)) && b != 0xa5 {
			t.Fatalf("%s: wrote outside, at %d", name, i-margin)
		}
	}
}

// TestLengths compares with crypto/cipher at every length, with headers of every size that RTP has without extensions, and some beyond.
func TestLengths(t *testing.T) {
	for _, size := range []int{16, 32} {
		t.Run(fmt.Sprint("AES-", 8*size), func(t *testing.T) {
			r := rand.NewChaCha8([32]byte{byte(size)})
			got, want := pair(t, random(r, size))
			for n := range longest + 1 {
				same(t, got, want, random(r, NonceSize), random(r, n), random(r, 12+4*(n%16)))
			}
			for an := range 300 {
				got, want := pair(t, random(r, size))
				for _, n := range []int{0, 1, 16, 33, 100, 300, 1200} {
					same(t, got, want, random(r, NonceSize), random(r, n), random(r, an))
				}
			}
			same(t, got, want, random(r, NonceSize), random(r, 1<<20+5), random(r, 70000))
		})
	}
}

// TestOpenRefuses damages every byte in turn.
func TestOpenRefuses(t *testing.T) {
	r := rand.NewChaCha8([32]byte{7})
	got, _ := pair(t, random(r, 16))
	nonce, text, data := random(r, NonceSize), random(r, 400), random(r, 20)
	sealed := got.Seal(nil, nonce, text, data)
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1 << (i % 8)
		dst := bytes.Repeat([]byte{1}, len(text))
		if _, err := got.Open(dst[:0], nonce, bad, data); err == nil {
			t.Fatalf("opened with byte %d changed", i)
		}
		if !bytes.Equal(dst, make([]byte, len(text))) && Accelerated() {
			t.Fatal("what was not authenticated is left to read")
		}
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x80
		if _, err := got.Open(nil, nonce, sealed, bad); err == nil {
			t.Fatalf("opened with byte %d of the additional data changed", i)
		}
	}
	for n := range TagSize + 1 {
		if _, err := got.Open(nil, nonce, sealed[:n], data); err == nil {
			t.Fatalf("opened %d bytes", n)
		}
	}
}

// TestVectors has test cases 1 to 4 and 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, which NIST
// refers to.
func TestVectors(t *testing.T) {
	const (
		k  = "feffe9928665731c6d6a8f9467308308"
		iv = "cafebabefacedbaddecaf888"
		p  = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
		a  = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
		z  = "00000000000000000000000000000000"
	)
	for i, v := range []struct{ key, nonce, text, data, want string }{
		{z, z[:24], "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
		{z, z[:24], z, "", "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
		{k, iv, p, "", "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985" +
			"4d5c2af327cd64a62cf35abd2ba6fab4"},
		{k, iv, p[:120], a, "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091" +
			"5bc94fbc3221a5db94fae95ae7121a47"},
		{z + z, z[:24], "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		{z + z, z[:24], z, "", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
		{k + k, iv, p, "", "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad" +
			"b094dac5d93471bdec1a502270e3cc6c"},
		{k + k, iv, p[:120], a, "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" +
			"76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		g, _ := pair(t, unhex(t, v.key))
		if out := g.Seal(nil, unhex(t, v.nonce), unhex(t, v.text), unhex(t, v.data)); hex.EncodeToString(out) != v.want {
			t.Errorf("vector %d: %x, want %s", i, out, v.want)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCounter compares with crypto/cipher, where the last 32 bits do not go round, in place and not.
func TestCounter(t *testing.T) {
	if !Accelerated() {
		t.Skip("this processor has no VAES")
	}
	r := rand.NewChaCha8([32]byte{9})
	for n := range longest + 1 {
		key := random(r, 16+16*(n%2))
		g := &GCM{}
		if err := g.Init(key); err != nil {
			t.Fatal(err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		iv := random(r, 16)
		iv[12] = 0
		hi, lo := binary.BigEndian.Uint64(iv), binary.BigEndian.Uint64(iv[8:])
		text, want, got := random(r, n), make([]byte, n), make([]byte, n+64)
		cipher.NewCTR(block, iv).XORKeyStream(want, text)
		g.XOR(got, text, hi, lo)
		g.XOR(text, text, hi, lo)
		if !bytes.Equal(got[:n], want) || !bytes.Equal(text, want) || !bytes.Equal(got[n:], make([]byte, 64)) {
			t.Fatalf("%d bytes: %x and %x, want %x", n, got, text, want)
		}
	}
}

func TestMisuse(t *testing.T) {
	if err := new(GCM).Init(make([]byte, 24)); err == nil {
		t.Error("a key of 24 bytes is taken")
	}
	g, _ := pair(t, make([]byte, 16))
	b := make([]byte, 400)
	for name, f := range map[string]func(){
		"short nonce":        func() { g.Seal(nil, b[:11], nil, nil) },
		"overlap, forwards":  func() { g.Seal(b[1:1], b[150:162], b[:100], nil) },
		"overlap, backwards": func() { _, _ = g.Open(b[:0], b[150:162], b[1:101], nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error(name, "is taken")
				}
			}()
			f()
		}()
	}
	if n := testing.AllocsPerRun(100, func() { g.Seal(b[:12], b[160:172], b[200:300], b[:12]) }); n != 0 {
		t.Error(n, "allocations")
	}
}

// FuzzAgainst compares with crypto/cipher.
func FuzzAgainst(f *testing.F) {
	for _, n := range []int{0, 1, 15, 16, 17, 63, 64, 65, 288, 289, 320, 544, 545, 1188} {
		b := bytes.Repeat([]byte{byte(n)}, n)
		f.Add(b, b[:min(n, 12)], byte(n), n%2 == 0)
		f.Add(b, b[:min(n, 80)], byte(n), n%2 == 1)
	}
	f.Fuzz(func(t *testing.T, text, data []byte, seed byte, long bool) {
		r := rand.NewChaCha8([32]byte{seed})
		size := 16
		if long {
			size = 32
		}
		got, want := pair(t, random(r, size))
		same(t, got, want, random(r, NonceSize), text, data)
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{108, 1176} {
		ours, theirs := pair(b, make([]byte, 16))
		for _, c := range []struct {
			name string
			g    cipher.AEAD
		}{{"GCM", ours}, {"crypto-cipher", theirs}} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				nonce, text, data, dst := make([]byte, 12), make([]byte, n), make([]byte, 24), make([]byte, 0, n+16)
				b.SetBytes(int64(n))
				for b.Loop() {
					c.g.Seal(dst, nonce, text, data)
				}
			})
		}
	}
}
