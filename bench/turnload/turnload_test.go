package turnload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/bench/measure"
	"konzil/bench/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startPeer(t *testing.T, name string) *measure.Target {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	target, err := peers.Start(ctx, name, peers.Options{})
	if errors.Is(err, peers.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.Stop(); err != nil {
			t.Error(err)
		}
	})
	return target
}

// config is a small load that no machine is too slow for.
func config(target *measure.Target, network string) Config {
	key := map[string]string{"udp": "turn", "tcp": "turn-tcp", "tls": "turns"}[network]
	return Config{Server: netip.MustParseAddrPort(target.Addr[key]), Network: network, Secret: target.Secret, TLS: &tls.Config{InsecureSkipVerify: true},
		Allocations: 5, Payload: 201, Direction: "both", Burst: 3, Runs: true, Window: 60}
}

func measured(t *testing.T, c Config) *measure.Sample {
	t.Helper()
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Prepare(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	s, err := l.Measure(t.Context(), 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestServers carries loads of all kinds through the real programs: everything has to arrive, right and in order.
func TestServers(t *testing.T) {
	for _, name := range []string{"konzil", "coturn"} {
		t.Run(name, func(t *testing.T) {
			target := startPeer(t, name)
			for _, network := range []string{"udp", "tcp", "tls"} {
				for _, indications := range []bool{false, true} {
					for _, rate := range []int{0, 3000} {
						c := config(target, network)
						c.Indications, c.Rate = indications, rate
						t.Run(fmt.Sprintf("%s/indications=%v/rate=%d", network, indications, rate), func(t *testing.T) {
							s := measured(t, c)
							// a busy machine may take any part of the interval away at its end, where nothing is counted as skipped: then it says nothing of the pace
							for range 20 {
								if rate == 0 || s.Sent+s.Skipped >= 600 {
									break
								}
								s = measured(t, c)
							}
							if s.Sent < 100 || s.Delivered != s.Expected || len(s.Wrong) > 0 || s.Verified == 0 || s.Latency["packet"].TotalCount() == 0 || s.Steps["allocation"].TotalCount() != 5 {
								t.Errorf("%+v", s)
							}
							if rate > 0 && (s.Sent+s.Skipped < 600 || s.Sent > 1000) {
								t.Errorf("%d sent in 300 ms, %d skipped", s.Sent, s.Skipped)
							}
						})
					}
				}
			}
		})
	}
}

// TestDamage: what is lost or changed on purpose shows.
func TestDamage(t *testing.T) {
	target := startPeer(t, "konzil")
	for _, network := range []string{"udp", "tcp"} {
		c := config(target, network)
		c.Fault = &measure.Fault{Loss: 0.05}
		if s := measured(t, c); s.Expected == 0 || float64(s.Delivered) > 0.99*float64(s.Expected) {
			t.Errorf("%s: %d of %d with a loss of 5 %%", network, s.Delivered, s.Expected)
		}
		c.Fault = &measure.Fault{Corruption: 0.5}
		if s := measured(t, c); s.Wrong["payload"] == 0 {
			t.Errorf("%s: damage was not seen: %+v", network, s)
		}
	}
}

func TestStaticUser(t *testing.T) {
	c := config(startPeer(t, "konzil"), "udp")
	c.Secret, c.Username, c.Password = "", "bench", measure.AccountPassword
	if s := measured(t, c); s.Delivered == 0 {
		t.Errorf("%+v", s)
	}
	c.Password = "wrong"
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Prepare(t.Context(), func(string) {}); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error("a wrong password:", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestPacer(t *testing.T) {
	p := pacer{rate: 1000, burst: 2}
	for i := range 10 {
		at := time.Duration(i) * 2 * time.Millisecond
		if d := p.wait(at); d != 0 {
			t.Fatalf("burst %d is due in %v", i, d)
		}
		p.sent()
		if d := p.wait(at); d != 2*time.Millisecond {
			t.Fatalf("after burst %d the next one is due in %v", i, d)
		}
	}
	if p.wait(time.Second); p.skipped != 980 {
		t.Errorf("%d skipped after a second's sleep, want 980", p.skipped)
	}
}

func TestCheck(t *testing.T) {
	good := Config{Network: "udp", Direction: "up", Allocations: 1, Payload: 100, Burst: 1, Window: 1}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Config){
		func(c *Config) { c.Network = "sctp" }, func(c *Config) { c.Direction = "left" }, func(c *Config) { c.Allocations = 0 }, func(c *Config) { c.Payload = 10 },
		func(c *Config) { c.Burst = 99 }, func(c *Config) { c.Window = 0 }, func(c *Config) { c.Rate = -1 },
	} {
		c := good
		if change(&c); c.Check() == nil {
			t.Errorf("%d: %+v is taken", i, c)
		}
	}
	if _, err := New(good); err == nil {
		t.Error("no server, no credentials")
	}
}

// TestChecking feeds the checks with what a bad server could send.
func TestChecking(t *testing.T) {
	c := Config{Allocations: 2, Payload: 100, Burst: 1}
	packet := func(client, seq uint32) []byte {
		p := make([]byte, c.Payload)
		fill(p, client, 0)
		stamp(p, client, seq, 0)
		return p
	}
	for want, feed := range map[string]func(*recorder){
		"duplicate": func(r *recorder) { r.arrived(toPeer, 0, packet(1, 0)); r.arrived(toPeer, 0, packet(1, 0)) },
		"order":     func(r *recorder) { r.arrived(toPeer, 0, packet(1, 5)); r.arrived(toPeer, 0, packet(1, 3)) },
		"foreign":   func(r *recorder) { r.arrived(toClient, 0, packet(1, 0)) },
		"payload":   func(r *recorder) { r.arrived(toPeer, 0, packet(1, 0)[:99]) },
	} {
		var r recorder
		r.init(&c)
		feed(&r)
		if len(r.wrong) != 1 || r.wrong[want] != 1 {
			t.Errorf("%s: %v", want, r.wrong)
		}
	}
	var r recorder
	r.init(&c)
	for i := range uint32(2 * verifyEach) {
		p := packet(0, i)
		p[80] ^= 1
		r.arrived(toPeer, 0, p)
	}
	if r.wrong["payload"] != 2 {
		t.Error(r.wrong)
	}
}

// FuzzUnwrap: whatever a server sends, the payload lies within it.
func FuzzUnwrap(f *testing.F) {
	for _, network := range []string{"udp", "tcp"} {
		c := config(&measure.Target{Addr: map[string]string{"turn": "127.0.0.1:1", "turn-tcp": "127.0.0.1:1"}}, network)
		for _, ind := range []bool{false, true} {
			c.Indications = ind
			p, _ := c.wire(c.Server, network == "tcp")
			f.Add(p)
			q := append([]byte(nil), p...)
			q[1] = 0x17
			f.Add(q)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if b := unwrap(p); len(b) > len(p) {
			t.Fatal("longer than the packet")
		}
	})
}
