package clients

import (
	"crypto/tls"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"konzil/internal/proctest"
)

// killable is a server of its own that a test ends with SIGKILL and starts again.
type killable struct {
	t   *testing.T
	s   *server
	bin string
	dir string
}

// startKillable makes accounts, certificates and configuration by startServer, and runs the program again under its own hand.
func startKillable(t *testing.T) *killable {
	t.Helper()
	k := &killable{t: t, dir: t.TempDir()}
	k.bin = filepath.Join(k.dir, "konzil")
	if err := proctest.Build(k.bin); err != nil {
		t.Fatal(err)
	}
	s, stop, err := startServer(k.bin, k.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	k.s = s
	k.start()
	t.Cleanup(k.kill)
	return k
}

func (k *killable) start() {
	k.t.Helper()
	p := k.s.process
	if err := p.Start(exec.Command(k.bin, "-config", filepath.Join(k.dir, "konzil.yaml"))); err != nil {
		k.t.Fatal(err)
	}
	if err := p.Listening(k.s.addr(), k.s.tlsAddr()); err != nil {
		p.Kill()
		k.t.Fatal(err)
	}
}

// kill gives the server no time for anything.
func (k *killable) kill() { k.s.process.Kill() }

// login is loginRaw at this server; sm turns on stream management, which can be resumed.
func (k *killable) login(user, resource string, sm bool) *raw {
	k.t.Helper()
	r := dialRaw(k.t, k.s.tlsAddr())
	c := tls.Client(r.conn, k.s.roots(k.t))
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		k.t.Fatal(err)
	}
	if err := c.Handshake(); err != nil {
		k.t.Fatalf("TLS: %v", err)
	}
	r.conn = c
	r.write(header, domain)
	r.wants("features>")
	r.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", plain(user, password(user)))
	r.wants("<success")
	r.write(header, domain)
	r.wants("urn:ietf:params:xml:ns:xmpp-bind", "features>")
	r.write("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%s</resource></bind></iq>", resource)
	r.wants("<jid>", "</iq>")
	if sm {
		r.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
		r.wants("<enabled ")
	}
	return r
}

var bodyOf = regexp.MustCompile(`<body>([^<]*)</body>`)

// comes makes the client available and gives the bodies of all messages that this brings.
func (r *raw) comes() []string {
	r.t.Helper()
	from := r.got.Len()
	r.write("<presence/><iq type='get' id='sync%d'><ping xmlns='urn:xmpp:ping'/></iq>", from)
	r.wants(fmt.Sprintf("id='sync%d'", from))
	var out []string
	for _, m := range bodyOf.FindAllStringSubmatch(r.got.String()[from:], -1) {
		out = append(out, m[1])
	}
	return out
}

// TestKilled: a message that the server has acknowledged to its sender is not lost when the server is killed, and comes once (XEP-0198 §4: an
// acknowledged stanza is handled; XEP-0160).
func TestKilled(t *testing.T) {
	t.Parallel()
	k := startKillable(t)
	const messages = 50
	var want []string
	alice := k.login("alice", "a", true)
	var all strings.Builder
	for i := range messages {
		want = append(want, fmt.Sprintf("m%d", i))
		fmt.Fprintf(&all, "<message to='bob@%s' type='chat' id='%d'><body>m%d</body></message>", domain, i, i)
	}
	alice.write("%s<r xmlns='urn:xmpp:sm:3'/>", all.String())
	alice.wants(fmt.Sprintf("h='%d'", messages))
	k.kill()
	k.start()

	got := func(who string, r *raw, want []string) {
		t.Helper()
		if got := r.comes(); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s got %q, want %q", who, got, want)
		}
	}
	// A client that acknowledges, but dies with the server before it does, gets them again.
	got("a client that does not acknowledge", k.login("bob", "b", true), want)
	k.kill()
	k.start()

	bob := k.login("bob", "b", true)
	got("the next client", bob, want)
	bob.write("<a xmlns='urn:xmpp:sm:3' h='%d'/>", messages+2) // and its own presence, and the answer to the ping
	bob.close()
	got("a client after one that has acknowledged", k.login("bob", "b", false), nil)
	if err := k.s.process.End(syscall.SIGTERM); err != nil { // in order: a message may come again if the server is killed before it is removed
		t.Fatal(err)
	}
	k.start()
	got("a client after another restart", k.login("bob", "b", false), nil)
}
