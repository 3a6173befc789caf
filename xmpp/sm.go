package xmpp

import (
	"strconv"
	"time"

	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

// smState is stream management of one session (XEP-0198); Session.mu guards it.
type smState struct {
	on       bool
	resume   time.Duration // how long the session waits for its client; 0: it cannot be resumed
	handled  uint32        // stanzas of the client that were handled: our h
	acked    uint32        // the client's h, as far as we know
	unacked  fifo          // sent and counted, not acknowledged
	sinceAsk int           // of these, sent after the last <r/>
	asked    bool          // an <r/> has no answer yet
	timer    *time.Timer   // asks late, or gives the stream up
}

var smRequest = []byte("<r xmlns='urn:xmpp:sm:3'/>") // never written to

func (m *smState) stopTimer() {
	if m.timer != nil {
		m.timer.Stop()
	}
}

// nonza handles first-level elements that are no stanzas.
func (st *stream) nonza(e *stanza.Element) error {
	if e.Space == nsCSI && (e.Local == "active" || e.Local == "inactive") {
		st.sess.indicate(e.Local == "active")
		return nil
	}
	if e.Space != nsSM {
		return stanza.NewStreamError("unsupported-stanza-type", "")
	}
	x := st.sess
	switch e.Local {
	case "r":
		st.in.take(inItem{})
		return nil
	case "a":
		h, err := strconv.ParseUint(e.Attr("h"), 10, 32)
		if err != nil {
			return stanza.NewStreamError("bad-format", "h of an ack")
		}
		return x.acknowledge(uint32(h))
	case "enable":
		st.in.drained() // counting begins here
		return x.enable(e)
	case "resume":
		x.push(outItem{raw: smFailed("unexpected-request", nil)})
		return nil
	}
	return stanza.NewStreamError("unsupported-stanza-type", "")
}

func smFailed(condition string, h *uint32) []byte { return smRefusal(condition, h).AppendXML(nil, "") }

func smRefusal(condition string, h *uint32) *stanza.Element {
	f := stanza.NewElement(nsSM, "failed")
	if h != nil {
		f.SetAttr("h", strconv.FormatUint(uint64(*h), 10))
	}
	return f.Add(stanza.NewElement(stanza.NSStanzas, condition))
}

// enable turns acknowledgement on, and resumption if wanted (XEP-0198 §3).
func (x *Session) enable(e *stanza.Element) error {
	want := e.Attr("resume") == "true" || e.Attr("resume") == "1"
	x.mu.Lock()
	on := x.sm.on
	x.mu.Unlock()
	if on {
		x.push(outItem{raw: smFailed("unexpected-request", nil)})
		return nil
	}
	answer, window := x.enabled(e, want)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pushLocked(outItem{raw: answer.AppendXML(nil, "")})
	x.sm.on, x.sm.resume, x.sm.handled = true, window, 0
	x.taken = 0
	x.rememberSM(answer.Attr("id"), window)
	return nil
}

// enabled is the answer to <enable/>, with an id to resume by where that is wanted and allowed.
func (x *Session) enabled(e *stanza.Element, want bool) (*stanza.Element, time.Duration) {
	answer := stanza.NewElement(nsSM, "enabled")
	window := time.Duration(0)
	if want {
		window = x.srv.cfg.Limits.ResumeTimeout
		if x.guest {
			window = x.srv.cfg.Limits.GuestResumeTimeout
		}
		if secs, err := strconv.Atoi(e.Attr("max")); err == nil && secs > 0 { // what the client prefers, if it is less
			window = min(window, time.Duration(min(secs, maxWindowSeconds))*time.Second)
		}
	}
	if window > 0 {
		answer.SetAttr("id", x.srv.nameSM(x)).SetAttr("resume", "true").SetAttr("max", strconv.Itoa(int(window/time.Second)))
	}
	return answer, window
}

// maxWindowSeconds keeps a client's preference from overflowing: a day.
const maxWindowSeconds = 24 * 60 * 60

// nameSM gives x the id to resume it with.
func (s *Server) nameSM(x *Session) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.smid = random.ID()
	s.bySM[x.smid] = x
	return x.smid
}

func (s *Server) bySMID(id string) *Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bySM[id]
}

