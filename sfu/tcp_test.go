package sfu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"konzil/internal/await"

	"github.com/pion/webrtc/v4"
)

func withTCP(c *Config) { c.ListenTCP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")} }

// overTCP makes a client that has no UDP.
func overTCP(se *webrtc.SettingEngine) {
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
}

// joinTCP is join with the TCP candidates alone.
func (c *client) joinTCP(recv []Source) {
	c.t.Helper()
	local, err := c.ep.LocalTransport(c.t.Context())
	must(c.t, err)
	var tcp []Candidate
	for _, k := range local.Candidates {
		if k.Protocol == "tcp" {
			tcp = append(tcp, k)
		}
	}
	if len(tcp) == 0 {
		c.t.Fatalf("no TCP candidate in %+v", local.Candidates)
	}
	local.Candidates = tcp
	remote := c.answer(c.offer(local, recv))
	must(c.t, c.ep.SetSources(c.sources()))
	must(c.t, c.ep.SetRemote(remote))
}

// TestTCP: a client without UDP meets one with it; audio, layers of video and the channel pass; the connection's end is told and leaves nothing.
func TestTCP(t *testing.T) {
	t.Parallel()
	s := startSFU(t, withTCP)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{layers: 3, setting: overTCP})
	b := newClient(t, c, "bbbb", clientOptions{layers: 3})
	a.joinTCP(b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer a.play(nil)()
	defer b.play(nil)()
	for _, x := range []*client{a, b} {
		x.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	}
	for from, to := range map[*client]*client{a: b, b: a} {
		await.True(t, "audio and video from "+from.id, func() bool { return to.count(from.ssrc(0)) > 50 && to.count(from.ssrc(1)) > 200 })
		continuous(t, to, from.ssrc(1))
	}
	await.True(t, "channel over TCP", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.open })
	n := s.Counters()
	if n["tcp_connections"] == 0 || n["tcp_in"] < 200 || n["tcp_out"] < 200 || n["tcp_malformed"] != 0 {
		t.Fatalf("counters %v", n)
	}
	a.ep.Close()
	await.True(t, "the connection ends with its endpoint", func() bool { return s.Counters()["tcp_connections"] == 0 })
	s.tcp.mu.Lock()
	defer s.tcp.mu.Unlock()
	if len(s.tcp.conns) != 0 || len(s.tcp.strangers) != 0 || s.tcp.unproved != 0 {
		t.Fatalf("left behind: %v %v %d", s.tcp.conns, s.tcp.strangers, s.tcp.unproved)
	}
}

// cutter is a proxy on the way to a TCP candidate whose connections can be cut.
func cutter(t *testing.T, to netip.AddrPort) (at netip.AddrPort, cut func()) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	conns := make(chan net.Conn, 16)
	done := make(chan struct{})
	pass := func(from, to net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			if err == nil {
				_, err = to.Write(buf[:n])
			}
			if err != nil {
				_ = from.Close()
				_ = to.Close()
				return
			}
		}
	}
	go func() {
		defer close(done)
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp4", to.String())
			if err != nil {
				_ = in.Close()
				continue
			}
			conns <- out
			go pass(in, out)
			go pass(out, in)
		}
	}()
	cut = func() {
		for len(conns) > 0 {
			_ = (<-conns).Close()
		}
	}
	t.Cleanup(func() { _ = l.Close(); <-done; cut() })
	return l.Addr().(*net.TCPAddr).AddrPort(), cut
}

// TestTCPAndUDP: of two ways UDP is taken, and the end of the other harms nobody.
func TestTCPAndUDP(t *testing.T) {
	t.Parallel()
	s := startSFU(t, withTCP)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{setting: func(se *webrtc.SettingEngine) {
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4, webrtc.NetworkTypeUDP4})
	}})
	b := newClient(t, c, "bbbb", clientOptions{})
	local, err := a.ep.LocalTransport(t.Context())
	must(t, err)
	if len(local.Candidates) != 2 || local.Candidates[1].TCPType != "passive" || local.Candidates[1].Priority >= local.Candidates[0].Priority {
		t.Fatalf("candidates %+v", local.Candidates)
	}
	at, cut := cutter(t, local.Candidates[1].Addr)
	local.Candidates[1].Addr = at
	remote := a.answer(a.offer(local, b.sources()))
	must(t, a.ep.SetSources(a.sources()))
	must(t, a.ep.SetRemote(remote))
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer b.play(nil)()
	await.True(t, "UDP", func() bool { p := a.ep.m.path.Load(); return p != nil && p.via == nil })
	await.True(t, "audio", func() bool { return a.count(b.ssrc(0)) > 10 })
	await.True(t, "no connection", func() bool { cut(); return s.Counters()["tcp_connections"] == 0 })
	had := a.count(b.ssrc(0))
	await.True(t, "audio goes on", func() bool { return a.count(b.ssrc(0)) > had+20 })
}

