package s2s

import (
	"errors"
	"strconv"
	"time"

	"konzil/xmpp/stanza"
)

// Streams that carry stanzas both ways (XEP-0288). Who opened the stream asks for it once TLS is there and before it proves who it is. What the other server
// says on a stream of ours goes into link.in; what we say on a stream of the other server's is written by the link of that pair of domains, for which
// the stream is a way like one of its own. Only the pair that was proved first has a way back: acknowledgements count what is said on a stream, and so
// one link has them all.

const (
	nsBidi        = "urn:xmpp:bidi"
	nsBidiFeature = "urn:xmpp:features:bidi"
)

const (
	// bidiGrace is how long a stream waits for stream management, or a first stanza, before we write to it.
	bidiGrace = 2 * time.Second
	// bidiPatience is how long a link waits for the other server to resume the stream that carried it. After that the link makes a stream of its own.
	bidiPatience = 30 * time.Second
)

// errAwaited makes a link wait for the other server.
var errAwaited = errors.New("s2s: the stream is to be resumed by the other server")

// way is a stream that a link writes to: one of its own, or a way back.
type way struct {
	*conn
	back bool
	read func() error // returns when the stream has ended
}

// wayBack is the other direction of a stream that another server opened.
type wayBack struct {
	in      *incoming
	settled chan struct{} // closed once the fields below are known
	timer   *time.Timer   // which settles it when the other server says nothing
	managed bool
	smID    string // by which the other server can resume it; may be empty
	base    uint32 // how much the other server had when the stream began

	// guarded by Service.mu
	done bool  // settled is closed
	link *link // who uses it
}

// askBidi turns on the way back of a stream that we opened, where the other server offers it.
func (o *out) askBidi() error {
	if o.features.Child(nsBidiFeature, "bidi") == nil {
		return nil
	}
	o.bidi = true
	return o.write(element(stanza.NewElement(nsBidi, "bidi")))
}

// offerBack makes the way back of a stream known to links, when the other server wants it and has proved who it is.
func (in *incoming) offerBack() {
	in.mu.Lock()
	p, ok := in.first, in.bidi && in.first != (pair{})
	in.mu.Unlock()
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || in.back != nil || in.ended || s.closing {
		return
	}
	b := &wayBack{in: in, settled: make(chan struct{})}
	in.back, s.back[p] = b, b
	if l := s.links[p]; l != nil {
		l.until, l.fails = time.Time{}, 0 // there is a way now
	}
	b.timer = time.AfterFunc(bidiGrace, func() { in.settleBack(false, "", 0) })
}

// settleBack lets links use the way back, now that both sides know what is counted.
func (in *incoming) settleBack(managed bool, smID string, base uint32) {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	b := in.back
	if b == nil || b.done {
		return
	}
	b.timer.Stop()
	b.managed, b.smID, b.base, b.done = managed, smID, base, true
	close(b.settled)
}

// forgetWayBack is for a stream that has ended; s.mu is held.
func (s *Service) forgetWayBack(in *incoming) {
	in.ended = true
	in.mu.Lock()
	p := in.first
	in.mu.Unlock()
	if b := in.back; b != nil {
		b.timer.Stop()
		if s.back[p] == b {
			delete(s.back, p)
		}
	}
}

// takeBack makes a stream of the other server the link's way, if there is one: with what was not acknowledged when it is the same session again.
func (l *link) takeBack() (*way, error) {
	l.s.mu.Lock()
	b := l.s.back[l.pair]
	l.s.mu.Unlock()
	if b == nil {
		return nil, nil
	}
	select {
	case <-b.settled:
	case <-b.in.done:
		return nil, nil
	case <-l.s.ctx.Done():
		return nil, l.s.ctx.Err()
	}
	if l.backwards && l.managed && l.smID != "" && l.smID == b.smID {
		if err := l.ackedBefore(b.base); err != nil {
			_ = b.in.raw.Close()
			return nil, err
		}
		l.sweep()
	} else {
		l.endInbound()
		l.handled = 0
		if err := l.requeue(); err != nil {
			return nil, err
		}
	}
	l.setSession(b.managed, b.smID, true)
	l.h = b.base
	l.ch.Ack(0, b.base)
	l.s.mu.Lock()
	b.link = l
	l.s.mu.Unlock()
	l.s.count.backward.Add(1)
	return &way{conn: b.in.conn, back: true, read: func() error { <-b.in.done; return errEnded }}, nil
}

