package s2s

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// key is the dialback key for a stream that originating opened to receiving, which gave it the id (XEP-0185 §3).
func (s *Service) key(receiving, originating, id string) string {
	m := hmac.New(sha256.New, []byte(s.secret))
	m.Write([]byte(receiving + " " + originating + " " + id))
	return hex.EncodeToString(m.Sum(nil))
}

// ours tells whether we made that key.
func (s *Service) ours(receiving, originating, id, key string) bool {
	return subtle.ConstantTimeCompare([]byte(s.key(receiving, originating, id)), []byte(key)) == 1
}