// TestTCPStrangers: who proves nothing is disconnected, for what it says or for its silence, and cannot take all places.
func TestTCPStrangers(t *testing.T) {
	t.Parallel()
	s := startSFU(t, withTCP)
	dial := func() net.Conn {
		c, err := net.Dial("tcp4", s.tcp.addrs[0].String())
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	long := dial()
	_, err := long.Write([]byte{0xff, 0xff, 0, 1})
	must(t, err)
	closed(t, long)
	if n := s.Counters()["tcp_malformed"]; n != 1 {
		t.Fatalf("%d malformed", n)
	}
	slow := dial()
	begin := time.Now()
	for range tcpStrangersOf - 1 {
		dial()
	}
	await.True(t, "all accepted", func() bool { return s.Counters()["tcp_connections"] == tcpStrangersOf })
	over := dial()
	await.True(t, "one too many", func() bool { return s.Counters()["tcp_refused"] == 1 })
	closed(t, over)
	// One byte now and then buys no time.
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		<-tick.C
		if _, err := slow.Write([]byte{0}); err != nil {
			break
		}
		if n > 60 {
			t.Fatal("a slow stranger stays")
		}
	}
	if time.Since(begin) < tcpProof/2 {
		t.Fatal("disconnected too early")
	}
	await.True(t, "nobody left", func() bool { return s.Counters()["tcp_connections"] == 0 })
}

func closed(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := c.Read(make([]byte, 1))
	var ne net.Error
	if err == nil || errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("not closed: %v", err)
	}
}

// TestTCPQueue: what a stalled connection does not take is dropped beyond the bound, and the connection ended.
func TestTCPQueue(t *testing.T) {
	t.Parallel()
	s := startSFU(t, withTCP)
	nc, err := net.Dial("tcp4", s.tcp.addrs[0].String())
	must(t, err)
	defer func() { _ = nc.Close() }()
	await.True(t, "accepted", func() bool { return s.Counters()["tcp_connections"] == 1 })
	s.tcp.mu.Lock()
	var c *tcpConn
	for _, x := range s.tcp.conns {
		c = x
	}
	s.tcp.mu.Unlock()
	pkt := make([]byte, 1200)
	await.True(t, "full", func() bool {
		for range 100 {
			c.send(c.end.local, pkt)
		}
		return s.Counters()["drop_tcp_queue"] > 0
	})
	c.mu.Lock()
	if len(c.queue) > tcpQueue {
		t.Errorf("%d bytes wait", len(c.queue))
	}
	c.mu.Unlock()
}

func frame(pkts ...string) []byte {
	var b []byte
	for _, p := range pkts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b
}

func TestDeframe(t *testing.T) {
	all := frame("one", "", "three", "four")
	got, used, ok := deframe(all, make([][]byte, 0, 8))
	if !ok || used != len(all) || len(got) != 3 || string(got[1]) != "three" {
		t.Fatalf("%q %d %v", got, used, ok)
	}
	for cut := range len(all) {
		if got, used, ok := deframe(all[:cut], make([][]byte, 0, 8)); !ok || used > cut || len(got) > 3 {
			t.Fatalf("cut at %d: %q %d %v", cut, got, used, ok)
		}
	}
	if got, used, _ := deframe(all, make([][]byte, 0, 2)); len(got) != 2 || used != len(frame("one", "", "three")) {
		t.Fatalf("no room: %q %d", got, used)
	}
	if _, _, ok := deframe([]byte{0x08, 0x01, 0}, make([][]byte, 0, 2)); ok {
		t.Fatal("2049 bytes are taken")
	}
}

func FuzzDeframe(f *testing.F) {
	f.Add(frame("one", "", "three"))
	f.Add([]byte{8, 1})
	f.Add([]byte{0, 9, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		pkts, used, ok := deframe(b, make([][]byte, 0, tcpBatch))
		if used > len(b) {
			t.Fatalf("used %d of %d", used, len(b))
		}
		if !ok {
			return
		}
		var again []byte
		for _, p := range pkts {
			if len(p) == 0 || len(p) > tcpFrame {
				t.Fatalf("a datagram of %d bytes", len(p))
			}
			again = append(binary.BigEndian.AppendUint16(again, uint16(len(p))), p...)
		}
		if !bytes.Contains(b, []byte{0, 0}) && !bytes.Equal(again, b[:used]) {
			t.Fatal("frames are not what was cut")
		}
	})
}
