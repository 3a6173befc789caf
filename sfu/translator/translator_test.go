package translator

import (
	"bytes"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"konzil/internal/await"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	loop  = netip.MustParseAddr("127.0.0.1")
	loop2 = netip.MustParseAddr("127.0.0.2")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seen is what Events told.
type seen struct {
	mu      sync.Mutex
	latched []netip.AddrPort
	sources []uint32
	expired []string
}

func (s *seen) Latched(_ *Channel, _ int, a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latched = append(s.latched, a)
}

func (s *seen) Source(_ *Channel, ssrc uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = append(s.sources, ssrc)
}

func (s *seen) Expired(c *Channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = append(s.expired, c.ID())
}

func (s *seen) Opened(*Channel) {}

func (s *seen) Message(c *Channel, msg []byte) { _ = c.Send(msg) }

func (s *seen) is(f func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

// world is a server with one group.
type world struct {
	t  *testing.T
	s  *Server
	r  *Group
	ev *seen
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen = []netip.Addr{loop}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, nil)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	ev := &seen{}
	r, err := s.Open("room", ev)
	must(t, err)
	return &world{t, s, r, ev}
}

func (w *world) add(cfg ChannelConfig) *Channel {
	w.t.Helper()
	c, err := w.r.Add(cfg)
	must(w.t, err)
	return c
}

// drops waits until a reason to drop was counted n times.
func (w *world) drops(name string, n uint64) {
	w.t.Helper()
	await.True(w.t, name, func() bool { return w.s.Counters()[name] >= n })
	if got := w.s.Counters()[name]; got != n {
		w.t.Errorf("%s %d, not %d", name, got, n)
	}
}

// end is one client socket.
type end struct {
	t *testing.T
	*net.UDPConn
}

func newEnd(t *testing.T, at netip.Addr) *end {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &end{t, c}
}

func (e *end) addr() netip.AddrPort { return e.LocalAddr().(*net.UDPAddr).AddrPort() }

func (e *end) send(to netip.AddrPort, b []byte) {
	e.t.Helper()
	_, err := e.WriteToUDPAddrPort(b, to)
	must(e.t, err)
}

// get reads one datagram, nil when none comes for a while.
func (e *end) get(wait time.Duration) ([]byte, netip.AddrPort) {
	e.t.Helper()
	must(e.t, e.SetReadDeadline(time.Now().Add(wait)))
	b := make([]byte, 4096)
	n, from, err := e.ReadFromUDPAddrPort(b)
	if err != nil {
		return nil, from
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// want reads one datagram and compares it with what was sent.
func (e *end) want(sent []byte, from netip.AddrPort) {
	e.t.Helper()
	b, at := e.get(5 * time.Second)
	if !bytes.Equal(b, sent) || at != from {
		e.t.Fatalf("%x from %s instead of %x from %s", b, at, sent, from)
	}
}

func rtpPacket(seq byte, size int) []byte {
	b := append([]byte{0x80, 96, 0, seq, 0, 0, 0, 1, 0, 0, 0x12, seq}, make([]byte, size)...)
	b[11] = 0x34
	return b
}

func rtcpPacket(ssrc byte) []byte {
	return append([]byte{0x80, 201, 0, 1, 0, 0, 0, ssrc}, make([]byte, 14)...) // and the trailer of SRTCP
}

func zrtpPacket(seq byte) []byte {
	b := append([]byte{0x10, 0, 0, seq, 'Z', 'R', 'T', 'P', 0, 0, 0, 7, 0x50, 0x5a, 0, 3}, "HelloACK"...)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return append(b, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
}

func ports(c *Channel) (rtp, rtcp netip.AddrPort) {
	rtp, rtcp, _, _ = c.Local()
	return rtp, rtcp
}

// Two raw ends: what one sends reaches the other from its own ports, unchanged, RTCP at the second port.
func TestPair(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.add(ChannelConfig{ID: "a"}), w.add(ChannelConfig{ID: "b"})
	aRTP, aRTCP := ports(a)
	bRTP, bRTCP := ports(b)
	if aRTP.Port()%2 != 0 || aRTCP.Port() != aRTP.Port()+1 {
		t.Errorf("ports %s, %s", aRTP, aRTCP)
	}
	ea, eaC, eb, ebC := newEnd(t, loop), newEnd(t, loop), newEnd(t, loop), newEnd(t, loop)
	ea.send(aRTP, zrtpPacket(1))
	w.drops("drop_no_end", 1) // nobody there yet
	eb.send(bRTP, zrtpPacket(2))
	ea.want(zrtpPacket(2), aRTP)
	ea.send(aRTP, zrtpPacket(3))
	eb.want(zrtpPacket(3), bRTP)
	for i := range byte(40) {
		p := rtpPacket(i, 100+int(i)*30)
		ea.send(aRTP, p)
		eb.want(p, bRTP)
	}
	// Before b's second port has heard of its end, RTCP comes to the first.
	eaC.send(aRTCP, rtcpPacket(1))
	eb.want(rtcpPacket(1), bRTP)
	ebC.send(bRTCP, rtcpPacket(2))
	eaC.want(rtcpPacket(2), aRTCP)
	eaC.send(aRTCP, rtcpPacket(3))
	ebC.want(rtcpPacket(3), bRTCP)
	st := a.Stats()
	if st.PacketsIn != 44 || st.PacketsOut != 2 || st.Remote != [2]netip.AddrPort{ea.addr(), eaC.addr()} || !slices.Equal(st.Sources, []uint32{0x1234}) {
		t.Errorf("%+v", st)
	}
	await.True(t, "events", func() bool {
		return w.ev.is(func() bool { return len(w.ev.latched) == 4 && slices.Equal(w.ev.sources, []uint32{0x1234}) })
	})
}

// Who may take a port: the first plausible packet, of an address that was signalled, in time.
func TestLatch(t *testing.T) {
	const rebind = time.Hour
	w := newWorld(t, func(c *Config) { c.Rebind = rebind })
	a, b := w.add(ChannelConfig{ID: "a"}), w.add(ChannelConfig{ID: "b"})
	aRTP, _ := ports(a)
	bRTP, _ := ports(b)
	must(t, a.SetRemote(Remote{Addrs: []netip.Addr{loop}}))
	ea, eb, thief := newEnd(t, loop), newEnd(t, loop), newEnd(t, loop2)
	thief.send(aRTP, zrtpPacket(1))
	w.drops("drop_source", 1)
	broken := zrtpPacket(1)
	broken[20] ^= 1
	ea.send(aRTP, broken) // its CRC says so
	w.drops("drop_source", 2)
	ea.send(aRTP, []byte{0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}) // no payload
	w.drops("drop_source", 3)
	ea.send(aRTP, rtcpPacket(9))
	w.drops("drop_source", 4)
	ea.send(aRTP, []byte("GET / HTTP/1.1"))
	w.drops("drop_unknown", 1)
	if st := a.Stats(); st.Remote[0].IsValid() || st.PacketsIn != 0 {
		t.Fatalf("latched: %+v", st)
	}
	ea.send(aRTP, rtpPacket(1, 50))
	w.drops("drop_no_end", 1)
	thief.send(aRTP, rtpPacket(2, 50))
	w.drops("drop_source", 5)
	eb.send(bRTP, rtpPacket(3, 50))
	ea.want(rtpPacket(3, 50), aRTP)

	// Its NAT gives it another port: at once is too early, after some silence it may.
	moved := newEnd(t, loop)
	moved.send(aRTP, rtpPacket(4, 50))
	w.drops("drop_source", 6)
	a.group.w.mu.Lock()
	a.t.comp[0].heard -= int64(rebind)
	a.group.w.mu.Unlock()
	moved.send(aRTP, rtpPacket(5, 50))
	eb.want(rtpPacket(5, 50), bRTP)
	eb.send(bRTP, rtpPacket(6, 50))
	moved.want(rtpPacket(6, 50), aRTP)

	// Signalling says that it is somewhere else now.
	must(t, a.SetRemote(Remote{Addrs: []netip.Addr{loop2}}))
	thief.send(aRTP, rtpPacket(7, 50))
	eb.want(rtpPacket(7, 50), bRTP)
}

func TestLatchWindow(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.LatchWindow = time.Millisecond })
	a := w.add(ChannelConfig{ID: "a"})
	aRTP, _ := ports(a)
	ea := newEnd(t, loop)
	start := time.Now()
	await.True(t, "time passes", func() bool { return time.Since(start) > 5*time.Millisecond })
	ea.send(aRTP, rtpPacket(1, 50))
	w.drops("drop_source", 1)
}

func TestMayBe(t *testing.T) {
	ip := netip.MustParseAddr
	for _, c := range []struct {
		a    string
		told []string
		want bool
	}{
		{"203.0.113.9", nil, true},
		{"203.0.113.9", []string{"203.0.113.9", "10.0.0.1"}, true},
		{"203.0.113.8", []string{"203.0.113.9", "10.0.0.1"}, false},
		{"203.0.113.8", []string{"10.0.0.1", "fe80::1"}, true},     // behind a NAT
		{"10.0.0.2", []string{"10.0.0.1"}, false},                  // beside it
		{"100.64.3.3", []string{"192.168.1.1"}, false},             // shared address space is private as well
		{"2001:db8::1", []string{"2001:db8::2", "fd00::1"}, false}, // another host of the network
	} {
		var told []netip.Addr
		for _, s := range c.told {
			told = append(told, ip(s))
		}
		if got := mayBe(ip(c.a), told); got != c.want {
			t.Errorf("%s of %v: %v", c.a, c.told, got)
		}
	}
}

// Three ends: RTP of one reaches both others, ZRTP of three nobody.
func TestTranslator(t *testing.T) {
	w := newWorld(t, nil)
	var cs []*Channel
	var es []*end
	for _, id := range []string{"a", "b", "c"} {
		c := w.add(ChannelConfig{ID: id})
		e := newEnd(t, loop)
		rtp, _ := ports(c)
		e.send(rtp, rtpPacket(1, 10))
		await.True(t, "latch", func() bool { return c.Stats().Remote[0].IsValid() })
		cs, es = append(cs, c), append(es, e)
	}
	es[0].want(rtpPacket(1, 10), at(cs[0])) // of b, then of c
	es[0].want(rtpPacket(1, 10), at(cs[0]))
	es[1].want(rtpPacket(1, 10), at(cs[1]))
	es[2].send(at(cs[2]), rtpPacket(2, 900))
	es[0].want(rtpPacket(2, 900), at(cs[0]))
	es[1].want(rtpPacket(2, 900), at(cs[1]))
	es[2].send(at(cs[2]), zrtpPacket(1))
	w.drops("drop_zrtp_crowd", 1)
	cs[2].SetDirection(false, true)
	cs[1].SetDirection(true, false)
	es[2].send(at(cs[2]), rtpPacket(3, 10))
	w.drops("drop_direction", 1)
	es[0].send(at(cs[0]), rtpPacket(4, 10))
	es[2].want(rtpPacket(4, 10), at(cs[2]))
	w.drops("drop_direction", 2)
}

func at(c *Channel) netip.AddrPort {
	rtp, _ := ports(c)
	return rtp
}

// An end that sends too much, or too large, does not do so through us.
func TestLimits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRate, c.MaxGroups, c.MaxChannels = 100_000, 1, 2 })
	a, b := w.add(ChannelConfig{ID: "a"}), w.add(ChannelConfig{ID: "b"})
	ea, eb := newEnd(t, loop), newEnd(t, loop)
	eb.send(at(b), rtpPacket(1, 10))
	await.True(t, "latch", func() bool { return b.Stats().Remote[0].IsValid() })
	for i := range byte(20) { // a fifth of a second is 20 kbit: two packets of 1012 bytes, and what time gives
		ea.send(at(a), rtpPacket(i, 1000))
	}
	await.True(t, "all counted", func() bool { st := a.Stats(); return st.PacketsIn+st.Limited == 20 })
	if st := a.Stats(); st.Limited < 10 || st.PacketsIn < 2 {
		t.Errorf("%+v", st)
	}
	ea.send(at(a), rtpPacket(1, 1600))
	w.drops("drop_too_long", 1)
	if _, err := w.r.Add(ChannelConfig{}); !errors.Is(err, ErrLimit) {
		t.Errorf("a third channel: %v", err)
	}
	if _, err := w.s.Open("another", nil); !errors.Is(err, ErrLimit) {
		t.Errorf("a second group: %v", err)
	}
	b.Close()
	b.Close()
	if _, err := w.r.Add(ChannelConfig{Addr: loop2}); !errors.Is(err, ErrPorts) {
		t.Errorf("foreign address: %v", err)
	}
	w.add(ChannelConfig{ID: "c"})
}

