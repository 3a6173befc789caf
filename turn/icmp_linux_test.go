package turn

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"konzil/internal/await"
	"konzil/internal/udpio"

	"github.com/pion/stun/v4"
)

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T, network, ip string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP(network, &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Skip(err) // no IPv6
	}
	defer c.Close()
	return addrPort(c.LocalAddr())
}

// wantICMP checks a Data indication that says that a packet to a peer did not arrive.
func wantICMP(t *testing.T, m *stun.Message, from netip.AddrPort, icmp, code byte) {
	t.Helper()
	var a stun.XORMappedAddress
	if err := a.GetFromAs(m, stun.AttrXORPeerAddress); err != nil || m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) {
		t.Fatal(m, err)
	}
	if ip, _ := netip.AddrFromSlice(a.IP); netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)) != from {
		t.Errorf("about %v, want %v", a, from)
	}
	v, err := m.Get(stun.AttrType(attrICMP))
	if want := []byte{0, 0, icmp << 1, code, 0, 0, 0, 0}; err != nil || !bytes.Equal(v, want) {
		t.Errorf("%x (%v), want %x", v, err, want)
	}
	if m.Contains(stun.AttrData) {
		t.Error("with data")
	}
}

// TestPeerUnreachable: a client is told that nobody listens at a peer's port (RFC 8656 §11.5), and what it sends to others meanwhile arrives.
func TestPeerUnreachable(t *testing.T) {
	c := testConfig()
	c.Relays = []RelayAddress{{Bind: loopback.Addr()}, {Bind: netip.IPv6Loopback()}}
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	for _, f := range []struct {
		name, network, ip  string
		family, icmp, code byte
	}{{"IPv4", "udp4", "127.0.0.1", familyIPv4, 3, 3}, {"IPv6", "udp6", "::1", familyIPv6, 1, 4}} {
		t.Run(f.name, func(t *testing.T) {
			nobody := closedPort(t, f.network, f.ip)
			s := start(t, c, nil)
			r := newRaw(t, s, "user", "secret")
			if code := r.code(stun.MethodAllocate, requestUDP, attr(stun.AttrRequestedAddressFamily, f.family, 0, 0, 0)); code != 0 {
				t.Fatal(code)
			}
			if code := r.code(stun.MethodCreatePermission, peerAttr(nobody)); code != 0 {
				t.Fatal(code)
			}
			live, err := net.ListenUDP(f.network, &net.UDPAddr{IP: net.ParseIP(f.ip)})
			if err != nil {
				t.Fatal(err)
			}
			defer live.Close()
			const n = 20
			for range n {
				for _, to := range []netip.AddrPort{nobody, addrPort(live.LocalAddr())} {
					if _, err := r.conn.Write(sendIndication(t, to, "data")); err != nil {
						t.Fatal(err)
					}
				}
			}
			var b [10]byte
			for i := range n {
				live.SetReadDeadline(deadline())
				if got, err := live.Read(b[:]); err != nil || string(b[:got]) != "data" {
					t.Fatalf("packet %d: %q, %v", i, b[:got], err)
				}
			}
			m := &stun.Message{Raw: r.read()}
			if err := m.Decode(); err != nil {
				t.Fatal(err)
			}
			wantICMP(t, m, nobody, f.icmp, f.code)
			await.True(t, "counted", func() bool { return s.Counters()["peer_errors"] > 0 && s.Counters()["send_failed"] == 0 })
		})
	}
}

// TestPeerUnreachableOverTCP: the same for a client over TCP, whose relay is in a loop with connections.
func TestPeerUnreachableOverTCP(t *testing.T) {
	c := testConfig()
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	nobody := closedPort(t, "udp4", "127.0.0.1")
	r := dialRawStream(t, start(t, c, nil))
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	if code := r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, 0x40, 0, 0, 0), peerAttr(nobody)); code != 0 {
		t.Fatal(code)
	}
	if _, err := r.Write([]byte{0x40, 0, 0, 4, 1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	wantICMP(t, r.message(), nobody, 3, 3)
}

// TestRefusals: who has no permission is told nothing, nor is a client of other kinds of ICMP; the MTU of the next hop is.
func TestRefusals(t *testing.T) {
	from, peer, other := netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("127.0.0.9:5"), netip.MustParseAddrPort("127.0.0.8:5")
	g, l, r := memoryGate(nil, from)
	r.table.Store(emptyTable.permit([]netip.AddrPort{peer, netip.MustParseAddrPort("[::9]:5")}, 1))
	g.out.now = 2
	for _, x := range []udpio.Refusal{{To: other, Type: 3}, {To: peer, Type: 5}, {To: peer, Type: 0}, {To: netip.MustParseAddrPort("[::9]:5"), Type: 4}} {
		r.fromRouter(&g.out, x)
	}
	if len(l.data) != 0 {
		t.Fatalf("%x", l.data)
	}
	r.fromRouter(&g.out, udpio.Refusal{To: peer, Type: 3, Code: 4, MTU: 1280})
	r.fromRouter(&g.out, udpio.Refusal{To: netip.MustParseAddrPort("[::9]:5"), Type: 2, MTU: 1400})
	if len(l.data) != 2 || !bytes.HasSuffix(l.data[0], []byte{0x80, 4, 0, 8, 0, 0, 3 << 1, 4, 0, 0, 5, 0}) || !bytes.HasSuffix(l.data[1], []byte{0x80, 4, 0, 8, 0, 0, 2 << 1, 0, 0, 0, 5, 0x78}) {
		t.Fatalf("%x", l.data)
	}
}
