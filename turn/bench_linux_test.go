package turn

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"konzil/internal/udpio"
)

// BenchmarkToSFU is the whole way of packets from clients' sockets to our SFU: in memory, and over a relay's socket to the SFU's, which is read as
// the SFU does. cpu-ns/op is the processors' time for a packet, all of the program's while nothing is sent; sending by the clients
// is not in it, but in ns/op.
func BenchmarkToSFU(b *testing.B) {
	for _, burst := range []int{1, 4, 8} {
		for _, way := range []string{"memory", "socket"} {
			b.Run(fmt.Sprintf("burst=%d/%s", burst, way), func(b *testing.B) { toSFU(b, burst, way == "memory") })
		}
	}
}

func toSFU(b *testing.B, burst int, memory bool) {
	const atOnce = 512 // packets under way; the closed loop of `konzil bench turn` has 1024
	if most, err := os.ReadFile("/proc/sys/net/core/rmem_max"); err == nil {
		if n, _ := strconv.Atoi(strings.TrimSpace(string(most))); n < 2<<20 {
			b.Skip("net.core.rmem_max is too small for what is under way")
		}
	}
	var used time.Duration
	s := bareServer()
	s.policy = newPolicy([]netip.Prefix{netip.PrefixFrom(loopback.Addr(), 32)}, nil, nil)
	sfu, err := udpio.Listen(loopback, udpio.Options{ReadBuffer: 4 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer sfu.Close()
	got := new(counting)
	s.peer = got
	if memory {
		got.addr = sfu.LocalAddr()
	}
	s.cfg.Relays = nil // else a peer at the relays' address may be a relay
	link, err := s.openUDP(loopback, false)
	if err != nil {
		b.Fatal(err)
	}
	defer link.abandon()
	g := s.newGate(link, true, udpio.NewFan(fanMessages, fanRun), udpio.NewFan(fanMessages, fanRun), nil)
	clients, err := udpio.NewLoop(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { clients.Close(); clients.Read() }()
	var socks []*udpio.Sock
	for range atOnce / burst {
		c, err1 := clients.Open(loopback, udpio.SockOptions{})
		relayed, err2 := link.in.Open(loopback, udpio.SockOptions{Batch: relayBatch})
		if err1 != nil || err2 != nil {
			b.Fatal(err1, err2)
		}
		r := &relay{s: s, gate: g, client: c.LocalAddr(), gone: make(chan struct{})}
		r.legs = []*leg{{sock: relayed, announced: relayed.LocalAddr(), family: familyIPv4}}
		r.table.Store(emptyTable.bind(0x4000, sfu.LocalAddr(), 1))
		g.setClient(r)
		socks = append(socks, c)
	}
	defer time.AfterFunc(time.Minute, func() { sfu.Close(); link.in.Close() }).Stop() // a packet was lost: an error instead of waiting for ever
	p := append([]byte{0x40, 0, 0x04, 0xb0}, make([]byte, 1200)...)
	out, in := udpio.NewFan(atOnce, burst), sfu.NewReader()
	b.ReportAllocs()
	b.SetBytes(1200)
	b.ResetTimer()
	for n := 0; n < b.N; n += atOnce {
		for _, c := range socks {
			for range burst {
				out.Add(c, link.sock.LocalAddr(), p)
			}
		}
		out.Flush()
		used -= processTime(b)
		for taken := 0; taken < atOnce; {
			batch, err := link.read()
			if err != nil {
				b.Fatal(err)
			}
			g.now = 2
			for _, d := range batch {
				g.fromClient(d.Data, d.From)
			}
			g.flush()
			taken += len(batch)
		}
		if memory {
			if got.packets != n+atOnce {
				b.Fatal(got.packets)
			}
			used += processTime(b)
			continue
		}
		for taken := 0; taken < atOnce; {
			pkts, err := in.Read()
			if err != nil {
				b.Fatal(err)
			}
			taken += len(pkts)
		}
		used += processTime(b)
	}
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

func processTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// counting is an in-memory SFU that counts.
type counting struct {
	addr    netip.AddrPort
	packets int
}

func (c *counting) Owns(a netip.AddrPort) bool { return a == c.addr }

func (c *counting) Attach(netip.AddrPort, func(netip.AddrPort, [][]byte)) (func(netip.AddrPort, [][]byte), func()) {
	return func(_ netip.AddrPort, pkts [][]byte) { c.packets += len(pkts) }, func() {}
}
