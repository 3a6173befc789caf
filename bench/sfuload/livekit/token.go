package livekit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// tokenLife is how long an access token is good: longer than any run.
const tokenLife = 12 * time.Hour

// grant is the "video" claim of an access token.
type grant struct {
	Room         string `json:"room"`
	RoomJoin     bool   `json:"roomJoin"`
	CanPublish   bool   `json:"canPublish"`
	CanSubscribe bool   `json:"canSubscribe"`
}

// token signs an access token: a JWT (RFC 7519) with HS256.
func token(key, secret, identity string, g grant, now time.Time) string {
	claims, _ := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		From     int64  `json:"nbf"`
		Until    int64  `json:"exp"`
		Identity string `json:"identity"`
		Video    grant  `json:"video"`
	}{key, identity, now.Add(-time.Minute).Unix(), now.Add(tokenLife).Unix(), identity, g})
	b64 := base64.RawURLEncoding
	signed := b64.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b64.EncodeToString(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(mac.Sum(nil))
}
