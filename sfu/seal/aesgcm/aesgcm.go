package aesgcm

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// Sizes in bytes.
const (
	NonceSize = 12
	TagSize   = 16
)

var (
	errOpen = errors.New("aesgcm: message authentication failed")
	errSize = errors.New("aesgcm: the key is neither of AES-128 nor of AES-256")
)

// GCM is a cipher.AEAD with nonces of 12 bytes and tags of 16. Use Init. It is a value, so that a packet's way to its key has one step less and
// knows what to prefetch. As with crypto/cipher, Seal and Open append to dst and may work in place: dst and the text then begin at one address.
type GCM struct {
	fast key         // where Accelerated
	slow cipher.AEAD // elsewhere
}

// Init takes a key of 16 or 32 bytes.
func (g *GCM) Init(k []byte) error {
	if len(k) != 16 && len(k) != 32 {
		return errSize
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return fmt.Errorf("aesgcm: %w", err)
	}
	if Accelerated() {
		g.fast.init(k, block)
		return nil
	}
	g.slow, err = cipher.NewGCM(block)
	return err
}

// NonceSize is 12.
func (*GCM) NonceSize() int { return NonceSize }

// Overhead is 16.
func (*GCM) Overhead() int { return TagSize }

// Seal encrypts and authenticates plaintext, authenticates data, and appends the result to dst.
func (g *GCM) Seal(dst, nonce, plaintext, data []byte) []byte {
	if g.slow != nil {
		return g.slow.Seal(dst, nonce, plaintext, data)
	}
	return g.fast.seal(dst, nonce, plaintext, data)
}

// Open decrypts and authenticates ciphertext, authenticates data, and appends the plaintext to dst. What would be overwritten is zero
// after a failure.
func (g *GCM) Open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	if g.slow != nil {
		return g.slow.Open(dst, nonce, ciphertext, data)
	}
	return g.fast.open(dst, nonce, ciphertext, data)
}

// XOR writes src, encrypted or decrypted with AES's key stream (counter mode, SP 800-38A §6.5), to dst, which has at least its length. The first counter is
// the 128-bit number hi, lo; its last 32 bits count. Only where Accelerated. Nothing is authenticated: it is for protocols that do so by themselves.
func (g *GCM) XOR(dst, src []byte, hi, lo uint64) { g.fast.stream(dst, src, hi, lo) }
