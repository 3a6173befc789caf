package s2s

import (
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"konzil/internal/ledger"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// link is what waits for, and goes to, one domain from one of ours.
type link struct {
	s    *Service
	pair pair
	ch   *ledger.Channel // what the other server has not acknowledged
	wake chan struct{}   // capacity 1: something is in the queue, or was acknowledged

	// guarded by Service.mu
	queue     []*stanza.Stanza
	bytes     int
	running   bool
	broken    time.Time // when the last stream ended, zero before the first
	until     time.Time // no new try before
	fails     int
	why       error  // of the last of them, nil once there was a stream
	direction string // of its own stream while there is one: Outgoing, Bidirectional

	// belongs to run, and to the reader of its stream under ackMu
	managed   bool
	restored  bool // from before a restart, and the other server has not said yet what it has
	bidi      bool // the session is that of a stream both ways
	backwards bool // the session is that of a stream of the other server's (bidi.go)
	smID      string
	ack       acks
	h         uint32        // of the other server, as far as it said
	handled   uint32        // how much of what the other server said, by the end of the last stream
	in        *xmpp.Inbound // what the other server says on our stream; nil: that goes one way
	progress  atomic.Bool   // the other server has acknowledged something on this stream
	heard     atomic.Int64  // when it last said something on this stream, Unix nanoseconds
}

// newLink makes an empty one; s.mu is held.
func (s *Service) newLink(p pair, ch *ledger.Channel) *link {
	l := &link{s: s, pair: p, ch: ch, wake: make(chan struct{}, 1), broken: s.lost[p]}
	delete(s.lost, p)
	s.links[p] = l
	return l
}

// push queues st; s.mu is held. The error is for the sender.
func (l *link) push(st *stanza.Stanza) *stanza.Error {
	lim := &l.s.cfg.Limits
	switch {
	case !l.running && time.Now().Before(l.until):
		return errUnreachable
	case len(l.queue) >= lim.QueueStanzas || l.bytes+st.Size() > lim.QueueBytes && len(l.queue) > 0:
		l.s.count.overflow.Add(1)
		return stanza.ErrResourceConstraint.With("Too much waits for " + l.pair.remote)
	}
	if !l.running {
		if !l.s.runLocked(l.run) {
			return errUnreachable
		}
		l.running = true
	}
	if !l.note(st) {
		return nil
	}
	l.queue = append(l.queue, st)
	l.bytes += st.Size()
	l.poke()
	return nil
}

var errUnreachable = &stanza.Error{Type: "wait", Condition: "remote-server-timeout", Text: "The other server cannot be reached"}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// batchBytes is about how much goes into one write.
const batchBytes = 64 << 10

// take empties the queue as far as one write goes and as the bound of what is not acknowledged allows.
func (l *link) take() []*stanza.Stanza {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	room := len(l.queue)
	if l.managed {
		room = min(room, l.s.cfg.Limits.Unacked-l.ack.len())
	}
	n, size := 0, 0
	for n < room && size < batchBytes {
		size += l.queue[n].Size()
		n++
	}
	out := l.queue[:n:n]
	l.queue = l.queue[n:]
	for _, st := range out {
		l.bytes -= st.Size()
	}
	return out
}

// run serves the link until there is nothing to do.
func (l *link) run() {
	for short := 0; ; {
		w, err := l.connect()
		if err == nil && short == maxShort {
			w.close(trailer)
			err = errShort
		}
		if err != nil {
			if l.again(l.broken) {
				continue
			}
			l.fail(err)
			return
		}
		l.s.mu.Lock()
		l.fails, l.until, l.why = 0, time.Time{}, nil
		l.s.mu.Unlock()
		begun := time.Now()
		l.progress.Store(false)
		l.s.mu.Lock()
		l.direction = Outgoing
		if w.back {
			l.direction = ""
		} else if l.bidi {
			l.direction = Bidirectional
		}
		l.s.mu.Unlock()
		idle := l.serve(w)
		l.broken = time.Now()
		if short++; l.progress.Load() || l.broken.Sub(begun) > l.s.cfg.Limits.RetryMin {
			short = 0
		}
		l.s.mu.Lock()
		l.direction = ""
		if (idle || l.ack.len() == 0 && !l.claims()) && len(l.queue) == 0 || l.s.closing {
			l.running = false
			if !l.s.closing {
				delete(l.s.links, l.pair)
				l.ch.Drop()
				if !idle && len(l.s.lost) < l.s.cfg.Limits.Links {
					l.s.lost[l.pair] = l.broken
				}
				l.s.mu.Unlock()
				return
			}
			l.s.mu.Unlock()
			l.giveBack(errUnreachable)
			return
		}
		l.s.mu.Unlock()
	}
}

// again waits a moment before a further try to replace a stream that broke: what was on its way may have arrived, so nothing is given back before
// Limits.RetryMax has passed. False: it has, or there was no stream.
func (l *link) again(broken time.Time) bool {
	if broken.IsZero() || time.Since(broken) > l.s.cfg.Limits.RetryMax {
		return false
	}
	t := time.NewTimer(max(10*time.Millisecond, min(time.Since(broken)/2, time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.s.ctx.Done():
		return false
	}
}

// maxShort bounds how often in a row a stream may break at once while something waits for it.
const maxShort = 5

var errShort = errors.New("s2s: the other server breaks every stream")

// serve writes until the stream ends; true: because nothing was to be written for long.
func (l *link) serve(w *way) (idle bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := w.read()
		l.s.log.Debug("stream to another server ended", "remote", l.pair.remote, "err", err)
		_ = w.raw.Close()
		if l.in != nil {
			l.in.Drain()
		}
	}()
	timer := time.NewTimer(l.s.cfg.Limits.IdleTimeout)
	defer timer.Stop()
	defer func() { <-ended }()
	if err := l.write(w, l.ack.again()); err != nil { // what a broken stream did not get through
		w.close("")
		return false
	}
	for {
		batch := l.take()
		if len(batch) > 0 {
			if l.managed {
				l.ack.add(batch)
			}
			if err := l.write(w, batch); err != nil {
				w.close("")
				if !l.managed { // nobody knows how much of it arrived; to say so is better than to say it twice
					l.bounceAll(batch, errUnreachable)
					l.ch.Ack(len(batch), 0)
				}
				return false
			}
			if !l.managed {
				l.ch.Ack(len(batch), 0)
			}
			l.s.count.sent.Add(uint64(len(batch)))
			timer.Reset(l.s.cfg.Limits.IdleTimeout)
			continue
		}
		select {
		case <-l.wake:
		case <-ended:
			return false
		case <-timer.C:
			if l.ack.len() > 0 { // no acknowledgement for that long: the connection is dead
				w.close("")
				return false
			}
			quiet := time.Since(time.Unix(0, l.heard.Load()))
			if left := l.s.cfg.Limits.IdleTimeout - quiet; w.back || left > 0 { // who opened a stream closes it
				timer.Reset(max(left, time.Minute))
				continue
			}
			w.close(trailer)
			return true
		case <-l.s.ctx.Done():
			w.close(string(stanza.NewStreamError("system-shutdown", "").Closing(stanza.NSServer)))
			return false
		}
	}
}

// write sends a batch, and asks for an acknowledgement.
func (l *link) write(w *way, batch []*stanza.Stanza) error {
	if len(batch) == 0 {
		return nil
	}
	var b []byte
	for _, st := range batch {
		b = st.AppendXML(b, stanza.NSServer, false)
	}
	if l.managed {
		b = append(b, "<r xmlns='urn:xmpp:sm:3'/>"...)
	}
	return w.write(b)
}

// read takes what the other server says on our stream.
func (l *link) read(o *out) error {
	for {
		it, err := o.rd.Next()
		var je *stanza.JIDError
		switch {
		case err != nil && !errors.As(err, &je):
			return err
		case it.Stanza != nil && je != nil:
			return stanza.NewStreamError("improper-addressing", "a bad address")
		case it.Stanza != nil:
			if err := l.takeIn(it.Stanza); err != nil {
				return err
			}
		case it.Elem.Space == nsDialback:
			if err := l.dialbackIn(o, it.Elem); err != nil {
				return err
			}
		case it.Elem.Name == stanza.Name{Space: stanza.NSStream, Local: "error"}:
			return readStreamError(it.Elem)
		case it.Elem.Name == stanza.Name{Space: nsSM, Local: "a"}:
			h, err := strconv.ParseUint(it.Elem.Attr("h"), 10, 32)
			if err != nil {
				return stanza.NewStreamError("bad-format", "h of an ack")
			}
			if err := l.acked(uint32(h)); err != nil {
				return err
			}
			l.poke()
		case it.Elem.Name == stanza.Name{Space: nsSM, Local: "r"}:
			if l.in == nil {
				o.acknowledge(0)
			} else {
				l.in.Ask()
			}
		}
	}
}

// acked drops what the other server has.
func (l *link) acked(h uint32) error {
	n := h - l.h // mod 2^32
	if !l.ack.drop(int(n)) {
		return stanza.AckedTooMuch(h, l.h+uint32(l.ack.len()))
	}
	l.h = h
	if n > 0 {
		l.progress.Store(true)
		l.ch.Ack(int(n), h)
	}
	return nil
}

// ackedBefore is acked for what the other server says when a session is resumed. Where the counts do not agree they never will: the link forgets the session, and
// the next stream begins a new one.
func (l *link) ackedBefore(h uint32) error {
	err := l.acked(h)
	if err != nil {
		l.setSession(false, "", false)
	}
	return err
}

// requeue puts what was sent and not acknowledged before what waits, for a new stream. It may arrive twice only if the other server lost its
// count: messages go again, requests come back, presence is out of date.
func (l *link) requeue() error {
	var again []*stanza.Stanza
	all := l.ack.all()
	l.ch.Sweep(len(all))
	l.restored = false
	for _, st := range all {
		switch st.Kind {
		case stanza.Message:
			again = append(again, st)
		case stanza.IQ:
			l.s.bounce(st, errUnreachable)
		}
	}
	l.h = 0
	l.ch.Ack(0, 0)
	if len(again) == 0 {
		return nil
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.queue = append(again, l.queue...)
	for _, st := range again {
		l.bytes += st.Size()
	}
	return nil
}

// fail gives everything back and remembers when to try again.
func (l *link) fail(err error) {
	l.s.count.failed.Add(1)
	lim := &l.s.cfg.Limits
	l.s.mu.Lock()
	l.until = time.Now().Add(min(lim.RetryMin<<min(l.fails, 10), lim.RetryMax))
	l.fails++
	l.why = err
	l.running = false
	l.s.mu.Unlock()
	l.s.log.Info("another server cannot be reached", "local", l.pair.local, "remote", l.pair.remote, "err", err)
	e := errUnreachable
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound, errors.Is(err, errNoService), errors.Is(err, errPrivate):
		e = stanza.ErrRemoteServerNotFound
	case errors.Is(err, errUntrusted), errors.Is(err, errNoTLS):
		e = stanza.ErrRemoteServerNotFound.With("There is no encrypted and authenticated way to that server")
	}
	l.giveBack(e)
}

// giveBack bounces all that the link holds; on a shutdown the ledger has it for the next start.
func (l *link) giveBack(e *stanza.Error) {
	l.s.mu.Lock()
	if l.s.closing && l.s.cfg.Ledger != nil {
		l.s.mu.Unlock()
		return
	}
	all := append(l.ack.all(), l.queue...)
	l.queue, l.bytes = nil, 0
	l.s.mu.Unlock()
	l.bounceAll(all, e)
	l.ch.Ack(len(all), 0)
}

func (l *link) bounceAll(all []*stanza.Stanza, e *stanza.Error) {
	for _, st := range all {
		l.s.bounce(st, e)
	}
}
