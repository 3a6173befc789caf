package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/oops"
)

// pebble, the authority of the tests, cannot be ended.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"))
}

var quiet = slog.New(slog.DiscardHandler)

func self(t *testing.T, dir string, hosts ...string) *Source {
	t.Helper()
	s, err := LoadOrCreate(dir, hosts, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake connects by TLS to a server with cfg and gives what the client saw.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	<-done
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

func TestSelfSigned(t *testing.T) {
	dir := t.TempDir()
	s := self(t, dir, "meet.example.org", "192.0.2.7")
	roots := x509.NewCertPool()
	roots.AddCert(s.Leaf())
	for _, name := range []string{"localhost", "conference.localhost", "127.0.0.1", "::1", "meet.example.org", "192.0.2.7"} {
		st, err := handshake(t, s.Config("h2", "http/1.1"), &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"http/1.1"}})
		if err != nil || st.NegotiatedProtocol != "http/1.1" {
			t.Errorf("%s: %v, protocol %q", name, err, st.NegotiatedProtocol)
		}
	}
	if _, err := handshake(t, s.Config(), &tls.Config{ServerName: "other.example", RootCAs: roots}); err == nil {
		t.Error("a foreign name was accepted")
	}
	if _, err := handshake(t, s.Config(), &tls.Config{ServerName: "localhost", RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if fi, err := os.Stat(filepath.Join(dir, selfKey)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", fi.Mode(), err)
	}
	if !bytes.Equal(self(t, dir, "meet.example.org").Leaf().Raw, s.Leaf().Raw) {
		t.Error("the certificate was made again without need")
	}
	if bytes.Equal(self(t, dir, "new.example.org").Leaf().Raw, s.Leaf().Raw) {
		t.Error("the certificate lacks a new host")
	}
}

func TestRenewedWhenOld(t *testing.T) {
	dir := t.TempDir()
	hosts := []string{"localhost", "*.localhost", "127.0.0.1", "::1"}
	if err := create(filepath.Join(dir, selfCert), filepath.Join(dir, selfKey), hosts, time.Now().Add(-selfLife+time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(self(t, dir).Leaf().NotAfter); left < selfRenew {
		t.Errorf("only %v left", left)
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	s := self(t, dir)
	now := time.Now()
	s.now = func() time.Time { return now }
	old := s.Leaf().Raw
	cert, key := filepath.Join(dir, selfCert), filepath.Join(dir, selfKey)
	oldCert, _ := os.ReadFile(cert)
	if err := create(cert, key, []string{"renewed.example"}, now); err != nil {
		t.Fatal(err)
	}
	newCert, _ := os.ReadFile(cert)

	if !bytes.Equal(s.get().Certificate[0], old) {
		t.Error("the files were looked at too early")
	}
	// Half-way through a renewal: the new key is there, the certificate is the old one.
	if err := os.WriteFile(cert, oldCert, 0o644); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	if !bytes.Equal(s.get().Certificate[0], old) || s.Stats()["certificate_reload_failures"] != 1 {
		t.Error("a pair that does not fit was taken, or not counted")
	}
	if err := os.WriteFile(cert, newCert, 0o644); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	s.get()
	if s.Leaf().DNSNames[0] != "renewed.example" || s.Stats()["certificate_reloads"] != 1 {
		t.Error("the renewed certificate is not in use")
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	if s.get() == nil || s.Leaf().DNSNames[0] != "renewed.example" {
		t.Error("a missing key took the certificate out of use")
	}
}

func TestOperatorErrors(t *testing.T) {
	dir := t.TempDir()
	self(t, dir)
	other := t.TempDir()
	self(t, other)
	cert, key := filepath.Join(dir, selfCert), filepath.Join(dir, selfKey)
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ cert, key, want string }{
		"no cert":    {filepath.Join(dir, "none"), key, "does not exist: correct tls.cert"},
		"no key":     {cert, filepath.Join(dir, "none"), "does not exist: correct tls.key"},
		"junk cert":  {junk, key, "holds no PEM certificate"},
		"junk key":   {cert, junk, "holds no PEM private key"},
		"swapped":    {key, cert, "holds no PEM certificate"},
		"other key":  {cert, filepath.Join(other, selfKey), "cannot be used together"},
		"directory":  {dir, key, "cannot be read"},
		"key as dir": {cert, dir, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(tc.cert, tc.key, quiet)
			if _, ok := oops.Is(err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ...%s", err, tc.want)
			}
		})
	}
}
