package xmpp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// Names in the ledger: a channel for each session of an account, and its values.
const (
	sessionName = "session " // then the full JID

	keySM       = "sm" // id, seconds to resume, language
	keyPresence = "presence"
	keyDirected = "to "   // then a target of directed presence
	keyNote     = "note " // then the name of a note
	keyOver     = "over"  // its end has begun: nobody resumes it
)

// NoteCarbons is the note of a session whose client has asked for copies of messages (XEP-0280).
const NoteCarbons = "carbons"

// Note reads what a feature has noted of the session with SetNote, "" for nothing.
func (x *Session) Note(name string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.notes[name]
}

// SetNote keeps a short text with the session, also over a restart of the program; "" forgets it.
func (x *Session) SetNote(name, text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.notes[name] == text {
		return
	}
	if text == "" {
		delete(x.notes, name)
		x.ch.Set(keyNote+name, nil)
		return
	}
	if x.notes == nil {
		x.notes = map[string]string{}
	}
	x.notes[name] = text
	x.ch.Set(keyNote+name, []byte(text))
}

// setPresenceLocked notes the last broadcast presence, nil for none.
func (x *Session) setPresenceLocked(st *stanza.Stanza) {
	x.pres = st
	switch {
	case x.ch == nil:
	case st == nil:
		x.ch.Set(keyPresence, nil)
	default:
		x.ch.Set(keyPresence, st.AppendXML(nil, stanza.NSClient, true))
	}
}

// rememberSM makes the session one that is found again after a restart (XEP-0198 §5), or with an empty id one whose queue goes elsewhere then.
func (x *Session) rememberSM(id string, window time.Duration) {
	if x.ch == nil {
		return
	}
	x.ch.SetHandled(0)
	if id != "" {
		x.ch.Set(keySM, []byte(id+" "+strconv.Itoa(int(window/time.Second))+" "+x.lang))
	}
}

// noteHandled remembers how much of what the client has sent is handled, and on disk where it belongs there; it gives the number.
func (x *Session) noteHandled() uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sm.on {
		x.ch.SetHandled(x.sm.handled)
	}
	return x.sm.handled
}

// logLocked remembers what is queued for the client: of what it counts everything, else messages that another client or the offline hooks would get.
// Presence and iqs are out of date after a restart: only their number is needed. False: it is queued already, by a program that was killed
// (ledger.Channel.Push).
func (x *Session) logLocked(o *outItem) bool {
	st := o.st
	if x.ch == nil || !o.counted && (st.Kind != stanza.Message || st.Type == "groupchat" || st.Type == "error" || st.Type == "headline") {
		return true
	}
	o.logged = true
	if st.Kind != stanza.Message && (st.Kind == stanza.IQ || st.Type == "" || st.Type == "unavailable") {
		x.ch.PushHollow()
		return true
	}
	it := ledger.Item{Counted: o.counted, Kept: o.kept, Shared: o.shared != nil, Ref: o.ref, At: time.UnixMilli(o.at), Origin: ledger.Origin(st.Origin())}
	if !o.kept {
		it.Ref, _ = strconv.ParseUint(st.Archive(), 32, 64)
	}
	if isCarbon(st) { // not the message itself, which may come to this client as well
		it.For = ledger.ForCopy
	}
	return x.ch.Push(it, ledger.Key{First: st.Inner(), From: st.From.String(), ID: st.ID}, func(b []byte) []byte {
		return st.AppendXML(b, stanza.NSClient, true)
	})
}

// freeze lets a resumable session wait for the next start of the program; false: it cannot.
func (x *Session) freeze() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ch == nil || x.sm.resume == 0 || x.dead || x.doomed {
		return false
	}
	x.frozen = true
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
		x.srv.count.hibernating.Add(-1)
	}
	if st := x.stream; st != nil {
		x.lastWordsLocked(st, stanza.NewStreamError("system-shutdown", ""), true)
	}
	return true
}

// unackedLocked empties the queue of what the client has not acknowledged, for a new stream. Of what was there before a restart only messages are left.
func (x *Session) unackedLocked() []outItem {
	items := x.sm.unacked.all()
	if !x.restored {
		return items
	}
	x.restored, x.restarted = false, true
	x.ch.Sweep(len(items))
	return slices.DeleteFunc(items, func(o outItem) bool { return o.st == nil })
}

// Restarted tells the hooks of Resumed that the program was started anew since the client was here: what it was not told meanwhile are presences, and
// answers to its requests.
func (x *Session) Restarted() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.restarted
}

// LastKept is the greatest ref of SendKept that a restored session has in its queue, and the greatest that its client had acknowledged, of which Hooks.Signed may
// not have been told; 0 for none.
func (x *Session) LastKept() (waiting, had uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, q := range []fifo{x.sm.unacked, x.pending} {
		for _, o := range q.items[q.head:] {
			if o.kept {
				waiting = max(waiting, o.ref)
			}
		}
	}
	return waiting, x.had
}

// deliveries are those of messages that several clients of an account get, from before a restart until the start is over: what it hands on to further ones is
// the same delivery.
type deliveries struct {
	mu sync.Mutex // guards of
	of map[string]*delivery
}

// get gives that of a message in the archive of owner.
func (all *deliveries) get(owner stanza.JID, archive string) *delivery {
	all.mu.Lock()
	defer all.mu.Unlock()
	key := archive + " " + owner.String()
	d := all.of[key]
	if d == nil {
		d = &delivery{}
		all.of[key] = d
	}
	return d
}

