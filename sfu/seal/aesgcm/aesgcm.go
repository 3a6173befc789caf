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

// New returns AES-GCM with nonces of 12 bytes and tags of 16, for a key of 16 or 32 bytes. As with crypto/cipher, Seal and Open append to
// dst and may work in place: dst and the text then begin at one address.
func New(k []byte) (cipher.AEAD, error) {
	if len(k) != 16 && len(k) != 32 {
		return nil, errSize
	}
	if Accelerated() {
		return newGCM(k)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("aesgcm: %w", err)
	}
	return cipher.NewGCM(block)
}
