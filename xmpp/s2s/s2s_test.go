package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/internal/certs/certtest"
	"konzil/internal/proctest"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serverTLS are the settings of a server with a certificate of ca: names are subject alternative names, cn is the common name, which must count for nothing.
func serverTLS(ca *certtest.Authority, cn string, names ...string) *tls.Config {
	cert := ca.Sign(&x509.Certificate{Subject: pkix.Name{CommonName: cn}, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

// zone is DNS for a test: SRV records by service and name, addresses all 127.0.0.1.
type zone struct {
	mu   sync.Mutex // guards srv
	srv  map[string][]*net.SRV
	addr netip.Addr
}

func (z *zone) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if r, ok := z.srv["_"+service+"._"+proto+"."+name]; ok {
		return "", r, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if strings.HasSuffix(host, ".nowhere") {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{z.addr}, nil
}

func (z *zone) set(service, name string, port int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name = stanza.DNSName(name)
	z.srv["_"+service+"._tcp."+name] = []*net.SRV{{Target: name + ".", Port: uint16(port)}}
}

func newZone() *zone {
	return &zone{srv: map[string][]*net.SRV{}, addr: netip.MustParseAddr("127.0.0.1")}
}

// node is a server with federation whose service svc.DOMAIN shows what it gets.
type node struct {
	srv  *xmpp.Server
	fed  *Service
	got  chan *stanza.Stanza
	name stanza.JID // of the service
	port int
}

type noAccounts struct{}

func (noAccounts) SCRAM(context.Context, string, string) ([]byte, int, []byte, []byte, bool, error) {
	return nil, 0, nil, nil, false, nil
}
func (noAccounts) CheckPassword(context.Context, string, string) (string, bool, error) {
	return "", false, nil
}
func (noAccounts) Exists(context.Context, string) (bool, error)             { return false, nil }
func (noAccounts) Localpart(_ context.Context, user string) (string, error) { return user, nil }

func (a noAccounts) Enabled(ctx context.Context, local string) (bool, error) {
	return a.Exists(ctx, local)
}

func (noAccounts) Mechanisms() []string { return nil }

// quick makes failures fast.
func quick(c *Config) {
	c.Limits = DefaultLimits()
	c.Limits.ConnectTimeout, c.Limits.RetryMin = 10*time.Second, 10*time.Millisecond
}

func newNode(t *testing.T, z *zone, domain string, cert *tls.Config, change func(*Config)) *node {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cfg := xmpp.DefaultConfig()
	cfg.Domain, cfg.TLS = domain, cert
	srv, err := xmpp.New(cfg, noAccounts{}, log)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{srv: srv, got: make(chan *stanza.Stanza, 100_000), name: stanza.MustJID("svc." + domain)}
	srv.Mount(n.name.Domain(), xmpp.HandlerFunc(func(st *stanza.Stanza) { n.got <- st }))
	fc := Config{TLS: cert, Secret: []byte("secret of " + domain + strings.Repeat(".", 16)), AllowPrivate: true, Resolver: z}
	quick(&fc)
	if change != nil {
		change(&fc)
	}
	if n.fed, err = New(fc, srv, log); err != nil {
		t.Fatal(err)
	}
	srv.Remote(n.fed)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.port = ln.Addr().(*net.TCPAddr).Port
	for _, d := range []string{domain, n.name.Domain()} {
		z.set("xmpp-server", d, n.port)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.fed.ServeTCP(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.fed.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n
}

// unacked tells whether n has said something to another that is not acknowledged.
func (n *node) unacked(to *node, id string) bool {
	n.fed.mu.Lock()
	defer n.fed.mu.Unlock()
	l := n.fed.links[pair{n.name.Domain(), to.name.Domain()}]
	return l != nil && slices.ContainsFunc(l.ack.again(), func(st *stanza.Stanza) bool { return st.ID == id })
}

func (n *node) addr() string { return fmt.Sprint("127.0.0.1:", n.port) }

func (n *node) send(to *node, id string) {
	n.srv.Route(stanza.NewMessage("chat", n.name, to.name, stanza.TextElement(stanza.NSClient, "body", id)).WithID(id))
}

func (n *node) next(t *testing.T) *stanza.Stanza {
	t.Helper()
	select {
	case st := <-n.got:
		return st
	case <-time.After(15 * time.Second):
		t.Fatal("nothing came")
		return nil
	}
}

func (n *node) wantMessage(t *testing.T, id string) {
	t.Helper()
	if st := n.next(t); st.ID != id || st.Type != "chat" || st.Child(stanza.NSClient, "body").Text() != id {
		t.Fatalf("want %s, got %s", id, st)
	}
}

func (n *node) wantError(t *testing.T, condition string) {
	t.Helper()
	if st := n.next(t); st.Type != "error" || st.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, condition) == nil {
		t.Fatalf("want %s, got %s", condition, st)
	}
}

// Certificates prove both sides: SASL EXTERNAL each way.
func TestExternal(t *testing.T) {
	ca, z := certtest.New(), newZone()
	trust := func(c *Config) { c.Roots, c.RequireCertificate = ca.Pool(), true }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test", "svc.a.test"), trust)
	b := newNode(t, z, "b.test", serverTLS(ca, "", "*.b.test"), trust)
	a.send(b, "1")
	b.wantMessage(t, "1")
	b.send(a, "2")
	a.wantMessage(t, "2")
	a.send(b, "3")
	b.wantMessage(t, "3")
	if n := a.fed.count.verified.Load() + b.fed.count.verified.Load(); n != 0 {
		t.Error("dialback was used", n)
	}
	if a.fed.count.opened.Load() != 1 {
		t.Error("more than one stream")
	}
	if c := fmt.Sprint(a.fed.Connections(), b.fed.Connections()); c != "map[svc.b.test:[bidi]] map[svc.a.test:[bidi]]" { // XEP-0485
		t.Error(c)
	}
}

// Without certificates that anybody trusts, dialback proves both sides, over TLS.
func TestDialback(t *testing.T) {
	ca, z := certtest.New(), newZone()
	nobody := func(c *Config) { c.Roots = x509.NewCertPool() }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test"), nobody)
	b := newNode(t, z, "b.test", serverTLS(ca, "", "b.test"), nobody)
	a.send(b, "1")
	b.wantMessage(t, "1")
	b.send(a, "2")
	a.wantMessage(t, "2")
	if a.fed.count.verified.Load() != 0 || b.fed.count.verified.Load() != 1 {
		t.Error("no dialback, or more than one")
	}
	if b.fed.count.backward.Load() != 1 { // XEP-0288
		t.Error("the answer went another way")
	}
}

// A server that wants certificates takes no dialback and does not speak to a server without.
func TestCertificateRequired(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "svc.a.test"), func(c *Config) { c.Roots, c.RequireCertificate = ca.Pool(), true })
	// The common name says b; the alternative names do not (CVE-2025-59154).
	b := newNode(t, z, "b.test", serverTLS(ca, "svc.b.test", "other.test"), func(c *Config) { c.Roots = ca.Pool() })
	a.send(b, "1")
	a.wantError(t, "remote-server-not-found")
	b.send(a, "2")
	b.wantError(t, "remote-server-timeout")
}

func TestPolicy(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test"), func(c *Config) { c.Policy = Policy{Mode: Listed, Allow: []string{"*.c.test"}} })
	b := newNode(t, z, "b.test", serverTLS(ca, "", "b.test"), nil)
	a.send(b, "1")
	a.wantError(t, "not-allowed")
	b.send(a, "2")
	b.wantError(t, "remote-server-timeout")
	for p, want := range map[*Policy]bool{
		{}: true, {Mode: Closed}: false, {Deny: []string{"x.test"}}: false, {Deny: []string{"*.x.test"}}: true, {Mode: Listed}: false,
		{Mode: Listed, Allow: []string{"x.test"}}: true, {Mode: Listed, Allow: []string{"x.test"}, Deny: []string{"x.test"}}: false,
	} {
		if p.allows("x.test") != want {
			t.Errorf("%+v", p)
		}
	}
}

func TestUnreachable(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test"), func(c *Config) { c.Limits.RetryMin = time.Hour })
	write := func(to string) {
		a.srv.Route(stanza.NewMessage("chat", a.name, stanza.MustJID(to), stanza.TextElement(stanza.NSClient, "body", "x")))
	}
	write("x@b.nowhere")
	a.wantError(t, "remote-server-not-found")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z.set("xmpp-server", "closed.test", ln.Addr().(*net.TCPAddr).Port)
	ln.Close()
	write("x@closed.test")
	a.wantError(t, "remote-server-timeout")
	write("x@closed.test") // not tried again so soon
	a.wantError(t, "remote-server-timeout")
	if a.fed.count.failed.Load() != 2 {
		t.Error(a.fed.count.failed.Load())
	}
	z.srv["_xmpp-server._tcp.none.test"] = []*net.SRV{{Target: "."}}
	write("x@none.test")
	a.wantError(t, "remote-server-not-found")
}

// A record that points inside is not followed (SSRC: a server is no tool to reach the operator's network).
func TestPrivateNotDialled(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test"), func(c *Config) { c.AllowPrivate = false })
	b := newNode(t, z, "b.test", serverTLS(ca, "", "b.test"), nil)
	a.send(b, "1")
	a.wantError(t, "remote-server-not-found")
	for _, addr := range []string{"127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
		"2002:a00:1::1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "2001:db8::1"} {
		if !private(netip.MustParseAddr(addr)) {
			t.Error(addr)
		}
	}
	for _, addr := range []string{"8.8.8.8", "2a00:1450::1", "64:ff9b::808:808"} {
		if private(netip.MustParseAddr(addr)) {
			t.Error(addr)
		}
	}
}

// The connection is cut again and again under load: nothing is lost, nothing comes twice, all in order (XEP-0198 between servers).
func TestCutAndResume(t *testing.T) {
	ca, z := certtest.New(), newZone()
	trust := func(c *Config) { c.Roots = ca.Pool(); c.Limits.QueueStanzas = 10_000 }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "svc.a.test"), trust)
	b := newNode(t, z, "b.test", serverTLS(ca, "", "svc.b.test"), trust)
	br := proctest.StartProxy(t, b.addr())
	z.set("xmpp-server", "svc.b.test", br.Port())
	const n = 5000
	for i := range n {
		a.send(b, fmt.Sprint(i))
		if i%500 == 250 {
			await.True(t, "half of what was sent", func() bool { return b.fed.count.received.Load() >= uint64(i)/2 }) // the cut comes in the middle of things
			br.Cut()
		}
	}
	for i := range n {
		b.wantMessage(t, fmt.Sprint(i))
	}
	if a.fed.count.resumed.Load() == 0 || b.fed.count.resumed.Load() == 0 {
		t.Error("nothing was resumed")
	}
	if a.fed.count.bounced.Load() > 0 || len(b.got) > 0 {
		t.Error(a.fed.count.bounced.Load(), len(b.got))
	}
}

// TestCountsDisagree: a session of which the other server says more than was sent is forgotten, and what waits goes over a new one; it was tried for ever.
func TestCountsDisagree(t *testing.T) {
	ca, z := certtest.New(), newZone()
	trust := func(c *Config) { c.Roots = ca.Pool() }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "svc.a.test"), trust)
	b := newNode(t, z, "b.test", serverTLS(ca, "", "svc.b.test"), trust)
	br := proctest.StartProxy(t, b.addr())
	z.set("xmpp-server", "svc.b.test", br.Port())
	a.send(b, "1")
	b.wantMessage(t, "1")
	await.True(t, "1 is acknowledged", func() bool { return !a.unacked(b, "1") })
	br.Stall()
	a.send(b, "2")
	await.True(t, "2 is under way", func() bool { return a.unacked(b, "2") })
	b.fed.mu.Lock()
	for _, in := range b.fed.active {
		in.session.in.Number(nil, 1000) // as if b had another past than a
	}
	b.fed.mu.Unlock()
	br.Cut()
	b.wantMessage(t, "2")
}

