package xmpp

import (
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// Session is a bound resource. It outlives its stream when the client can resume (XEP-0198).
//
// What ends a session: the client's end of stream, a stream error, Kill, a broken connection without resumption, or the time to resume
// running out. end runs once and does what is left to do: unavailable presence, hooks, and routing of what was not delivered.
type Session struct {
	srv    *Server
	jid    stanza.JID
	guest  bool
	params url.Values
	lang   string
	smid   string          // guarded by Server.mu
	ch     *ledger.Channel // what is remembered over a restart; nil: nothing

	taken uint32 // stanzas of the client since stream management began; of the stream's goroutine

	caused    atomic.Int64 // stanzas for others, not paid for (fanout.go)
	paidUntil time.Time    // of the stream's goroutine

	showing sync.Mutex // held while a presence is broadcast, so that all see them in one order; taken before every other lock

	mu        sync.Mutex // guards all below
	stream    *stream    // nil: hibernating
	dead      bool       // end has begun
	doomed    bool       // will end with its stream, takes nothing more
	resuming  bool
	frozen    bool // the server stops: a client finds the session again after that
	restarted bool // while the hooks run for a resumption after restored
	restored  bool // the program was started anew since the client was here
	pending   fifo
	sm        smState
	csi       *csiState   // nil: somebody looks at the client
	timer     *time.Timer // while hibernating: end of the time to resume
	sleeps    int         // hibernations begun: tells a stale timer
	pres      *stanza.Stanza
	directed  map[stanza.JID]struct{}
	values    map[any]any
	notes     map[string]string
	had       uint64 // restored: the greatest ref of SendKept that the client had acknowledged
}

// JID is the full address.
func (x *Session) JID() stanza.JID { return x.jid }

// Guest tells that the session has no account of the main domain: it logged in with ANONYMOUS, or is a part of the installation.
func (x *Session) Guest() bool { return x.guest }

// Param is an argument of the WebSocket's URL (room, prefix, previd, token, customusername, vnode), "" if absent.
func (x *Session) Param(name string) string { return x.params.Get(name) }

// Network is where the client's connection comes from, without what tells people of one network apart; empty while there is none.
func (x *Session) Network() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stream == nil {
		return ""
	}
	return x.stream.network()
}

// Presence is the last broadcast presence, nil when the session is not available.
func (x *Session) Presence() *stanza.Stanza {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.pres
}

// linked tells that the session is not hibernating.
func (x *Session) linked() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stream != nil
}

// Priority is that of the presence (RFC 6121 §4.7.2.3), 0 without one.
func (x *Session) Priority() int { return priority(x.Presence()) }

func priority(p *stanza.Stanza) int {
	if p == nil {
		return 0
	}
	n, err := strconv.Atoi(p.Child(stanza.NSClient, "priority").Text())
	if err != nil || n < -128 || n > 127 {
		return 0
	}
	return n
}

// Get reads a value that a feature keeps with the session; key is of a type of the feature's own.
func (x *Session) Get(key any) any {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.values[key]
}

// Set keeps a value with the session.
func (x *Session) Set(key, value any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.values == nil {
		x.values = map[any]any{}
	}
	x.values[key] = value
}

// Send queues st for the client, as it is. It never blocks; an overfull queue ends the session. A message for a session that has
// just ended is routed again.
func (x *Session) Send(st *stanza.Stanza) {
	if !x.push(outItem{st: st}) {
		x.srv.reroute([]outItem{{st: st}})
	}
}

// SendKept is Send for a message that the caller keeps on disk: it is not routed again when the session ends without it. With a ref other than 0
// Hooks.Signed is called once the client has it. False: the session has ended.
func (x *Session) SendKept(st *stanza.Stanza, ref uint64) bool {
	return x.push(outItem{st: st, kept: true, ref: ref})
}

// Kill ends the session with a stream error (RFC 6120 §4.9.3), after what waits for the client: the answer to the request that has led to it may be
// among that. It cannot be resumed.
func (x *Session) Kill(condition, text string) {
	x.kill(stanza.NewStreamError(condition, text), true)
}

func (x *Session) kill(se *stanza.StreamError, drain bool) {
	x.mu.Lock()
	if x.dead || x.doomed {
		x.mu.Unlock()
		return
	}
	x.doomed = true
	st := x.stream
	if st != nil {
		x.lastWordsLocked(st, se, drain)
	}
	x.mu.Unlock()
	if st == nil { // the caller may hold what end needs; during a shutdown that does it
		x.srv.run(x.end)
	}
}

