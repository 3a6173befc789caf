package translator

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"konzil/sfu/keying"
	"konzil/sfu/seal"
)

const (
	// handshakeTimeout is for a DTLS handshake once the end's address is known.
	handshakeTimeout = 30 * time.Second
	// maxSealed bounds the SSRCs that are sent to one port under one key: the sources of a full group, and of some that have left. The index of
	// one that left has to be kept, since a nonce must not be used twice.
	maxSealed = 1024
)

// protection is how the media of a channel are protected.
type protection uint8

const (
	unsettled protection = iota // nobody has said yet: passed like opaque
	untouched                   // plain, or keyed end to end
	byDTLS                      // SRTP between the end and us
)

// dtlsSide is what DTLS-SRTP of a channel has to know of its end. Guarded by the worker's lock.
type dtlsSide struct {
	prints []keying.Fingerprint
	client bool // we begin
	ctx    context.Context
	stop   context.CancelFunc // of the handshakes and connections
}

// association is DTLS-SRTP on one port: RTP and RTCP have one each, unless the end has both on one port (RFC 5764 §4.1). Guarded by the worker's
// lock, but for the pipe.
type association struct {
	pipe  *keying.Pipe
	keys  *keying.Keys           // nil: the handshake is under way
	index map[uint32]*seal.Index // of what was sent, by SSRC
}

// Setup is our role as it is signalled (RFC 8842): who controls ICE leaves the choice to the end, as JVB does.
func (c *Channel) Setup() string {
	if c.offers {
		return "actpass"
	}
	return "active"
}

// secure settles that a channel is protected by DTLS. Other fingerprints than before begin anew. Caller holds the worker's lock.
func (c *Channel) secure(prints []keying.Fingerprint, setup string) error {
	var client bool
	switch strings.ToLower(setup) {
	case "active":
	case "passive":
		client = true
	case "actpass", "":
		client = !c.offers
	default:
		return fmt.Errorf("%w: setup %q", ErrRemote, setup)
	}
	if c.dtls != nil && slices.Equal(c.dtls.prints, prints) {
		return nil
	}
	c.unkey()
	d := &dtlsSide{prints: slices.Clone(prints), client: client}
	d.ctx, d.stop = context.WithCancel(context.Background())
	c.dtls, c.how = d, byDTLS
	for i := range c.comp {
		c.comp[i].begin()
	}
	return nil
}

// unkey ends the associations. Caller holds the worker's lock.
func (c *Channel) unkey() {
	if c.dtls != nil {
		c.dtls.stop()
	}
	for i := range c.comp {
		c.comp[i].assoc = nil
	}
}

// begin starts the handshake of a component whose end is known. Caller holds the worker's lock.
func (k *component) begin() {
	d := k.ch.dtls
	if d == nil || k.assoc != nil || !k.remote.IsValid() || k.ch.closed {
		return
	}
	a := &association{index: map[uint32]*seal.Index{}}
	a.pipe = keying.NewPipe(k.writeDTLS)
	k.assoc = a
	s := k.ch.group.s
	s.wg.Go(func() { k.serve(a, d) })
}

// writeDTLS sends a record to where the end is now.
func (k *component) writeDTLS(b []byte) {
	w := k.ch.group.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !k.ch.closed && k.remote.IsValid() {
		k.write(b, k.remote)
	}
}

// serve does the handshake and reads the connection until its end: after the handshake it carries nothing but alerts.
func (k *component) serve(a *association, d *dtlsSide) {
	g := k.ch.group
	log := g.log.With("channel", k.ch.id, "component", k.index+1)
	defer func() { _ = a.pipe.Close() }()
	stop := context.AfterFunc(d.ctx, func() { _ = a.pipe.Close() })
	defer stop()
	keys, err := keying.Handshake(d.ctx, a.pipe, keying.Config{Identity: g.s.cfg.Identity, Client: d.client, Fingerprints: d.prints, SHA1: true,
		Timeout: handshakeTimeout, Log: log})
	if err != nil {
		if d.ctx.Err() == nil {
			g.s.count.inc(cDTLSFailed)
			log.Info("dtls failed", "err", err)
		}
		return
	}
	defer func() { _ = keys.Conn.Close() }()
	g.w.mu.Lock()
	a.keys = keys
	g.w.mu.Unlock()
	g.s.count.inc(cDTLSConnected)
	log.Debug("dtls connected", "profile", keys.Profile)
	buf := make([]byte, maxDatagram)
	for {
		if _, err := keys.Conn.Read(buf); err != nil {
			return
		}
	}
}

// ready tells whether the component's end can be sent to. Caller holds the worker's lock.
func (k *component) ready() bool {
	return k.remote.IsValid() && (k.ch.how != byDTLS || k.assoc != nil && k.assoc.keys != nil)
}

// open gives the plain packet, in the memory of b. Caller holds the worker's lock.
func (k *component) open(kind kind, b []byte) ([]byte, error) {
	if kind == rtcp {
		return k.assoc.keys.Opener.RTCP(nil, b)
	}
	return k.assoc.keys.Opener.RTP(b, b)
}

// sealed protects a plain packet for the component's end; nil when it cannot go there. Caller holds the worker's lock.
func (k *component) sealed(kind kind, plain []byte) []byte {
	a := k.assoc
	if kind == rtcp {
		out, err := a.keys.Sealer.RTCP(nil, plain)
		if err != nil {
			return nil
		}
		return out
	}
	n := headerLen(plain)
	if n < 0 {
		return nil
	}
	ssrc := binary.BigEndian.Uint32(plain[8:])
	x := a.index[ssrc]
	if x == nil {
		if len(a.index) >= maxSealed {
			return nil
		}
		x = &seal.Index{}
		a.index[ssrc] = x
	}
	index, ok := x.Next(binary.BigEndian.Uint16(plain[2:]))
	if !ok {
		return nil
	}
	dst := append(k.ch.group.w.room(len(plain)+seal.MaxOverhead), plain[:n]...)
	out, err := a.keys.Sealer.RTP(dst, n, plain[n:], ssrc, index)
	if err != nil {
		return nil
	}
	return out
}

// room is empty memory of n bytes that stays as it is until the fan is flushed. Caller holds w.mu.
func (w *worker) room(n int) []byte {
	if cap(w.arena)-len(w.arena) < n {
		w.fan.Flush()
		w.arena = w.arena[:0]
	}
	at := len(w.arena)
	w.arena = w.arena[:at+n]
	return w.arena[at : at : at+n]
}
