package turn

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"konzil/internal/await"

	"github.com/pion/stun/v4"
)

// relayedOf gives all relayed addresses of a success response.
func relayedOf(t *testing.T, m *stun.Message) (all []netip.AddrPort) {
	t.Helper()
	if codeOf(t, m) != 0 {
		t.Fatal(m)
	}
	for _, a := range m.Attributes {
		if a.Type == stun.AttrXORRelayedAddress {
			at, _, ok := decodeXORAddress(a.Value, m.TransactionID)
			if !ok {
				t.Fatal(m)
			}
			all = append(all, at)
		}
	}
	return all
}

// TestDualAllocation makes one allocation with an IPv4 and an IPv6 address, uses both, and ends one alone (RFC 8656 §7.2, §8.2).
func TestDualAllocation(t *testing.T) {
	c := testConfig()
	c.Relays = []RelayAddress{{Bind: netip.MustParseAddr("127.0.0.1")}, {Bind: netip.IPv6Loopback()}}
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	s := start(t, c, nil)
	r := newRaw(t, s, "user", "secret")
	q := r.build(stun.MethodAllocate, requestUDP, attr(attrAdditionalAddressFamily, familyIPv6, 0, 0, 0))
	m := r.exchange(q)
	if err := stun.NewLongTermIntegrity(r.user, r.realm, r.password).Check(m); err != nil {
		t.Error(err)
	}
	all := relayedOf(t, m)
	if len(all) != 2 || !all[0].Addr().Is4() || !all[1].Addr().Is6() {
		t.Fatal(all)
	}
	if again := r.exchange(q); !bytes.Equal(again.Raw, m.Raw) {
		t.Errorf("the repeated request got %v", again)
	}
	for _, relayed := range all {
		p, err := net.ListenUDP(network("udp", relayed), net.UDPAddrFromAddrPort(netip.AddrPortFrom(relayed.Addr(), 0)))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		at := addrPort(p.LocalAddr())
		if code := r.code(stun.MethodCreatePermission, peerAttr(at)); code != 0 {
			t.Fatalf("permission for %v: %d", at, code)
		}
		send := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAttr(at), stun.RawAttribute{Type: stun.AttrData, Value: []byte("hello")})
		if _, err := r.conn.Write(send.Raw); err != nil {
			t.Fatal(err)
		}
		var buf [100]byte
		p.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := p.ReadFromUDPAddrPort(buf[:])
		if err != nil || string(buf[:n]) != "hello" || unmap(from) != relayed {
			t.Fatalf("%q from %v: %v", buf[:n], from, err)
		}
	}
	six := attr(stun.AttrRequestedAddressFamily, familyIPv6, 0, 0, 0)
	gone := r.ask(stun.MethodRefresh, six, attr(stun.AttrLifetime, 0, 0, 0, 0))
	if life, _ := gone.Get(stun.AttrLifetime); codeOf(t, gone) != 0 || !bytes.Equal(life, make([]byte, 4)) {
		t.Errorf("ending IPv6: %v", gone)
	}
	if code := r.code(stun.MethodRefresh, six); code != 443 {
		t.Errorf("refreshing what is ended: %d, want 443", code)
	}
	if code := r.code(stun.MethodCreatePermission, peerAttr(netip.MustParseAddrPort("[::1]:9"))); code != 443 {
		t.Errorf("permission for IPv6: %d, want 443", code)
	}
	if code := r.code(stun.MethodRefresh); code != 0 || s.Counters()["allocations_now"] != 1 {
		t.Errorf("the other one did not go on: %d", code)
	}
	if code := r.code(stun.MethodRefresh, attr(stun.AttrLifetime, 0, 0, 0, 0)); code != 0 {
		t.Errorf("ending all: %d", code)
	}
	await.True(t, "no allocation", func() bool { return s.Counters()["allocations_now"] == 0 })
}

