package token

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of sixteen bytes or more"

type object = map[string]any

// sign makes a token of claims, on top of good ones; nil removes one.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, claims object) string {
	t.Helper()
	all := object{"iss": "site", "aud": "jitsi", "sub": "example.org", "room": "standup", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range claims {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	o := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		o = o.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func verifier(c Config) *Verifier {
	c.Issuers, c.Audiences, c.RoomClaim = []string{"site"}, []string{"jitsi", "other"}, true
	return New(c, slog.New(slog.DiscardHandler))
}

// TestSecret: each claim that can be wrong, and what the user is told.
func TestSecret(t *testing.T) {
	v := verifier(Config{Secret: secret})
	now := time.Now()
	for _, x := range []struct {
		claims object
		want   string
	}{
		{nil, ""},
		{object{"iss": "elsewhere"}, "Invalid issuer ('iss' claim)"},
		{object{"iss": nil}, "'iss' claim is missing"},
		{object{"aud": []string{"x", "other"}}, ""},
		{object{"aud": "x"}, "Invalid audience ('aud' claim)"},
		{object{"aud": nil}, "'aud' claim is missing"},
		{object{"room": nil}, "'room' claim is missing"},
		{object{"room": "*"}, ""},
		{object{"exp": now.Add(-2 * leeway).Unix()}, "Not acceptable by exp"},
		{object{"exp": now.Add(-leeway / 2).Unix()}, ""},
		{object{"exp": nil}, ""},
		{object{"nbf": now.Add(2 * leeway).Unix()}, "Not acceptable by nbf"},
		{object{"room": 7}, "bad token format"},
	} {
		_, err := v.Verify(context.Background(), sign(t, jose.HS256, []byte(secret), "", x.claims))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("%v: %q, want %q", x.claims, got, x.want)
		}
	}
	good := sign(t, jose.HS256, []byte(secret), "", nil)
	none := "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + "."
	for _, bad := range []string{"", "x", "a.b.c", none, good[:len(good)-8] + "AAAAAAAA", sign(t, jose.HS256, []byte("another secret of good length..."), "", nil),
		sign(t, jose.HS512, []byte(secret+secret), "", nil), strings.Repeat("x", maxToken+1)} {
		if _, err := v.Verify(context.Background(), bad); err == nil {
			t.Errorf("%.80s was accepted", bad)
		}
	}
	if c := v.Counters(); c["accepted_total"] != 5 || c["refused_total"] != 16 {
		t.Errorf("counters %v", c)
	}
}

// TestClaims: what a token says of a person, with booleans as such and as strings.
func TestClaims(t *testing.T) {
	v := verifier(Config{Secret: secret})
	c, err := v.Verify(context.Background(), sign(t, jose.HS256, []byte(secret), "", object{"sub": "acme", "context": object{
		"user":     object{"id": 7, "name": "Ana", "email": "a@example.org", "moderator": "true", "hidden-from-recorder": true, "bad name": "x", "long": strings.Repeat("x", maxValue+1)},
		"group":    "staff",
		"features": object{"recording": "true", "livestreaming": false, "outbound-call": true},
	}}))
	if err != nil {
		t.Fatal(err)
	}
	owner, said := c.Owner()
	if c.User["id"] != "7" || c.User["name"] != "Ana" || len(c.User) != 3 || c.Group != "staff" || !owner || !said || !c.Hidden {
		t.Errorf("%+v", c)
	}
	if !c.Allows("recording", false) || c.Allows("livestreaming", true) || c.Allows("flip", true) {
		t.Errorf("features %v", c.Features)
	}
	var none *Claims
	if !none.Allows("flip", true) || (&Claims{}).Allows("flip", false) {
		t.Error("without features the usual rule holds")
	}
	if owner, said := (&Claims{Affiliation: "member"}).Owner(); owner || !said {
		t.Error("a member is no owner")
	}
	c.Room = "standup"
	check := New(Config{CheckDomain: true}, nil)
	for _, x := range []struct {
		v            *Verifier
		room, tenant string
		want         bool
	}{{v, "StandUp", "", true}, {v, "other", "", false}, {check, "standup", "acme", true}, {check, "standup", "evil", false}, {check, "standup", "", false}} {
		if got := x.v.Admits(c, x.room, x.tenant, "example.org"); got != x.want {
			t.Errorf("room %s of %q: %v", x.room, x.tenant, got)
		}
	}
}

// TestPublicKeys: keys by kid, from a key server and from a key set, asked for once; a public key is no secret.
func TestPublicKeys(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pub := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	sum := sha256.Sum256([]byte("site/key1"))
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/keys/" + hex.EncodeToString(sum[:]) + ".pem":
			w.Write(pub)
		case "/jwks":
			json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "site/key1", Algorithm: "RS256", Use: "sig"}}})
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for name, cfg := range map[string]Config{"key server": {KeyServer: server.URL + "/keys/", Secret: ""}, "key set": {JWKS: server.URL + "/jwks"}} {
		v := verifier(cfg)
		defer v.keys.client.CloseIdleConnections()
		asked.Store(0)
		good := sign(t, jose.RS256, key, "site/key1", nil)
		for range 3 {
			if _, err := v.Verify(context.Background(), good); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
		for range 3 {
			if _, err := v.Verify(context.Background(), sign(t, jose.RS256, key, "unknown", nil)); err != errNoKey {
				t.Errorf("%s: unknown key: %v", name, err)
			}
		}
		if n := asked.Load(); n > 2 {
			t.Errorf("%s: asked %d times for what is not there", name, n)
		}
		if _, err := v.Verify(context.Background(), sign(t, jose.RS256, key, "", nil)); err != errKid {
			t.Errorf("%s: without kid: %v", name, err)
		}
		if _, err := v.Verify(context.Background(), sign(t, jose.HS256, pub, "site/key1", nil)); err == nil {
			t.Errorf("%s: a public key was taken for a secret", name)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate("tokens"); err != nil {
		t.Error(err)
	}
	for _, c := range []Config{{Secret: secret}, {Secret: "short", Issuers: []string{"*"}}, {JWKS: "ftp://x", Issuers: []string{"*"}}, {KeyServer: "keys", Issuers: []string{"*"}}} {
		if c.Validate("tokens") == nil {
			t.Errorf("%+v passed", c)
		}
	}
}

// FuzzVerify: no text breaks it, and nothing unsigned passes.
func FuzzVerify(f *testing.F) {
	v := verifier(Config{Secret: secret})
	good := sign(f, jose.HS256, []byte(secret), "", nil)
	for _, s := range []string{good, "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "", ".."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := v.Verify(context.Background(), s); err == nil && s != good {
			if p := strings.SplitN(good, ".", 3); !strings.HasPrefix(s, p[0]+"."+p[1]+".") { // base64 has spare bits
				t.Fatalf("%q passed", s)
			}
		}
	})
}
