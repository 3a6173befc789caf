package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"konzil/internal/await"
	"konzil/internal/check/dnstest"
)

// authority is Let's Encrypt's Pebble, which asks for proof on ports of this machine.
func authority(t *testing.T, httpPort, tlsPort int, dns *dnstest.Server) ACMEConfig {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 90 * 24 * 3600}})
	frontend := wfe.New(quiet, store, va.New(quiet, httpPort, tlsPort, false, dns.Addr, store), authority, []string{"pebble.test"}, false, false, 1, 1)
	srv := httptest.NewTLSServer(frontend.Handler())
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := DefaultACMEConfig()
	c.Email, c.Directory, c.CAFile = "root@chat.test", srv.URL+"/dir", file
	return c
}

// shown is the certificate that a TLS server of the source shows.
func shown(t *testing.T, s *Source) *x509.Certificate {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(b, s.Config("h2")).Handshake() }()
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true, ServerName: "chat.test"})
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0]
}

// TestACME: the authority's proof by HTTP and by TLS; the source shows the new certificate at once, all names are in it, and it is renewed
// in time without a restart.
func TestACME(t *testing.T) {
	for _, how := range []string{"http-01", "tls-alpn-01"} {
		t.Run(how, func(t *testing.T) {
			dns := dnstest.Start(t)
			for _, n := range []string{"chat.test", "conference.chat.test", "host.chat.test"} {
				dns.Host(n, "127.0.0.1")
			}
			web, proof := listen(t), listen(t)
			cfg := authority(t, port(web), port(proof), dns)
			cfg.Names = []string{"host.chat.test"}
			if how == "tls-alpn-01" {
				cfg.HTTPPort = 0
			}
			dir := t.TempDir()
			names := []string{"chat.test", "conference.chat.test", "nowhere.chat.test"}
			source, m, err := NewACME(cfg, dir, names, quiet)
			if err != nil {
				t.Fatal(err)
			}
			m.Resolver = dns.Resolver()
			serveProofs(t, web, proof, m)
			if shown(t, source).VerifyHostname("localhost") != nil {
				t.Error("no self-signed certificate until there is another")
			}
			got := m.known(t.Context())
			if !slices.Equal(got, []string{"chat.test", "conference.chat.test", "host.chat.test"}) || !m.due(got) {
				t.Fatalf("names %v, due %v", got, m.due(got))
			}
			if err := m.obtain(t.Context(), got); err != nil {
				t.Fatal(err)
			}
			first := shown(t, source)
			for _, n := range got {
				if err := first.VerifyHostname(n); err != nil {
					t.Error(err)
				}
			}
			if m.due(got) || source.Stats()["certificate_reloads"] != 1 {
				t.Error("it is due again")
			}
			m.now = func() time.Time { return first.NotAfter.Add(-29 * 24 * time.Hour) }
			if !m.due(got) {
				t.Error("it is not due a month before its end")
			}
			if err := m.obtain(t.Context(), got); err != nil {
				t.Fatal(err)
			}
			if second := shown(t, source); second.SerialNumber.Cmp(first.SerialNumber) == 0 {
				t.Error("the old one is still shown")
			}
			// A restart has it.
			again, _, err := NewACME(cfg, dir, names, quiet)
			if err != nil || again.Leaf().VerifyHostname("chat.test") != nil {
				t.Errorf("%v, %v", again, err)
			}
			// A name that is somebody else's.
			dns.Host("conference.chat.test", "127.0.0.99")
			if err := m.obtain(t.Context(), got); err == nil {
				t.Error("got one for a name that is not ours")
			}
		})
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// serveProofs answers the authority as the server does.
func serveProofs(t *testing.T, web, proof net.Listener, m *Manager) {
	srv := &http.Server{Handler: m}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(web) })
	wg.Go(func() {
		for {
			c, err := proof.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(c, m.source.Config("h2", "http/1.1")).Handshake()
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = srv.Close(); _ = proof.Close(); wg.Wait() })
}

func TestACMERedirect(t *testing.T) {
	m := &Manager{names: []string{"chat.test"}, tokens: map[string]string{acmePath + "a": "b"}}
	for path, want := range map[string]int{acmePath + "a": 200, acmePath + "b": 404, "/room?x=1": 301} {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want || want == 301 && w.Header().Get("Location") != "https://chat.test/room?x=1" {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Location"))
		}
	}
}

func TestACMERun(t *testing.T) {
	dns := dnstest.Start(t)
	dns.Host("chat.test", "127.0.0.1")
	web, proof := listen(t), listen(t)
	source, m, err := NewACME(authority(t, port(web), port(proof), dns), t.TempDir(), []string{"chat.test"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	m.Resolver = dns.Resolver()
	serveProofs(t, web, proof, m)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	await.True(t, "a certificate", func() bool {
		shown(t, source)
		return source.ours()
	})
}