func (x *Session) overflow() {
	x.srv.log.Warn("outbox overflow", "jid", x.jid.String())
	x.kill(stanza.NewStreamError("resource-constraint", "too much waits for you"), false)
}

// replace ends the session now for one with the same address (RFC 6120 §7.7.2.2).
func (x *Session) replace() {
	x.kill(stanza.NewStreamError("conflict", "replaced by a new session"), false)
	x.end()
}

// shutdown ends the session with the server, or lets it wait for the next start.
func (x *Session) shutdown() {
	if x.freeze() {
		return
	}
	x.kill(stanza.NewStreamError("system-shutdown", ""), true)
	x.mu.Lock()
	st := x.stream
	x.mu.Unlock()
	if st == nil {
		x.end()
	}
}

// closedTo tells that what st still reads is not wanted any more.
func (x *Session) closedTo(st *stream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dead || x.doomed || x.stream != st || st.last != nil
}

// leaving is the first step of the end of st: no writer starts any more. It gives the timer that cuts off the last words, nil when there
// are none, and a channel that is closed when the last writer has ended.
func (x *Session) leaving(st *stream) (*time.Timer, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	idle := make(chan struct{})
	if st.flushing {
		st.idle = idle
	} else {
		close(idle)
	}
	if st.last == nil {
		st.finished = true
	}
	return st.cutoff, idle
}

// detach is called when st has ended: the session waits for its client, or ends.
func (x *Session) detach(st *stream, ended bool) {
	x.mu.Lock()
	if x.stream != st { // taken over by a new stream
		x.mu.Unlock()
		return
	}
	if (!ended || x.frozen) && !x.dead && !x.doomed && x.sm.resume > 0 {
		x.hibernateLocked()
		x.mu.Unlock()
		return
	}
	x.stream = nil
	x.mu.Unlock()
	x.end()
}

// end does what remains when a session is over; the second call does nothing.
func (x *Session) end() {
	x.mu.Lock()
	if x.dead {
		x.mu.Unlock()
		return
	}
	x.dead = true
	if x.timer != nil {
		x.timer.Stop()
		x.srv.count.hibernating.Add(-1)
		x.timer = nil
	}
	x.sm.stopTimer()
	left := append(x.sm.unacked.all(), x.pending.all()...)
	directed := x.directed
	x.directed = nil
	handled := x.sm.handled
	x.ch.Set(keyOver, []byte{})
	x.mu.Unlock()
	x.showing.Lock()
	//lint:ignore SA2001 a Renew that is under way ends first
	x.showing.Unlock()

	x.srv.remember(x, handled)
	over := x.srv.endOf(x)
	x.sendDirected(directed, stanza.NewPresence("unavailable", x.jid, stanza.JID{}))
	for _, f := range x.srv.hooks.closed {
		f(x)
	}
	for i := range left {
		x.srv.reroute(left[i : i+1])
		if left[i].logged { // it is with somebody else: a kill from here on does not hand it on again
			x.ch.Ack(1, 0)
		}
	}
	x.ch.Drop()
	over()
}

// sendDirected tells those who got directed presence that it is over, by st (RFC 6121 §4.6.3), but those whom a broadcast of st tells anyway.
func (x *Session) sendDirected(targets map[stanza.JID]struct{}, st *stanza.Stanza) {
	for to := range targets {
		if !x.covered(to) {
			x.srv.Route(st.WithFromTo(x.jid, to))
		}
	}
}

func (x *Session) covered(to stanza.JID) bool {
	for _, f := range x.srv.hooks.covers {
		if f(x, to) {
			return true
		}
	}
	return false
}

// received is the way of a stanza from its client: check, stamp, keep, and in its turn (keep.go) note presence, hooks, router (RFC 6120 §8.1,
// RFC 6121 §4).
func (x *Session) received(st *stream, s *stanza.Stanza, bad *stanza.JIDError) error {
	if bad != nil && bad.Attr == "from" || !s.From.IsZero() && s.From != x.jid && s.From != x.jid.Bare() {
		return stanza.NewStreamError("invalid-from", "")
	}
	s.From = x.jid
	if x.sm.on {
		x.taken++
		s = s.WithOrigin(stanza.Origin{Channel: x.ch.ID(), Number: x.taken})
	}
	if s.Lang == "" && s.Kind == stanza.Message {
		s.Lang = x.lang
	}
	it := inItem{st: s, bad: bad}
	if s.Kind == stanza.Message && bad != nil {
		st.in.plainFirst()
	} else if s.Kind == stanza.Message {
		if s.To.IsZero() { // to oneself (RFC 6120 §10.3.1)
			s = s.WithTo(x.jid.Bare())
		}
		it.st = x.srv.honest(s)
		st.in.plainFirst()
		it.keep(x.srv, x)
	}
	st.in.take(it)
	return nil
}

