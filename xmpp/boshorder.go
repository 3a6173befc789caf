package xmpp

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"konzil/xmpp/stanza"
)

// boshRequest is one request, whose client may have sent it more than once.
type boshRequest struct {
	body     *boshBody
	attached int           // how many of net/http's goroutines wait for its answer
	done     chan struct{} // closed when answer is there
	answer   []byte
	taken    bool // by the network
}

// patience is how long a request is held. Where none is to be held, what is under way gets a moment.
func (w *boshWire) patience() time.Duration {
	if w.most == 0 {
		return boshMoment
	}
	return w.longest
}

// boshMoment is for an answer to what the request itself asks.
const boshMoment = 100 * time.Millisecond

// hold is the life of one request at net/http's side.
func (w *boshWire) hold(rw http.ResponseWriter, r *http.Request, b *boshBody) {
	w.mu.Lock()
	req, condition := w.accept(b)
	if req == nil {
		w.mu.Unlock()
		writeBOSH(rw, http.StatusOK, terminateBody(condition))
		return
	}
	req.attached++
	w.attend()
	w.changed.Broadcast()
	w.mu.Unlock()

	timer := time.NewTimer(w.patience())
	defer timer.Stop()
	gone := false
	select {
	case <-req.done:
	case <-r.Context().Done():
		gone = true
	case <-timer.C:
		w.mu.Lock()
		w.release(req)
		w.mu.Unlock()
		select {
		case <-req.done:
		case <-r.Context().Done(): // it is early, and what comes before it never came
			gone = true
		}
	}
	sent := !gone && writeBOSH(rw, http.StatusOK, req.answer)
	w.mu.Lock()
	defer w.mu.Unlock()
	req.attached--
	req.taken = req.taken || sent
	w.attend()
	w.changed.Broadcast()
}

// accept finds the place of a request; nil: the session has to end with that condition. mu is held.
func (w *boshWire) accept(b *boshBody) (*boshRequest, string) {
	if w.closed && !w.answered(b.rid) {
		return nil, "item-not-found"
	}
	switch {
	case b.rid < w.due:
		for _, list := range [][]*boshRequest{w.held, w.last} {
			for _, q := range list {
				if q.body.rid == b.rid {
					return q, "" // asked again: the connection broke (XEP-0124 §14.3)
				}
			}
		}
		w.fail("rid out of the window")
		return nil, "item-not-found"
	case b.rid >= w.due+w.window:
		w.fail("rid out of the window")
		return nil, "item-not-found"
	case w.early[b.rid] != nil:
		return w.early[b.rid], ""
	}
	req := &boshRequest{body: b, done: make(chan struct{})}
	w.early[b.rid] = req
	for q := w.early[w.due]; q != nil; q = w.early[w.due] {
		delete(w.early, w.due)
		w.due++
		if condition := w.process(q); condition != "" {
			w.fail(condition)
			return nil, condition
		}
	}
	return req, ""
}

func (w *boshWire) answered(rid uint64) bool {
	return slices.ContainsFunc(w.last, func(q *boshRequest) bool { return q.body.rid == rid })
}

// process takes the next request in order. mu is held.
func (w *boshWire) process(q *boshRequest) (condition string) {
	b := q.body
	if w.key != "" && boshKey(b.Attr("key")) != w.key {
		return "item-not-found" // XEP-0124 §15.4
	}
	if w.key != "" {
		w.key = b.Attr("key")
	}
	if k := b.Attr("newkey"); k != "" {
		w.key = k
	}
	for _, old := range w.last { // who sends this has had those
		old.taken = old.taken || old.body.rid+w.window <= b.rid
	}
	w.held = append(w.held, q)
	w.rest() // the time without one begins anew
	if b != w.opened && len(b.in) == 0 && !b.terminate && !b.restart && w.most == 0 {
		now := time.Now()
		if now.Sub(w.polled) < boshPolling {
			return "policy-violation" // XEP-0124 §12
		}
		w.polled = now
	}
	if b.restart {
		w.queue = append(w.queue, boshInput{header: b.streamHeader()})
	}
	w.queue = append(w.queue, b.in...)
	if b.terminate {
		w.queue = append(w.queue, boshInput{err: stanza.ErrStreamEnd})
	}
	w.poke()
	if b.pause > 0 {
		w.pause = min(b.pause, boshMaxPause)
		w.release(q)
		return ""
	}
	w.pause = 0
	for len(w.held) > max(1, w.most) {
		w.release(w.held[0])
	}
	return ""
}

