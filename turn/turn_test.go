package turn

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"konzil/internal/await"
)

// roundTrips sends packets to a peer that echoes and checks them all, first by indication, then by channel.
func roundTrips(t *testing.T, relay net.PacketConn, to net.Addr) {
	t.Helper()
	buf := make([]byte, 2000)
	for i := range 50 {
		want := randomBytes(20 + i*24)
		if _, err := relay.WriteTo(want, to); err != nil {
			t.Fatal(err)
		}
		relay.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := relay.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], want) || from.String() != to.String() {
			t.Fatalf("packet %d: %d bytes from %s, want %d from %s", i, n, from, len(want), to)
		}
	}
}

// udpEcho is an outside peer on a real socket.
func udpEcho(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c
}

// TestInMemory relays to the SFU on a loopback address, which no socket may reach.
func TestInMemory(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			sfu := newEcho("127.0.0.1:10000")
			s := start(t, testConfig(), sfu)
			user, password, expires := s.Credentials("session-1", time.Hour)
			if d := time.Until(expires); d < 59*time.Minute || d > time.Hour {
				t.Errorf("expires in %v", d)
			}
			relay := allocate(t, client(t, s, network, user, password))
			roundTrips(t, relay, net.UDPAddrFromAddrPort(sfu.addrs[0]))
			attached, packets := sfu.state()
			if n := s.Counters(); attached != 1 || packets != 50 || n["packets_memory_out"] != 50 || n["packets_memory_in"] != 50 || n["packets_socket_out"]+n["packets_socket_in"] != 0 {
				t.Errorf("attached %d, packets %d, counters %v", attached, packets, n)
			}
			// The same address on another port is not the SFU: the permission is there, the packet is not let out.
			outside := udpEcho(t)
			if _, err := relay.WriteTo([]byte("x"), outside.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			await.True(t, "denied packet", func() bool { return s.Counters()["packet_denied"] == 1 })
			// Nor may it send to the relayed address.
			if _, err := outside.WriteTo([]byte("y"), relay.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			await.True(t, "denied packet from outside", func() bool { return s.Counters()["packet_denied"] == 2 })
			relay.Close()
			await.True(t, "end of the allocation", func() bool {
				attached, _ := sfu.state()
				return attached == 0 && s.Counters()["allocations_now"] == 0
			})
		})
	}
}

func TestSocketPeer(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			c := testConfig()
			c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			s := start(t, c, nil)
			relay := allocate(t, client(t, s, network, "user", "secret"))
			roundTrips(t, relay, udpEcho(t).LocalAddr())
			if n := s.Counters(); n["packets_socket_out"] != 50 || n["packets_socket_in"] != 50 {
				t.Error(n)
			}
		})
	}
}

// TestTwoRelays lets two clients talk relay to relay, on an address that is else denied.
func TestTwoRelays(t *testing.T) {
	s := start(t, testConfig(), nil)
	a := allocate(t, client(t, s, "udp", "user", "secret"))
	b := allocate(t, client(t, s, "tcp", "user", "secret"))
	if _, err := b.WriteTo([]byte("open"), a.LocalAddr()); err != nil { // b's permission for a; dropped, as a has none for b
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for range 3 {
		if _, err := a.WriteTo([]byte("hello"), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		b.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := b.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello" || from.String() != a.LocalAddr().String() {
			t.Fatalf("%q from %v: %v", buf[:n], from, err)
		}
	}
}

func TestBindingForAnyone(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		s := start(t, testConfig(), nil)
		c := client(t, s, network, "", "")
		a, err := c.SendBindingRequest()
		if err != nil {
			t.Fatal(network, err)
		}
		if host, _, _ := net.SplitHostPort(a.String()); host != "127.0.0.1" {
			t.Error(network, a)
		}
	}
}

func TestIPv6(t *testing.T) {
	c := testConfig()
	probe, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip("this machine has no ::1:", err)
	}
	probe.Close()
	c.UDP = append(c.UDP, netip.MustParseAddrPort("[::1]:0"))
	sfu := newEcho("[::1]:10000", "127.0.0.1:10000")
	s := start(t, c, sfu)
	r := newRaw(t, s, "user", "secret")
	m := r.ask(3, requestUDP, attr(0x0017, familyIPv6, 0, 0, 0))
	if codeOf(t, m) != 0 {
		t.Fatal(m)
	}
	if code := r.code(8, peer("[::1]:10000")); code != 0 {
		t.Errorf("permission for the SFU over IPv6: %d", code)
	}
	if code := r.code(8, peer("127.0.0.1:10000")); code != 443 {
		t.Errorf("IPv4 peer on an IPv6 relay: %d, want 443", code)
	}
}

func TestRestart(t *testing.T) {
	sfu := newEcho("127.0.0.1:10000")
	s := start(t, testConfig(), sfu)
	relay := allocate(t, client(t, s, "tcp", "user", "secret"))
	roundTrips(t, relay, net.UDPAddrFromAddrPort(sfu.addrs[0]))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if attached, _ := sfu.state(); attached != 0 {
		t.Error("Close left the relay attached")
	}
	if err := s.Serve(&net.TCPListener{}); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestTakenPort(t *testing.T) {
	first := start(t, testConfig(), nil)
	for _, network := range []string{"udp", "tcp"} {
		c := testConfig()
		if network == "udp" {
			c.UDP = first.UDPAddrs()
		} else {
			c.TCP = first.TCPAddrs()
		}
		_, err := New(c, nil, first.log)
		var e *ListenError
		if !errors.As(err, &e) || e.Network != network || e.Addr != serverAddr(first, network) || !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: %v", network, err)
		}
	}
}

func TestRelayAddresses(t *testing.T) {
	pub, priv := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("10.0.0.7")
	got := relayAddresses(Config{Relays: []RelayAddress{{Bind: priv, Announce: pub}, {Bind: priv}}})
	if got[0] != (RelayAddress{priv, pub}) || got[1] != (RelayAddress{priv, priv}) {
		t.Error(got)
	}
	wild := netip.MustParseAddrPort("0.0.0.0:3478")
	got = relayAddresses(Config{UDP: []netip.AddrPort{wild}, TCP: []netip.AddrPort{wild}})
	if len(got) != 1 || got[0].Bind.IsUnspecified() {
		t.Error(got)
	}
}

// TestAnnounced has relays behind a NAT: bound to one address, told as another.
func TestAnnounced(t *testing.T) {
	c := testConfig()
	c.Relays = []RelayAddress{{Bind: netip.MustParseAddr("127.0.0.1"), Announce: netip.MustParseAddr("198.51.100.7")}}
	sfu := newEcho("198.51.100.7:10000")
	s := start(t, c, sfu)
	relay := allocate(t, client(t, s, "udp", "user", "secret"))
	if host, _, _ := net.SplitHostPort(relay.LocalAddr().String()); host != "198.51.100.7" {
		t.Error(relay.LocalAddr())
	}
	roundTrips(t, relay, net.UDPAddrFromAddrPort(sfu.addrs[0]))
}
