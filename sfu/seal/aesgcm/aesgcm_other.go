//go:build !amd64

package aesgcm

import "crypto/cipher"

// Accelerated reports that this processor has what the assembly needs.
func Accelerated() bool { return false }

func newGCM([]byte) (cipher.AEAD, error) { panic("aesgcm: not on this processor") }

// Counter is AES in counter mode; only where Accelerated.
type Counter struct{}

// NewCounter panics here.
func NewCounter([]byte) (*Counter, error) { panic("aesgcm: not on this processor") }

// XOR panics here.
func (*Counter) XOR(_, _ []byte, _ *[16]byte) { panic("aesgcm: not on this processor") }
