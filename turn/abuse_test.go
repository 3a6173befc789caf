package turn

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"konzil/internal/await"
	"konzil/internal/udpio"

	"github.com/pion/stun/v4"
)

// silence fails when the socket gets something within a moment after the server has dealt with what was sent before.
func silence(t *testing.T, s *Server, c *net.UDPConn, what string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	var b [100]byte
	if n, err := c.Read(b[:]); err == nil {
		t.Errorf("%s: %q came through", what, b[:n])
	}
}

func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sendIndication is a Send indication to a peer.
func sendIndication(t *testing.T, to netip.AddrPort, data string) []byte {
	t.Helper()
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAttr(to), attr(stun.AttrData, []byte(data)...))
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

// TestOpenRelay: nothing gets through without an allocation and a permission, in either direction.
func TestOpenRelay(t *testing.T) {
	c := testConfig()
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	s := start(t, c, nil)
	victim := listenUDP(t)
	to := addrPort(victim.LocalAddr())
	stray := func(n uint64) { await.True(t, "stray packets", func() bool { return s.Counters()["stray"] == n }) }

	r := newRaw(t, s, "user", "secret")
	for _, p := range [][]byte{{0x40, 0, 0, 4, 'd', 'a', 't', 'a'}, sendIndication(t, to, "data")} {
		if _, err := r.conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	stray(2)
	silence(t, s, victim, "without an allocation")

	m := r.ask(stun.MethodAllocate, requestUDP)
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
		t.Fatal(m, err)
	}
	for _, p := range [][]byte{{0x40, 0, 0, 4, 'd', 'a', 't', 'a'}, sendIndication(t, to, "data")} {
		if _, err := r.conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := victim.WriteTo([]byte("in"), &net.UDPAddr{IP: relayed.IP, Port: relayed.Port}); err != nil {
		t.Fatal(err)
	}
	stray(5)
	silence(t, s, victim, "without a permission")
	silence(t, s, r.conn, "from a peer without a permission")
	if n := s.Counters(); n["packets_socket_out"] != 0 {
		t.Error(n)
	}

	// Only who has the 5-tuple uses the allocation.
	if code := r.code(stun.MethodCreatePermission, peerAttr(to)); code != 0 {
		t.Fatal(code)
	}
	if _, err := newRaw(t, s, "user", "secret").conn.Write(sendIndication(t, to, "data")); err != nil {
		t.Fatal(err)
	}
	stray(6)
	silence(t, s, victim, "by another client's permission")
	if _, err := r.conn.Write(sendIndication(t, to, "data")); err != nil {
		t.Fatal(err)
	}
	victim.SetReadDeadline(time.Now().Add(10 * time.Second))
	var b [10]byte
	if n, err := victim.Read(b[:]); err != nil || string(b[:n]) != "data" {
		t.Errorf("with a permission: %q, %v", b[:n], err)
	}
}

// TestForgedAndReplayed: a request that was recorded does nothing for another client, nor one that was changed.
func TestForgedAndReplayed(t *testing.T) {
	s := start(t, testConfig(), newEcho("127.0.0.1:10000"))
	r := newRaw(t, s, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	thief := newRaw(t, s, "user", "unknown")
	for _, method := range []stun.Method{stun.MethodCreatePermission, stun.MethodRefresh, stun.MethodChannelBind} {
		attrs := []stun.Setter{peer("127.0.0.1:10000"), attr(stun.AttrChannelNumber, 0x40, 0, 0, 0)}
		if method == stun.MethodRefresh {
			attrs = nil
		}
		q := r.build(method, attrs...)
		if code := codeOf(t, r.exchange(q)); code != 0 {
			t.Fatal(method, code)
		}
		if code := codeOf(t, thief.exchange(q)); code != 437 {
			t.Errorf("%s replayed from elsewhere: %d, want 437", method, code)
		}
	}
	before := s.Counters()["unauthorized"]
	forged := r.build(stun.MethodRefresh, attr(stun.AttrLifetime, 0, 0, 0, 0))
	forged.Raw[len(forged.Raw)-1] ^= 1
	if code := codeOf(t, r.exchange(forged)); code != 401 {
		t.Errorf("forged: %d, want 401", code)
	}
	nonce := r.nonce
	r.nonce = nonce[:len(nonce)-1] + map[bool]string{true: "0", false: "1"}[nonce[len(nonce)-1] != '0']
	if code := r.code(stun.MethodRefresh); code != 438 {
		t.Errorf("a nonce that we did not make: %d, want 438", code)
	}
	r.nonce = nonce
	if n := s.Counters(); n["unauthorized"] != before+1 || n["stale_nonce"] != 1 || n["allocations_now"] != 1 {
		t.Error(n)
	}
}

// TestFlood: who has no proof gets no memory and only so many answers; who has, his quota, whatever names he takes.
func TestFlood(t *testing.T) {
	c := testConfig()
	c.PerAddress, c.Shards = 20, 1 // a nonce is its shard's
	s := start(t, c, nil)
	r := newRaw(t, s, "nobody", "guess")                  // has an answer: the server's goroutines have begun, with the buffers that they keep
	guess := r.build(stun.MethodAllocate, requestUDP).Raw // made once: the limit is one of a second
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 3 * limitPerSecond {
		if _, err := r.conn.Write(guess); err != nil {
			t.Fatal(err)
		}
		if s.Counters()["rate_limited"] > 0 {
			break
		}
	}
	await.True(t, "a limit", func() bool {
		_, err := r.conn.Write(guess)
		return err != nil || s.Counters()["rate_limited"] > 0
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d bytes more for requests without proof", grown)
	}
	if n := s.Counters(); n["allocations"] != 0 || n["unauthorized"] == 0 {
		t.Error(n)
	}
	quota := 0
	for i := range 30 {
		name, password, _ := s.Credentials(string(rune('a'+i)), time.Hour)
		x := &raw{t: t, conn: listenConnected(t, s), user: name, password: password, realm: r.realm, nonce: r.nonce}
		if code := x.code(stun.MethodAllocate, requestUDP); code == 486 {
			quota++
		} else if code != 0 {
			t.Errorf("allocation %d: %d", i, code)
		}
	}
	if n := s.Counters(); quota != 10 || n["quota_reached"] != 10 || n["allocations_now"] != 20 {
		t.Errorf("%d refused: %v", quota, n)
	}
}

func listenConnected(t *testing.T, s *Server) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.UDPAddrs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestTruncatedAndOversized: what is no whole message of a possible size is counted and not answered.
func TestTruncatedAndOversized(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	whole := r.build(stun.MethodAllocate, requestUDP).Raw
	before := s.Counters()
	for n := 1; n < len(whole); n++ {
		if _, err := r.conn.Write(whole[:n]); err != nil {
			t.Fatal(err)
		}
		await.True(t, "truncated ones", func() bool { return s.Counters()["malformed"] == before["malformed"]+uint64(n) })
	}
	if _, err := r.conn.Write(append([]byte(nil), make([]byte, 3000)...)); err != nil {
		t.Fatal(err)
	}
	big := append(append([]byte(nil), whole...), make([]byte, 3000)...)
	if _, err := r.conn.Write(big); err != nil {
		t.Fatal(err)
	}
	await.True(t, "oversized", func() bool { return s.Counters()["oversized"] == 2 })
	silence(t, s, r.conn, "an answer")
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Errorf("afterwards: %d", code)
	}
}

// TestPermissionBound: an allocation has a bounded table.
func TestPermissionBound(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	at := func(i int) peerAttr {
		return peerAttr(netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)}), 1))
	}
	for i := range maxPeers {
		if code := r.code(stun.MethodCreatePermission, at(i)); code != 0 {
			t.Fatalf("permission %d: %d", i, code)
		}
	}
	if code := r.code(stun.MethodCreatePermission, at(maxPeers)); code != 508 {
		t.Errorf("one too many: %d, want 508", code)
	}
	if code := r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, 0x40, 0, 0, 0), at(maxPeers)); code != 508 {
		t.Errorf("a channel to one too many: %d, want 508", code)
	}
	if code := r.code(stun.MethodCreatePermission, at(0)); code != 0 {
		t.Errorf("one that is there: %d", code)
	}
	if n := s.Counters(); n["table_full"] != 2 {
		t.Error(n)
	}
}

