// Package random makes names that nobody can guess: of streams, sessions, items, files.
package random

import (
	"crypto/rand"
	"encoding/hex"
)

// idBytes is how much chance ID has: as much as a key of AES-128.
const idBytes = 16

// ID is 128 random bits in 32 hexadecimal digits. Who knows other ids cannot guess it (CVE-2016-1232 was a stream whose id could be guessed), and it is the
// same in upper and lower case: it may stand in an address, whose local part has none (RFC 7622 §3.3).
func ID() string { return Hex(idBytes) }

// Hex is n random bytes in hexadecimal digits.
func Hex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead (crypto/rand)
	return hex.EncodeToString(b)
}
