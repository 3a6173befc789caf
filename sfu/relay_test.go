package sfu

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"konzil/internal/await"
)

// relay stands for a TURN server in this process: clients talk to its socket, the SFU is reached through AttachRelay.
// It can lose media on the way.
type relay struct {
	conn   *net.UDPConn
	addr   netip.AddrPort // what clients see
	client atomic.Pointer[netip.AddrPort]
	detach func()
	up     func(pkt []byte) bool // true: lose it
	down   func(pkt []byte) bool
	passed atomic.Int64
	wg     sync.WaitGroup
}

// relayed is the address the SFU sees; nothing listens there, so every packet must take the in-memory path.
var relayed = netip.MustParseAddrPort("127.0.0.9:9")

func newRelay(t *testing.T, s *SFU, up, down func([]byte) bool) *relay {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	must(t, err)
	r := &relay{conn: c, up: up, down: down}
	r.addr = c.LocalAddr().(*net.UDPAddr).AddrPort()
	send, detach := s.AttachRelay(relayed, func(from netip.AddrPort, pkts [][]byte) {
		if from != s.LocalAddrs()[0] {
			t.Errorf("relay got a packet from %v", from)
		}
		for _, pkt := range pkts {
			if classOf(pkt) == classMedia && r.down != nil && r.down(pkt) {
				continue
			}
			r.passed.Add(1)
			if to := r.client.Load(); to != nil {
				_, _ = c.WriteToUDPAddrPort(pkt, *to)
			}
		}
	})
	r.detach = detach
	r.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.client.Store(&from)
			if classOf(buf[:n]) == classMedia && r.up != nil && r.up(buf[:n]) {
				continue
			}
			send(s.LocalAddrs()[0], [][]byte{buf[:n]})
		}
	})
	t.Cleanup(func() { detach(); _ = c.Close(); r.wg.Wait() })
	return r
}

// joinVia is join with the relay as the only candidate.
func (c *client) joinVia(r *relay, recv []Source) {
	c.t.Helper()
	local, err := c.ep.LocalTransport(c.t.Context())
	must(c.t, err)
	local.Candidates = []Candidate{{Foundation: "1", Component: 1, Protocol: "udp", Priority: 1, Addr: r.addr, Type: "relay"}}
	for i := range local.Candidates {
		local.Candidates[i].Type = "host" // pion wants related addresses of relay candidates; the type is of no matter here
	}
	remote := c.answer(c.offer(local, recv))
	must(c.t, c.ep.SetSources(c.sources()))
	must(c.t, c.ep.SetRemote(remote))
}

// isRTPOf says whether a protected packet is RTP of the SSRC.
func isRTPOf(pkt []byte, ssrc uint32) bool {
	return len(pkt) > 12 && (pkt[1] < 192 || pkt[1] > 223) && ssrcOf(pkt) == ssrc
}

// TestRelayAndLoss sends both ways through the in-memory path, loses every tenth video packet in each direction, and wants
// every one of them back by RTX.
func TestRelayAndLoss(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{layers: 1})
	b := newClient(t, c, "bbbb", clientOptions{layers: 1})
	var ups, downs, lostUp, lostDown atomic.Int64
	up := func(pkt []byte) bool {
		if !isRTPOf(pkt, a.ssrc(1)) || ups.Add(1)%10 != 0 {
			return false
		}
		lostUp.Add(1)
		return true
	}
	down := func(pkt []byte) bool {
		if !isRTPOf(pkt, b.ssrc(1)) || downs.Add(1)%10 != 0 {
			return false
		}
		lostDown.Add(1)
		return true
	}
	r := newRelay(t, s, up, down)
	a.joinVia(r, b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer a.play(nil)()
	defer b.play(nil)()
	for _, x := range []*client{a, b} {
		x.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	}
	check := func(who *client, ssrc uint32) func() bool {
		return func() bool {
			p := who.packets(ssrc)
			if len(p) < 400 {
				return false
			}
			got := map[uint16]bool{}
			low := p[0].SequenceNumber
			for _, x := range p {
				got[x.SequenceNumber] = true
			}
			for i := range uint16(350) {
				if !got[low+i] {
					return false
				}
			}
			return true
		}
	}
	defer func() {
		if !t.Failed() {
			return
		}
		for who, ssrc := range map[*client]uint32{b: a.ssrc(1), a: b.ssrc(1)} {
			got := map[uint16]bool{}
			p := who.packets(ssrc)
			t.Logf("%s: ICE %v, connection %v, %d packets", who.id, who.pc.ICEConnectionState(), who.pc.ConnectionState(), len(p))
			if len(p) == 0 {
				continue
			}
			for _, x := range p {
				got[x.SequenceNumber] = true
			}
			var missing []uint16
			for q := p[0].SequenceNumber; q != p[len(p)-1].SequenceNumber; q++ {
				if !got[q] {
					missing = append(missing, q-p[0].SequenceNumber)
				}
			}
			t.Logf("missing from the first on: %v", missing)
		}
		t.Logf("lost %d up, %d down, passed %d, counters %v", lostUp.Load(), lostDown.Load(), r.passed.Load(), s.Counters())
	}()
	await.True(t, "all of a's video at b", check(b, a.ssrc(1)))
	await.True(t, "all of b's video at a", check(a, b.ssrc(1)))
	n := s.Counters()
	if lostUp.Load() < 10 || lostDown.Load() < 10 || n["recovered"] == 0 || n["rtx_out"] == 0 || n["nack_out"] == 0 || n["nack_in"] == 0 {
		t.Fatalf("lost %d up, %d down; counters %v", lostUp.Load(), lostDown.Load(), n)
	}
	if r.passed.Load() == 0 || n["relay_in"] == 0 {
		t.Fatal("nothing went through the relay")
	}
	// A relay that is gone takes nothing any more.
	r.detach()
	before := r.passed.Load()
	await.True(t, "packets refused", func() bool { return s.Counters()["drop_relay_gone"] > 5 })
	if r.passed.Load() != before {
		t.Fatal("detached relay was used")
	}
}

// TestHeavyLoss: every eighth packet is lost, repetitions too: those are sent twice, and all of the picture arrives.
func TestHeavyLoss(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{layers: 1})
	b := newClient(t, c, "bbbb", clientOptions{layers: 1})
	var downs atomic.Int64
	r := newRelay(t, s, nil, func([]byte) bool { return downs.Add(1)%8 == 0 })
	a.joinVia(r, b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer b.play(nil)()
	a.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	await.True(t, "repetitions sent twice", func() bool { return s.Counters()["rtx_twice"] > 20 })
	if n := s.Counters(); n["rtx_twice"] > n["rtx_out"] {
		t.Errorf("%d packets repeated, %d of them twice", n["rtx_out"], n["rtx_twice"])
	}
	from := len(a.packets(b.ssrc(1)))
	await.True(t, "no gaps", func() bool {
		p := a.packets(b.ssrc(1))
		if len(p) < from+300 {
			return false
		}
		got := map[uint16]bool{}
		for _, x := range p[from:] {
			got[x.SequenceNumber] = true
		}
		low := p[from].SequenceNumber
		for i := range uint16(200) {
			if !got[low+50+i] {
				return false
			}
		}
		return true
	})
}
