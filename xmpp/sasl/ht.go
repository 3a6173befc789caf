package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
)

// HT is a mechanism with hashed tokens (draft-schmaus-kitten-sasl-ht §3), as FAST uses it (XEP-0484): one message each way.
type HT struct {
	// Binding is the channel binding that the mechanism's name says, empty for -NONE.
	Binding []byte
	// Check looks through the tokens of a user's client: matches tells whether one is meant.
	Check func(ctx context.Context, user string, matches func(token string) bool) (ok bool, err error)

	user  string
	token string
}

// Step verifies the initiator's message and gives the responder's.
func (h *HT) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	if len(response) == 0 {
		return []byte{}, false, nil
	}
	i := bytes.IndexByte(response, 0)
	switch {
	case i <= 0:
		return nil, false, malformed("not a token message")
	case len(response)-i-1 != sha256.Size: // xmpp.js 0.14 writes the hash as UTF-8; of this error it learns to take the password instead
		return nil, false, notAuthorized()
	}
	h.user = string(response[:i])
	mac := response[i+1:]
	ok, err := h.Check(ctx, h.user, func(token string) bool {
		if subtle.ConstantTimeCompare(mac, h.mac(token, "Initiator")) != 1 {
			return false
		}
		h.token = token
		return true
	})
	switch {
	case err != nil:
		return nil, false, temporary()
	case !ok:
		return nil, false, notAuthorized()
	}
	return h.mac(h.token, "Responder"), true, nil
}

func (h *HT) mac(token, who string) []byte {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte(who))
	m.Write(h.Binding)
	return m.Sum(nil)
}

// Identity is who logged in.
func (h *HT) Identity() Identity { return Identity{User: h.user} }

// Name is the user name tried.
func (h *HT) Name() string { return h.user }
