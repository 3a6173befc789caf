package turn

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

const (
	permissionLife = 5 * time.Minute  // RFC 8656 §9
	channelLife    = 10 * time.Minute // RFC 8656 §12

	// maxPeers bounds the permissions, and the channels, of one allocation, so that it cannot hold more memory than its share: a browser
	// asks for one per candidate of the other side, some tens in the worst network.
	maxPeers = 128
)

// table is what a relay may exchange with whom: a copy of what pion/turn granted, in the form that packets need. It is taken over when the
// success response goes out and read by several goroutines, so it is not changed but replaced; only times of expiry are set anew in place.
// All times are of Server.clock.
type table struct {
	channels    []*channel
	permissions []*permission
}

type channel struct {
	number  uint16
	peer    netip.AddrPort
	expires atomic.Int64
	dest    dest // of the gate's goroutine
}

type permission struct {
	peer    netip.Addr
	expires atomic.Int64
}

var emptyTable = &table{}

// byNumber gives the live channel with a number.
func (t *table) byNumber(n uint16, now int64) *channel {
	for _, c := range t.channels {
		if c.number == n {
			if c.expires.Load() > now {
				return c
			}
			return nil
		}
	}
	return nil
}

// byPeer gives the live channel to a peer.
func (t *table) byPeer(a netip.AddrPort, now int64) *channel {
	for _, c := range t.channels {
		if c.peer == a {
			if c.expires.Load() > now {
				return c
			}
			return nil
		}
	}
	return nil
}

// permits tells whether there is a live permission for an address.
func (t *table) permits(a netip.Addr, now int64) bool {
	for _, p := range t.permissions {
		if p.peer == a {
			return p.expires.Load() > now
		}
	}
	return false
}

// full tells whether peers would make the table outgrow its bound.
func (t *table) full(peers []netip.AddrPort, channel bool, now int64) bool {
	more := 0
	for _, a := range peers {
		if !t.permits(a.Addr(), now) {
			more++
		}
	}
	live := 0
	for _, p := range t.permissions {
		if p.expires.Load() > now {
			live++
		}
	}
	if live+more > maxPeers {
		return true
	}
	if !channel || t.byPeer(peers[0], now) != nil {
		return false
	}
	live = 0
	for _, c := range t.channels {
		if c.expires.Load() > now {
			live++
		}
	}
	return live >= maxPeers
}

// permit is the table with permissions for peers, new or prolonged; what has run out goes.
func (t *table) permit(peers []netip.AddrPort, now int64) *table {
	next := t
	for _, a := range peers {
		at := slices.IndexFunc(next.permissions, func(p *permission) bool { return p.peer == a.Addr() })
		if at >= 0 {
			next.permissions[at].expires.Store(now + int64(permissionLife))
			continue
		}
		p := &permission{peer: a.Addr()}
		p.expires.Store(now + int64(permissionLife))
		next = &table{channels: next.channels, permissions: append(slices.DeleteFunc(slices.Clone(next.permissions), func(p *permission) bool {
			return p.expires.Load() <= now
		}), p)}
	}
	return next
}

// bind is the table with a channel, new or prolonged, and its permission (RFC 8656 §12.3). A channel that has run out makes room for its
// number and its peer.
func (t *table) bind(number uint16, peer netip.AddrPort, now int64) *table {
	next := t.permit([]netip.AddrPort{peer}, now)
	for _, c := range next.channels {
		if c.number == number && c.peer == peer {
			c.expires.Store(now + int64(channelLife))
			return next
		}
	}
	c := &channel{number: number, peer: peer}
	c.expires.Store(now + int64(channelLife))
	channels := slices.DeleteFunc(slices.Clone(next.channels), func(c *channel) bool {
		return c.expires.Load() <= now || c.number == number || c.peer == peer
	})
	return &table{channels: append(channels, c), permissions: next.permissions}
}