func TestEndpoints(t *testing.T) {
	z := newZone()
	z.srv["_xmpps-server._tcp.x.test"] = []*net.SRV{{Target: "s1.", Port: 1, Priority: 5}, {Target: "s2.", Port: 2, Priority: 20}}
	z.srv["_xmpp-server._tcp.x.test"] = []*net.SRV{{Target: "p1.", Port: 3, Priority: 5}, {Target: "p2.", Port: 4, Priority: 10}}
	got, err := endpoints(context.Background(), z, "x.test")
	if err != nil {
		t.Fatal(err)
	}
	want := []endpoint{{"s1", 1, true}, {"p1", 3, false}, {"p2", 4, false}, {"s2", 2, true}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error(got)
	}
	if got, _ := endpoints(context.Background(), z, "plain.test"); fmt.Sprint(got) != fmt.Sprint([]endpoint{{"plain.test", 5269, false}}) {
		t.Error(got)
	}
}

// XEP-0185 §4 has this example.
func TestKey(t *testing.T) {
	s := &Service{}
	ca := certtest.New()
	cfg := xmpp.DefaultConfig()
	cfg.Domain, cfg.TLS = "a.test", serverTLS(ca, "", "a.test")
	srv, err := xmpp.New(cfg, noAccounts{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown(context.Background())
	if s, err = New(Config{TLS: cfg.TLS, Secret: []byte("s3cr3tf0rd14lb4ck")}, srv, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	const want = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
	if got := s.key("xmpp.example.com", "example.org", "D60000229F"); got != want {
		t.Error(got)
	}
	if !s.ours("xmpp.example.com", "example.org", "D60000229F", want) || s.ours("xmpp.example.com", "example.net", "D60000229F", want) {
		t.Error("ours")
	}
}

// A domain with letters that DNS does not have: looked up, and certified, in its other form (RFC 6120 §13.7.1.1).
func TestForeignDomain(t *testing.T) {
	ca, z := certtest.New(), newZone()
	trust := func(c *Config) { c.Roots, c.RequireCertificate = ca.Pool(), true }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test", "svc.a.test"), trust)
	b := newNode(t, z, "bücher.test", serverTLS(ca, "", "xn--bcher-kva.test", "*.xn--bcher-kva.test"), trust)
	a.send(b, "1")
	b.wantMessage(t, "1")
	b.send(a, "2")
	a.wantMessage(t, "2")
}
