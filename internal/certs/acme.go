package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"konzil/internal/oops"
)

// ACMEConfig says how to get a certificate from an authority (RFC 8555).
type ACMEConfig struct {
	Email     string   `yaml:"email" doc:"Mail address for the authority. Given, a certificate for the domain and what lies below is got and renewed by ACME, and the terms of the authority are agreed to. Empty: off."`
	Directory string   `yaml:"directory" doc:"URL of the authority's directory."`
	CAFile    string   `yaml:"ca_file" doc:"PEM file with the authorities that sign the certificate of that URL; for an authority of one's own. Empty: those of the system."`
	HTTPPort  int      `yaml:"http_port" doc:"Port for the authority's questions in plain HTTP (http-01), which it asks on port 80; everything else there is sent on to HTTPS. 0: only tls-alpn-01 is used, on the HTTPS port, which must be reachable as 443."`
	Names     []string `yaml:"names" doc:"Further names for the certificate."`
}

// DefaultACMEConfig is off; it knows Let's Encrypt.
func DefaultACMEConfig() ACMEConfig {
	return ACMEConfig{Directory: acme.LetsEncryptURL, HTTPPort: 80}
}

// Enabled tells whether a certificate is to be got.
func (c ACMEConfig) Enabled() bool { return c.Email != "" }

// Validate checks what the types cannot say.
func (c ACMEConfig) Validate() error {
	if !c.Enabled() {
		return nil
	}
	if !strings.Contains(c.Email, "@") {
		return oops.New("certs", fmt.Sprintf("tls.acme.email is %q", c.Email), "give a mail address", nil)
	}
	if !strings.HasPrefix(c.Directory, "https://") {
		return oops.New("certs", fmt.Sprintf("tls.acme.directory is %q", c.Directory), "give the https:// URL of the authority's directory", nil)
	}
	return nil
}

// Files in the data folder.
const (
	acmeCert    = "acme.crt"
	acmeKey     = "acme.key"
	acmeAccount = "acme-account.key"
)

const (
	// obtainTime bounds one try: authorities may take a minute to look at each name.
	obtainTime = 10 * time.Minute
	// lookAgain is how often the certificate in use is looked at.
	lookAgain = time.Hour
	// firstRetry and lastRetry bound the wait after a failure, doubled each time: Let's Encrypt takes five failures an hour for a name.
	firstRetry = 15 * time.Minute
	lastRetry  = 12 * time.Hour
	// acmePath is where http-01 answers are (RFC 8555 §8.3).
	acmePath = "/.well-known/acme-challenge/"
)

// Manager gets a certificate by ACME and renews it; the Source takes it up.
type Manager struct {
	cfg    ACMEConfig
	dir    string
	names  []string // the first must be there; others are left out while DNS does not know them
	source *Source
	log    *slog.Logger

	// Resolver looks whether DNS knows a name; set before Run.
	Resolver *net.Resolver
	now      func() time.Time

	mu     sync.Mutex        // guards tokens
	tokens map[string]string // path of an http-01 question to its answer
}

// NewACME gives the certificate kept in dir, or until there is one a self-signed one, and who gets it for names. Run has to be called.
func NewACME(cfg ACMEConfig, dir string, names []string, log *slog.Logger) (*Source, *Manager, error) {
	m := &Manager{cfg: cfg, dir: dir, names: append(slices.Clone(names), cfg.Names...), log: log, Resolver: net.DefaultResolver, now: time.Now, tokens: map[string]string{}}
	certFile, keyFile := filepath.Join(dir, acmeCert), filepath.Join(dir, acmeKey)
	var err error
	if exists(certFile) && exists(keyFile) {
		m.source, err = Load(certFile, keyFile, log)
	} else if m.source, err = LoadOrCreate(dir, names[:1], log); err == nil {
		m.source.certFile, m.source.keyFile = certFile, keyFile
		m.source.stamps = [2]stamp{}
		m.source.awaited = true
	}
	return m.source, m, err
}

// LoadACME gives the certificate that a server with that data folder has got.
func LoadACME(dir string, log *slog.Logger) (*Source, error) {
	if !exists(filepath.Join(dir, acmeCert)) {
		return nil, errors.New("the authority has not issued it yet: the log of the server tells why")
	}
	return Load(filepath.Join(dir, acmeCert), filepath.Join(dir, acmeKey), log)
}

// Run gets the certificate when it is missing, lacks a name or nears its end, until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	retry := firstRetry
	for {
		wait := lookAgain
		if names := m.known(ctx); m.due(names) {
			try, cancel := context.WithTimeout(ctx, obtainTime)
			err := m.obtain(try, names)
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				m.log.Error("certificate not got, trying again later", "names", names, "again_in", retry, "err", err)
				wait, retry = retry, min(2*retry, lastRetry)
			default:
				retry = firstRetry
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// known are the names that DNS knows; the first always, so that its absence is told by the authority.
func (m *Manager) known(ctx context.Context) []string {
	out := m.names[:1:1]
	for _, n := range m.names[1:] {
		if slices.Contains(out, n) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		addrs, err := m.Resolver.LookupNetIP(ctx, "ip", n)
		cancel()
		if err != nil || len(addrs) == 0 {
			m.log.Warn("a name has no address and is left out of the certificate", "name", n)
			continue
		}
		out = append(out, n)
	}
	return out
}

// due tells whether a certificate for names is to be got: a third of its life before the end of the one in use (as authorities ask).
func (m *Manager) due(names []string) bool {
	if !m.source.ours() {
		return true
	}
	leaf := m.source.Leaf()
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			return true
		}
	}
	return m.now().After(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3))
}

