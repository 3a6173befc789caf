package sfu

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"konzil/internal/await"

	"github.com/pion/webrtc/v4"
)

// nat passes packets between one client and the SFU; rebind gives the client another address as a NAT does.
type nat struct {
	t     *testing.T
	in    *net.UDPConn
	to    netip.AddrPort
	out   atomic.Pointer[net.UDPConn]
	peer  atomic.Pointer[netip.AddrPort]
	wg    sync.WaitGroup
	conns []*net.UDPConn
}

func newNAT(t *testing.T, to netip.AddrPort) *nat {
	t.Helper()
	n := &nat{t: t, to: to, in: n0(t)}
	n.conns = append(n.conns, n.in)
	n.rebind()
	n.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			k, from, err := n.in.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			n.peer.Store(&from)
			_, _ = n.out.Load().WriteToUDPAddrPort(buf[:k], to)
		}
	})
	t.Cleanup(func() {
		for _, c := range n.conns {
			_ = c.Close()
		}
		n.wg.Wait()
	})
	return n
}

func n0(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	must(t, err)
	return c
}

// rebind opens a new outside; what comes back to the old one is lost.
func (n *nat) rebind() netip.AddrPort {
	c := n0(n.t)
	n.conns = append(n.conns, c)
	n.out.Store(c)
	n.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			k, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n.out.Load() != c {
				continue
			}
			if p := n.peer.Load(); p != nil {
				_, _ = n.in.WriteToUDPAddrPort(buf[:k], *p)
			}
		}
	})
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestAddressChange moves a client to another address in the middle of a call; media follows in both directions.
func TestAddressChange(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{})
	b := newClient(t, c, "bbbb", clientOptions{})
	n := newNAT(t, s.LocalAddrs()[0])
	a.joinVia(&relay{addr: n.in.LocalAddr().(*net.UDPAddr).AddrPort()}, b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer a.play(nil)()
	defer b.play(nil)()
	await.True(t, "audio", func() bool { return a.count(b.ssrc(0)) > 10 && b.count(a.ssrc(0)) > 10 })
	to := n.rebind()
	await.True(t, "the new path", func() bool { p := a.ep.m.path.Load(); return p != nil && p.addr == to })
	x, y := a.count(b.ssrc(0)), b.count(a.ssrc(0))
	await.True(t, "audio on the new path", func() bool { return a.count(b.ssrc(0)) > x+10 && b.count(a.ssrc(0)) > y+10 })
}

// TestVanished lets a client go silent without a word: it becomes inactive and its transport fails when consent is lost.
func TestVanished(t *testing.T) {
	t.Parallel()
	s := startSFU(t, func(c *Config) { c.ConsentTimeout, c.InactivityTimeout = 2e9, 1e9 })
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{})
	n := newNAT(t, s.LocalAddrs()[0])
	a.joinVia(&relay{addr: n.in.LocalAddr().(*net.UDPAddr).AddrPort()}, nil)
	ev.connected(t, "aaaa")
	dead, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	must(t, err)
	_ = dead.Close()
	n.out.Store(dead)
	ev.wait(t, "inactive", func(v event) bool { return v.kind == "active" && v.ep == "aaaa" && v.n == 0 })
	ev.wait(t, "failed", func(v event) bool { return v.kind == "transport" && v.ep == "aaaa" && v.state == TransportFailed })
	n.rebind()
	// A restart brings it back: DTLS and keys are as before.
	local, err := a.ep.RestartICE(t.Context())
	must(t, err)
	local.Candidates = []Candidate{{Foundation: "1", Component: 1, Protocol: "udp", Priority: 1, Addr: n.in.LocalAddr().(*net.UDPAddr).AddrPort(), Type: "host"}}
	must(t, a.ep.SetRemote(a.answer(a.offer(local, nil))))
	await.True(t, "connected again", func() bool {
		ev.mu.Lock()
		defer ev.mu.Unlock()
		up := 0
		for _, v := range ev.list {
			if v.kind == "transport" && v.state == TransportConnected {
				up++
			}
		}
		return up == 2
	})
	ev.wait(t, "active again", func(v event) bool { return v.kind == "active" && v.ep == "aaaa" && v.n == 1 })
}

// TestBothControlled lets both sides begin as the controlled one: the conflict is settled (RFC 8445 §7.3.1.1).
func TestBothControlled(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{endpoint: func(c *EndpointConfig) { c.Controlling = false }})
	a.join(nil)
	ev.connected(t, "aaaa")
}

// TestSixes connects over IPv6.
func TestSixes(t *testing.T) {
	t.Parallel()
	s := startSFU(t, func(c *Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort("[::1]:0")} })
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{setting: func(se *webrtc.SettingEngine) {
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP6})
	}})
	a.join(nil)
	ev.connected(t, "aaaa")
}
