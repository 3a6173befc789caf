package translator

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"konzil/sfu/datachan"
	"konzil/sfu/keying"
	"konzil/sfu/seal"
)

const (
	// handshakeTimeout is for a DTLS handshake once the end's address is known.
	handshakeTimeout = 30 * time.Second
	// maxSealed bounds the SSRCs that are sent to one port under one key: the sources of a full group, and of some that have left. The index of
	// one that left has to be kept, since a nonce must not be used twice.
	maxSealed = 1024
	// maxText bounds a message of a text channel in bytes, as SDP's default does (RFC 8841 §6.1); maxTexts those that wait for an end.
	maxText, maxTexts = 64 << 10, 64
)

// protection is how the media of a transport are protected.
type protection uint8

const (
	unsettled protection = iota // nobody has said yet: passed like opaque
	untouched                   // plain, or keyed end to end
	byDTLS                      // SRTP between the end and us
)

// dtlsSide is what DTLS-SRTP of a transport has to know of its end. Guarded by the worker's lock.
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
	if c.t.offers {
		return "actpass"
	}
	return "active"
}

// secure settles that a transport is protected by DTLS. Other fingerprints than before begin anew. Caller holds the worker's lock.
func (t *transport) secure(prints []keying.Fingerprint, setup string) error {
	var client bool
	switch strings.ToLower(setup) {
	case "active":
	case "passive":
		client = true
	case "actpass", "":
		client = !t.offers
	default:
		return fmt.Errorf("%w: setup %q", ErrRemote, setup)
	}
	if t.dtls != nil && slices.Equal(t.dtls.prints, prints) {
		return nil
	}
	t.unkey()
	d := &dtlsSide{prints: slices.Clone(prints), client: client}
	d.ctx, d.stop = context.WithCancel(context.Background())
	t.dtls, t.how = d, byDTLS
	for i := range t.comp {
		t.comp[i].begin()
	}
	return nil
}

// unkey ends the associations. Caller holds the worker's lock.
func (t *transport) unkey() {
	if t.dtls != nil {
		t.dtls.stop()
	}
	for i := range t.comp {
		t.comp[i].assoc = nil
	}
}

// begin starts the handshake of a component whose end is known. Caller holds the worker's lock.
func (k *component) begin() {
	d := k.t.dtls
	if d == nil || k.assoc != nil || !k.remote.IsValid() || len(k.t.channels) == 0 {
		return
	}
	a := &association{index: map[uint32]*seal.Index{}}
	a.pipe = keying.NewPipe(k.writeDTLS)
	k.assoc = a
	s := k.t.w.s
	s.wg.Go(func() { k.serve(a, d) })
}

// writeDTLS sends a record to where the end is now.
func (k *component) writeDTLS(b []byte) {
	w := k.t.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(k.t.channels) > 0 && k.remote.IsValid() {
		k.write(b, k.remote)
	}
}

// serve does the handshake and reads the connection until its end: after the handshake it carries the text channel of a bundle, else nothing but alerts.
func (k *component) serve(a *association, d *dtlsSide) {
	w := k.t.w
	log := k.t.log.With("component", k.index+1)
	defer func() { _ = a.pipe.Close() }()
	stop := context.AfterFunc(d.ctx, func() { _ = a.pipe.Close() })
	defer stop()
	keys, err := keying.Handshake(d.ctx, a.pipe, keying.Config{Identity: w.s.cfg.Identity, Client: d.client, Fingerprints: d.prints, SHA1: true,
		Timeout: handshakeTimeout, Log: log})
	if err != nil {
		if d.ctx.Err() == nil {
			w.s.count.inc(cDTLSFailed)
			log.Info("dtls failed", "err", err)
		}
		return
	}
	defer func() { _ = keys.Conn.Close() }()
	w.mu.Lock()
	a.keys = keys
	w.mu.Unlock()
	w.s.count.inc(cDTLSConnected)
	log.Debug("dtls connected", "profile", keys.Profile)
	if k.t.bundle {
		k.t.talk(d.ctx, keys.Conn)
	}
	buf := make([]byte, maxDatagram)
	for {
		if _, err := keys.Conn.Read(buf); err != nil {
			return
		}
	}
}

// talk serves the text channel of a bundle, as soon as there is one, until its association ends.
func (t *transport) talk(ctx context.Context, conn *keying.Conn) {
	select {
	case <-t.texts:
	case <-ctx.Done():
		return
	}
	var open *Channel // the one that the end's messages are of
	datachan.Serve(ctx, conn, datachan.Config{
		MaxMessage: maxText, Queue: maxTexts, Log: t.log,
		Opened: func(out chan<- []byte) {
			t.w.mu.Lock()
			if open = t.dataChannel(); open != nil {
				open.out = out
			}
			t.w.mu.Unlock()
			if open != nil {
				open.group.ev.Opened(open)
			}
		},
		Message: func(msg []byte) bool {
			if open != nil {
				open.group.ev.Message(open, msg)
			}
			return open != nil // an end that opens the channel before it is allocated opens it again
		},
		Closed: func() {
			t.w.mu.Lock()
			defer t.w.mu.Unlock()
			if open != nil {
				open.out, open = nil, nil
			}
		},
	})
}

// ready tells whether the component's end can be sent to. Caller holds the worker's lock.
func (k *component) ready() bool {
	return k.remote.IsValid() && (k.t.how != byDTLS || k.assoc != nil && k.assoc.keys != nil)
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
	dst := append(k.t.w.room(len(plain)+seal.MaxOverhead), plain[:n]...)
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