// Restore brings back the sessions that the ledger knows, before anything is served: those that can be resumed wait for their clients as if their
// connections had just broken. Call EndLost when all else is restored, too.
func (s *Server) Restore() {
	l := s.cfg.Ledger
	shared := &deliveries{of: map[string]*delivery{}}
	s.restored.Store(shared)
	for _, k := range l.Kept() {
		full, ok := strings.CutPrefix(k.Name, sessionName)
		if !ok {
			continue
		}
		jid, err := stanza.ParseJID(full)
		if err != nil || jid.IsBare() {
			k.Drop()
			continue
		}
		x := &Session{srv: s, jid: jid, ch: k.Channel, restored: true}
		x.restoreValues(&k, l.Trusted())
		x.restoreQueue(&k, shared)
		if old := s.Session(jid); old != nil || x.smid == "" {
			s.lost = append(s.lost, x) // a kill while a session took the place of another: the later one counts
			if old != nil && x.smid != "" {
				s.lost[len(s.lost)-1] = old
				s.forget(old)
			}
		}
		if x.smid == "" {
			continue
		}
		s.mu.Lock()
		s.byBare[jid.Bare()] = append(s.byBare[jid.Bare()], x)
		s.bySM[x.smid] = x
		s.mu.Unlock()
		s.count.sessions.Add(1)
		s.count.restored.Add(1)
	}
	for _, list := range s.byBare { // nothing is served yet: no lock
		for _, x := range list {
			for _, f := range s.hooks.restored {
				f(x)
			}
		}
	}
}

// EndLost ends the sessions that cannot be resumed, so that what waits for their clients finds others, and starts the time to resume of the rest.
func (s *Server) EndLost() {
	for _, x := range s.lost {
		for _, f := range s.hooks.restored {
			f(x)
		}
		x.end()
	}
	s.lost = nil
	s.restored.Store(nil)
	s.mu.RLock()
	var all []*Session
	for _, list := range s.byBare {
		all = append(all, list...)
	}
	s.mu.RUnlock()
	for _, x := range all {
		x.mu.Lock()
		if x.restored && !x.dead && x.stream == nil {
			x.hibernateLocked()
		}
		x.mu.Unlock()
	}
}

// restoreValues reads what a session was; trusted: its client may resume it.
func (x *Session) restoreValues(k *ledger.Kept, trusted bool) {
	_, over := k.Values[keyOver]
	for key, v := range k.Values {
		switch {
		case key == keySM:
			id, rest, _ := strings.Cut(string(v), " ")
			secs, lang, _ := strings.Cut(rest, " ")
			x.lang = lang
			if n, err := strconv.Atoi(secs); err == nil && n > 0 && trusted && !over {
				x.smid = id
				x.sm.on, x.sm.resume = true, time.Duration(n)*time.Second
			}
		case key == keyPresence:
			if st, err := stanza.Parse(v); err == nil {
				x.pres = st
			}
		case strings.HasPrefix(key, keyDirected):
			if j, err := stanza.ParseJID(key[len(keyDirected):]); err == nil {
				if x.directed == nil {
					x.directed = map[stanza.JID]struct{}{}
				}
				x.directed[j] = struct{}{}
			}
		case strings.HasPrefix(key, keyNote):
			if x.notes == nil {
				x.notes = map[string]string{}
			}
			x.notes[key[len(keyNote):]] = string(v)
		}
	}
	x.sm.acked, x.sm.handled, x.had = k.Acked, k.Handled, k.Had
}

// restoreQueue makes the queue of what the client had not acknowledged. shared has the messages that went to several clients of an account: one that
// has reached a client, or waits for another, does not go elsewhere.
func (x *Session) restoreQueue(k *ledger.Kept, shared *deliveries) {
	for _, it := range k.Items {
		o := outItem{counted: it.Counted, logged: true, at: it.At.UnixMilli(), kept: it.Kept}
		if it.Kept {
			o.ref = it.Ref
		}
		if st, err := stanza.Parse(it.Body); !it.Hollow && err == nil {
			if !st.To.IsBare() { // one body may stand for messages to many
				st = st.WithTo(x.jid)
			}
			if it.Shared && it.Ref != 0 { // one that no archive has cannot be told from others: it goes on from each
				o.shared = shared.get(x.jid.Bare(), archiveID(it.Ref))
				o.shared.left.Add(1)
				if it.Arrived {
					o.shared.arrived.Store(true)
				}
			}
			if it.Ref != 0 && !it.Kept {
				st = st.WithArchive(archiveID(it.Ref), x.jid.Bare())
			}
			o.st = st
		}
		if it.Counted && x.sm.on {
			x.sm.unacked.push(o)
		} else {
			x.pending.push(o)
		}
	}
}

// archiveID is how archives write their ids (konzil/internal/archive).
func archiveID(ref uint64) string { return fmt.Sprintf("%013s", strconv.FormatUint(ref, 32)) }

// Resend sends again what a local session or somebody elsewhere sent before a restart, when it is on disk but perhaps not with all who get it: who has it does not
// get it again (ledger.Channel.Push).
func (s *Server) Resend(st *stanza.Stanza) {
	x := s.Session(st.From)
	if x == nil && s.HasAccount(st.From.Bare()) { // the session is not found again; other clients of the account get copies
		x = &Session{srv: s, jid: st.From}
	}
	if x != nil {
		x.dispatch(st, nil)
		return
	}
	s.Route(st)
}

// Served tells whether a session, as the ledger knows it, has got a message.
func (s *Server) Served(u *ledger.Undone, full stanza.JID) bool {
	return u.Served(sessionName + full.String())
}