// acknowledge drops what the client has got (XEP-0198 §4).
func (x *Session) acknowledge(h uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.sm.on {
		return stanza.NewStreamError("unsupported-stanza-type", "stream management is not on")
	}
	if err := x.ackLocked(h); err != nil {
		return err
	}
	x.sm.asked = false
	x.armLocked()
	return nil
}

func (x *Session) ackLocked(h uint32) error {
	n := h - x.sm.acked // mod 2^32, as the counters are
	if n > uint32(x.sm.unacked.len()) {
		return stanza.AckedTooMuch(h, x.sm.acked+uint32(x.sm.unacked.len()))
	}
	for range n {
		o := x.sm.unacked.pop()
		o.shared.ok()
		x.signed(&o)
	}
	if n > 0 {
		x.ch.Ack(int(n), h)
	}
	x.sm.acked = h
	x.sm.sinceAsk = min(x.sm.sinceAsk, x.sm.unacked.len())
	return nil
}

// askLocked tells whether an <r/> belongs after what is being written now.
func (x *Session) askLocked() bool {
	if !x.sm.on || x.sm.asked || x.sm.sinceAsk == 0 {
		return false
	}
	if x.sm.sinceAsk < x.srv.cfg.Limits.AckEvery {
		x.armLocked()
		return false
	}
	x.sm.asked, x.sm.sinceAsk = true, 0
	x.armLocked()
	return true
}

// armLocked sets the timer: to give up when an answer is due, to ask when something waits unacknowledged.
func (x *Session) armLocked() {
	l := &x.srv.cfg.Limits
	switch {
	case x.stream == nil || x.sm.unacked.len() == 0 && !x.sm.asked:
		x.sm.stopTimer()
		return
	case x.sm.timer == nil:
		x.sm.timer = time.AfterFunc(time.Hour, x.ackTimer)
	}
	if x.sm.asked {
		x.sm.timer.Reset(l.AckTimeout)
	} else {
		x.sm.timer.Reset(l.AckDelay)
	}
}

// ackTimer runs on a goroutine of the timer.
func (x *Session) ackTimer() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead || x.stream == nil || x.stream.last != nil {
		return
	}
	if x.sm.asked { // no answer: the connection is dead, whatever TCP thinks
		x.srv.count.slowReaders.Add(1)
		x.stream.wire.abandon()
		return
	}
	if x.sm.unacked.len() > 0 {
		x.sm.asked, x.sm.sinceAsk = true, 0
		x.pushLocked(outItem{raw: smRequest})
		x.armLocked()
	}
}

// hibernateLocked lets the session wait for its client.
func (x *Session) hibernateLocked() {
	x.stream = nil
	x.sm.stopTimer()
	x.sm.asked = false
	x.srv.count.hibernating.Add(1)
	x.sleeps++
	n := x.sleeps
	if x.frozen {
		return
	}
	x.timer = time.AfterFunc(x.sm.resume, func() {
		x.srv.run(func() { x.expire(n) })
	})
}

// expire ends a session whose client did not come back in time; n is which hibernation it was.
func (x *Session) expire(n int) {
	x.mu.Lock()
	stale := x.timer == nil || x.sleeps != n
	if !stale {
		x.doomed = true // a resumption from now on is too late
	}
	x.mu.Unlock()
	if stale {
		return
	}
	x.srv.count.resumeTimeouts.Add(1)
	x.end()
}

// takeOverTimeout bounds how long a resumption waits for the goroutine of the old stream.
const takeOverTimeout = 10 * time.Second

// resume continues a session on st (XEP-0198 §5); false: it was refused, and said so.
func (st *stream) resume(e *stanza.Element) (bool, error) {
	refused, err := st.resumeBy(e, func(resumed *stanza.Element) [][]byte { return [][]byte{resumed.AppendXML(nil, "")} })
	if refused != nil {
		err = st.sendElement(refused)
	}
	return refused == nil && err == nil, err
}

