package xmpp

import (
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

// boshWire is a session of BOSH as a transport. The stream's goroutine reads, its flusher writes; net/http's goroutines bring requests and take answers.
type boshWire struct {
	srv     *Server
	sid     string
	peer    net.Addr
	safe    bool // TLS, or from the machine itself
	meter   meter
	window  uint64        // requests at a time: those held and one more
	most    int           // requests held at a time
	longest time.Duration // for which a request is held
	opened  *boshBody     // the request that made it
	ready   chan struct{} // something has changed for the reader
	waits   bool          // of the stream's goroutine: next says errAgain

	mu       sync.Mutex // guards all below
	changed  sync.Cond  // for the writer
	lim      stanza.Limits
	deadline time.Time // of reading
	queue    []boshInput
	closed   bool // abandoned

	due    uint64                  // the next rid
	early  map[uint64]*boshRequest // beyond due
	held   []*boshRequest          // not answered, by rid
	last   []*boshRequest          // answered, by rid: as many as the window, for who asks again
	key    string                  // of the next request, hashed; "": none is wanted
	polled time.Time               // the last request of a client that wants none held
	idle   *time.Timer             // runs while no request is held
	pause  time.Duration           // how long it runs the next time; 0: boshInactivity
	greet  *header                 // of the stream, for the first answer
}

func (s *Server) newBOSHWire(r *http.Request, b *boshBody) *boshWire {
	w := &boshWire{
		srv: s, sid: random.ID(), peer: remoteAddr(r), safe: r.TLS != nil || loopback(r.RemoteAddr), meter: s.newMeter(),
		most: min(b.number("hold", 1), boshHold), longest: min(time.Duration(b.number("wait", int(boshWait/time.Second)))*time.Second, boshWait),
		opened: b, ready: make(chan struct{}, 1), lim: s.cfg.Limits.PreAuth, due: b.rid, early: map[uint64]*boshRequest{},
	}
	if w.longest == 0 {
		w.most = 0
	}
	w.window = uint64(w.most) + 1
	w.changed.L = &w.mu
	b.in = append([]boshInput{{header: b.streamHeader()}}, b.in...)
	return w
}

func (w *boshWire) limits() stanza.Limits {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lim
}

// poke wakes the reader. mu may be held.
func (w *boshWire) poke() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// pop gives the next input; ok false without an error: there is none yet.
func (w *boshWire) pop() (in boshInput, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.queue) > 0:
		in = w.queue[0]
		w.queue[0] = boshInput{}
		w.queue = w.queue[1:]
		return in, true, nil
	case w.closed:
		return in, false, io.EOF
	case !w.deadline.IsZero() && !time.Now().Before(w.deadline):
		return in, false, os.ErrDeadlineExceeded
	}
	return in, false, nil
}

// wait blocks until pop may have something to say.
func (w *boshWire) wait() error {
	w.mu.Lock()
	deadline := w.deadline
	w.mu.Unlock()
	if deadline.IsZero() {
		<-w.ready
		return nil
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-w.ready:
	case <-t.C:
	}
	return nil
}

// input is the next one. With patience it does not wait.
func (w *boshWire) input() (boshInput, error) {
	for {
		in, ok, err := w.pop()
		switch {
		case err != nil:
			return in, err
		case ok:
			return in, w.meter.meterRead(in.item.Bytes)
		case w.waits:
			return in, errAgain
		}
		_ = w.wait()
	}
}

func (w *boshWire) readHeader() (*stanza.Header, error) {
	in, err := w.input()
	switch {
	case err != nil:
		return nil, err
	case in.header != nil:
		return in.header, nil
	case in.err != nil && in.item == (stanza.Item{}):
		return nil, in.err
	}
	return &stanza.Header{Name: stanza.Name{Space: stanza.NSClient}, Content: stanza.NSClient}, nil // a stanza where a stream has to begin
}

func (w *boshWire) next() (stanza.Item, error) {
	in, err := w.input()
	switch {
	case err != nil:
		return stanza.Item{}, err
	case in.header != nil:
		return stanza.Item{}, stanza.NewStreamError("bad-format", "streams are restarted after SASL only")
	}
	return in.item, in.err
}

func (w *boshWire) patient()                      { w.waits = true }
func (w *boshWire) restart()                      {}
func (w *boshWire) linger()                       {}
func (w *boshWire) declares() bool                { return true }
func (w *boshWire) secure() bool                  { return w.safe }
func (w *boshWire) remote() net.Addr              { return w.peer }
func (w *boshWire) holdOff(d time.Duration) bool  { return w.meter.sleep(d) }
func (w *boshWire) bindings() map[string][]byte   { return nil } // as with WebSockets
func (w *boshWire) appendTrailer(b []byte) []byte { return append(b, boshTrailer...) }
func (w *boshWire) endWrite()                     { w.readDeadline(time.Now()) }

// boshTrailer stands for the end of the stream among what is written: it is an attribute of the body.
const boshTrailer = "</body>"

func (w *boshWire) setLimits(l stanza.Limits) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lim = l
}

func (w *boshWire) readDeadline(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	w.poke()
}

// appendHeader keeps what the first answer says of the stream; there is no header of its own.
func (w *boshWire) appendHeader(dst []byte, h header) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.greet = &h
	return dst
}

// write answers the oldest request, once there is one and somebody waits for it, and returns when the network has the answer.
func (w *boshWire) write(items []outItem) error {
	p := w.srv.buffers.get()
	b, final, condition := (*p)[:0], false, ""
	for i := range items {
		switch {
		case string(items[i].raw) == boshTrailer:
			final = true
			continue
		case isStreamError(items[i].raw):
			condition = "remote-stream-error"
		}
		b = items[i].appendTo(b, true)
	}
	defer func() { w.srv.buffers.put(p, b) }()
	if final { // who does not ask any more does not hear it
		t := time.AfterFunc(lastWordsTimeout, w.abandon)
		defer t.Stop()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.closed && (len(w.held) == 0 || w.held[0].attached == 0) {
		w.changed.Wait()
	}
	if w.closed {
		return net.ErrClosed
	}
	tag := w.tag(w.held[0])
	if final {
		tag = stanza.AppendAttr(tag, "type", "terminate")
		if condition != "" {
			tag = stanza.AppendAttr(tag, "condition", condition)
		}
	}
	q := w.give(wrapBOSH(tag, b))
	w.meter.count.writes.Add(1)
	w.meter.count.bytesOut.Add(int64(len(q.answer)))
	if final {
		w.dismiss("")
	}
	for !q.taken && !w.closed {
		w.changed.Wait()
	}
	if !q.taken {
		return net.ErrClosed
	}
	return nil
}

func (w *boshWire) abandon() {
	w.srv.bosh.remove(w)
	w.meter.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	w.dismiss("remote-connection-failed")
	w.attend()
	w.changed.Broadcast()
	w.poke()
}
