// Package token verifies the JSON web tokens (RFC 7519) by which a web site says who comes to a Jitsi meeting (jitsi-meet's mod_auth_token).
//
// The path, in order; all of it runs on the caller's goroutine, which may wait for a key server:
//
//  1. Verifier.Verify reads the token's header. The algorithm decides where its key comes from (keys.go): HS256 has the shared secret,
//     RS256 and ES256 a public key by the header's kid, from a key server or a key set (RFC 7517), both cached.
//  2. The signature, exp and nbf are checked by go-jose, then issuer, audience and room as the operator's settings say.
//  3. The claims about the person become Claims (claims.go); Verifier.Admits tells whether they are for a room.
package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Config is whose tokens are believed. It is off while there is neither secret nor key server nor key set.
type Config struct {
	Secret      string   `yaml:"secret" doc:"Shared secret of tokens signed with HS256."`
	KeyServer   string   `yaml:"key_server" doc:"URL below which the public keys of tokens signed with RS256 lie: the SHA-256 of the key's id in hex, and .pem."`
	JWKS        string   `yaml:"jwks" doc:"URL of a key set (RFC 7517) for tokens signed with RS256 or ES256."`
	Issuers     []string `yaml:"issuers" doc:"Whose tokens are believed (iss); * is anybody's."`
	Audiences   []string `yaml:"audiences" doc:"For whom tokens are made out (aud); * is anybody."`
	RoomClaim   bool     `yaml:"require_room" doc:"Refuse tokens without the claim room."`
	CheckDomain bool     `yaml:"check_domain" doc:"The claim sub has to be the domain of the server or the tenant of the room, or *."`
	AllowEmpty  bool     `yaml:"allow_empty" doc:"Let people in without a token, as guests."`
	LoginURL    string   `yaml:"login_url" doc:"Where people without a token are sent to get one; {room} and {tenant} are replaced."`
}

// DefaultConfig is off.
func DefaultConfig() Config { return Config{Audiences: []string{"*"}, RoomClaim: true} }

// Enabled tells whether tokens are asked for.
func (c Config) Enabled() bool { return c.Secret != "" || c.KeyServer != "" || c.JWKS != "" }

// Validate checks the settings; name is theirs in the file.
func (c Config) Validate(name string) error {
	if !c.Enabled() {
		return nil
	}
	for key, v := range map[string]string{"key_server": c.KeyServer, "jwks": c.JWKS} {
		if u, err := url.Parse(v); v != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			return fmt.Errorf("%s.%s: %q is no URL: write https://host/path", name, key, v)
		}
	}
	if len(c.Issuers) == 0 {
		return fmt.Errorf("%s.issuers: nobody's tokens would be believed: name at least one issuer, or *", name)
	}
	if c.Secret != "" && len(c.Secret) < 16 {
		return fmt.Errorf("%s.secret: %d bytes can be guessed: give 16 or more", name, len(c.Secret))
	}
	return nil
}

// leeway is how far clocks may be apart.
const leeway = 60 * time.Second

// maxToken bounds a token: with many claims one has some kilobytes.
const maxToken = 16 << 10

// Verifier checks tokens.
type Verifier struct {
	cfg  Config
	keys *keys
	now  func() time.Time

	accepted, refused atomic.Uint64
}

// New makes a verifier for checked settings.
func New(cfg Config, log *slog.Logger) *Verifier {
	return &Verifier{cfg: cfg, keys: newKeys(cfg, log), now: time.Now}
}

// refusal is why a token is not believed, in the words that Jitsi clients know.
type refusal string

func (r refusal) Error() string { return string(r) }

const (
	errMissing   refusal = "token required"
	errMalformed refusal = "bad token format"
	errIssuer    refusal = "Invalid issuer ('iss' claim)"
	errAudience  refusal = "Invalid audience ('aud' claim)"
	errNoAud     refusal = "'aud' claim is missing"
	errNoIss     refusal = "'iss' claim is missing"
	errRoom      refusal = "'room' claim is missing"
	errExpired   refusal = "Not acceptable by exp"
	errEarly     refusal = "Not acceptable by nbf"
	errSignature refusal = "Invalid signature"
	errKid       refusal = "'kid' claim is missing"
)

// Verify gives the claims of a token that is believed. The error's text is for the user.
func (v *Verifier) Verify(ctx context.Context, text string) (*Claims, error) {
	c, err := v.verify(ctx, text)
	if err != nil {
		v.refused.Add(1)
		return nil, err
	}
	v.accepted.Add(1)
	return c, nil
}

// LoginURL is where people get a token for a room, "" if nobody has said.
func (v *Verifier) LoginURL(room, tenant string) string {
	return strings.NewReplacer("{room}", url.PathEscape(room), "{tenant}", url.PathEscape(tenant)).Replace(v.cfg.LoginURL)
}

func (v *Verifier) verify(ctx context.Context, text string) (*Claims, error) {
	switch {
	case text == "":
		return nil, errMissing
	case len(text) > maxToken:
		return nil, errMalformed
	}
	tok, err := jwt.ParseSigned(text, v.keys.algorithms())
	if err != nil || len(tok.Headers) != 1 {
		return nil, errMalformed
	}
	key, err := v.keys.find(ctx, tok.Headers[0])
	if err != nil {
		return nil, err
	}
	var std jwt.Claims
	var more raw
	if err := tok.Claims(key, &std, &more); err != nil {
		if errors.Is(err, jose.ErrCryptoFailure) {
			return nil, errSignature
		}
		return nil, errMalformed
	}
	if err := v.check(&std, &more); err != nil {
		return nil, err
	}
	return more.claims(std), nil
}

// check holds the registered claims (RFC 7519 §4.1) and room against the settings.
func (v *Verifier) check(std *jwt.Claims, more *raw) error {
	now := v.now()
	switch {
	case std.Expiry != nil && now.After(std.Expiry.Time().Add(leeway)):
		return errExpired
	case std.NotBefore != nil && now.Before(std.NotBefore.Time().Add(-leeway)):
		return errEarly
	case std.Issuer == "":
		return errNoIss
	case !slices.Contains(v.cfg.Issuers, std.Issuer) && !slices.Contains(v.cfg.Issuers, "*"):
		return errIssuer
	case v.cfg.RoomClaim && more.Room == "":
		return errRoom
	case len(std.Audience) == 0:
		return errNoAud
	case !slices.Contains(v.cfg.Audiences, "*") && !slices.ContainsFunc(v.cfg.Audiences, func(a string) bool { return std.Audience.Contains(a) }):
		return errAudience
	}
	return nil
}

// Admits tells whether claims are for a room of a tenant ("" for none) on domain.
func (v *Verifier) Admits(c *Claims, room, tenant, domain string) bool {
	if c.Room != "" && c.Room != "*" && !strings.EqualFold(c.Room, room) {
		return false
	}
	if !v.cfg.CheckDomain || c.Subject == "*" {
		return true
	}
	if tenant != "" {
		return strings.EqualFold(c.Subject, tenant)
	}
	return strings.EqualFold(c.Subject, domain)
}

// Counters are numbers for metrics.
func (v *Verifier) Counters() map[string]uint64 {
	return map[string]uint64{"accepted_total": v.accepted.Load(), "refused_total": v.refused.Load(), "key_requests_total": v.keys.requests.Load(), "key_errors_total": v.keys.failures.Load()}
}
