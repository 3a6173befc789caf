package turn

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// defaultDenied are the special-purpose networks of IANA's registries (RFC 6890): a relay into them reaches the operator's own
// machines, or nobody.
func defaultDenied() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8",       // this network, RFC 791; Linux takes 0.0.0.0 for loopback
		"10.0.0.0/8",      // private, RFC 1918
		"100.64.0.0/10",   // carrier NAT, RFC 6598
		"127.0.0.0/8",     // loopback, RFC 1122
		"169.254.0.0/16",  // link-local, RFC 3927; clouds keep their metadata here
		"172.16.0.0/12",   // private, RFC 1918
		"192.0.0.0/24",    // protocol assignments, RFC 6890
		"192.0.2.0/24",    // documentation, RFC 5737
		"192.88.99.0/24",  // 6to4 anycast, RFC 7526
		"192.168.0.0/16",  // private, RFC 1918
		"198.18.0.0/15",   // benchmarks, RFC 2544
		"198.51.100.0/24", // documentation, RFC 5737
		"203.0.113.0/24",  // documentation, RFC 5737
		"224.0.0.0/4",     // multicast, RFC 5771
		"240.0.0.0/4",     // reserved and broadcast, RFC 1112

		"::/96",           // unspecified, loopback, IPv4-compatible, RFC 4291
		"::ffff:0:0:0/96", // IPv4-translated, RFC 2765
		"64:ff9b:1::/48",  // local NAT64, RFC 8215
		"100::/64",        // discard, RFC 6666
		"2001::/23",       // protocol assignments: Teredo, benchmarks, ORCHID, RFC 2928
		"2001:db8::/32",   // documentation, RFC 3849
		"3fff::/20",       // documentation, RFC 9637
		"5f00::/16",       // segment routing, RFC 9602
		"fc00::/7",        // unique local, RFC 4193
		"fe80::/10",       // link-local, RFC 4291
		"fec0::/10",       // site-local, RFC 3879
		"ff00::/8",        // multicast, RFC 4291
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// ownFor is how long the list of this machine's addresses is believed.
const ownFor = 10 * time.Second

// policy says which peers may be reached over a socket.
type policy struct {
	allow, deny, denied []netip.Prefix
	extra               []netip.Addr // own addresses that no interface has: before a NAT
	interfaces          func() ([]net.Addr, error)
	now                 func() time.Time

	mu    sync.Mutex // guards the two fields below
	own   []netip.Addr
	until time.Time
}

func newPolicy(allow, deny []netip.Prefix, extra []netip.Addr) *policy {
	return &policy{allow: allow, deny: deny, denied: defaultDenied(), extra: extra, interfaces: net.InterfaceAddrs, now: time.Now}
}

// allowed tells whether a peer may be reached over a socket. An IPv6 address that carries an IPv4 address has to be allowed
// as both.
func (p *policy) allowed(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = a.Unmap() // ::ffff:0:0/96 is the IPv4 address itself
	if v4, ok := embedded(a); ok && !p.allowedOne(v4) {
		return false
	}
	return p.allowedOne(a)
}

func (p *policy) allowedOne(a netip.Addr) bool {
	within := func(ps []netip.Prefix) bool {
		return slices.ContainsFunc(ps, func(n netip.Prefix) bool { return n.Contains(a) })
	}
	switch {
	case within(p.deny):
		return false
	case within(p.allow):
		return true
	}
	return !within(p.denied) && !slices.Contains(p.ownAddrs(), a)
}

// embedded gives the IPv4 address that packets to an IPv6 address end up at.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case b[0] == 0x20 && b[1] == 0x02: // 6to4, RFC 3056 §2
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b: // NAT64, RFC 6052 §2.1
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214 §6.1
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}

// ownAddrs are this machine's addresses; the list may be ownFor old.
func (p *policy) ownAddrs() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Before(p.until) {
		return p.own
	}
	own := slices.Clone(p.extra)
	all, err := p.interfaces()
	if err != nil { // keep the old list: forgetting it would open what it closed
		p.until = now.Add(ownFor)
		return p.own
	}
	for _, i := range all {
		if n, ok := i.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				own = append(own, a.Unmap())
			}
		}
	}
	p.own, p.until = own, now.Add(ownFor)
	return own
}
