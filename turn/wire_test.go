package turn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"konzil/internal/await"

	"github.com/pion/stun/v4"
)

func TestErrorCodes(t *testing.T) {
	sfu := newEcho("127.0.0.1:10000")
	s := start(t, testConfig(), sfu)
	r := newRaw(t, s, "user", "secret")
	for _, method := range []stun.Method{stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind} {
		if code := r.code(method, peer("127.0.0.1:10000")); code != 437 {
			t.Errorf("%s without allocation: %d, want 437", method, code)
		}
	}
	for name, tc := range map[string]struct {
		attrs []stun.Setter
		want  int
	}{
		"no transport":         {nil, 400},
		"TCP":                  {[]stun.Setter{attr(stun.AttrRequestedTransport, 6, 0, 0, 0)}, 442},
		"other transport":      {[]stun.Setter{attr(stun.AttrRequestedTransport, 1, 0, 0, 0)}, 442},
		"short transport":      {[]stun.Setter{attr(stun.AttrRequestedTransport, 17)}, 442},
		"IPv6 without one":     {[]stun.Setter{requestUDP, attr(stun.AttrRequestedAddressFamily, familyIPv6, 0, 0, 0)}, 440},
		"odd family":           {[]stun.Setter{requestUDP, attr(stun.AttrRequestedAddressFamily, 9, 0, 0, 0)}, 440},
		"unknown attribute":    {[]stun.Setter{requestUDP, attr(0x7ffe, 1, 2, 3, 4)}, 420},
		"both families":        {[]stun.Setter{requestUDP, attr(stun.AttrRequestedAddressFamily, familyIPv4, 0, 0, 0), attr(attrAdditionalAddressFamily, familyIPv6, 0, 0, 0)}, 400},
		"additional IPv4":      {[]stun.Setter{requestUDP, attr(attrAdditionalAddressFamily, familyIPv4, 0, 0, 0)}, 400},
		"two even pairs":       {[]stun.Setter{requestUDP, attr(attrAdditionalAddressFamily, familyIPv6, 0, 0, 0), attr(stun.AttrEvenPort, 0x80)}, 400},
		"unknown token":        {[]stun.Setter{requestUDP, attr(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, 508},
		"short token":          {[]stun.Setter{requestUDP, attr(stun.AttrReservationToken, 1, 2, 3)}, 400},
		"even port and token":  {[]stun.Setter{requestUDP, attr(stun.AttrEvenPort, 0), attr(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, 400},
		"mistyped family size": {[]stun.Setter{requestUDP, attr(stun.AttrRequestedAddressFamily, familyIPv4)}, 400},
	} {
		if code := r.code(stun.MethodAllocate, tc.attrs...); code != tc.want {
			t.Errorf("%s: %d, want %d", name, code, tc.want)
		}
	}
	q := r.build(stun.MethodAllocate, requestUDP)
	first := r.exchange(q)
	if codeOf(t, first) != 0 {
		t.Fatal(first)
	}
	if again := r.exchange(q); !bytes.Equal(again.Raw, first.Raw) { // RFC 8656 §7.2: a request sent twice
		t.Errorf("the repeated request got %v", again)
	}
	if code := r.code(stun.MethodAllocate, requestUDP); code != 437 {
		t.Errorf("second allocation: %d, want 437", code)
	}
	p := peer("127.0.0.1:10000")
	for number, want := range map[uint16]int{0: 400, 1: 400, 0x3fff: 400, 0x8000: 400, 0xffff: 400, 0x4fff: 0} {
		if code := r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, byte(number>>8), byte(number), 0, 0), p); code != want {
			t.Errorf("channel %#x: %d, want %d", number, code, want)
		}
	}
	for name, attrs := range map[string][]stun.Setter{
		"other number for the peer": {attr(stun.AttrChannelNumber, 0x40, 0x01, 0, 0), p},
		"other peer for the number": {attr(stun.AttrChannelNumber, 0x4f, 0xff, 0, 0), peer("127.0.0.1:10001")},
		"no peer":                   {attr(stun.AttrChannelNumber, 0x40, 0x01, 0, 0)},
		"no number":                 {p},
		"short peer":                {attr(stun.AttrChannelNumber, 0x40, 0x01, 0, 0), attr(stun.AttrXORPeerAddress, 0, 1, 2)},
	} {
		if code := r.code(stun.MethodChannelBind, attrs...); code != 400 {
			t.Errorf("%s: %d, want 400", name, code)
		}
	}
	if code := r.code(stun.MethodCreatePermission); code != 400 {
		t.Errorf("permission for nobody: %d, want 400", code)
	}
	if code := r.code(stun.MethodCreatePermission, peer("[2a00:1450::1]:1")); code != 443 {
		t.Errorf("IPv6 peer on an IPv4 relay: %d, want 443", code)
	}
	if code := r.code(stun.MethodCreatePermission, peer("[::ffff:127.0.0.1]:1")); code != 443 {
		t.Errorf("mapped peer on an IPv4 relay: %d, want 443", code)
	}
	if code := r.code(stun.MethodRefresh, attr(stun.AttrLifetime, 0, 0, 0, 0)); code != 0 {
		t.Errorf("release: %d", code)
	}
	await.True(t, "end of the allocation", func() bool { return s.Counters()["allocations_now"] == 0 })
}

// TestNoAllocationNoCredentials: who has not proved to be a user is asked for credentials, whatever there is to be had (RFC 8656 §5).
func TestNoAllocationNoCredentials(t *testing.T) {
	s := start(t, testConfig(), nil)
	wrong, none := newRaw(t, s, "user", "wrong"), newRaw(t, s, "user", "secret")
	none.nonce = "" // and so it signs nothing
	stale := newRaw(t, s, "user", "secret")
	stale.nonce = stale.nonce[:len(stale.nonce)-1] + "x"
	for _, method := range []stun.Method{stun.MethodCreatePermission, stun.MethodChannelBind, stun.MethodRefresh} {
		for name, r := range map[string]*raw{"wrong": wrong, "none": none} {
			m := r.ask(method, attr(stun.AttrChannelNumber, 0x40, 0, 0, 0), peer("127.0.0.1:10000"))
			if code := codeOf(t, m); code != 401 || m.Type.Method != method || !m.Contains(stun.AttrNonce) || !m.Contains(stun.AttrRealm) {
				t.Errorf("%v, %s: %v", method, name, m)
			}
		}
		if code := stale.code(method, attr(stun.AttrChannelNumber, 0x40, 0, 0, 0), peer("127.0.0.1:10000")); code != 437 && code != 438 {
			t.Errorf("%v, stale nonce: %d", method, code)
		}
	}
}

func TestCredentials(t *testing.T) {
	s := start(t, testConfig(), nil)
	good, password, _ := s.Credentials("u", time.Hour)
	expired, oldPassword, _ := s.Credentials("u", -time.Second)
	revoked, revokedPassword, _ := s.Credentials("r", time.Hour)
	s.Revoke("r")
	forged := strings.Replace(good, "1", "2", 1)
	for name, tc := range map[string]struct{ user, password string }{
		"static, wrong":      {"user", "wrong"},
		"unknown":            {"nobody", "secret"},
		"expired":            {expired, oldPassword},
		"later expiry":       {forged, password},
		"other user":         {good + "x", password},
		"wrong password":     {good, "x"},
		"empty":              {"", ""},
		"no time":            {":u", password},
		"revoked":            {revoked, revokedPassword},
		"negative":           {"-1:u", password},
		"beyond 64 bits":     {"99999999999999999999:u", password},
		"static as a prefix": {"user:1", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRaw(t, s, tc.user, tc.password)
			before := s.Counters()["unauthorized"]
			m := r.ask(stun.MethodAllocate, requestUDP)
			if code := codeOf(t, m); code != 401 {
				t.Errorf("%d, want 401", code)
			}
			if !m.Contains(stun.AttrNonce) || !m.Contains(stun.AttrRealm) {
				t.Errorf("401 without nonce or realm (RFC 8489 §9.2.4): %v", m)
			}
			if s.Counters()["unauthorized"] != before+1 {
				t.Error("not counted")
			}
		})
	}
	r := newRaw(t, s, good, password)
	r.realm = "other.example"
	if code := r.code(stun.MethodAllocate, requestUDP); code != 401 {
		t.Errorf("other realm: %d", code)
	}
	r.realm, r.nonce = "test.example", strings.Repeat("00", 40)
	if code := r.code(stun.MethodAllocate, requestUDP); code != 438 {
		t.Errorf("forged nonce: %d, want 438", code)
	}
	if n := s.Counters(); n["allocations"] != 0 {
		t.Error(n)
	}
	if code := newRaw(t, s, good, password).code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Errorf("good credentials: %d", code)
	}
}

