package translator

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"konzil/internal/await"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// agent is a real ICE agent for one component of a channel.
type agent struct {
	*ice.Agent
	conn chan *ice.Conn
}

func newAgent(t *testing.T, c *Channel, component int, controlling bool, more ...ice.AgentOption) *agent {
	t.Helper()
	a, err := ice.NewAgentWithOptions(append(more, ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}), ice.WithIncludeLoopback(),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}), ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled))...)
	must(t, err)
	t.Cleanup(func() { _ = a.GracefulClose() })
	gathered := make(chan struct{})
	must(t, a.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			close(gathered)
		}
	}))
	must(t, a.GatherCandidates())
	<-gathered
	rtp, rtcp, ufrag, pwd := c.Local()
	to := []netip.AddrPort{rtp, rtcp}[component]
	cand, err := ice.NewCandidateHost(&ice.CandidateHostConfig{Network: "udp", Address: to.Addr().String(), Port: int(to.Port()), Component: 1})
	must(t, err)
	must(t, a.AddRemoteCandidate(cand))
	out := &agent{a, make(chan *ice.Conn, 1)}
	f, p, err := a.GetLocalUserCredentials()
	must(t, err)
	if component == 0 {
		must(t, c.SetRemote(Remote{Ufrag: f, Pwd: p}))
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var conn *ice.Conn
		if controlling {
			conn, _ = a.Dial(ctx, ufrag, pwd)
		} else {
			conn, _ = a.Accept(ctx, ufrag, pwd)
		}
		out.conn <- conn
	}()
	return out
}

func (a *agent) connected(t *testing.T) *ice.Conn {
	t.Helper()
	conn := <-a.conn
	if conn == nil {
		t.Fatal("ICE failed")
	}
	return conn
}

// Channels by ICE in each role, and in the same one as their ends: media pass once a pair is chosen, and from nowhere else.
func TestICE(t *testing.T) {
	for _, c := range []struct {
		name        string
		ours, other bool
	}{{"controlled", false, true}, {"controlling", true, false}, {"both controlling", true, true}, {"both controlled", false, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			a, b := w.add(ChannelConfig{ID: "a", ICE: true, Controlling: c.ours}), w.add(ChannelConfig{ID: "b", ICE: true, Controlling: c.ours})
			ia, ib := newAgent(t, a, 0, c.other), newAgent(t, b, 0, c.other)
			ca, cb := ia.connected(t), ib.connected(t)
			await.True(t, "both latched", func() bool { return a.Stats().Remote[0].IsValid() && b.Stats().Remote[0].IsValid() })
			thief := newEnd(t, loop)
			thief.send(at(a), rtpPacket(1, 20))
			w.drops("drop_source", 1)
			for i, p := range [][]byte{zrtpPacket(1), rtpPacket(1, 300), rtcpPacket(5)} {
				from, to := ca, cb
				if i == 1 {
					from, to = cb, ca
				}
				_, err := from.Write(p)
				must(t, err)
				buf := make([]byte, 2000)
				must(t, to.SetReadDeadline(time.Now().Add(5*time.Second)))
				n, err := to.Read(buf)
				if err != nil || string(buf[:n]) != string(p) {
					t.Fatalf("%x instead of %x, %v", buf[:n], p, err)
				}
			}
		})
	}
}

// A check without the password gets no answer, and latches nothing.
func TestICEPassword(t *testing.T) {
	w := newWorld(t, nil)
	a := w.add(ChannelConfig{ID: "a", ICE: true})
	_, _, ufrag, pwd := a.Local()
	e := newEnd(t, loop)
	check := func(user, pwd string) []byte {
		m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(user), stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
		must(t, err)
		return m.Raw
	}
	e.send(at(a), check(ufrag+":x", "wrong"))
	e.send(at(a), check("other:x", pwd))
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.Fingerprint)
	must(t, err)
	e.send(at(a), m.Raw)
	w.drops("drop_stun", 3)
	e.send(at(a), check(ufrag+":x", pwd))
	if b, _ := e.get(5 * time.Second); !stun.IsMessage(b) || b[0] != 1 || b[1] != 1 {
		t.Fatalf("answered %x", b)
	}
	if b, _ := e.get(time.Millisecond); b != nil {
		t.Errorf("more than one answer: %x", b)
	}
	raw := w.add(ChannelConfig{ID: "b"})
	e.send(at(raw), m.Raw)
	w.drops("drop_stun", 4)
}

func FuzzSTUN(f *testing.F) {
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername("a:b"), stun.NewShortTermIntegrity("p"), stun.Fingerprint)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Raw)
	r, err := stun.Build(m, stun.BindingSuccess, stun.NewShortTermIntegrity("p"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Raw)
	cfg := DefaultConfig()
	cfg.Listen = []netip.Addr{loop}
	s, err := New(cfg, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	rel, err := s.Open("x", nil)
	if err != nil {
		f.Fatal(err)
	}
	c, err := rel.Add(ChannelConfig{ICE: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rel.w.mu.Lock()
		defer rel.w.mu.Unlock()
		var evs events
		c.t.comp[0].stun(&evs, b, netip.AddrPortFrom(loop, 9), 0)
		if c.t.comp[0].remote.IsValid() {
			t.Errorf("%x latched without the password", b)
		}
	})
}