// TestTableExpiry: what packets go by runs out as RFC 8656 §9 and §12 say, on its own clock.
func TestTableExpiry(t *testing.T) {
	a, b := netip.MustParseAddrPort("8.8.8.8:1"), netip.MustParseAddrPort("9.9.9.9:1")
	const start = 1000
	x := emptyTable.permit([]netip.AddrPort{a}, start).bind(0x4000, b, start)
	permission, chann := start+int64(permissionLife), start+int64(channelLife)
	if !x.permits(a.Addr(), permission-1) || x.permits(a.Addr(), permission) || !x.permits(b.Addr(), permission-1) || x.permits(b.Addr(), permission) {
		t.Error("permissions do not live five minutes")
	}
	if x.byNumber(0x4000, chann-1) == nil || x.byNumber(0x4000, chann) != nil || x.byPeer(b, chann-1) == nil || x.byPeer(b, chann) != nil {
		t.Error("channels do not live ten minutes")
	}
	x = x.permit([]netip.AddrPort{a}, permission-1) // prolonged
	if !x.permits(a.Addr(), permission+1) {
		t.Error("not prolonged")
	}
	other := netip.MustParseAddrPort("7.7.7.7:1")
	if x = x.bind(0x4000, other, chann+1); x.byNumber(0x4000, chann+2).peer != other || len(x.channels) != 1 || len(x.permissions) != 1 {
		t.Error("a number that has run out is not free, or what has run out stays")
	}
}