// obtain gets a certificate for names now (RFC 8555 §7.4).
func (m *Manager) obtain(ctx context.Context, names []string) error {
	client, err := m.client()
	if err != nil {
		return err
	}
	if _, err := client.Register(ctx, &acme.Account{Contact: []string{"mailto:" + m.cfg.Email}}, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return fmt.Errorf("account at %s: %w", m.cfg.Directory, err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(names...))
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := m.authorize(ctx, client, url); err != nil {
			return err
		}
	}
	ready, err := client.WaitOrder(ctx, order.URI)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	ready.URI = order.URI // not every authority repeats it
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		return err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, ready, csr, true)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if err := m.keep(key, chain); err != nil {
		return err
	}
	m.source.refresh()
	m.log.Info("certificate got", "names", names, "until", m.source.Leaf().NotAfter)
	return nil
}

// client talks to the authority with the account's key, made once.
func (m *Manager) client() (*acme.Client, error) {
	key, err := loadKey(filepath.Join(m.dir, acmeAccount))
	if err != nil {
		return nil, err
	}
	roots, err := m.roots()
	if err != nil {
		return nil, err
	}
	return &acme.Client{Key: key, DirectoryURL: m.cfg.Directory, UserAgent: "konzil", HTTPClient: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}}, nil
}

func (m *Manager) roots() (*x509.CertPool, error) {
	if m.cfg.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(m.cfg.CAFile)
	if err != nil {
		return nil, oops.File("certs", m.cfg.CAFile, "set tls.acme.ca_file to a PEM file", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, oops.New("certs", m.cfg.CAFile+" holds no PEM certificate", "set tls.acme.ca_file to a PEM file", nil)
	}
	return pool, nil
}

// loadKey reads a key, or makes it.
func loadKey(name string) (crypto.Signer, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, writePEM(name, "PRIVATE KEY", 0o600, der)
	}
	if err != nil {
		return nil, oops.File("certs", name, "give it to this user", err)
	}
	if b, _ := pem.Decode(text); b != nil {
		if key, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	return nil, oops.New("certs", name+" is damaged", "delete it: a new account is made", nil)
}

// authorize proves one name: in plain HTTP, or by TLS where that is off.
func (m *Manager) authorize(ctx context.Context, client *acme.Client, url string) error {
	authz, err := client.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	if authz.Status == acme.StatusValid {
		return nil
	}
	name, want := authz.Identifier.Value, "http-01"
	if m.cfg.HTTPPort == 0 {
		want = "tls-alpn-01"
	}
	i := slices.IndexFunc(authz.Challenges, func(c *acme.Challenge) bool { return c.Type == want })
	if i < 0 {
		return fmt.Errorf("%s: the authority does not ask by %s", name, want)
	}
	done, err := m.answer(client, authz.Challenges[i], name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer done()
	if _, err := client.Accept(ctx, authz.Challenges[i]); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := client.WaitAuthorization(ctx, authz.URI); err != nil {
		return fmt.Errorf("%s: the authority could not see that it is ours by %s: %w", name, want, err)
	}
	return nil
}

// answer has the authority's question answered until done is called.
func (m *Manager) answer(client *acme.Client, c *acme.Challenge, name string) (done func(), err error) {
	if c.Type == "tls-alpn-01" {
		cert, err := client.TLSALPN01ChallengeCert(c.Token, name)
		if err != nil {
			return nil, err
		}
		m.source.challenges.Store(name, &cert)
		return func() { m.source.challenges.Delete(name) }, nil
	}
	answer, err := client.HTTP01ChallengeResponse(c.Token)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[acmePath+c.Token] = answer
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.tokens, acmePath+c.Token)
	}, nil
}

// ServeHTTP answers the authority's questions (RFC 8555 §8.3) and sends everybody else on to HTTPS.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	answer, ok := m.tokens[r.URL.Path]
	m.mu.Unlock()
	switch {
	case ok:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte(answer)) // who asked may have gone
	case strings.HasPrefix(r.URL.Path, acmePath):
		http.NotFound(w, r)
	default:
		http.Redirect(w, r, "https://"+m.names[0]+r.URL.RequestURI(), http.StatusMovedPermanently)
	}
}

// keep writes key and chain; the source reads both when they fit together.
func (m *Manager) keep(key *ecdsa.PrivateKey, chain [][]byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(m.dir, acmeKey), "PRIVATE KEY", 0o600, der); err != nil {
		return err
	}
	return writePEM(filepath.Join(m.dir, acmeCert), "CERTIFICATE", 0o644, chain...)
}