// TestHalfADualAllocation: without IPv6 relays a client that would like both gets one, and is told (RFC 8656 §7.2).
func TestHalfADualAllocation(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	m := r.ask(stun.MethodAllocate, requestUDP, attr(attrAdditionalAddressFamily, familyIPv6, 0, 0, 0))
	if all := relayedOf(t, m); len(all) != 1 || !all[0].Addr().Is4() {
		t.Fatal(all)
	}
	if v, err := m.Get(attrAddressErrorCode); err != nil || !bytes.HasPrefix(v, []byte{familyIPv6, 0, 4, 40}) {
		t.Errorf("%x, %v", v, err)
	}
}

// TestReservation asks for a pair of ports, and takes the second with the token (RFC 8656 §7.2).
func TestReservation(t *testing.T) {
	s := start(t, testConfig(), nil)
	first := newRaw(t, s, "user", "secret")
	m := first.ask(stun.MethodAllocate, requestUDP, attr(stun.AttrEvenPort, 0x80))
	one := relayedOf(t, m)
	token, err := m.Get(stun.AttrReservationToken)
	if err != nil || len(one) != 1 || one[0].Port()%2 != 0 {
		t.Fatal(m)
	}
	if c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(one[0].Addr(), one[0].Port()+1))); err == nil {
		c.Close()
		t.Error("the port is not kept")
	}
	second := newRaw(t, s, "user", "secret")
	m = second.ask(stun.MethodAllocate, requestUDP, stun.RawAttribute{Type: stun.AttrReservationToken, Value: token})
	if two := relayedOf(t, m); len(two) != 1 || two[0].Port() != one[0].Port()+1 {
		t.Errorf("%v after %v", two, one)
	}
	third := newRaw(t, s, "user", "secret")
	if code := third.code(stun.MethodAllocate, requestUDP, stun.RawAttribute{Type: stun.AttrReservationToken, Value: token}); code != 508 {
		t.Errorf("a token used twice: %d, want 508", code)
	}
}

// TestReservationsEnd: they are bounded, and none outlives the server, which start checks.
func TestReservationsEnd(t *testing.T) {
	c := testConfig()
	c.PerUser, c.PerAddress = 1000, 1000
	s := start(t, c, nil)
	for range maxReservations {
		r := newRaw(t, s, "user", "secret")
		if code := r.code(stun.MethodAllocate, requestUDP, attr(stun.AttrEvenPort, 0x80)); code != 0 {
			t.Fatal(code)
		}
	}
	r := newRaw(t, s, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP, attr(stun.AttrEvenPort, 0x80)); code != 508 {
		t.Errorf("one more: %d, want 508", code)
	}
}

// TestDontFragment sends what fits as a whole and drops what does not (RFC 8656 §12).
func TestDontFragment(t *testing.T) {
	c := testConfig()
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	s := start(t, c, nil)
	r := newRaw(t, s, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP, attr(stun.AttrDontFragment)); code != 0 {
		t.Fatal(code)
	}
	p, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	at := peerAttr(addrPort(p.LocalAddr()))
	if code := r.code(stun.MethodCreatePermission, at); code != 0 {
		t.Fatal(code)
	}
	send := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), at, attr(stun.AttrDontFragment), stun.RawAttribute{Type: stun.AttrData, Value: []byte("whole")})
	if _, err := r.conn.Write(send.Raw); err != nil {
		t.Fatal(err)
	}
	var buf [100]byte
	p.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, _, err := p.ReadFromUDPAddrPort(buf[:]); err != nil || string(buf[:n]) != "whole" {
		t.Fatalf("%q: %v", buf[:n], err)
	}
}

// TestUnknownAttributes are told by name (RFC 8489 §6.3.1), also to whom we do not know.
func TestUnknownAttributes(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	for _, m := range []*stun.Message{
		r.ask(stun.MethodAllocate, requestUDP, attr(0x7ffe, 1, 2, 3, 4)),
		r.exchange(stun.MustBuild(stun.TransactionID, stun.BindingRequest, attr(0x7ffe, 1, 2, 3, 4))),
	} {
		var unknown stun.UnknownAttributes
		if codeOf(t, m) != 420 || unknown.GetFrom(m) != nil || len(unknown) != 1 || unknown[0] != 0x7ffe {
			t.Errorf("%v", m)
		}
	}
}
