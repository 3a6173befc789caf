package translator

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"konzil/internal/udpio"
	"konzil/sfu/keying"
)

// ChannelConfig says what a channel is.
type ChannelConfig struct {
	ID          string
	Addr        netip.Addr    // of Config.Listen; the zero value is the first
	ICE         bool          // else raw
	Controlling bool          // ICE role (RFC 8445 §6.1.1), and who leaves the role of DTLS to the end (Channel.Setup)
	Expire      time.Duration // 0: Config.Expire
}

// maxSources bounds the SSRCs that are told of a channel: more than a desktop with simulcast and screen has.
const maxSources = 16

// Channel is one end's pair of ports.
type Channel struct {
	group  *Group
	id     string
	comp   [2]component
	ice    *iceSide // nil: raw
	offers bool     // ChannelConfig.Controlling

	// Guarded by the worker's lock.
	closed     bool
	how        protection
	dtls       *dtlsSide // nil: none
	mute, deaf bool
	expire     time.Duration
	heard      int64
	latchUntil int64
	addrs      []netip.Addr // signalled
	ssrcs      []uint32
	bits       float64 // left to spend
	packets    float64
	filled     int64
	stats      Stats
}

// Stats are of one channel. In is from its end, Out to it.
type Stats struct {
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64
	Limited                                  uint64 // dropped: above the end's rate
	Remote                                   [2]netip.AddrPort
	Sources                                  []uint32
	Silent                                   time.Duration
}

// ID is as given to Add.
func (c *Channel) ID() string { return c.id }

// Fingerprint is of the certificate that the end of an ICE channel sees if it wants DTLS; by SHA-256.
func (c *Channel) Fingerprint() string { return c.group.s.cfg.Identity.Fingerprint }

// Local are the ports for RTP and RTCP, and the ICE credentials of the channel, empty when it is raw.
func (c *Channel) Local() (rtp, rtcp netip.AddrPort, ufrag, pwd string) {
	if c.ice != nil {
		ufrag, pwd = c.ice.ufrag, c.ice.pwd
	}
	return c.comp[0].sock.LocalAddr(), c.comp[1].sock.LocalAddr(), ufrag, pwd
}

// Remote is what was signalled of an end.
type Remote struct {
	Addrs      []netip.Addr // of its candidates, all components
	Ufrag, Pwd string       // ICE

	Fingerprints []keying.Fingerprint // none: media are not ours to open
	Setup        string               // the end's role (RFC 8842): active, passive, actpass
}

// maxAddrs bounds the signalled addresses that are kept.
const maxAddrs = 32

// SetRemote tells what was signalled, whole: it replaces what was told before. A raw channel whose end is at none of the addresses any more
// forgets it, and may latch again for Config.LatchWindow; so may one that has not latched. With fingerprints, which are kept from then on, media
// are DTLS-SRTP. Errors: ErrRemote, ErrMixed, ErrClosed.
func (c *Channel) SetRemote(r Remote) error {
	w := c.group.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if err := c.protect(&r); err != nil {
		return err
	}
	if c.ice != nil {
		if r.Ufrag == "" && r.Pwd == "" && len(r.Fingerprints) > 0 {
			return nil // credentials are told apart
		}
		if r.Ufrag == "" || r.Pwd == "" {
			return fmt.Errorf("%w: ICE credentials missing", ErrRemote)
		}
		c.credentials(r.Ufrag, r.Pwd)
		return nil
	}
	c.addrs = c.addrs[:0]
	for _, a := range r.Addrs {
		if len(c.addrs) < maxAddrs {
			c.addrs = append(c.addrs, a.Unmap())
		}
	}
	c.latchUntil = c.group.s.now() + int64(c.group.s.cfg.LatchWindow)
	for i := range c.comp {
		if k := &c.comp[i]; k.remote.IsValid() && !mayBe(k.remote.Addr(), c.addrs) {
			k.remote = netip.AddrPort{}
		}
	}
	return nil
}

