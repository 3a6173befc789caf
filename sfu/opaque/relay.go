package opaque

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"konzil/internal/udpio"
)

// Events tells what happens to channels. Calls come from the server's goroutines without a lock held; they must not block. One may
// still come while Close is under way.
type Events interface {
	// Latched: the channel's component (1 RTP, 2 RTCP) now sends to addr.
	Latched(ch *Channel, component int, addr netip.AddrPort)
	// Source: the end sends with an SSRC not seen before. Up to maxSources are told.
	Source(ch *Channel, ssrc uint32)
	// Expired: the channel was silent for too long and is closed.
	Expired(ch *Channel)
}

// Relay joins channels.
type Relay struct {
	s   *Server
	w   *worker
	id  string
	ev  Events
	log *slog.Logger

	// Guarded by s.mu.
	channels map[*Channel]struct{}
	closed   bool

	ends []*Channel // the same for the packet path, guarded by w.mu
}

// ChannelConfig says what a channel is.
type ChannelConfig struct {
	ID          string
	Addr        netip.Addr    // of Config.Listen; the zero value is the first
	ICE         bool          // else raw
	Controlling bool          // ICE role (RFC 8445 §6.1.1)
	Expire      time.Duration // 0: Config.Expire
}

// maxSources bounds the SSRCs that are told of a channel: more than a desktop with simulcast and screen has.
const maxSources = 16

// Channel is one end's pair of ports.
type Channel struct {
	relay *Relay
	id    string
	comp  [2]component
	ice   *iceSide // nil: raw

	// Guarded by the worker's lock.
	closed     bool
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

// ID is as given to Open.
func (r *Relay) ID() string { return r.id }

// Add allocates a channel. Errors: ErrLimit, ErrPorts, ErrClosed.
func (r *Relay) Add(cfg ChannelConfig) (*Channel, error) {
	c := &r.s.cfg
	if !cfg.Addr.IsValid() {
		cfg.Addr = c.Listen[0]
	}
	if !slices.Contains(c.Listen, cfg.Addr) {
		return nil, fmt.Errorf("%w: address %s", ErrPorts, cfg.Addr)
	}
	now := r.s.now()
	ch := &Channel{relay: r, id: cfg.ID, expire: c.Expire, heard: now, filled: now, latchUntil: now + int64(c.LatchWindow)}
	if cfg.Expire > 0 {
		ch.expire = cfg.Expire
	}
	if cfg.ICE {
		ch.ice = newICESide(cfg.Controlling)
	}
	for i := range ch.comp {
		ch.comp[i].ch, ch.comp[i].index = ch, i
	}
	ch.refill(now + int64(time.Second))
	ch.filled = now
	if err := r.join(ch); err != nil {
		return nil, err
	}
	if err := r.s.pair(ch, cfg.Addr); err != nil {
		r.s.mu.Lock()
		delete(r.channels, ch)
		r.s.mu.Unlock()
		return nil, err
	}
	r.w.mu.Lock()
	r.ends = append(r.ends, ch)
	r.w.channels[ch] = struct{}{}
	r.w.mu.Unlock()
	r.s.mu.Lock()
	late := r.closed
	r.s.mu.Unlock()
	r.s.count.inc(cChannels)
	if late { // Close did not see its ports
		ch.Close()
		return nil, ErrClosed
	}
	r.log.Debug("channel", "channel", ch.id, "rtp", ch.comp[0].sock.LocalAddr(), "ice", cfg.ICE)
	return ch, nil
}

func (r *Relay) join(ch *Channel) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	switch {
	case r.closed || r.s.closed:
		return ErrClosed
	case len(r.channels) >= r.s.cfg.MaxChannels:
		return fmt.Errorf("%w: %d channels", ErrLimit, len(r.channels))
	}
	r.channels[ch] = struct{}{}
	return nil
}

// Channels are those that are open.
func (r *Relay) Channels() []*Channel {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return slices.Clone(r.ends)
}

// latched counts the ends that RTP can be sent to. Caller holds w.mu.
func (r *Relay) latched() (n int) {
	for _, ch := range r.ends {
		if ch.comp[0].remote.IsValid() {
			n++
		}
	}
	return n
}

