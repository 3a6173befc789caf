package translator

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
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
	// Opened: the end has opened its text channel; it may do so again.
	Opened(ch *Channel)
	// Message: the end says something on its text channel.
	Message(ch *Channel, msg []byte)
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

// Open makes a group beside g: channels of both may share transports. Errors: as of Server.Open.
func (g *Group) Open(id string, ev Events) (*Group, error) { return g.s.open(id, ev, g.w) }

// Add allocates a channel. Errors: ErrLimit, ErrPorts, ErrBundle, ErrMixed, ErrClosed.
func (g *Group) Add(cfg ChannelConfig) (*Channel, error) {
	c := &g.s.cfg
	if !cfg.Addr.IsValid() {
		cfg.Addr = c.Listen[0]
	}
	switch {
	case !slices.Contains(c.Listen, cfg.Addr):
		return nil, fmt.Errorf("%w: address %s", ErrPorts, cfg.Addr)
	case cfg.Bundle && !cfg.ICE:
		return nil, fmt.Errorf("%w: a bundle needs ICE", ErrBundle)
	case cfg.Data && !cfg.Bundle && cfg.With == nil:
		return nil, fmt.Errorf("%w: text needs a bundle", ErrBundle)
	}
	ch := &Channel{group: g, id: cfg.ID, expire: c.Expire, data: cfg.Data}
	if cfg.Expire > 0 {
		ch.expire = cfg.Expire
	}
	if err := g.join(ch); err != nil {
		return nil, err
	}
	if err := g.connect(ch, &cfg); err != nil {
		g.s.mu.Lock()
		delete(g.channels, ch)
		g.s.mu.Unlock()
		return nil, err
	}
	g.s.mu.Lock()
	late := g.closed
	g.s.mu.Unlock()
	g.s.count.inc(cChannels)
	if late { // Close did not see its ports
		ch.Close()
		return nil, ErrClosed
	}
	g.log.Debug("channel", "channel", ch.id, "rtp", ch.t.comp[0].sock.LocalAddr(), "ice", ch.t.ice != nil, "bundle", ch.t.bundle)
	return ch, nil
}

// connect gives a channel its transport, and lets packets come.
func (g *Group) connect(ch *Channel, cfg *ChannelConfig) error {
	if cfg.With == nil {
		ch.t = newTransport(ch, cfg, g.log)
		if err := g.s.ports(ch.t, cfg.Addr); err != nil {
			return err
		}
	}
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	if cfg.With != nil {
		if err := ch.share(cfg.With); err != nil {
			return err
		}
	}
	g.ends = append(g.ends, ch)
	g.w.channels[ch] = struct{}{}
	g.w.transports[ch.t] = struct{}{}
	return nil
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

// mixed tells whether channels of the group on other transports than t are known to be protected in another way. Caller holds w.mu.
func (g *Group) mixed(t *transport, how protection) bool {
	return slices.ContainsFunc(g.ends, func(x *Channel) bool { return x.t != t && x.t.how != unsettled && x.t.how != how })
}

// knows tells whether an SSRC is one of the group's ends'. Caller holds w.mu.
func (g *Group) knows(ssrc uint32) bool {
	return slices.ContainsFunc(g.ends, func(x *Channel) bool { return x.has(ssrc) })
}

// list gives the channels that are open.
func (g *Group) list() []*Channel {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return slices.Clone(g.ends)
}

// latched counts the ends that RTP can be sent to. Caller holds w.mu.
func (g *Group) latched() (n int) {
	for _, ch := range g.ends {
		if ch.t.comp[0].remote.IsValid() {
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
	for _, ch := range g.list() {
		ch.Close()
	}
	g.w.load.Add(-1)
	g.s.count.dec(cGroups)
}
