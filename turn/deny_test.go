package turn

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// deniedPeers has one address of each class, and those that hide one.
var deniedPeers = map[string]string{
	"this network":            "0.0.0.0",
	"this network, host":      "0.1.2.3",
	"private 10":              "10.1.2.3",
	"private 172":             "172.31.255.254",
	"private 192":             "192.168.0.1",
	"carrier NAT":             "100.64.0.1",
	"loopback":                "127.0.0.1",
	"loopback, other":         "127.255.255.254",
	"link-local":              "169.254.169.254",
	"protocol assignments":    "192.0.0.8",
	"documentation 1":         "192.0.2.1",
	"documentation 2":         "198.51.100.1",
	"documentation 3":         "203.0.113.1",
	"6to4 anycast":            "192.88.99.1",
	"benchmark":               "198.19.0.1",
	"multicast":               "224.0.0.1",
	"multicast, scoped":       "239.255.255.250",
	"reserved":                "240.0.0.1",
	"broadcast":               "255.255.255.255",
	"IPv6 unspecified":        "::",
	"IPv6 loopback":           "::1",
	"IPv6 unique local":       "fd00::1",
	"IPv6 link-local":         "fe80::1",
	"IPv6 site-local":         "fec0::1",
	"IPv6 multicast":          "ff02::1",
	"IPv6 documentation":      "2001:db8::1",
	"IPv6 documentation 2":    "3fff::1",
	"IPv6 discard":            "100::1",
	"IPv6 Teredo":             "2001:0:4136:e378:8000:63bf:3fff:fdd2",
	"IPv6 ORCHID":             "2001:20::1",
	"IPv6 segment routing":    "5f00::1",
	"mapped loopback":         "::ffff:127.0.0.1",
	"mapped private":          "::ffff:10.0.0.1",
	"compatible loopback":     "::127.0.0.1",
	"translated loopback":     "::ffff:0:127.0.0.1",
	"6to4 of private":         "2002:0a00:0001::1",
	"6to4 of loopback":        "2002:7f00:0001::",
	"NAT64 of loopback":       "64:ff9b::127.0.0.1",
	"NAT64 of private":        "64:ff9b::10.0.0.1",
	"local NAT64":             "64:ff9b:1::8.8.8.8",
	"ISATAP of private":       "2a00:1450::5efe:10.0.0.1",
	"ISATAP of private, u":    "2a00:1450::200:5efe:10.0.0.1",
	"link-local with a zone":  "fe80::1%eth0",
	"global with a zone":      "2a00:1450::1%eth0",
	"own address":             "131.246.9.9",
	"own IPv6 address":        "2a00:1398::9",
	"6to4 of the own address": "2002:83f6:0909::1",
	"announced address":       "131.246.7.7",
}

var allowedPeers = map[string]string{
	"IPv4":             "8.8.8.8",
	"next to private":  "172.32.0.1",
	"next to NAT":      "100.128.0.1",
	"IPv6":             "2a00:1450:4001::1",
	"mapped":           "::ffff:8.8.8.8",
	"6to4 of global":   "2002:0808:0808::1",
	"NAT64 of global":  "64:ff9b::8.8.8.8",
	"ISATAP of global": "2a00:1450::5efe:8.8.8.8",
}

func testPolicy(allow, deny string) *policy {
	list := func(s string) (all []netip.Prefix) {
		if s != "" {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	p := newPolicy(list(allow), list(deny), []netip.Addr{netip.MustParseAddr("131.246.7.7")})
	p.interfaces = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("131.246.9.9"), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("2a00:1398::9"), Mask: net.CIDRMask(64, 128)}}, nil
	}
	return p
}

func TestPolicy(t *testing.T) {
	p := testPolicy("", "")
	for name, a := range deniedPeers {
		if p.allowed(netip.MustParseAddr(a)) {
			t.Errorf("%s: %s may be reached", name, a)
		}
	}
	for name, a := range allowedPeers {
		if !p.allowed(netip.MustParseAddr(a)) {
			t.Errorf("%s: %s may not be reached", name, a)
		}
	}
	if p.allowed(netip.Addr{}) {
		t.Error("the zero address may be reached")
	}
}

