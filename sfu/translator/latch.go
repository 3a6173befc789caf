package translator

import "net/netip"

// accept says whether a packet is from the channel's end, and latches onto it if it is the first. Caller holds the worker's lock.
func (c *component) accept(evs *events, k kind, b []byte, from netip.AddrPort, now int64) bool {
	if from == c.remote {
		c.heard = now
		return true
	}
	if c.t.ice != nil {
		if c.t.ice.valid(c.index, from) {
			c.heard = now
			return true
		}
		return false
	}
	cfg := &c.t.w.s.cfg
	if c.remote.IsValid() {
		if from.Addr() != c.remote.Addr() || now-c.heard <= int64(cfg.Rebind) || !plausible(k, b) {
			return false
		}
		c.t.w.s.count.inc(cMoved)
		c.latch(evs, from, now)
		return true
	}
	if now > c.t.latchUntil || !c.fits(k) || !plausible(k, b) || !c.mayBe(from.Addr()) {
		return false
	}
	c.t.w.s.count.inc(cLatched)
	c.latch(evs, from, now)
	return true
}

// fits says whether packets of kind k may be the first of the port. RTCP that comes first at the RTP port is not: an end that muxes has RTP.
func (c *component) fits(k kind) bool {
	if c.index == 1 {
		return k == rtcp
	}
	return k == rtp || k == zrtp
}

// mayBe says whether the end may have this address: that of the other component when it is known, else one that was signalled.
func (c *component) mayBe(a netip.Addr) bool {
	for i := range c.t.comp {
		if other := &c.t.comp[i]; other != c && other.remote.IsValid() {
			return other.remote.Addr() == a
		}
	}
	return mayBe(a, c.t.addrs)
}

// mayBe: no address signalled, or a is one of them, or none of them says anything about a: they are all private and a is not, so the
// end is behind a NAT.
func mayBe(a netip.Addr, signalled []netip.Addr) bool {
	behind := true
	for _, s := range signalled {
		if s == a {
			return true
		}
		if !hidden(s) {
			behind = false
		}
	}
	return len(signalled) == 0 || behind && !hidden(a)
}

// hidden is an address that a NAT may stand before: private (RFC 1918, RFC 4193), shared (RFC 6598), link-local, loopback.
func hidden(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a)
}

// latch makes from the component's end.
func (c *component) latch(evs *events, from netip.AddrPort, now int64) {
	c.remote, c.heard = from, now
	c.begin()
	evs.add(event{ch: c.t.channels[0], kind: evLatched, component: c.index + 1, addr: from})
}
