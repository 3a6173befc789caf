package turn

import (
	"net"
	"net/netip"
	"testing"
)

// benchmarkRelay sends from a client's channel to a peer and counts what arrives there. One packet is in flight for each token.
func benchmarkWriteTo(b *testing.B, to netip.AddrPort, sfu InMemoryPeer, allow ...netip.Prefix) {
	c := testConfig()
	c.Allow = allow
	s := start(b, c, sfu)
	relayed := allocate(b, client(b, s, "udp", "user", "secret"))
	r := s.reg.relay(addrPort(relayed.LocalAddr()))
	payload, addr := make([]byte, 1200), net.UDPAddrFromAddrPort(to)
	b.SetBytes(1200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.WriteTo(payload, addr); err != nil {
			b.Fatal(err)
		}
	}
}

type sink struct{ addr netip.AddrPort }

func (s sink) Owns(a netip.AddrPort) bool {
	return a.Addr() == s.addr.Addr() && (a.Port() == 0 || a == s.addr)
}

func (s sink) Attach(netip.AddrPort, func(netip.AddrPort, []byte)) (func(netip.AddrPort, []byte), func()) {
	return func(netip.AddrPort, []byte) {}, func() {}
}

func BenchmarkToMemory(b *testing.B) {
	a := netip.MustParseAddrPort("127.0.0.1:10000")
	benchmarkWriteTo(b, a, sink{a})
}

func BenchmarkToSocket(b *testing.B) {
	benchmarkWriteTo(b, addrPort(udpEcho(b).LocalAddr()), nil, netip.MustParsePrefix("127.0.0.1/32"))
}

// TestNoAllocation: our layer allocates nothing per packet, in either direction.
func TestNoAllocation(t *testing.T) {
	a := netip.MustParseAddrPort("127.0.0.1:10000")
	s := start(t, testConfig(), sink{a})
	relayed := allocate(t, client(t, s, "udp", "user", "secret"))
	r := s.reg.relay(addrPort(relayed.LocalAddr()))
	payload, addr := make([]byte, 1200), net.UDPAddrFromAddrPort(a)
	if _, err := r.WriteTo(payload, addr); err != nil { // attaches
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = r.WriteTo(payload, addr) }); n != 0 {
		t.Errorf("to the SFU: %v allocations", n)
	}
	// The way back, on a relay that pion/turn does not read from.
	own := &relay{s: s, queue: make(chan *packet, relayQueue), closed: make(chan struct{})}
	buf := make([]byte, packetSize)
	if n := testing.AllocsPerRun(100, func() {
		own.deliver(a, payload)
		if n, _, err := own.ReadFrom(buf); n != len(payload) || err != nil {
			t.Fatal(n, err)
		}
	}); n > 0.1 && !raceEnabled { // the race detector makes sync.Pool forget
		t.Errorf("from the SFU: %v allocations", n)
	}
	g := &gate{s: s, link: &memoryLink{}, clients: map[netip.AddrPort]*relay{}}
	data := append([]byte{0x40, 0, 0x04, 0xb0}, payload...)
	if n := testing.AllocsPerRun(100, func() {
		if !g.admit(data, a) {
			t.Fatal("channel data was not let through")
		}
	}); n != 0 {
		t.Errorf("at the gate: %v allocations", n)
	}
}
