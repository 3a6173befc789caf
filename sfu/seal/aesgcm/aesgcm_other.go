//go:build !amd64

package aesgcm

import "crypto/cipher"

const elsewhere = "aesgcm: not on this processor"

// Accelerated reports that this processor has what the assembly needs.
func Accelerated() bool { return false }

type key struct{}

func (*key) init([]byte, cipher.Block) { panic(elsewhere) }

func (*key) seal(_, _, _, _ []byte) []byte { panic(elsewhere) }

func (*key) open(_, _, _, _ []byte) ([]byte, error) { panic(elsewhere) }

func (*key) stream(_, _ []byte, _, _ uint64) { panic(elsewhere) }
