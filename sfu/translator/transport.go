package translator

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"konzil/internal/udpio"
	"konzil/sfu/keying"
)

// transport is an end's ports with what is known of the end. It belongs to one channel, or to those of a bundle (RFC 9143), which may be of
// several groups of one worker.
type transport struct {
	w      *worker
	log    *slog.Logger
	bundle bool
	offers bool          // ChannelConfig.Controlling
	comp   []component   // RTP and RTCP; one of a bundle
	ice    *iceSide      // nil: raw
	texts  chan struct{} // closed when a channel for text has come

	// Guarded by the worker's lock.
	channels   []*Channel // none: closed
	how        protection
	dtls       *dtlsSide // nil: none
	heard      int64
	latchUntil int64
	addrs      []netip.Addr // signalled
	bits       float64      // left to spend
	packets    float64
	filled     int64
	limited    uint64
}

// newTransport makes one without ports; c is its first channel.
func newTransport(c *Channel, cfg *ChannelConfig, log *slog.Logger) *transport {
	w := c.group.w
	now := w.s.now()
	t := &transport{w: w, log: log.With("channel", cfg.ID), bundle: cfg.Bundle, offers: cfg.Controlling, channels: []*Channel{c},
		comp: make([]component, 2), texts: make(chan struct{}), heard: now, filled: now, latchUntil: now + int64(w.s.cfg.LatchWindow)}
	if cfg.Bundle {
		t.comp = t.comp[:1]
	}
	if cfg.ICE {
		t.ice = newICESide(cfg.Controlling)
	}
	for i := range t.comp {
		t.comp[i].t, t.comp[i].index = t, i
	}
	t.refill(now + int64(time.Second))
	t.filled = now
	if cfg.Data {
		close(t.texts)
	}
	return t
}

// leave takes a channel out; true: it was the last, and nothing is passed any more. Caller holds the worker's lock.
func (t *transport) leave(c *Channel) (last bool) {
	t.channels = slices.DeleteFunc(t.channels, func(x *Channel) bool { return x == c })
	if len(t.channels) > 0 {
		return false
	}
	t.unkey()
	delete(t.w.transports, t)
	return true
}

// release closes the ports.
func (t *transport) release() {
	for i := range t.comp {
		_ = t.comp[i].sock.Close()
	}
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

// setRemote is Channel.SetRemote. Caller holds the worker's lock.
func (t *transport) setRemote(r Remote) error {
	if err := t.protect(&r); err != nil {
		return err
	}
	if t.ice != nil {
		if r.Ufrag == "" && r.Pwd == "" && len(r.Fingerprints) > 0 {
			return nil // credentials are told apart
		}
		if r.Ufrag == "" || r.Pwd == "" {
			return fmt.Errorf("%w: ICE credentials missing", ErrRemote)
		}
		t.credentials(r.Ufrag, r.Pwd)
		return nil
	}
	t.addrs = t.addrs[:0]
	for _, a := range r.Addrs {
		if len(t.addrs) < maxAddrs {
			t.addrs = append(t.addrs, a.Unmap())
		}
	}
	t.latchUntil = t.w.s.now() + int64(t.w.s.cfg.LatchWindow)
	for i := range t.comp {
		if k := &t.comp[i]; k.remote.IsValid() && !mayBe(k.remote.Addr(), t.addrs) {
			k.remote = netip.AddrPort{}
		}
	}
	return nil
}

// credentials takes those of the end. Other ones than before are a restart: media go on until an address is validated anew. The first make
// checks possible to where the end's checks came from already: it may not repeat those that were answered. Caller holds the worker's lock.
func (t *transport) credentials(ufrag, pwd string) {
	s := t.ice
	if s.remoteFrag == ufrag && s.remotePwd == pwd {
		return
	}
	first := s.remoteFrag == ""
	s.remoteFrag, s.remotePwd = ufrag, pwd
	if !first {
		s.forget()
		return
	}
	now := t.w.s.now()
	for i := range t.comp {
		if v := s.validated[i]; len(v) > 0 {
			t.comp[i].check = check{to: v[len(v)-1]}
			t.comp[i].recheck(now)
		}
	}
}

// protect settles how media are protected. Caller holds the worker's lock.
func (t *transport) protect(r *Remote) error {
	how := untouched
	if len(r.Fingerprints) > 0 || t.how == byDTLS {
		how = byDTLS
	}
	if how == byDTLS && t.ice == nil {
		return fmt.Errorf("%w: DTLS needs ICE", ErrRemote)
	}
	for _, c := range t.channels {
		if c.group.mixed(t, how) {
			return ErrMixed
		}
	}
	t.how = how
	if len(r.Fingerprints) == 0 {
		return nil
	}
	return t.secure(r.Fingerprints, r.Setup)
}

// channelOf is the channel of a packet: in a bundle the one that has its SSRC, else its payload type (RFC 9143 §9.2); of RTCP whose sender is not known
// the one in whose group is what it is about. nil: none. Caller holds the worker's lock.
func (t *transport) channelOf(k kind, b []byte) *Channel {
	if !t.bundle {
		return t.channels[0]
	}
	at := 8
	if k == rtcp {
		at = 4
	}
	ssrc := binary.BigEndian.Uint32(b[at:])
	for _, c := range t.channels {
		if c.has(ssrc) {
			return c
		}
	}
	for _, c := range t.channels {
		switch {
		case k == rtp && slices.Contains(c.payloads, b[1]&0x7f):
			return c
		case k == rtcp && len(b) >= 12 && c.group.knows(binary.BigEndian.Uint32(b[8:])):
			return c
		}
	}
	return nil
}

// dataChannel is the channel for text, nil: there is none. Caller holds the worker's lock.
func (t *transport) dataChannel() *Channel {
	for _, c := range t.channels {
		if c.data {
			return c
		}
	}
	return nil
}

// component is one port of a transport: 0 is RTP's, 1 RTCP's. But for t, index and sock the worker's lock guards it.
type component struct {
	t      *transport
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
func (t *transport) refill(now int64) {
	cfg := &t.w.s.cfg
	d := float64(now-t.filled) / 1e9
	t.filled = now
	t.bits = min(t.bits+d*float64(cfg.MaxRate), burst*float64(cfg.MaxRate))
	t.packets = min(t.packets+d*float64(cfg.MaxPackets), burst*float64(cfg.MaxPackets))
}

// allow spends one packet of n bytes. Caller holds the worker's lock.
func (t *transport) allow(n int, now int64) bool {
	t.refill(now)
	if t.packets < 1 || t.bits < float64(8*n) {
		return false
	}
	t.packets--
	t.bits -= float64(8 * n)
	return true
}
