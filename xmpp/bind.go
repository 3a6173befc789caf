package xmpp

import (
	"errors"

	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

// bindOrResume waits for what must come first on an authenticated stream: a resource to bind (RFC 6120 §7) or a session to resume.
func (st *stream) bindOrResume() error {
	for {
		it, err := st.wire.next()
		var je *stanza.JIDError
		if err != nil && !errors.As(err, &je) {
			return err
		}
		switch {
		case it.Elem != nil && it.Elem.Space == nsSM && it.Elem.Local == "resume":
			if ok, err := st.resume(it.Elem); ok || err != nil {
				return err
			}
		case it.Elem != nil && it.Elem.Space == nsSM:
			if err := st.send(smFailed("unexpected-request", nil)); err != nil {
				return err
			}
		case it.Stanza != nil && it.Stanza.Kind == stanza.IQ && it.Stanza.Type == "set" && it.Stanza.First() == stanza.Name{Space: nsBind, Local: "bind"}:
			if ok, err := st.bind(it.Stanza); ok || err != nil {
				return err
			}
		case it.Stanza != nil:
			return stanza.NewStreamError("not-authorized", "bind a resource first")
		default:
			return stanza.NewStreamError("unsupported-stanza-type", "")
		}
	}
}

// bind makes the session (RFC 6120 §7.6, §7.7); false: refused, the client may try again. What the hooks send to it goes out before the
// result, so that no stanza that is not an answer comes between the result and the client's first requests.
func (st *stream) bind(iq *stanza.Stanza) (bool, error) {
	refuse := func(e *stanza.Error) (bool, error) {
		r := stanza.NewIQ("error", iq.ID, stanza.JID{}, stanza.JID{}, e.Element())
		return false, st.send(r.AppendXML(nil, stanza.NSClient, st.wire.declares()))
	}
	want := iq.Child(nsBind, "bind").Child(nsBind, "resource").Text()
	if want == "" {
		want = random.Hex(8)
	}
	full, err := st.bare.WithResource(want)
	if err != nil || iq.ID == "" {
		return refuse(stanza.ErrBadRequest)
	}
	x := st.newSession(full)
	st.sess, st.in.ch = x, x.ch
	if !st.srv.register(x) {
		x.ch.Drop()
		st.sess, st.in.ch = nil, nil
		return refuse(stanza.ErrResourceConstraint)
	}
	st.settle()
	st.attached(x)
	for _, f := range st.srv.hooks.bound {
		f(x)
	}
	b := stanza.NewElement(nsBind, "bind").Add(stanza.TextElement(nsBind, "jid", full.String()))
	x.push(outItem{st: stanza.NewIQ("result", iq.ID, stanza.JID{}, stanza.JID{}, b)})
	return true, nil
}

// newSession makes a session of st, which nobody knows yet.
func (st *stream) newSession(full stanza.JID) *Session {
	x := &Session{srv: st.srv, jid: full, guest: st.bare.Domain() != st.srv.cfg.Domain, params: st.params, lang: st.lang, stream: st}
	if !x.guest { // guests come for meetings, which end with the program
		x.ch = st.srv.cfg.Ledger.New(sessionName + full.String())
	}
	return x
}

// register puts x into the tables; an old session with the same address ends first, all of it. False: the account, or the
// server, has too many.
func (s *Server) register(x *Session) bool {
	bare := x.jid.Bare()
	for {
		s.mu.Lock()
		if n := s.cfg.Limits.Sessions; s.closing || n > 0 && s.count.sessions.Load() >= int64(n) {
			s.mu.Unlock()
			s.count.sessionsRefused.Add(1)
			return false
		}
		if over := s.ending[x.jid]; over != nil {
			s.mu.Unlock()
			<-over
			continue
		}
		var old *Session
		list := s.byBare[bare]
		for _, y := range list {
			if y.jid == x.jid {
				old = y
			}
		}
		if old == nil && s.cfg.Limits.SessionsPerAccount > 0 && len(list) >= s.cfg.Limits.SessionsPerAccount {
			if old = oldestAsleep(list); old == nil {
				s.mu.Unlock()
				s.count.sessionsRefused.Add(1)
				return false
			}
		}
		if old == nil {
			s.byBare[bare] = append(list[:len(list):len(list)], x)
			x.stream.hasSession = true
			s.count.sessions.Add(1)
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		old.replace()
	}
}

func oldestAsleep(list []*Session) *Session {
	for _, y := range list {
		y.mu.Lock()
		asleep := y.stream == nil && !y.resuming
		y.mu.Unlock()
		if asleep {
			return y
		}
	}
	return nil
}