func TestPolicySettings(t *testing.T) {
	p := testPolicy("10.1.0.0/16", "10.1.2.0/24")
	for a, want := range map[string]bool{"10.1.0.1": true, "10.1.2.1": false, "10.2.0.1": false, "8.8.8.8": true, "::ffff:10.1.0.1": true,
		"64:ff9b::10.1.0.1": true, "64:ff9b::10.1.2.1": false} {
		if got := p.allowed(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if p := testPolicy("", "8.0.0.0/8"); p.allowed(netip.MustParseAddr("64:ff9b::8.8.8.8")) {
		t.Error("a denied address may be reached by NAT64")
	}
}

// TestOwnAddressesAreRemembered: failing to list them must not open them, and new ones count after a while.
func TestOwnAddressesAreRemembered(t *testing.T) {
	p := testPolicy("", "")
	now := time.Now()
	p.now = func() time.Time { return now }
	own := netip.MustParseAddr("131.246.9.9")
	if p.allowed(own) {
		t.Fatal("own address")
	}
	p.interfaces = func() ([]net.Addr, error) { return nil, errors.New("no") }
	now = now.Add(2 * ownFor)
	if p.allowed(own) {
		t.Error("forgotten")
	}
	p.interfaces = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("131.246.9.10"), Mask: net.CIDRMask(24, 32)}}, nil
	}
	now = now.Add(2 * ownFor)
	if !p.allowed(own) || p.allowed(netip.MustParseAddr("131.246.9.10")) {
		t.Error("a change of address was not seen")
	}
}

// TestDeniedOnTheWire asks for each class by CreatePermission and ChannelBind, on relays of both families.
func TestDeniedOnTheWire(t *testing.T) {
	c := testConfig()
	c.Relays = []RelayAddress{{Bind: netip.MustParseAddr("127.0.0.1"), Announce: netip.MustParseAddr("198.51.100.99")}, {Bind: netip.MustParseAddr("::1"), Announce: netip.MustParseAddr("2a00:1398::77")}}
	s := start(t, c, nil)
	s.policy.mu.Lock()
	s.policy.interfaces = testPolicy("", "").interfaces
	s.policy.extra = append(s.policy.extra, netip.MustParseAddr("131.246.7.7"))
	s.policy.mu.Unlock()
	clients := map[bool]*raw{}
	for _, v6 := range []bool{false, true} {
		r := newRaw(t, s, "user", "secret")
		family := byte(familyIPv4)
		if v6 {
			family = familyIPv6
		}
		if m := r.ask(stun.MethodAllocate, requestUDP, attr(stun.AttrRequestedAddressFamily, family, 0, 0, 0)); codeOf(t, m) == 0 {
			clients[v6] = r
		} else if !v6 {
			t.Fatal(m)
		} else {
			t.Log("no IPv6 on this machine: its classes are tested by TestPolicy alone")
		}
	}
	denied := uint64(0)
	channel := uint16(minChannel)
	for name, text := range deniedPeers {
		a := netip.MustParseAddr(text)
		r := clients[a.Is6()]
		if a.Zone() != "" || r == nil { // a zone is not on the wire
			continue
		}
		p := peerAttr(netip.AddrPortFrom(a, 53))
		if code := r.code(stun.MethodCreatePermission, p); code != 403 {
			t.Errorf("%s: permission for %s: %d, want 403", name, a, code)
		}
		if code := r.code(stun.MethodCreatePermission, peer(map[bool]string{false: "8.8.8.8:53", true: "[2a00:1450::1]:53"}[a.Is6()]), p); code != 403 {
			t.Errorf("%s: permission for %s behind an allowed one: %d, want 403", name, a, code)
		}
		if code := r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, byte(channel>>8), byte(channel), 0, 0), p); code != 403 {
			t.Errorf("%s: channel to %s: %d, want 403", name, a, code)
		}
		denied += 3
		channel++
	}
	if got := s.Counters()["permission_denied"]; got != denied || denied == 0 {
		t.Errorf("permission_denied = %d, want %d", got, denied)
	}
	if code := clients[false].code(stun.MethodCreatePermission, peer("8.8.8.8:53")); code != 0 {
		t.Errorf("an allowed peer: %d", code)
	}
}