// fail ends the stream for a client that does not keep to the rules. mu is held.
func (w *boshWire) fail(why string) {
	w.srv.log.Debug("BOSH session ended", "why", why)
	w.queue = append(w.queue, boshInput{err: io.ErrUnexpectedEOF})
	w.poke()
}

// release answers q, and those before it, with nothing. mu is held.
func (w *boshWire) release(q *boshRequest) {
	for len(w.held) > 0 && w.held[0].body.rid <= q.body.rid {
		w.give(w.held[0].emptyAnswer(w))
	}
}

func (q *boshRequest) emptyAnswer(w *boshWire) []byte {
	return wrapBOSH(w.tag(q), nil)
}

// give answers the oldest held request. mu is held.
func (w *boshWire) give(answer []byte) *boshRequest {
	q := w.held[0]
	w.held = slices.Delete(w.held, 0, 1)
	q.answer = answer
	close(q.done)
	if w.last = append(w.last, q); uint64(len(w.last)) > w.window {
		w.last = slices.Delete(w.last, 0, 1)
	}
	return q
}

// tag begins the answer to q: the first one tells what was agreed on (XEP-0124 §7.2, XEP-0206 §3). mu is held.
func (w *boshWire) tag(q *boshRequest) []byte {
	if q.body != w.opened {
		return boshTag(w.ackFor(q)...)
	}
	version := boshVersion
	if lessVersion(w.opened.Attr("ver"), version) {
		version = w.opened.Attr("ver")
	}
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	attrs := []string{
		"xmlns:xmpp", nsXBOSH, "xmlns:stream", stanza.NSStream, "sid", w.sid, "ver", version, "wait", seconds(w.longest), "hold", strconv.Itoa(w.most),
		"requests", strconv.FormatUint(w.window, 10), "inactivity", seconds(boshInactivity), "polling", seconds(boshPolling), "maxpause", seconds(boshMaxPause),
		"xmpp:restartlogic", "true", "xmpp:version", "1.0",
	}
	if w.greet != nil {
		attrs = append(attrs, "authid", w.greet.id, "from", w.greet.from, "xml:lang", w.greet.lang)
	}
	return boshTag(append(attrs, w.ackFor(q)...)...)
}

// ackFor tells a client that wants to know it which requests have come (XEP-0124 §9.1). mu is held.
func (w *boshWire) ackFor(q *boshRequest) []string {
	switch {
	case w.opened.Attr("ack") == "":
		return nil
	case q.body != w.opened && w.due-1 == q.body.rid: // that it is answered says the same
		return nil
	}
	return []string{"ack", strconv.FormatUint(w.due-1, 10)}
}

const boshVersion = "1.11"

// lessVersion compares versions such as 1.6 and 1.11; one that cannot be read is not less.
func lessVersion(a, b string) bool {
	var x, y [2]int
	for i, v := range []string{a, b} {
		major, minor, _ := strings.Cut(v, ".")
		m, err1 := strconv.Atoi(major)
		n, err2 := strconv.Atoi(minor)
		if err1 != nil || err2 != nil {
			return false
		}
		if i == 0 {
			x = [2]int{m, n}
		} else {
			y = [2]int{m, n}
		}
	}
	return slices.Compare(x[:], y[:]) < 0
}

// attend runs the timer of a client that holds no request. mu is held.
func (w *boshWire) attend() {
	held := slices.ContainsFunc(w.held, func(q *boshRequest) bool { return q.attached > 0 })
	switch {
	case held || w.closed:
		w.rest()
	case w.idle == nil:
		d := boshInactivity
		if w.pause > 0 {
			d = w.pause
		}
		w.idle = time.AfterFunc(d, w.abandon)
	}
}

// rest stops that timer. mu is held.
func (w *boshWire) rest() {
	if w.idle != nil {
		w.idle.Stop()
		w.idle = nil
	}
}

// dismiss answers all that wait with the end of the session. mu is held.
func (w *boshWire) dismiss(condition string) {
	for len(w.held) > 0 {
		w.give(terminateBody(condition))
	}
	for rid, q := range w.early {
		q.answer = terminateBody(condition)
		close(q.done)
		delete(w.early, rid)
	}
}