func TestPortRange(t *testing.T) {
	// Two ports that were free a moment ago; another process may take them, then the test tries again.
	for range 20 {
		probe := newEnd(t, loop)
		first := (probe.addr().Port() + 1) &^ 1
		_ = probe.Close()
		if first == 0 {
			continue
		}
		w := newWorld(t, func(c *Config) { c.PortMin, c.PortMax = first, first+1 })
		a, err := w.r.Add(ChannelConfig{})
		if err != nil {
			continue
		}
		if at(a).Port() != first {
			t.Errorf("port %d instead of %d", at(a).Port(), first)
		}
		if _, err := w.r.Add(ChannelConfig{}); !errors.Is(err, ErrPorts) {
			t.Errorf("a second pair: %v", err)
		}
		a.Close()
		w.add(ChannelConfig{})
		return
	}
	t.Fatal("no two free ports")
}

func TestExpire(t *testing.T) {
	w := newWorld(t, nil)
	a := w.add(ChannelConfig{ID: "a", Expire: 50 * time.Millisecond})
	b := w.add(ChannelConfig{ID: "b"})
	await.True(t, "expiry", func() bool { return w.ev.is(func() bool { return slices.Equal(w.ev.expired, []string{"a"}) }) })
	if err := a.SetRemote(Remote{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	b.SetExpire(time.Millisecond)
	await.True(t, "expiry", func() bool { return w.s.Counters()["channels"] == 0 })
	w.r.Close()
	if _, err := w.r.Add(ChannelConfig{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if n := w.s.Counters()["groups"]; n != 0 {
		t.Errorf("%d groups", n)
	}
}
