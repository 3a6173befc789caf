package browsertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"konzil/sfu"
)

// lossyPath is a way to the SFU that loses media packets and takes its time; the SFU knows it as a relay.
type lossyPath struct {
	addr       netip.AddrPort // what clients are told
	lost, sent atomic.Int64
}

// newLossyPath makes one with the given loss (0..1) towards the client and delay each way.
func newLossyPath(t *testing.T, s *sfu.SFU, loss float64, delay time.Duration) *lossyPath {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	type datagram struct {
		at time.Time
		b  []byte
	}
	p := &lossyPath{addr: c.LocalAddr().(*net.UDPAddr).AddrPort()}
	var client atomic.Pointer[netip.AddrPort]
	down, up := make(chan datagram, 8192), make(chan datagram, 8192)
	done := make(chan struct{})
	random := rand.New(rand.NewPCG(1, 2))
	send, detach := s.AttachRelay(netip.MustParseAddrPort("127.0.0.9:9"), func(_ netip.AddrPort, pkts [][]byte) {
		for _, b := range pkts {
			if b[0] >= 128 && b[0] < 192 {
				p.sent.Add(1)
				if random.Float64() < loss {
					p.lost.Add(1)
					continue
				}
			}
			select {
			case down <- datagram{time.Now().Add(delay), append([]byte(nil), b...)}:
			default:
			}
		}
	})
	later := func(from chan datagram, f func([]byte)) {
		for {
			select {
			case <-done:
				return
			case d := <-from:
				wait := time.NewTimer(time.Until(d.at))
				select {
				case <-done:
					wait.Stop()
					return
				case <-wait.C:
					f(d.b)
				}
			}
		}
	}
	go later(down, func(b []byte) {
		if to := client.Load(); to != nil {
			_, _ = c.WriteToUDPAddrPort(b, *to)
		}
	})
	go later(up, func(b []byte) { send(s.LocalAddrs()[0], [][]byte{b}) })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			client.Store(&from)
			select {
			case up <- datagram{time.Now().Add(delay), append([]byte(nil), buf[:n]...)}:
			default:
			}
		}
	}()
	t.Cleanup(func() { detach(); _ = c.Close(); close(done) })
	return p
}

// TestFlexFEC: a receiver that negotiates flexfec-03 and loses packets gets repair packets, and needs fewer repetitions than are lost.
func TestFlexFEC(t *testing.T) {
	const loss, delay = 0.05, 75 * time.Millisecond
	b, c, ev, sources := meet(t)
	sources[1].FEC = 0x7eadbeef
	if err := c.Endpoint("send").SetSources(sources); err != nil {
		t.Fatal(err)
	}
	cfg := config("recv")
	cfg.Codecs = append(cfg.Codecs, sfu.Codec{Kind: sfu.Video, PayloadType: 118, Name: "flexfec-03", ClockRate: 90000})
	lt := b.local(c, cfg)
	path := newLossyPath(t, b.sfu, loss, delay)
	lt.Candidates = []sfu.Candidate{{Foundation: "1", Component: 1, Protocol: "udp", Priority: 1, Addr: path.addr, Type: "host"}}
	answer := b.call("make('recv', %s, false)", offer(lt, sources))
	if !strings.Contains(answer, "flexfec-03/90000") {
		t.Fatalf("flexfec-03 is not taken:\n%s", answer)
	}
	rt, _ := parse("recv", answer)
	recv := c.Endpoint("recv")
	if err := recv.SetRemote(rt); err != nil {
		t.Fatal(err)
	}
	b.until("receiver connected", 15*time.Second, func() bool { return ev.has("transport recv 1") })
	recv.SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: 720}})
	v := fmt.Sprintf("v%d", sources[1].SSRCs[0])
	b.until("repair packets", 40*time.Second, func() bool { return b.stats("recv")[v].Fec > 30 })
	first, sent, lost := b.stats("recv")[v], path.sent.Load(), path.lost.Load()
	b.until("five seconds of video", 40*time.Second, func() bool { return b.stats("recv")[v].Frames > first.Frames+100 })
	last := b.stats("recv")[v]
	sent, lost = path.sent.Load()-sent, path.lost.Load()-lost
	t.Logf("%d of %d packets lost; %d repair packets came, %d repetitions, %d NACKs; %d frames decoded, %d freezes, %d PLIs", lost, sent, last.Fec-first.Fec,
		last.Rtx-first.Rtx, last.Nack-first.Nack, last.Frames-first.Frames, last.Freeze-first.Freeze, last.Pli-first.Pli)
	recv.SetConstraints(sfu.VideoConstraints{LastN: 0})
	b.decodes("recv", v)
	if n := b.sfu.Counters(); n["fec_out"] < 30 {
		t.Errorf("%d repair packets sent", n["fec_out"])
	}
}
