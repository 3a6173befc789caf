package turn

import (
	"net/netip"
	"testing"

	"konzil/internal/udpio"
)

// sink is an in-memory SFU that swallows what it gets.
type sink struct{ addr netip.AddrPort }

func (s sink) Owns(a netip.AddrPort) bool {
	return a.Addr() == s.addr.Addr() && (a.Port() == 0 || a == s.addr)
}

func (s sink) Attach(netip.AddrPort, func(netip.AddrPort, [][]byte)) (func(netip.AddrPort, [][]byte), func()) {
	return func(netip.AddrPort, [][]byte) {}, func() {}
}

var sfuAddr = netip.MustParseAddrPort("127.0.0.1:10000")

// batchOf is a receive batch of n packets of a client's channel.
func batchOf(n int, from netip.AddrPort) []udpio.Datagram {
	p := append([]byte{0x40, 0, 0x04, 0xb0}, make([]byte, 1200)...)
	var all []udpio.Datagram
	for range n {
		all = append(all, udpio.Datagram{Data: p, From: from})
	}
	return all
}

// BenchmarkToMemory is our part of the way of a client's packet to our SFU.
func BenchmarkToMemory(b *testing.B) {
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	g, _, r := memoryGate(sink{sfuAddr}, from)
	r.table.Store(emptyTable.bind(0x4000, sfuAddr, 1))
	batch := batchOf(32, from)
	g.now = 2
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		d := &batch[n%len(batch)]
		g.fromClient(d.Data, d.From)
		if n%len(batch) == len(batch)-1 {
			g.flush()
		}
	}
}

// TestNoAllocation: our layer allocates nothing per packet, in any direction.
func TestNoAllocation(t *testing.T) {
	from, viewer := netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("127.0.0.1:4001")
	g, l, r := memoryGate(sink{sfuAddr}, from)
	r.table.Store(emptyTable.bind(0x4000, sfuAddr, 1))
	batch := batchOf(32, from)
	g.now, g.out.now = 2, 2
	if n := testing.AllocsPerRun(100, func() {
		for _, d := range batch {
			g.fromClient(d.Data, d.From)
		}
		g.flush()
	}); n != 0 {
		t.Errorf("to the SFU: %v allocations", n)
	}
	pkts := [][]byte{batch[0].Data, batch[1].Data}
	if n := testing.AllocsPerRun(100, func() { r.deliver(sfuAddr, pkts) }); n != 0 {
		t.Errorf("from the SFU: %v allocations", n)
	}
	r.table.Store(r.table.Load().permit([]netip.AddrPort{viewer}, 1))
	l.data = nil
	if n := testing.AllocsPerRun(100, func() {
		g.out.indication(viewer, attrData, pkts[0])
		g.out.flush()
	}); n != 0 {
		t.Errorf("an indication: %v allocations", n)
	}
}
