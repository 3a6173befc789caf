package signaling

import (
	"slices"
	"sync"
	"time"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// jingle answers a Jingle iq of a member.
func (m *meeting) jingle(mem *member, iq *stanza.Stanza) {
	msg, err := jingle.Parse(iq.Child(jingle.NS, "jingle"))
	if err != nil {
		m.f.refuse(iq, stanza.ErrBadRequest.With(err.Error()))
		return
	}
	s := mem.session
	if s == nil || s.sid != msg.SID {
		if slices.Contains(mem.ended, msg.SID) {
			m.f.refuse(iq, stanza.ErrGone)
			return
		}
		m.f.refuse(iq, stanza.ErrItemNotFound.With("", stanza.NewElement(jingle.NSErrors, "unknown-session")))
		return
	}
	var serr *stanza.Error
	switch msg.Action {
	case "session-accept":
		serr = m.accept(mem, s, iq, msg)
	case "source-add", "addsource":
		serr = m.sourceAdd(mem, s, iq, msg)
	case "source-remove", "removesource":
		serr = m.sourceRemove(mem, s, iq, msg)
	case "transport-info":
		m.send(iq.Result())
		m.mergeTransport(s, &msg.Transport)
		if s.state == active {
			m.tellTransport(mem, s)
		}
	case "session-info":
		serr = m.sessionInfo(mem, s, iq, msg)
	case "session-terminate":
		serr = m.clientTerminate(mem, s, iq, msg)
	default:
		serr = stanza.ErrFeatureNotImplemented
	}
	if serr != nil {
		m.log.Debug("jingle refused", "nick", mem.nick, "action", msg.Action, "err", serr)
		m.f.refuse(iq, serr)
	}
}

// accept takes a session-accept: the client's transport, and its first sources.
func (m *meeting) accept(mem *member, s *session, iq *stanza.Stanza, msg *jingle.Message) *stanza.Error {
	if s.state != offered {
		return stanza.ErrUnexpectedRequest.With("", stanza.NewElement(jingle.NSErrors, "out-of-order"))
	}
	m.mergeTransport(s, &msg.Transport)
	if t := &s.remote; t.Ufrag == "" || t.Pwd == "" || len(t.Fingerprints) == 0 {
		return stanza.ErrBadRequest.With("ufrag, pwd and fingerprint are required")
	}
	added, serr := m.addSources(mem, msg.Sources)
	if serr != nil {
		return serr
	}
	s.state = active
	m.f.count.accepts.Add(1)
	m.send(iq.Result())
	// The others learn of sources before the bridge does: some clients refuse media they were not told of.
	if !added.Empty() {
		m.propagateSoon()
	}
	acked := ssrcsOf(s.told) // who accepts an offer knows what it says
	m.tellSources(mem, s)    // what came since
	remote, sources := s.remote, m.forBridge(mem)
	m.ask(colibri.Endpoint{ID: mem.nick, Transport: &colibri.Transport{Remote: &remote}, Sources: &sources, Acked: acked, LastN: msg.LastN},
		func(_ *colibri.ConferenceModified, err error) {
			if err != nil && mem.session == s && !m.ended {
				m.reinvite(mem, "the bridge did not take the answer")
			}
		})
	return nil
}

// mergeTransport adds what a message says to what is known of the client's side. A higher generation starts ICE anew, on the same DTLS.
func (m *meeting) mergeTransport(s *session, t *jingle.Transport) {
	r := &s.remote
	if t.Ufrag != "" && (r.Ufrag == "" || t.Generation > r.Generation) {
		r.Ufrag, r.Pwd, r.Candidates = t.Ufrag, t.Pwd, nil
	}
	r.Generation = max(r.Generation, t.Generation)
	if len(t.Fingerprints) > 0 && len(r.Fingerprints) == 0 {
		r.Fingerprints = t.Fingerprints
	}
	for _, c := range t.Candidates {
		if len(r.Candidates) < maxRemoteCandidates && !slices.Contains(r.Candidates, c) {
			r.Candidates = append(slices.Clip(r.Candidates), c)
		}
	}
}

// maxRemoteCandidates per session; a browser with VPNs has some dozens.
const maxRemoteCandidates = 200

func (m *meeting) tellTransport(mem *member, s *session) {
	remote := s.remote
	m.ask(colibri.Endpoint{ID: mem.nick, Transport: &colibri.Transport{Remote: &remote}}, nil)
}

// sessionInfo: the client tells of trouble with ICE.
func (m *meeting) sessionInfo(mem *member, s *session, iq *stanza.Stanza, msg *jingle.Message) *stanza.Error {
	b := msg.BridgeSession
	switch {
	case b != nil && b.ID != s.allocID:
		return stanza.ErrItemNotFound
	case b != nil && b.ICERestart:
		m.iceRestart(mem, s, iq)
	case b != nil && b.Restart, msg.IceState == "failed":
		if !m.mayRestart(mem) {
			return stanza.ErrResourceConstraint
		}
		m.send(iq.Result())
		m.terminate(mem, "success", "restarting")
		m.review()
	default:
		m.send(iq.Result())
	}
	return nil
}

// iceRestart gives new ICE credentials on the same DTLS session, if the bridge can. Its limits are its own: a client whose ICE restart is refused
// asks for a new session at once.
func (m *meeting) iceRestart(mem *member, s *session, iq *stanza.Stanza) {
	if s.state != active {
		m.f.refuse(iq, stanza.ErrUnexpectedRequest)
		return
	}
	if !mem.iceRestarts.allow(time.Now()) {
		m.f.count.restartsRefused.Add(1)
		m.f.refuse(iq, stanza.ErrResourceConstraint)
		return
	}
	m.ask(colibri.Endpoint{ID: mem.nick, Transport: &colibri.Transport{ICERestart: true}}, func(r *colibri.ConferenceModified, err error) {
		if m.ended || mem.session != s {
			m.f.refuse(iq, stanza.ErrGone)
			return
		}
		if err != nil || len(r.Endpoints) != 1 || r.Endpoints[0].Transport == nil {
			if isReason(err, colibri.ReasonFeatureNotSupported) {
				m.f.refuse(iq, stanza.ErrFeatureNotImplemented)
			} else {
				m.f.refuse(iq, stanza.ErrInternal)
			}
			return
		}
		m.f.count.iceRestarts.Add(1)
		m.send(iq.Result())
		m.request(mem, jingle.TransportInfo(s.sid, m.f.self.String(), *r.Endpoints[0].Transport), nil)
	})
}

// maxRestartAnswer bounds how long who restarts waits for a bridge that is slow or gone; lib-jitsi-meet gives up after 10 s, and loads its page anew.
const maxRestartAnswer = time.Second

// clientTerminate: the client ends its session, perhaps to get a new one.
func (m *meeting) clientTerminate(mem *member, s *session, iq *stanza.Stanza, msg *jingle.Message) *stanza.Error {
	b := msg.BridgeSession
	if b != nil && b.Restart {
		if b.ID != s.allocID {
			return stanza.ErrItemNotFound
		}
		if !m.mayRestart(mem) {
			return stanza.ErrResourceConstraint
		}
	}
	m.log.Info("client ended its session", "nick", mem.nick, "reason", msg.Reason, "restart", b != nil && b.Restart)
	if b == nil || !b.Restart {
		m.send(iq.Result())
		m.dropSession(mem, nil)
		mem.quit = true
		return nil
	}
	// At the answer lib-jitsi-meet forgets the session, and it fails at what its bridge channel brings afterwards: so the endpoint ends before.
	// The next offer comes after the answer in any case, since the bridge is asked in order.
	answer := sync.OnceFunc(func() { m.send(iq.Result()) })
	late := m.after(maxRestartAnswer, answer)
	m.dropSession(mem, func() {
		late.Stop()
		answer()
	})
	m.review()
	return nil
}
