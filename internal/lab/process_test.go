package lab

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"konzil/internal/certs/certtest"
	"konzil/internal/proctest"
)

// konzil is one server.
type konzil struct {
	proctest.Process
	zone   zone
	config string
}

func password(user string) string { return user + "-secret" }

// newKonzil makes folder, settings and accounts of a server and starts it. extra is YAML below xmpp, policy further settings of federation.
func newKonzil(t *testing.T, z zone, users []string, extra string, policy ...string) *konzil {
	t.Helper()
	dir := t.TempDir()
	k := &konzil{Process: proctest.Process{Name: z.domain}, zone: z, config: filepath.Join(dir, "konzil.yaml")}
	yaml := fmt.Sprintf(`domain: %s
data: %s
listen: [%q]
tls: {cert: %s, key: %s}
http: {port: 5443}
log: {level: %s}
media: {port: 10000}
turn: {port: 0, tls_port: 0, https: false}
auth: {iterations: 10000}
xmpp:
  federation: {mode: open, allow_private: true, ca: %s}
%s`, z.domain, filepath.Join(dir, "data"), z.addr, certFile(z), keyFile(z), logLevel(), strings.Join(append([]string{lab.ca}, policy...), ", "), extra)
	if err := os.WriteFile(k.config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		add := exec.Command(lab.bin, "user", "-config", k.config, "add", u)
		add.Stdin = strings.NewReader(password(u) + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("konzil user add %s: %v\n%s", u, err, out)
		}
	}
	if err := k.run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.Kill()
		if dump := os.Getenv("KONZIL_LAB_LOGS"); dump != "" {
			_ = os.WriteFile(filepath.Join(dump, z.domain+".log"), []byte(k.Log.String()), 0o600)
		}
	})
	return k
}

func logLevel() string {
	if os.Getenv("KONZIL_LAB_LOGS") != "" {
		return "debug"
	}
	return "info"
}

// begin starts it and waits for nothing.
func (k *konzil) begin() error { return k.Start(exec.Command(lab.bin, "-config", k.config)) }

// run starts it and waits until it serves.
func (k *konzil) run() error {
	if err := k.begin(); err != nil {
		return err
	}
	return k.Listening(k.zone.at(5223), k.zone.at(5269))
}

func certFile(z zone) string { return filepath.Join(lab.dir, z.domain+".pem") }
func keyFile(z zone) string  { return filepath.Join(lab.dir, z.domain+".key") }

// roots trusts the lab's authority.
func roots() *tls.Config {
	pool := x509.NewCertPool()
	b, err := os.ReadFile(lab.ca)
	if err == nil {
		pool.AppendCertsFromPEM(b)
	}
	return &tls.Config{RootCAs: pool}
}

// makeCertificates makes an authority, and a certificate for each zone and what is below it.
func makeCertificates() error {
	ca := certtest.New()
	if err := ca.WriteCertificate(lab.ca); err != nil {
		return err
	}
	for _, z := range zones {
		if err := certtest.Write(ca.Issue(z.domain, "*."+z.domain), certFile(z), keyFile(z)); err != nil {
			return err
		}
	}
	return nil
}