var errEnded = errors.New("s2s: the other server's stream has ended")

// setSession notes by what the link's unacknowledged stanzas can be claimed.
func (l *link) setSession(managed bool, smID string, backwards bool) {
	l.managed, l.smID, l.backwards, l.bidi = managed, smID, backwards, l.in != nil
	l.ch.Set(keySM, []byte(smID))
	l.ch.Set(keyBack, flag(l.backwards))
	l.ch.Set(keyBidi, flag(l.bidi))
}

// flag is a value of the ledger.
func flag(b bool) []byte {
	if b {
		return []byte{1}
	}
	return nil
}

// acknowledged is an answer to what we said on the way back.
func (in *incoming) acknowledged(e *stanza.Element) error {
	in.s.mu.Lock()
	var l *link
	if in.back != nil && in.back.managed {
		l = in.back.link
	}
	in.s.mu.Unlock()
	if l == nil {
		return nil
	}
	h, err := strconv.ParseUint(e.Attr("h"), 10, 32)
	if err != nil {
		return stanza.NewStreamError("bad-format", "h of an ack")
	}
	if err := l.acked(uint32(h)); err != nil {
		return err
	}
	l.poke()
	return nil
}

// beginInbound makes what takes the other server's stanzas on o.
func (l *link) beginInbound(o *out) {
	l.endInbound()
	if o.bidi {
		l.in = l.s.srv.NewInbound(o.acknowledge)
	}
}

// countInbound counts the other server's stanzas from h on, and remembers the count.
func (l *link) countInbound(h uint32) {
	l.handled = h
	if l.in != nil {
		l.in.Number(l.ch, h)
	}
}

// endInbound waits until what came is handled, and keeps how much that is.
func (l *link) endInbound() {
	if l.in != nil {
		l.handled = l.in.Drain()
		l.in = nil
	}
}

// claims tells whether the link's own broken stream is to be resumed: for what the other server has not acknowledged, or what it has for us.
func (l *link) claims() bool {
	return l.managed && l.smID != "" && !l.backwards && (l.ack.len() > 0 || l.bidi)
}

// takeIn takes a stanza on a stream that we opened. The other server is who we connected to: the certificate, or its address in DNS as with dialback, says so.
func (l *link) takeIn(st *stanza.Stanza) error {
	switch {
	case l.in == nil:
		return stanza.NewStreamError("not-authorized", "a stanza on the wrong stream")
	case st.From.IsZero() || st.To.IsZero():
		return stanza.NewStreamError("improper-addressing", "stanzas between servers have both addresses")
	case pair{st.To.Domain(), st.From.Domain()} != l.pair:
		l.s.count.forged.Add(1)
		return stanza.NewStreamError("invalid-from", "")
	}
	l.heard.Store(time.Now().UnixNano())
	l.s.count.received.Add(1)
	l.s.letIn(l.in, st)
	return nil
}

// dialbackIn answers what the other server wants checked on a stream of ours: keys of ours. It gets no further pairs of domains on it, and makes streams of
// its own for them (XEP-0220 §2.4).
func (l *link) dialbackIn(o *out, e *stanza.Element) error {
	from, ferr := stanza.ParseJID(e.Attr("from"))
	to, terr := stanza.ParseJID(e.Attr("to"))
	switch {
	case ferr != nil || terr != nil:
		return stanza.NewStreamError("improper-addressing", "")
	case e.Attr("type") != "": // an answer, to nothing that we asked here
		return nil
	case e.Local == "verify":
		return l.s.answerVerify(o.conn, pair{to.Domain(), from.Domain()}, e)
	}
	return o.say("result", pair{to.Domain(), from.Domain()}, "", "error", &stanza.Error{Type: "cancel", Condition: "not-acceptable"})
}
