package turn

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	pion "github.com/pion/turn/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func testConfig() Config {
	c := DefaultConfig()
	c.UDP, c.TCP = []netip.AddrPort{loopback}, []netip.AddrPort{loopback}
	c.PortMin, c.PortMax = 0, 0
	c.Realm = "test.example"
	c.Users = map[string]string{"user": "secret"}
	return c
}

func start(t testing.TB, c Config, peer InMemoryPeer) *Server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("KONZIL_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := New(c, peer, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if a, n := s.reg.now(); a != 0 || n != 0 {
			t.Errorf("%d allocations and %d connections are left after Close", a, n)
		}
	})
	return s
}

// dialLink connects to the server by udp or tcp and gives what a TURN client sends over.
func dialLink(t testing.TB, s *Server, network string) net.PacketConn {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c, err := net.Dial("tcp", s.TCPAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return pion.NewSTUNConn(c)
}

// deadline is that of a read in a test.
func deadline() time.Time { return time.Now().Add(10 * time.Second) }

func serverAddr(s *Server, network string) netip.AddrPort {
	if network == "udp" {
		return s.UDPAddrs()[0]
	}
	return s.TCPAddrs()[0]
}

// client is pion/turn's client, listening.
func client(t testing.TB, s *Server, network, user, password string) *pion.Client {
	t.Helper()
	c, err := pion.NewClient(&pion.ClientConfig{
		TURNServerAddr: serverAddr(s, network).String(), STUNServerAddr: serverAddr(s, network).String(), Conn: dialLink(t, s, network),
		Username: user, Password: password, Realm: "test.example", LoggerFactory: loggers{slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func allocate(t testing.TB, c *pion.Client) net.PacketConn {
	t.Helper()
	r, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// raw is a TURN client by hand, over UDP, for what a proper one does not do.
type raw struct {
	t              testing.TB
	conn           *net.UDPConn
	user, password string
	realm, nonce   string
	signature      func(r *raw) []stun.Setter // nil: by MD5 and SHA-1
	buf            [2000]byte
}

func newRaw(t testing.TB, s *Server, user, password string) *raw {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.UDPAddrs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r := &raw{t: t, conn: c, user: user, password: password}
	m := r.ask(stun.MethodAllocate, requestUDP) // for realm and nonce
	var code stun.ErrorCodeAttribute
	var realm stun.Realm
	var nonce stun.Nonce
	if err := m.Parse(&code, &realm, &nonce); err != nil || code.Code != 401 {
		t.Fatalf("first answer: %v, %v", m, err)
	}
	r.realm, r.nonce = realm.String(), nonce.String()
	return r
}

// requestUDP is REQUESTED-TRANSPORT UDP.
var requestUDP = stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}

func attr(t stun.AttrType, v ...byte) stun.RawAttribute { return stun.RawAttribute{Type: t, Value: v} }

// peerAttr is XOR-PEER-ADDRESS.
type peerAttr netip.AddrPort

func (p peerAttr) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	ip := net.IP(a.Addr().AsSlice())
	if a.Addr().Is4In6() { // stun would send it as IPv4
		v := []byte{0, familyIPv6, byte(a.Port()>>8) ^ 0x21, byte(a.Port()) ^ 0x12}
		key := append([]byte{0x21, 0x12, 0xa4, 0x42}, m.TransactionID[:]...)
		for i, b := range a.Addr().As16() {
			v = append(v, b^key[i])
		}
		m.Add(stun.AttrXORPeerAddress, v)
		return nil
	}
	return stun.XORMappedAddress{IP: ip, Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

func peer(s string) peerAttr { return peerAttr(netip.MustParseAddrPort(s)) }

func (r *raw) build(method stun.Method, attrs ...stun.Setter) *stun.Message {
	r.t.Helper()
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
	if r.nonce != "" {
		all = append(all, stun.NewUsername(r.user), stun.NewRealm(r.realm), stun.NewNonce(r.nonce))
		if r.signature != nil {
			all = append(all, r.signature(r)...)
		} else {
			all = append(all, stun.NewLongTermIntegrity(r.user, r.realm, r.password))
		}
	}
	m, err := stun.Build(all...)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// ask sends a request and gives its answer.
func (r *raw) ask(method stun.Method, attrs ...stun.Setter) *stun.Message {
	r.t.Helper()
	return r.exchange(r.build(method, attrs...))
}

func (r *raw) exchange(q *stun.Message) *stun.Message {
	r.t.Helper()
	if _, err := r.conn.Write(q.Raw); err != nil {
		r.t.Fatal(err)
	}
	for {
		a := &stun.Message{Raw: r.read()}
		if err := a.Decode(); err != nil {
			r.t.Fatal(err)
		}
		if a.TransactionID == q.TransactionID {
			return a
		}
	}
}

func (r *raw) read() []byte {
	r.t.Helper()
	r.conn.SetReadDeadline(deadline())
	n, err := r.conn.Read(r.buf[:])
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.Clone(r.buf[:n])
}

// code asks and gives the error code, 0 for success. Errors to known users have to be signed.
func (r *raw) code(method stun.Method, attrs ...stun.Setter) int {
	r.t.Helper()
	return codeOf(r.t, r.ask(method, attrs...))
}

func codeOf(t testing.TB, m *stun.Message) int {
	t.Helper()
	switch m.Type.Class {
	case stun.ClassSuccessResponse:
		return 0
	case stun.ClassErrorResponse:
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(m); err != nil {
			t.Fatalf("an error response without code: %v", m)
		}
		return int(code.Code)
	}
	t.Fatalf("no response: %v", m)
	return 0
}

// rawStream is a TURN client by hand over TCP or TLS.
type rawStream struct {
	raw
	net.Conn
}

// newRawStream asks for realm and nonce.
func newRawStream(t testing.TB, c net.Conn, user, password string) *rawStream {
	t.Helper()
	r := &rawStream{raw{t: t, user: user, password: password}, c}
	var realm stun.Realm
	var nonce stun.Nonce
	if err := r.ask(stun.MethodAllocate, requestUDP).Parse(&realm, &nonce); err != nil {
		t.Fatal(err)
	}
	r.realm, r.nonce = realm.String(), nonce.String()
	return r
}

func dialRawStream(t testing.TB, s *Server) *rawStream {
	t.Helper()
	c, err := net.Dial("tcp", s.TCPAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newRawStream(t, c, "user", "secret")
}

func (r *rawStream) ask(method stun.Method, attrs ...stun.Setter) *stun.Message {
	r.t.Helper()
	if _, err := r.Write(r.build(method, attrs...).Raw); err != nil {
		r.t.Fatal(err)
	}
	return r.message()
}

// message reads the next STUN message.
func (r *rawStream) message() *stun.Message {
	r.t.Helper()
	r.SetReadDeadline(deadline())
	head := make([]byte, stunHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		r.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[2:]))
	if _, err := io.ReadFull(r, body); err != nil {
		r.t.Fatal(err)
	}
	m := &stun.Message{Raw: append(head, body...)}
	if err := m.Decode(); err != nil {
		r.t.Fatal(err)
	}
	return m
}

// code asks and gives the error code, 0 for success.
func (r *rawStream) code(method stun.Method, attrs ...stun.Setter) int {
	r.t.Helper()
	return codeOf(r.t, r.ask(method, attrs...))
}

// echo is an in-memory SFU that sends back what it gets.
type echo struct {
	addrs []netip.AddrPort

	mu       sync.Mutex // guards the fields below
	attached map[netip.AddrPort]func(netip.AddrPort, [][]byte)
	packets  int
}

func newEcho(addrs ...string) *echo {
	e := &echo{attached: map[netip.AddrPort]func(netip.AddrPort, [][]byte){}}
	for _, a := range addrs {
		e.addrs = append(e.addrs, netip.MustParseAddrPort(a))
	}
	return e
}

func (e *echo) Owns(a netip.AddrPort) bool {
	return slices.ContainsFunc(e.addrs, func(o netip.AddrPort) bool {
		return o == a || a.Port() == 0 && o.Addr() == a.Addr()
	})
}

func (e *echo) Attach(relay netip.AddrPort, deliver func(netip.AddrPort, [][]byte)) (func(netip.AddrPort, [][]byte), func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.attached[relay] = deliver
	send := func(to netip.AddrPort, pkts [][]byte) {
		e.mu.Lock()
		e.packets += len(pkts)
		d := e.attached[relay]
		e.mu.Unlock()
		if d != nil {
			d(to, pkts)
		}
	}
	return send, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.attached, relay)
	}
}

func (e *echo) state() (attached, packets int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.attached), e.packets
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