// resumeBy continues the session that e names; answer makes what goes out first of <resumed/>. The element is the refusal, nil when it was done.
func (st *stream) resumeBy(e *stanza.Element, answer func(resumed *stanza.Element) [][]byte) (*stanza.Element, error) {
	srv := st.srv
	prev := e.Attr("previd")
	h, err := strconv.ParseUint(e.Attr("h"), 10, 32)
	x := srv.bySMID(prev)
	if err != nil {
		return smRefusal("bad-request", nil), nil
	}
	if x == nil || x.jid.Bare() != st.bare || !x.release() {
		srv.count.resumeFailed.Add(1)
		return smRefusal("item-not-found", srv.recall(prev, st.bare)), nil
	}
	srv.mu.Lock()
	st.hasSession = true
	srv.mu.Unlock()
	x.mu.Lock()
	x.resuming = false
	if x.dead || x.doomed {
		x.mu.Unlock()
		return smRefusal("item-not-found", srv.recall(prev, st.bare)), nil
	}
	x.uncountedLocked()
	if err := x.ackLocked(uint32(h)); err != nil {
		x.hibernateLocked()
		x.mu.Unlock()
		return nil, err
	}
	resumed := stanza.NewElement(nsSM, "resumed", "h", strconv.FormatUint(uint64(x.sm.handled), 10), "previd", prev)
	first := append(rawItems(answer(resumed)), x.unackedLocked()...)
	x.pending.prepend(first)
	x.sm.asked, x.sm.sinceAsk = false, 0
	st.sess, st.in.ch, x.stream = x, x.ch, st
	x.taken = x.sm.handled
	x.wakeLocked() // XEP-0352 §5: until it says otherwise
	x.kickLocked()
	x.mu.Unlock()
	srv.count.resumed.Add(1)
	st.attached(x)
	for _, f := range srv.hooks.resumed {
		f(x)
	}
	x.mu.Lock()
	x.restarted = false
	x.mu.Unlock()
	return nil, nil
}

// uncountedLocked empties the queue of what a new stream does not get: what was raw is of the old one, and what was queued before stream management began the client
// has, whatever became of the write: it has read <enabled/>, which came behind it.
func (x *Session) uncountedLocked() {
	logged := 0
	var counted []outItem
	for _, o := range x.pending.all() {
		switch {
		case o.counted:
			counted = append(counted, o)
		case o.st != nil:
			o.shared.ok()
			x.signed(&o)
			if o.logged {
				logged++
			}
		}
	}
	x.pending.prepend(counted)
	if logged > 0 {
		x.ch.Ack(logged, x.sm.acked)
	}
}

// release takes the session away from its old stream or from hibernation and waits until the old stream's goroutine has ended, so that
// the count of handled stanzas stands still. False: the session is over or somebody else is resuming it.
func (x *Session) release() bool {
	x.mu.Lock()
	if x.dead || x.doomed || x.resuming {
		x.mu.Unlock()
		return false
	}
	x.resuming = true
	old := x.stream
	x.stream = nil
	x.sm.stopTimer()
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
		x.srv.count.hibernating.Add(-1)
	}
	x.mu.Unlock()
	if old == nil {
		return true
	}
	old.wire.abandon()
	t := time.NewTimer(takeOverTimeout)
	defer t.Stop()
	select {
	case <-old.done:
		return true
	case <-t.C:
		x.mu.Lock()
		x.resuming = false
		if !x.dead {
			x.hibernateLocked()
		}
		x.mu.Unlock()
		return false
	}
}

// endedSM remembers, of sessions that are over, how much was handled: a client that comes too late learns what it need not send
// again (XEP-0198 §5). Server.mu guards it.
type endedSM struct {
	h     map[string]endedEntry
	order []string
}

type endedEntry struct {
	bare stanza.JID
	h    uint32
}

// maxEnded bounds it; an entry is about 100 bytes.
const maxEnded = 4096

func (s *Server) remember(x *Session, handled uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.smid == "" {
		return
	}
	if len(s.ended.order) >= maxEnded {
		delete(s.ended.h, s.ended.order[0])
		s.ended.order = append(s.ended.order[:0:0], s.ended.order[1:]...)
	}
	s.ended.h[x.smid] = endedEntry{x.jid.Bare(), handled}
	s.ended.order = append(s.ended.order, x.smid)
}

// recall gives that number, nil for a session that is not known. It waits for the disk: the session may have ended before what it counts was there.
func (s *Server) recall(id string, bare stanza.JID) *uint32 {
	s.mu.RLock()
	e, ok := s.ended.h[id]
	s.mu.RUnlock()
	if !ok || e.bare != bare {
		return nil
	}
	if k := s.hooks.keeper; k != nil && k.Settle(0) != nil {
		return nil
	}
	return &e.h
}

// refuseSM answers stream management before there is a session (XEP-0198 §3).
func (st *stream) refuseSM() error { return st.sendElement(smRefusal("unexpected-request", nil)) }
