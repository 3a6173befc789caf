package token

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits of keys from elsewhere.
const (
	keyTimeout = 10 * time.Second
	maxKeys    = 128       // of the key server, cached; when full the cache starts anew (jitsi-meet's size)
	maxKeyID   = 1024      // bytes
	maxKeyFile = 256 << 10 // bytes of a key or key set
	keyLife    = time.Hour // then a key is asked for again
	keyRetry   = 10 * time.Second
)

// keys gives the key for a token. Public keys are fetched by one goroutine at a time, the others wait for it.
type keys struct {
	cfg    Config
	log    *slog.Logger
	client *http.Client

	fetching chan struct{} // holds one token: who has it asks the server

	mu   sync.Mutex // guards all below; not held while a server is asked
	byID map[string]entry
	set  *jose.JSONWebKeySet
	at   time.Time // of set

	requests, failures atomic.Uint64
}

// entry is a key that was asked for; nil: it is not to be had.
type entry struct {
	key any
	at  time.Time
}

func newKeys(cfg Config, log *slog.Logger) *keys {
	return &keys{cfg: cfg, log: log, client: &http.Client{Timeout: keyTimeout}, fetching: make(chan struct{}, 1), byID: map[string]entry{}}
}

// algorithms are those of which there can be a key: a token chooses among them, and a public key is never taken for a secret.
func (k *keys) algorithms() (out []jose.SignatureAlgorithm) {
	if k.cfg.Secret != "" {
		out = append(out, jose.HS256)
	}
	if k.cfg.KeyServer != "" || k.cfg.JWKS != "" {
		out = append(out, jose.RS256)
	}
	if k.cfg.JWKS != "" {
		out = append(out, jose.ES256)
	}
	return out
}

// find gives the key for a token with that header.
func (k *keys) find(ctx context.Context, h jose.Header) (any, error) {
	if h.Algorithm == string(jose.HS256) {
		return []byte(k.cfg.Secret), nil
	}
	if h.KeyID == "" || len(h.KeyID) > maxKeyID {
		return nil, errKid
	}
	if key, fresh := k.cached(h.KeyID); fresh {
		return known(key)
	}
	select {
	case k.fetching <- struct{}{}:
		defer func() { <-k.fetching }()
	case <-ctx.Done():
		return nil, errNoKey
	}
	key, fresh := k.cached(h.KeyID) // somebody else may have got it meanwhile
	if !fresh {
		key = k.fetch(ctx, h.KeyID)
	}
	return known(key)
}

var errNoKey = errors.New("could not obtain public key")

func known(key any) (any, error) {
	if key == nil {
		return nil, errNoKey
	}
	return key, nil
}

// cached is a key as it is known, and whether that is recent enough.
func (k *keys) cached(id string) (key any, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.set != nil && now.Sub(k.at) < keyLife {
		if found := k.set.Key(id); len(found) > 0 {
			return found[0].Key, true
		}
	}
	e, ok := k.byID[id]
	life := keyLife
	if e.key == nil {
		life = keyRetry
	}
	return e.key, ok && now.Sub(e.at) < life
}

// fetch asks for a key and remembers the answer, also that there is none.
func (k *keys) fetch(ctx context.Context, id string) (key any) {
	var err error
	if k.cfg.JWKS != "" {
		key, err = k.fromSet(ctx, id)
	}
	if key == nil && k.cfg.KeyServer != "" {
		key, err = k.fromServer(ctx, id)
	}
	if key == nil {
		k.failures.Add(1)
		k.log.Warn("no key for a token", "kid", id, "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.byID) >= maxKeys {
		clear(k.byID)
	}
	k.byID[id] = entry{key, time.Now()}
	return key
}

func (k *keys) fromSet(ctx context.Context, id string) (any, error) {
	k.mu.Lock()
	recent := k.set != nil && time.Since(k.at) < keyRetry // a stranger's kid shall not have us ask each time
	k.mu.Unlock()
	if recent {
		return nil, errors.New("not in the key set")
	}
	b, err := k.get(ctx, k.cfg.JWKS)
	if err != nil {
		return nil, err
	}
	set := &jose.JSONWebKeySet{}
	if err := json.Unmarshal(b, set); err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.set, k.at = set, time.Now()
	k.mu.Unlock()
	for _, key := range set.Key(id) {
		if key.IsPublic() {
			return key.Key, nil
		}
	}
	return nil, errors.New("not in the key set")
}

// fromServer asks for <sha256 of the id>.pem.
func (k *keys) fromServer(ctx context.Context, id string) (any, error) {
	sum := sha256.Sum256([]byte(id))
	b, err := k.get(ctx, strings.TrimSuffix(k.cfg.KeyServer, "/")+"/"+hex.EncodeToString(sum[:])+".pem")
	if err != nil {
		return nil, err
	}
	return publicKey(b)
}

// publicKey reads an RSA key in PEM, as such or in a certificate.
func publicKey(b []byte) (any, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	if rsaKey, ok := key.(*rsa.PublicKey); ok {
		return rsaKey, nil
	}
	return nil, errors.New("no RSA key")
}

func (k *keys) get(ctx context.Context, url string) ([]byte, error) {
	k.requests.Add(1)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxKeyFile))
}
