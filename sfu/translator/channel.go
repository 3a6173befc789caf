package translator

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// ChannelConfig says what a channel is. A bundled one takes Addr, ICE and Controlling from With.
type ChannelConfig struct {
	ID          string
	Addr        netip.Addr    // of Config.Listen; the zero value is the first
	ICE         bool          // else raw
	Controlling bool          // ICE role (RFC 8445 §6.1.1), and who leaves the role of DTLS to the end (Channel.Setup)
	Expire      time.Duration // 0: Config.Expire

	// Bundle makes a transport that more channels may share: one component for RTP and RTCP (RFC 5761), by ICE. With is the channel whose
	// transport is shared, of this group or of one beside it (Group.Open); nil: none.
	Bundle bool
	With   *Channel
	// Data is the text channel of a bundle's end (package datachan) in place of media; a bundle has one at most.
	Data bool
}

// maxSources bounds the SSRCs that are told of a channel, and those signalled: more than a desktop with simulcast and screen has.
const maxSources = 16

// Channel is one end's place in a group, on a transport of its own or on one that it shares.
type Channel struct {
	group *Group
	id    string
	t     *transport

	// Guarded by the worker's lock.
	closed     bool
	data       bool          // fixed
	out        chan<- []byte // of the text channel while it is open
	mute, deaf bool
	expire     time.Duration
	payloads   []uint8  // signalled, for the channels of a bundle
	signalled  []uint32 // SSRCs
	ssrcs      []uint32 // seen
	stats      Stats
}

// Stats are of one channel. In is from its end, Out to it.
type Stats struct {
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64
	Limited                                  uint64 // dropped: above the end's rate; of all channels of the transport
	Remote                                   [2]netip.AddrPort
	Sources                                  []uint32
	Silent                                   time.Duration
}

// ID is as given to Add.
func (c *Channel) ID() string { return c.id }

// Fingerprint is of the certificate that the end of an ICE channel sees if it wants DTLS; by SHA-256.
func (c *Channel) Fingerprint() string { return c.group.s.cfg.Identity.Fingerprint }

// Local are the ports for RTP and RTCP, and the ICE credentials of the channel, empty when it is raw. A bundle has one port for both.
func (c *Channel) Local() (rtp, rtcp netip.AddrPort, ufrag, pwd string) {
	t := c.t
	if t.ice != nil {
		ufrag, pwd = t.ice.ufrag, t.ice.pwd
	}
	return t.comp[0].sock.LocalAddr(), t.comp[len(t.comp)-1].sock.LocalAddr(), ufrag, pwd
}

// SetRemote tells what was signalled of the end, whole: it replaces what was told before, for all channels of a bundle. A raw channel whose end is at
// none of the addresses any more forgets it, and may latch again for Config.LatchWindow; so may one that has not latched. With
// fingerprints, which are kept from then on, media are DTLS-SRTP. Errors: ErrRemote, ErrMixed, ErrClosed.
func (c *Channel) SetRemote(r Remote) error {
	w := c.group.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	return c.t.setRemote(r)
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

// SetMedia says by what the packets of a bundled channel are known: payload types, and SSRCs where they are signalled. nil keeps what was said.
func (c *Channel) SetMedia(payloads []uint8, ssrcs []uint32) {
	c.group.w.mu.Lock()
	defer c.group.w.mu.Unlock()
	if payloads != nil {
		c.payloads = slices.Clone(payloads)
	}
	if ssrcs != nil {
		c.signalled = slices.Clone(ssrcs[:min(len(ssrcs), maxSources)])
	}
}

// Stats are as of now.
func (c *Channel) Stats() Stats {
	c.group.w.mu.Lock()
	defer c.group.w.mu.Unlock()
	st := c.stats
	st.Limited = c.t.limited
	for i := range c.t.comp {
		st.Remote[i] = c.t.comp[i].remote
	}
	st.Sources = slices.Clone(c.ssrcs)
	st.Silent = time.Duration(c.group.s.now() - c.t.heard)
	return st
}

// Close gives the ports back, those of a bundle with its last channel.
func (c *Channel) Close() {
	g := c.group
	g.w.mu.Lock()
	if c.closed {
		g.w.mu.Unlock()
		return
	}
	c.closed = true
	delete(g.w.channels, c)
	g.ends = slices.DeleteFunc(g.ends, func(x *Channel) bool { return x == c })
	last := c.t.leave(c)
	g.w.mu.Unlock()
	if last {
		c.t.release()
	}
	g.s.mu.Lock()
	delete(g.channels, c)
	g.s.mu.Unlock()
	g.s.count.dec(cChannels)
}

// has tells whether an SSRC is the end's, as far as is known. Caller holds the worker's lock.
func (c *Channel) has(ssrc uint32) bool {
	return slices.Contains(c.signalled, ssrc) || slices.Contains(c.ssrcs, ssrc)
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

// share makes c one more channel of a bundle. Caller holds the worker's lock.
func (c *Channel) share(with *Channel) error {
	t := with.t
	switch {
	case with.closed:
		return fmt.Errorf("%w: it is closed", ErrBundle)
	case !t.bundle || t.w != c.group.w:
		return ErrBundle
	case c.data && t.dataChannel() != nil:
		return fmt.Errorf("%w: it has a text channel", ErrBundle)
	case t.how != unsettled && c.group.mixed(t, t.how):
		return ErrMixed
	}
	c.t = t
	t.channels = append(t.channels, c)
	if c.data {
		select {
		case <-t.texts: // there was one before
		default:
			close(t.texts)
		}
	}
	return nil
}

// Send queues a text message for the end. Errors: ErrNotOpen, ErrFull.
func (c *Channel) Send(msg []byte) error {
	c.group.w.mu.Lock()
	out := c.out
	c.group.w.mu.Unlock()
	if out == nil {
		return ErrNotOpen
	}
	select {
	case out <- msg:
		return nil
	default:
		return ErrFull
	}
}