// TestBandwidth: an allocation relays as many bytes a second as it may, each way, and the rest is counted.
func TestBandwidth(t *testing.T) {
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	g, l, r := memoryGate(sink{sfuAddr}, from)
	g.s.cfg.Bandwidth = 5000
	r.table.Store(emptyTable.bind(0x4000, sfuAddr, 1))
	l.data = [][]byte{}
	p := batchOf(1, from)[0].Data // 1200 bytes
	second := int64(time.Second)
	for i, want := range []struct{ at, passed int64 }{{1, 4}, {1 + second/2, 6}, {1 + 10*second, 10}} {
		g.now, g.out.now = want.at, want.at
		for range 10 {
			g.fromClient(p, from)
			r.toClient(&g.out, sfuAddr, p[4:])
		}
		g.flush()
		n := g.s.Counters()
		if up := n["packets_memory_out"]; up != uint64(want.passed) || len(l.data) != int(want.passed) || n["throttled"] != uint64(2*(10*(i+1)))-uint64(2*want.passed) {
			t.Errorf("after step %d: %d up, %d down, want %d: %v", i, up, len(l.data), want.passed, n)
		}
	}
}

// TestOwnAnnouncedAddress: the address that we announce is ours alone, also when the operator allows its network: but for relays at it nobody is
// reached over it without being allowed.
func TestOwnAnnouncedAddress(t *testing.T) {
	c := testConfig()
	c.Relays = []RelayAddress{{Bind: netip.MustParseAddr("127.0.0.1"), Announce: netip.MustParseAddr("131.246.7.7")}}
	s := start(t, c, nil)
	r := newRaw(t, s, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	to := peer("131.246.7.7:22")
	if code := r.code(stun.MethodCreatePermission, to); code != 0 { // another relay may be there
		t.Fatal(code)
	}
	if _, err := r.conn.Write(sendIndication(t, netip.AddrPort(to), "x")); err != nil {
		t.Fatal(err)
	}
	await.True(t, "denied", func() bool { return s.Counters()["packet_denied"] == 1 })
	if n := s.Counters(); n["packets_socket_out"] != 0 {
		t.Error(n)
	}
}

// TestLifetime: an allocation lives as long as is asked for, but no longer than it may and no shorter than the default (RFC 8656 §7.2, §8.2), and its
// client is told how long.
func TestLifetime(t *testing.T) {
	for _, tc := range []struct {
		most            time.Duration
		wanted, granted uint32 // s
	}{
		{300 * time.Second, 3600, 300}, {300 * time.Second, 60, 300}, {300 * time.Second, 1 << 31, 300},
		{time.Hour, 3600, 3599}, // pion/turn gives 600 of an hour
		{0, 3600, 3599}, {0, 1<<32 - 1, 3599}, {0, 1800, 1800}, {0, 60, 600},
	} {
		c := testConfig()
		c.MaxLifetime = tc.most
		s := start(t, c, nil)
		r := newRaw(t, s, "user", "secret")
		granted := func(m *stun.Message) uint32 {
			t.Helper()
			v, err := m.Get(stun.AttrLifetime)
			if codeOf(t, m) != 0 || err != nil || len(v) != 4 {
				t.Fatal(m, err)
			}
			return binary.BigEndian.Uint32(v)
		}
		life := func(n uint32) stun.Setter {
			return stun.RawAttribute{Type: stun.AttrLifetime, Value: binary.BigEndian.AppendUint32(nil, n)}
		}
		none := uint32(600)
		if tc.most > 0 {
			none = min(none, uint32(tc.most/time.Second))
		}
		q := r.build(stun.MethodAllocate, requestUDP, life(tc.wanted))
		for _, which := range []string{"allocate", "sent twice"} {
			if n := granted(r.exchange(q)); n != tc.granted {
				t.Errorf("%s: %d s of %d, want %d", which, n, tc.wanted, tc.granted)
			}
		}
		if n := granted(r.ask(stun.MethodRefresh, life(tc.wanted))); n != tc.granted {
			t.Errorf("refresh: %d s of %d, want %d", n, tc.wanted, tc.granted)
		}
		if n := granted(r.ask(stun.MethodRefresh)); n != none {
			t.Errorf("refresh without a wish: %d s, want %d", n, none)
		}
		if n := granted(r.ask(stun.MethodRefresh, life(0))); n != 0 {
			t.Errorf("release: %d s", n)
		}
		if n := granted(r.ask(stun.MethodAllocate, requestUDP, life(0))); n != none { // 0 ends an allocation in a Refresh alone
			t.Errorf("allocate for no time: %d s, want %d", n, none)
		}
	}
}

// scriptedLink gives a gate what a test puts in, and the test what the gate answers.
type scriptedLink struct {
	memoryLink
	in   chan []byte
	out  chan []byte
	from netip.AddrPort
}

func (l *scriptedLink) read() ([]udpio.Datagram, error) {
	p, ok := <-l.in
	if !ok {
		return nil, io.EOF
	}
	return []udpio.Datagram{{Data: p, From: l.from}}, nil
}

func (l *scriptedLink) write(p []byte, _ netip.AddrPort) error {
	l.out <- append([]byte(nil), p...)
	return nil
}

// TestExpiredNonce: after an hour, in simulated time, a nonce is refused with 438 and a new one (RFC 8489 §9.2.4), and the new one is good.
func TestExpiredNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareServer()
		s.open, s.stopping = map[io.Closer]struct{}{}, make(chan struct{})
		l := &scriptedLink{in: make(chan []byte), out: make(chan []byte, 1), from: netip.MustParseAddrPort("127.0.0.1:4000")}
		if err := s.serve(s.newGate(l, true, udpio.NewFan(4, 4), nil, nil)); err != nil {
			t.Fatal(err)
		}
		defer func() { close(l.in); s.running.Wait() }()
		r := &raw{t: t, user: "user", password: "secret"}
		ask := func() *stun.Message {
			l.in <- r.build(stun.MethodRefresh).Raw
			m := &stun.Message{Raw: <-l.out}
			if err := m.Decode(); err != nil {
				t.Fatal(err)
			}
			return m
		}
		learn := func(want int) {
			t.Helper()
			m := ask()
			var realm stun.Realm
			var nonce stun.Nonce
			if code := codeOf(t, m); code != want || m.Parse(&realm, &nonce) != nil {
				t.Fatalf("%v, want %d with realm and nonce", m, want)
			}
			r.realm, r.nonce = realm.String(), nonce.String()
		}
		learn(401)
		if code := codeOf(t, ask()); code != 437 { // authenticated, but no allocation
			t.Errorf("a fresh nonce: %d, want 437", code)
		}
		time.Sleep(time.Hour + time.Second)
		r2 := *r
		r2.nonce = r.nonce
		l.in <- r2.build(stun.MethodAllocate, requestUDP).Raw
		m := &stun.Message{Raw: <-l.out}
		if err := m.Decode(); err != nil {
			t.Fatal(err)
		}
		var nonce stun.Nonce
		if code := codeOf(t, m); code != 438 || nonce.GetFrom(m) != nil || nonce.String() == r.nonce {
			t.Fatalf("an old nonce: %v, want 438 with a new one", m)
		}
		if n := s.Counters()["stale_nonce"]; n != 1 {
			t.Errorf("%d stale nonces are counted", n)
		}
		r.nonce = nonce.String()
		if code := codeOf(t, ask()); code != 437 {
			t.Errorf("the new nonce: %d, want 437", code)
		}
	})
}