// credentials takes those of the end. Other ones than before are a restart: media go on until an address is validated anew. The first make
// checks possible to where the end's checks came from already: it may not repeat those that were answered. Caller holds the worker's lock.
func (c *Channel) credentials(ufrag, pwd string) {
	s := c.ice
	if s.remoteFrag == ufrag && s.remotePwd == pwd {
		return
	}
	first := s.remoteFrag == ""
	s.remoteFrag, s.remotePwd = ufrag, pwd
	if !first {
		s.forget()
		return
	}
	now := c.group.s.now()
	for i := range c.comp {
		if v := s.validated[i]; len(v) > 0 {
			c.comp[i].check = check{to: v[len(v)-1]}
			c.comp[i].recheck(now)
		}
	}
}

// protect settles how media are protected. Caller holds the worker's lock.
func (c *Channel) protect(r *Remote) error {
	how := untouched
	if len(r.Fingerprints) > 0 || c.how == byDTLS {
		how = byDTLS
	}
	switch {
	case how == byDTLS && c.ice == nil:
		return fmt.Errorf("%w: DTLS needs ICE", ErrRemote)
	case c.group.mixed(c, how):
		return ErrMixed
	}
	c.how = how
	if len(r.Fingerprints) == 0 {
		return nil
	}
	return c.secure(r.Fingerprints, r.Setup)
}

// SetExpire changes the silence that ends the channel; what was counted so far counts on.
func (c *Channel) SetExpire(d time.Duration) {
	c.group.w.mu.Lock()
	defer c.group.w.mu.Unlock()
	c.expire = d
}

// SetDirection says whether what the end sends is passed on, and whether it gets what others send.
func (c *Channel) SetDirection(sends, receives bool) {
	c.group.w.mu.Lock()
	defer c.group.w.mu.Unlock()
	c.mute, c.deaf = !sends, !receives
}

// Stats are as of now.
func (c *Channel) Stats() Stats {
	c.group.w.mu.Lock()
	defer c.group.w.mu.Unlock()
	st := c.stats
	st.Remote = [2]netip.AddrPort{c.comp[0].remote, c.comp[1].remote}
	st.Sources = slices.Clone(c.ssrcs)
	st.Silent = time.Duration(c.group.s.now() - c.heard)
	return st
}

// Close gives the ports back.
func (c *Channel) Close() {
	g := c.group
	g.w.mu.Lock()
	if c.closed {
		g.w.mu.Unlock()
		return
	}
	c.closed = true
	c.unkey()
	delete(g.w.channels, c)
	if i := slices.Index(g.ends, c); i >= 0 {
		g.ends = slices.Delete(g.ends, i, i+1)
	}
	g.w.mu.Unlock()
	for i := range c.comp {
		_ = c.comp[i].sock.Close()
	}
	g.s.mu.Lock()
	delete(g.channels, c)
	g.s.mu.Unlock()
	g.s.count.dec(cChannels)
}

// component is one port of a channel: 0 is RTP's, 1 RTCP's. But for ch, index and sock the worker's lock guards it.
type component struct {
	ch     *Channel
	index  int
	sock   *udpio.Sock
	remote netip.AddrPort // the end; invalid: not known yet
	heard  int64
	check  check
	assoc  *association // nil: no DTLS, or not yet
}

// burst is the part of a second's rate that may come at once: a keyframe.
const burst = 0.2

// refill gives what time has earned.
func (c *Channel) refill(now int64) {
	cfg := &c.group.s.cfg
	d := float64(now-c.filled) / 1e9
	c.filled = now
	c.bits = min(c.bits+d*float64(cfg.MaxRate), burst*float64(cfg.MaxRate))
	c.packets = min(c.packets+d*float64(cfg.MaxPackets), burst*float64(cfg.MaxPackets))
}

// allow spends one packet of n bytes. Caller holds the worker's lock.
func (c *Channel) allow(n int, now int64) bool {
	c.refill(now)
	if c.packets < 1 || c.bits < float64(8*n) {
		return false
	}
	c.packets--
	c.bits -= float64(8 * n)
	return true
}

// source notes the SSRC of a packet that was accepted. Caller holds the worker's lock.
func (c *Channel) source(evs *events, k kind, b []byte) {
	if k != rtp {
		return
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	if len(c.ssrcs) >= maxSources || slices.Contains(c.ssrcs, ssrc) {
		return
	}
	c.ssrcs = append(c.ssrcs, ssrc)
	evs.add(event{ch: c, kind: evSource, ssrc: ssrc})
}