// TestSignedErrors: an error to a known user has to carry MESSAGE-INTEGRITY, or anybody could forge it.
func TestSignedErrors(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	for _, m := range []*stun.Message{
		r.ask(stun.MethodRefresh), // 437
		r.ask(stun.MethodAllocate, attr(stun.AttrRequestedTransport, 6, 0, 0, 0)), // 442
	} {
		if err := stun.NewLongTermIntegrity("user", r.realm, "secret").Check(m); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
}

func TestOtherUserOnTheSameTuple(t *testing.T) {
	c := testConfig()
	c.Users["second"] = "other"
	s := start(t, c, newEcho("127.0.0.1:10000"))
	r := newRaw(t, s, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	r.user, r.password = "second", "other"
	for _, method := range []stun.Method{stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind} {
		if code := r.code(method, peer("127.0.0.1:10000")); code != 441 {
			t.Errorf("%s: %d, want 441", method, code)
		}
	}
}

func TestQuotas(t *testing.T) {
	c := testConfig()
	c.PerUser, c.PerAddress, c.MaxAllocations = 2, 3, 100
	s := start(t, c, nil)
	sessions := 0
	alloc := func(user string) (*raw, int) {
		sessions++
		name, password, _ := s.Credentials(user+"/"+strconv.Itoa(sessions), time.Hour)
		r := newRaw(t, s, name, password)
		return r, r.code(stun.MethodAllocate, requestUDP)
	}
	a, code := alloc("a")
	if _, code2 := alloc("a"); code != 0 || code2 != 0 {
		t.Fatal(code, code2)
	}
	if _, code := alloc("a"); code != 486 {
		t.Errorf("third of a user, with a credential of its own: %d, want 486", code)
	}
	if _, code := alloc("b"); code != 0 {
		t.Errorf("other user: %d", code)
	}
	if _, code := alloc("c"); code != 486 {
		t.Errorf("fourth of an address: %d, want 486", code)
	}
	if n := s.Counters(); n["quota_reached"] != 2 || n["allocations_now"] != 3 {
		t.Error(n)
	}
	a.code(stun.MethodRefresh, attr(stun.AttrLifetime, 0, 0, 0, 0))
	await.True(t, "place", func() bool { return s.Counters()["allocations_now"] == 2 })
	if _, code := alloc("a"); code != 0 {
		t.Errorf("after a release: %d", code)
	}
	s.Drain(true)
	if _, code := alloc("d"); code != 508 {
		t.Errorf("while draining: %d, want 508", code)
	}
}

func TestFullServerAndPorts(t *testing.T) {
	c := testConfig()
	c.MaxAllocations = 1
	s := start(t, c, nil)
	if code := newRaw(t, s, "user", "secret").code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	if code := newRaw(t, s, "user", "secret").code(stun.MethodAllocate, requestUDP); code != 508 {
		t.Errorf("%d, want 508", code)
	}

	// A range of one port, taken by the first allocation.
	probe := udpEcho(t)
	port := uint16(addrPort(probe.LocalAddr()).Port())
	c = testConfig()
	c.PortMin, c.PortMax = port, port
	s = start(t, c, nil)
	if code := newRaw(t, s, "user", "secret").code(stun.MethodAllocate, requestUDP); code != 508 {
		t.Errorf("no port free: %d, want 508", code)
	}
}

func TestEvenPort(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	m := r.ask(stun.MethodAllocate, requestUDP, attr(stun.AttrEvenPort, 0))
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil || relayed.Port%2 != 0 {
		t.Errorf("%v: %v", m, err)
	}
	if n := s.Counters()["allocations_now"]; n != 1 {
		t.Errorf("%d relays for one allocation", n)
	}
}

func TestRevokeEndsAllocations(t *testing.T) {
	s := start(t, testConfig(), nil)
	name, password, _ := s.Credentials("u", time.Hour)
	r := newRaw(t, s, name, password)
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	s.Revoke("u")
	await.True(t, "end", func() bool { return s.Counters()["allocations_now"] == 0 })
	if code := r.code(stun.MethodRefresh); code != 401 {
		t.Errorf("%d, want 401", code)
	}
	name, password, _ = s.Credentials("u", time.Hour) // the next session, in the same second
	if code := newRaw(t, s, name, password).code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Errorf("a credential made after the end: %d", code)
	}
}

func TestRevokedListIsBounded(t *testing.T) {
	c := newCredentials(Config{Realm: "r"})
	for i := range maxRevoked + 100 {
		user := strconv.Itoa(i)
		c.issue(user, time.Hour)
		c.revoke(user)
	}
	if len(c.revoked) != maxRevoked {
		t.Error(len(c.revoked))
	}
}

// TestRubbish sends what is no request; nothing of it is answered, and the server lives on.
func TestRubbish(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	good := r.build(stun.MethodAllocate, requestUDP).Raw
	for _, p := range [][]byte{
		{0}, {0, 1}, make([]byte, 19), make([]byte, 20), good[:len(good)-1], good[:20],
		{0x40, 0, 0, 0}, {0x40, 0, 0xff, 0xff}, {0x4f, 0xff, 0, 1}, {0x50, 0, 0, 1}, {0x7f, 0xff, 1, 0}, {0x80, 1, 2, 3}, {0xff},
		bytes.Repeat([]byte{0xff}, 1500), make([]byte, packetSize), make([]byte, 1900),
		slices.Concat([]byte{0x01, 0x01}, good[2:]), // a success response
		slices.Concat([]byte{0x01, 0x11}, good[2:]), // an error response
		slices.Concat([]byte{0x00, 0x16}, good[2:]), // a Send indication without allocation
		slices.Concat([]byte{0x00, 0x17}, good[2:]), // a Data indication
		slices.Concat([]byte{0x3e, 0xef}, good[2:]), // an unknown method
	} {
		if _, err := r.conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if m := r.ask(stun.MethodBinding); codeOf(t, m) != 0 { // the first answer that comes is to this
		t.Error(m)
	}
	if n := s.Counters(); n["malformed"] < 10 || n["oversized"] != 2 {
		t.Error(n)
	}
}

// TestFingerprint: what has a wrong one is no STUN, and gets no answer.
func TestFingerprint(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	r.nonce = ""
	for _, wrong := range [][]byte{{1, 2, 3, 4}, {1}} {
		if _, err := r.conn.Write(r.build(stun.MethodBinding, attr(stun.AttrFingerprint, wrong...)).Raw); err != nil {
			t.Fatal(err)
		}
	}
	q := r.build(stun.MethodBinding, stun.Fingerprint)
	if _, err := r.conn.Write(q.Raw); err != nil {
		t.Fatal(err)
	}
	m := &stun.Message{Raw: r.read()}
	if m.Decode() != nil || m.TransactionID != q.TransactionID || codeOf(t, m) != 0 {
		t.Errorf("the first answer is %v", m)
	}
	if n := s.Counters(); n["malformed"] != 2 || n["requests"] != 2 { // newRaw's, and the last
		t.Error(n)
	}
}

func TestLimiter(t *testing.T) {
	var l limiter
	a := netip.MustParseAddr("192.0.2.1")
	for i := range limitPerSecond + 1 {
		if got := l.take(a, 1); got != (i < limitPerSecond) {
			t.Fatalf("answer %d: %v", i, got)
		}
	}
	if !l.take(a, 2) {
		t.Error("the next second does not help")
	}
}

func TestFrames(t *testing.T) {
	msg := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	data := []byte{0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0} // 5 bytes, padded to 8
	big := slices.Concat([]byte{0x40, 0, 0xff, 0xfc}, make([]byte, 0xfffc))
	for _, piece := range []int{1, 3, 1 << 20} {
		var got [][]byte
		_, oversized, err := inPieces(slices.Concat(msg, data, big, msg, []byte{0x80, 0, 0, 0}), piece, func(frame []byte) { got = append(got, bytes.Clone(frame)) })
		if want := [][]byte{msg, data, msg}; !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("in pieces of %d: %x", piece, got)
		}
		if oversized != 1 || !errors.Is(err, errFrame) {
			t.Error(oversized, err)
		}
	}
}

func TestStreamLimits(t *testing.T) {
	c := testConfig()
	c.PerAddress = 2
	s := start(t, c, nil)
	var held []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", s.TCPAddrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	await.True(t, "two connections", func() bool { return s.Counters()["streams_now"] == 2 })
	third, err := net.Dial("tcp", s.TCPAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection is served")
	}
	if n := s.Counters(); n["streams_refused"] != 1 {
		t.Error(n)
	}
	// Rubbish ends a connection.
	if _, err := held[0].Write([]byte("\x80 rubbish")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(held[0]); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	held[1].Close()
	await.True(t, "no connection", func() bool { return s.Counters()["streams_now"] == 0 })
}

// TestSilentStream: a connection that says nothing, or only half a message, is closed in time.
func TestSilentStream(t *testing.T) {
	c := testConfig()
	c.IdleTimeout = 20 * time.Millisecond
	s := start(t, c, nil)
	for _, p := range [][]byte{nil, {0, 1, 0, 8, 0x21}} {
		conn, err := net.Dial("tcp", s.TCPAddrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrNoProgress) || isTimeout(err) {
			t.Errorf("after %d bytes: %v", len(p), err)
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// TestSlowReader: a client that does not read is cut off, and its relay ends; the SFU that sends to it never waits.
func TestSlowReader(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) { slowReader(t, network == "tls") })
	}
}

func slowReader(t *testing.T, secure bool) {
	c := testConfig()
	c.WriteTimeout = 300 * time.Millisecond // long enough to fill what waits for it
	sfu := newEcho("127.0.0.1:10000")
	s := start(t, c, sfu)
	to := s.TCPAddrs()[0].String()
	server, trust := certified()
	if secure {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ServeTLS(l, server); err != nil {
			t.Fatal(err)
		}
		to = l.Addr().String()
	}
	conn, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4096)
	if secure {
		conn = tls.Client(conn, trust)
	}
	r := newRawStream(t, conn, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	if code := r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, 0x40, 0, 0, 0), peer("127.0.0.1:10000")); code != 0 {
		t.Fatal(code)
	}
	if _, err := conn.Write([]byte{0x40, 0, 0, 4, 1, 2, 3, 4}); err != nil { // attaches
		t.Fatal(err)
	}
	await.True(t, "attached", func() bool { n, _ := sfu.state(); return n == 1 })
	sfu.mu.Lock()
	var deliver func(netip.AddrPort, [][]byte)
	for _, d := range sfu.attached {
		deliver = d
	}
	sfu.mu.Unlock()
	packet := [][]byte{make([]byte, 1200)}
	await.True(t, "cut off", func() bool {
		for range 64 { // faster than it can be sent within the time to write
			deliver(sfu.addrs[0], packet)
		}
		if n := waitingAtMost(s); n > outboxSize+outboxSize/8 { // TLS adds some bytes to each frame
			t.Fatalf("%d bytes wait for one client", n)
		}
		n := s.Counters()
		return n["streams_slow"] == 1 && n["allocations_now"] == 0 && n["streams_now"] == 0
	})
	if s.Counters()["queue_full"] == 0 {
		t.Error("the queue never was full")
	}
}

