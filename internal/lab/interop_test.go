package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/internal/proctest"
)

// steps are those of federate.py between Konzil and another server.
func steps(other string) []string {
	var out []string
	for _, d := range []string{zoneK.domain, other} {
		out = append(out, "chat to "+d, "burst from "+d, "presence of "+d, "room at "+d, "owner at "+d, "room archive at "+d, "node at "+d, "publisher at "+d, "archive at "+d, "avatar of "+d, "upload at "+d, "proxy of "+d)
	}
	return out
}

// prosodyServer is one of Debian's prosody.
type prosodyServer struct {
	proctest.Process
	zone   zone
	config string
	log    func() string
}

// prosody starts one for z with the certificate of a zone; extra is configuration of the whole server.
func prosody(t *testing.T, z, cert zone, extra string) *prosodyServer {
	t.Helper()
	if _, err := exec.LookPath("prosody"); err != nil {
		t.Skip("the Debian package prosody is not installed")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prosody.cfg.lua")
	lua := fmt.Sprintf(`run_as_root = true
data_path = %[1]q
pidfile = %[2]q
interfaces = { %[3]q }
use_ipv6 = %[11]t
use_ipv4 = %[12]t
modules_enabled = { "roster", "saslauth", "tls", "dialback", "disco", "carbons", "pep", "private", "blocklist", "vcard_legacy", "ping", "mam", "s2s_bidi", "smacks" }
allow_registration = false
s2s_require_encryption = true
s2s_secure_auth = false
authentication = "internal_plain"
log = { debug = %[4]q }
ssl = { certificate = %[5]q, key = %[6]q, cafile = %[7]q }
http_ports = {}
https_ports = { 5443 }
https_interfaces = { %[3]q }
https_ssl = { certificate = %[5]q, key = %[6]q }
%[10]s
VirtualHost %[9]q
Component "conference.%[8]s" "muc"
  modules_enabled = { "muc_mam" }
Component "pubsub.%[8]s" "pubsub"
  admins = { "juliet@%[8]s" }
Component "proxy.%[8]s" "proxy65"
  proxy65_acl = { %[9]q, "k.zone" }
Component "upload.%[8]s" "http_file_share"
  http_host = %[8]q
`, dir, filepath.Join(dir, "pid"), z.addr, filepath.Join(dir, "log"), certFile(cert), keyFile(cert), lab.ca, z.domain, z.domain, extra, z.v6(), !z.v6())
	if err := os.WriteFile(config, []byte(lua), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("prosodyctl", "--root", "--config", config, "register", "juliet", z.domain, password("juliet")).CombinedOutput(); err != nil {
		t.Fatalf("prosodyctl: %v\n%s", err, out)
	}
	p := &prosodyServer{Process: proctest.Process{Name: "prosody"}, zone: z, config: config, log: func() string {
		b, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}}
	t.Cleanup(func() {
		p.Kill()
		if os.Getenv("KONZIL_LAB_LOGS") != "" {
			_ = os.WriteFile(filepath.Join(os.Getenv("KONZIL_LAB_LOGS"), "prosody.log"), []byte(p.log()), 0o600)
		}
	})
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *prosodyServer) run() error {
	if err := p.Start(exec.Command("prosody", "--root", "-F", "--config", p.config)); err != nil {
		return err
	}
	return p.Listening(p.zone.at(5222))
}

// TestProsodyRestart: what is for another server that is away for a moment waits for it, and comes once.
func TestProsodyRestart(t *testing.T) {
	needLab(t)
	p := prosody(t, zoneP, zoneP, "")
	newKonzil(t, zoneK, []string{"romeo"}, "")
	dir := t.TempDir()
	sign := func(name string) string { return filepath.Join(dir, name) }
	done := make(chan error, 1)
	go func() { // the script goes on when it sees a file, and makes one when it has come so far
		for _, step := range []struct {
			after string
			do    func() error
			then  string
		}{{"ready", func() error { p.Kill(); return nil }, "down"}, {"sent", p.run, "up"}} {
			if !await.Within(patience, 50*time.Millisecond, func() bool { _, err := os.Stat(sign(step.after)); return err == nil }) {
				done <- fmt.Errorf("the script was never %s", step.after)
				return
			}
			if err := errors.Join(step.do(), os.WriteFile(sign(step.then), nil, 0o600)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	wantSteps(t, script(t, "federate.py", zoneK.addr, zoneK.domain, zoneP.addr, zoneP.domain, lab.ca, "restart", dir), "chat to p.zone", "waited for p.zone")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestProsody: everything that two people at two servers do, with certificates.
func TestProsody(t *testing.T) {
	needLab(t)
	p := prosody(t, zoneP, zoneP, "")
	newKonzil(t, zoneK, []string{"romeo"}, "")
	wantSteps(t, script(t, "federate.py", zoneK.addr, zoneK.domain, zoneP.addr, zoneP.domain, lab.ca, "all"), steps(zoneP.domain)...)
	for _, want := range []string{"SASL EXTERNAL", "<bidi xmlns='urn:xmpp:bidi'"} {
		if !strings.Contains(p.log(), want) {
			t.Errorf("prosody has seen no %s", want)
		}
	}
}

// TestProsodyTLS12: a server that knows no TLS above 1.2, and two that have IPv6 addresses alone.
func TestProsodyTLS12(t *testing.T) {
	needLab(t)
	p := prosody(t, zoneV, zoneV, `s2s_ssl = { protocol = "tlsv1_2" }`)
	newKonzil(t, zoneW, []string{"romeo"}, "")
	wantSteps(t, script(t, "federate.py", zoneW.addr, zoneW.domain, zoneV.addr, zoneV.domain, lab.ca, "brief"), "chat to w.zone", "chat to v.zone")
	if !regexp.MustCompile(`s2s\w+\s+info\s+Stream encrypted \(TLSv1\.2 `).MatchString(p.log()) {
		t.Error("it was not TLS 1.2")
	}
}

// TestUntrusted: with require_certificate a server whose certificate is another's is refused in both directions, dialback or not.
func TestUntrusted(t *testing.T) {
	needLab(t)
	prosody(t, zoneP, zoneE, "")
	newKonzil(t, zoneK, []string{"romeo"}, "", "require_certificate: true")
	got := script(t, "federate.py", zoneK.addr, zoneK.domain, zoneP.addr, zoneP.domain, lab.ca, "refused")
	wantSteps(t, got, "refused to p.zone: remote-server-not-found")
	if !got["refused to k.zone: remote-server-not-found"] && !got["refused to k.zone: remote-server-timeout"] {
		t.Errorf("%v", got)
	}
}

// TestProsodyDialback: a server whose certificate is for another name proves who it is by dialback (XEP-0220).
func TestProsodyDialback(t *testing.T) {
	needLab(t)
	p := prosody(t, zoneP, zoneE, "")
	newKonzil(t, zoneK, []string{"romeo"}, "")
	wantSteps(t, script(t, "federate.py", zoneK.addr, zoneK.domain, zoneP.addr, zoneP.domain, lab.ca, "brief"), "chat to k.zone", "chat to p.zone")
	if !strings.Contains(p.log(), "dialback") {
		t.Error("there was no dialback")
	}
}

// TestProsodyDirectTLS: both servers take streams that begin with TLS (XEP-0368), and nothing else.
func TestProsodyDirectTLS(t *testing.T) {
	needLab(t)
	prosody(t, zoneQ, zoneQ, "s2s_ports = {}\ns2s_direct_tls_ports = { 5270 }")
	newKonzil(t, zoneD, []string{"romeo"}, "")
	wantSteps(t, script(t, "federate.py", zoneD.addr, zoneD.domain, zoneQ.addr, zoneQ.domain, lab.ca, "brief"), "chat to d.zone", "chat to q.zone")
}
