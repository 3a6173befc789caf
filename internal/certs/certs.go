// Package certs gives the TLS settings of all listeners: from the operator's files, watched for renewal, from an authority by ACME (acme.go), or
// self-signed.
//
// The path of a handshake: crypto/tls calls GetCertificate (source.get), which looks at the files' times at most once in
// checkEvery and loads them anew when they have changed; what does not load leaves the old certificate in use. It runs on
// the connection's goroutine; the only one of our own is that of who calls Manager.Run, which writes new files. A handshake by which an
// authority asks for its proof (RFC 8737) is answered on any listener, by GetConfigForClient.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"konzil/internal/oops"
)

// checkEvery bounds how often files are looked at: a renewed certificate is in use this long after it is written.
const checkEvery = 10 * time.Second

// Source is a certificate that can change while the program runs.
type Source struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]
	next    atomic.Int64 // Unix nanoseconds: not looked at before

	mu      sync.Mutex // guards stamps and awaited; held while files are read
	stamps  [2]stamp   // of the files when they were last read, loadable or not
	awaited bool       // the files are not there yet; what is in use is self-signed

	challenges sync.Map // name to *tls.Certificate that proves it (RFC 8737)

	reloads, failures atomic.Uint64
}

type stamp struct {
	mod  time.Time
	size int64
}

// Load reads a PEM certificate chain (leaf first) and its key, and follows their changes. Errors are for the operator.
func Load(certFile, keyFile string, log *slog.Logger) (*Source, error) {
	s := &Source{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	stamps, err := s.stat()
	if err != nil {
		return nil, err
	}
	s.stamps = stamps
	c, err := read(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	s.current.Store(c)
	s.next.Store(s.now().Add(checkEvery).UnixNano())
	return s, nil
}

// Config gives server-side TLS settings that use the source: TLS 1.2 or later. protocols are for ALPN, none: no ALPN. Each call
// gives a new Config, which the caller may change.
func (s *Source) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.get(), nil },
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if len(h.SupportedProtos) != 1 || h.SupportedProtos[0] != acme.ALPNProto {
				return nil, nil
			}
			c, ok := s.challenges.Load(h.ServerName)
			if !ok {
				return nil, errors.New("certs: nobody is proving " + h.ServerName)
			}
			return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, Certificates: []tls.Certificate{*c.(*tls.Certificate)}}, nil
		},
	}
}

// Certificate is the one in use now, with its chain.
func (s *Source) Certificate() *tls.Certificate { return s.current.Load() }

// ours tells that the certificate in use is that of the files.
func (s *Source) ours() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.awaited
}

// refresh looks at the files now.
func (s *Source) refresh() { s.check() }

// Leaf is the certificate in use now.
func (s *Source) Leaf() *x509.Certificate { return s.current.Load().Leaf }

// get gives the certificate to use, after a look at the files when it is time for one. Only one handshake at a time looks.
func (s *Source) get() *tls.Certificate {
	now, next := s.now(), s.next.Load()
	if now.UnixNano() >= next && s.next.CompareAndSwap(next, now.Add(checkEvery).UnixNano()) {
		s.check()
	}
	return s.current.Load()
}

func (s *Source) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamps, err := s.stat()
	if s.awaited && err != nil {
		return
	}
	if err == nil {
		if stamps == s.stamps {
			return
		}
		var c *tls.Certificate
		if c, err = read(s.certFile, s.keyFile); err == nil {
			s.stamps, s.awaited = stamps, false
			s.current.Store(c)
			s.reloads.Add(1)
			s.log.Info("certificate reloaded", "file", s.certFile, "until", c.Leaf.NotAfter)
			return
		}
	}
	// The stamps stay old, so it is tried again: whoever renews writes two files, and we may have come in between.
	s.failures.Add(1)
	s.log.Warn("certificate not reloaded, the old one stays in use", "err", err)
}

func (s *Source) stat() (st [2]stamp, err error) {
	for i, name := range []string{s.certFile, s.keyFile} {
		fi, err := os.Stat(name)
		if err != nil {
			return st, oops.File("certs", name, settingHint(i), err)
		}
		st[i] = stamp{fi.ModTime(), fi.Size()}
	}
	return st, nil
}

func settingHint(i int) string {
	if i == 0 {
		return "correct tls.cert or let this user read it"
	}
	return "correct tls.key or let this user read it"
}

// read loads and checks the pair. An expired certificate is loaded: it is the clients' to refuse, and a server that does
// not start helps nobody; Stats and the log tell.
func read(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, oops.File("certs", certFile, settingHint(0), err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, oops.File("certs", keyFile, settingHint(1), err)
	}
	if !hasBlock(certPEM, "CERTIFICATE") {
		return nil, oops.New("certs", certFile+" holds no PEM certificate", "set tls.cert to the full chain in PEM form, the server's own certificate first", nil)
	}
	if !hasBlock(keyPEM, "PRIVATE KEY") {
		return nil, oops.New("certs", keyFile+" holds no PEM private key", "set tls.key to the unencrypted key in PEM form", nil)
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		what := fmt.Sprintf("%s and %s cannot be used together (%s)", certFile, keyFile, strings.TrimPrefix(err.Error(), "tls: "))
		return nil, oops.New("certs", what, "set tls.cert and tls.key to a certificate and its own key", err)
	}
	return &c, nil
}

// hasBlock tells whether text has a PEM block of a type that ends in kind.
func hasBlock(text []byte, kind string) bool {
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if strings.HasSuffix(b.Type, kind) {
			return true
		}
	}
	return false
}

// Stats are counters since Load and the seconds until the certificate ends, 0 when it has.
func (s *Source) Stats() map[string]uint64 {
	left := max(0, s.Leaf().NotAfter.Sub(s.now()))
	return map[string]uint64{
		"certificate_reloads":           s.reloads.Load(),
		"certificate_reload_failures":   s.failures.Load(),
		"certificate_seconds_remaining": uint64(left / time.Second),
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
