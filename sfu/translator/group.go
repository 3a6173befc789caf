package translator

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
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

// Group joins channels.
type Group struct {
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

// ID is as given to Open.
func (g *Group) ID() string { return g.id }

// Add allocates a channel. Errors: ErrLimit, ErrPorts, ErrClosed.
func (g *Group) Add(cfg ChannelConfig) (*Channel, error) {
	c := &g.s.cfg
	if !cfg.Addr.IsValid() {
		cfg.Addr = c.Listen[0]
	}
	if !slices.Contains(c.Listen, cfg.Addr) {
		return nil, fmt.Errorf("%w: address %s", ErrPorts, cfg.Addr)
	}
	now := g.s.now()
	ch := &Channel{group: g, id: cfg.ID, expire: c.Expire, heard: now, filled: now, latchUntil: now + int64(c.LatchWindow), offers: cfg.Controlling}
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
	if err := g.join(ch); err != nil {
		return nil, err
	}
	if err := g.s.pair(ch, cfg.Addr); err != nil {
		g.s.mu.Lock()
		delete(g.channels, ch)
		g.s.mu.Unlock()
		return nil, err
	}
	g.w.mu.Lock()
	g.ends = append(g.ends, ch)
	g.w.channels[ch] = struct{}{}
	g.w.mu.Unlock()
	g.s.mu.Lock()
	late := g.closed
	g.s.mu.Unlock()
	g.s.count.inc(cChannels)
	if late { // Close did not see its ports
		ch.Close()
		return nil, ErrClosed
	}
	g.log.Debug("channel", "channel", ch.id, "rtp", ch.comp[0].sock.LocalAddr(), "ice", cfg.ICE)
	return ch, nil
}

func (g *Group) join(ch *Channel) error {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	switch {
	case g.closed || g.s.closed:
		return ErrClosed
	case len(g.channels) >= g.s.cfg.MaxChannels:
		return fmt.Errorf("%w: %d channels", ErrLimit, len(g.channels))
	}
	g.channels[ch] = struct{}{}
	return nil
}

// mixed tells whether channels of the group other than ch are known to be protected in another way. Caller holds w.mu.
func (g *Group) mixed(ch *Channel, how protection) bool {
	return slices.ContainsFunc(g.ends, func(x *Channel) bool { return x != ch && x.how != unsettled && x.how != how })
}

// Channels are those that are open.
func (g *Group) Channels() []*Channel {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return slices.Clone(g.ends)
}

// latched counts the ends that RTP can be sent to. Caller holds w.mu.
func (g *Group) latched() (n int) {
	for _, ch := range g.ends {
		if ch.comp[0].remote.IsValid() {
			n++
		}
	}
	return n
}

// Close closes all channels.
func (g *Group) Close() {
	g.s.mu.Lock()
	if g.closed {
		g.s.mu.Unlock()
		return
	}
	g.closed = true
	delete(g.s.groups, g)
	g.s.mu.Unlock()
	for _, ch := range g.Channels() {
		ch.Close()
	}
	g.w.load.Add(-1)
	g.s.count.dec(cGroups)
}