// waitingAtMost is the most that waits for a connection of the server.
func waitingAtMost(s *Server) (most int) {
	s.linksMu.Lock()
	defer s.linksMu.Unlock()
	for _, l := range s.links {
		l.mu.RLock()
		for _, c := range l.streams {
			c.mu.Lock()
			most = max(most, c.tcp.Waiting()+len(c.frames))
			c.mu.Unlock()
		}
		l.mu.RUnlock()
	}
	return most
}

func TestPauseEndsWithServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{stopping: make(chan struct{})}
		if !s.pause(time.Minute) {
			t.Error("ended early")
		}
		close(s.stopping)
		if s.pause(time.Hour) {
			t.Error("did not see the end")
		}
	})
}

func TestConfigCheck(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no listener": func(c *Config) { c.UDP, c.TCP = nil, nil },
		"no realm":    func(c *Config) { c.Realm = "" },
		"long realm":  func(c *Config) { c.Realm = strings.Repeat("x", 128) },
		"ports":       func(c *Config) { c.PortMin, c.PortMax = 2000, 1000 },
		"half ports":  func(c *Config) { c.PortMin, c.PortMax = 0, 1000 },
		"limit":       func(c *Config) { c.PerUser = 0 },
		"timeout":     func(c *Config) { c.IdleTimeout = 0 },
	} {
		c := testConfig()
		change(&c)
		if _, err := New(c, nil, nil); err == nil || !strings.HasPrefix(err.Error(), "turn: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := DefaultConfig()
	if err := d.check(); err != nil {
		t.Error(err)
	}
}