// Close closes all channels.
func (r *Relay) Close() {
	r.s.mu.Lock()
	if r.closed {
		r.s.mu.Unlock()
		return
	}
	r.closed = true
	delete(r.s.relays, r)
	r.s.mu.Unlock()
	for _, ch := range r.Channels() {
		ch.Close()
	}
	r.w.load.Add(-1)
	r.s.count.dec(cRelays)
}

// ID is as given to Add.
func (c *Channel) ID() string { return c.id }

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
}

// maxAddrs bounds the signalled addresses that are kept.
const maxAddrs = 32

// SetRemote tells what was signalled, whole: it replaces what was told before. A raw channel whose end is at none of the addresses any more
// forgets it, and may latch again for Config.LatchWindow; so may one that has not latched. Errors: ErrRemote, ErrClosed.
func (c *Channel) SetRemote(r Remote) error {
	w := c.relay.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.ice != nil {
		if r.Ufrag == "" || r.Pwd == "" {
			return fmt.Errorf("%w: ICE credentials missing", ErrRemote)
		}
		if c.ice.remoteFrag != r.Ufrag || c.ice.remotePwd != r.Pwd { // a restart: media go on until an address is validated anew
			c.ice.remoteFrag, c.ice.remotePwd = r.Ufrag, r.Pwd
			c.ice.forget()
		}
		return nil
	}
	c.addrs = c.addrs[:0]
	for _, a := range r.Addrs {
		if len(c.addrs) < maxAddrs {
			c.addrs = append(c.addrs, a.Unmap())
		}
	}
	c.latchUntil = c.relay.s.now() + int64(c.relay.s.cfg.LatchWindow)
	for i := range c.comp {
		if k := &c.comp[i]; k.remote.IsValid() && !mayBe(k.remote.Addr(), c.addrs) {
			k.remote = netip.AddrPort{}
		}
	}
	return nil
}

// SetExpire changes the silence that ends the channel; what was counted so far counts on.
func (c *Channel) SetExpire(d time.Duration) {
	c.relay.w.mu.Lock()
	defer c.relay.w.mu.Unlock()
	c.expire = d
}

// SetDirection says whether what the end sends is passed on, and whether it gets what others send.
func (c *Channel) SetDirection(sends, receives bool) {
	c.relay.w.mu.Lock()
	defer c.relay.w.mu.Unlock()
	c.mute, c.deaf = !sends, !receives
}

// Stats are as of now.
func (c *Channel) Stats() Stats {
	c.relay.w.mu.Lock()
	defer c.relay.w.mu.Unlock()
	st := c.stats
	st.Remote = [2]netip.AddrPort{c.comp[0].remote, c.comp[1].remote}
	st.Sources = slices.Clone(c.ssrcs)
	st.Silent = time.Duration(c.relay.s.now() - c.heard)
	return st
}

// Close gives the ports back.
func (c *Channel) Close() {
	r := c.relay
	r.w.mu.Lock()
	if c.closed {
		r.w.mu.Unlock()
		return
	}
	c.closed = true
	delete(r.w.channels, c)
	if i := slices.Index(r.ends, c); i >= 0 {
		r.ends = slices.Delete(r.ends, i, i+1)
	}
	r.w.mu.Unlock()
	for i := range c.comp {
		_ = c.comp[i].sock.Close()
	}
	r.s.mu.Lock()
	delete(r.channels, c)
	r.s.mu.Unlock()
	r.s.count.dec(cChannels)
}

// component is one port of a channel: 0 is RTP's, 1 RTCP's. But for ch, index and sock the worker's lock guards it.
type component struct {
	ch     *Channel
	index  int
	sock   *udpio.Sock
	remote netip.AddrPort // the end; invalid: not known yet
	heard  int64
	check  check
}

// burst is the part of a second's rate that may come at once: a keyframe.
const burst = 0.2

// refill gives what time has earned.
func (c *Channel) refill(now int64) {
	cfg := &c.relay.s.cfg
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