func (x *Session) dispatch(s *stanza.Stanza, bad *stanza.JIDError) {
	if bad != nil { // a room whose nick cannot be in an address answers for it
		x.refuse(s.WithTo(bad.Near()), stanza.ErrJIDMalformed)
		return
	}
	if s.Kind == stanza.IQ {
		if err := checkIQ(s); err != nil {
			x.refuse(s, err)
			return
		}
		x.srv.routeFrom(x, s)
		return
	}
	if s.Kind == stanza.Presence {
		if !presenceType(s.Type) {
			x.refuse(s, stanza.ErrBadRequest.With("type of presence"))
			return
		}
		if s.To.IsZero() {
			x.showing.Lock()
			defer x.showing.Unlock()
		}
		if s.Type == "" {
			for _, f := range x.srv.hooks.presence {
				s = f(x, s)
			}
		}
		if err := x.notePresence(s); err != nil {
			x.refuse(s, err)
			return
		}
	}
	for _, f := range x.srv.hooks.outbound {
		if f(x, s) {
			return
		}
	}
	if !s.To.IsZero() { // the broadcast of presence is the roster's
		x.srv.routeFrom(x, s)
	}
}

// Renew broadcasts the presence again, as f changes it; nothing is done for a session that is not available. Hooks that run for a presence
// of the same session must not call it.
func (x *Session) Renew(f func(*stanza.Stanza) *stanza.Stanza) {
	x.showing.Lock()
	defer x.showing.Unlock()
	x.mu.Lock()
	if x.dead || x.pres == nil {
		x.mu.Unlock()
		return
	}
	st := f(x.pres)
	x.setPresenceLocked(st)
	x.mu.Unlock()
	for _, f := range x.srv.hooks.outbound {
		if f(x, st) {
			return
		}
	}
}

// refuse answers s with err as the one it was for.
func (x *Session) refuse(s *stanza.Stanza, err *stanza.Error) {
	if r := s.ErrorReply(err); r != nil {
		x.srv.count.bounced.Add(1)
		x.srv.keptBefore(r)
		x.Send(r)
	}
}

// checkIQ holds an iq to RFC 6120 §8.2.3.
func checkIQ(s *stanza.Stanza) *stanza.Error {
	switch s.Type {
	case "get", "set":
		if s.ID == "" || len(s.Names) != 1 {
			return stanza.ErrBadRequest.With("an iq has an id and one child")
		}
	case "result", "error":
	default:
		return stanza.ErrBadRequest.With("type of iq")
	}
	return nil
}

// presenceType tells the types of presence (RFC 6121 §4.7.1).
func presenceType(t string) bool {
	switch t {
	case "", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error":
		return true
	}
	return false
}

// notePresence keeps broadcast presence and the targets of directed presence.
func (x *Session) notePresence(s *stanza.Stanza) *stanza.Error {
	if s.Type != "" && s.Type != "unavailable" {
		return nil
	}
	x.mu.Lock()
	if !s.To.IsZero() {
		defer x.mu.Unlock()
		if s.Type != "" {
			delete(x.directed, s.To)
			x.ch.Set(keyDirected+s.To.String(), nil)
			return nil
		}
		if _, ok := x.directed[s.To]; !ok && len(x.directed) >= x.srv.cfg.Limits.DirectedPresences {
			return stanza.ErrPolicyViolation.With("too many directed presences")
		}
		if x.directed == nil {
			x.directed = map[stanza.JID]struct{}{}
		}
		if _, ok := x.directed[s.To]; !ok {
			x.ch.Set(keyDirected+s.To.String(), []byte{})
		}
		x.directed[s.To] = struct{}{}
		return nil
	}
	if s.Type == "" {
		x.setPresenceLocked(s)
		x.mu.Unlock()
		return nil
	}
	x.setPresenceLocked(nil)
	targets := x.directed
	for to := range targets {
		x.ch.Set(keyDirected+to.String(), nil)
	}
	x.directed = nil
	x.mu.Unlock()
	x.sendDirected(targets, s)
	return nil
}
