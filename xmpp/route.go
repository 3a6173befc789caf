package xmpp

import (
	"slices"
	"time"

	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

// Route delivers st; see Router.
func (s *Server) Route(st *stanza.Stanza) { s.route(nil, st, false) }

// routeFrom is Route for what a session sent: iq handlers get to know it.
func (s *Server) routeFrom(x *Session, st *stanza.Stanza) { s.route(x, st, false) }

// route finds the owner of st.To. again is set for what was routed before and not delivered: the hooks that look at what comes in have
// seen it.
func (s *Server) route(x *Session, st *stanza.Stanza, again bool) {
	domain := st.To.Domain()
	if s.toService(x, st, again) {
		return
	}
	if h := s.handler(domain); h != nil {
		h.HandleStanza(st)
		return
	}
	switch {
	case st.To.IsZero():
		s.toAccount(x, st, again)
	case !s.local(domain):
		if s.remote == nil || (s.cfg.GuestDomain != "" && st.From.Domain() == s.cfg.GuestDomain || s.service(st.From.Domain())) { // guests are for this house
			s.bounce(st, stanza.ErrRemoteServerNotFound)
			return
		}
		s.keptBefore(st)
		s.remote.HandleStanza(st)
	case st.To.Local() == "":
		s.toServer(x, st)
	default:
		s.toAccount(x, st, again)
	}
}

// SendAs sends st for an account, a bare address, as one of its clients would: a message is kept and copied to its clients; a handler of iqs takes it
// for the account's own. Answers go to st.From. It waits for the disk.
func (s *Server) SendAs(account stanza.JID, st *stanza.Stanza) {
	full, err := account.WithResource(random.ID())
	if err != nil {
		return
	}
	x := &Session{srv: s, jid: full} // nobody finds it: it stands in for this one stanza
	it := inItem{st: st}
	if st.Kind == stanza.Message {
		it.st = s.honest(st)
		it.keep(s, x)
	}
	if it.refused == nil && it.ticket != 0 && s.hooks.keeper.Settle(it.ticket) != nil {
		it.refused = stanza.ErrInternal
	}
	if it.refused != nil {
		s.bounce(it.st, it.refused)
	} else {
		x.dispatch(it.st, nil)
	}
	if it.ticket != 0 {
		s.hooks.keeper.Sent(it.st)
	}
}

// bounce answers st with err where an error may be answered (RFC 6120 §8.3.1).
func (s *Server) bounce(st *stanza.Stanza, err *stanza.Error) {
	if st.Kind == stanza.Presence && st.Type != "" { // unavailable and subscriptions: nobody waits for an answer
		return
	}
	if r := st.ErrorReply(err); r != nil && !r.To.IsZero() {
		s.count.bounced.Add(1)
		s.Route(r)
	}
}

// toServer takes what is for a served domain itself (RFC 6120 §10.4).
func (s *Server) toServer(x *Session, st *stanza.Stanza) {
	switch {
	case st.Kind == stanza.IQ:
		if st.Type == "get" || st.Type == "set" {
			for _, f := range s.hooks.srvIQ {
				if f(st) {
					return
				}
			}
		}
		s.hookedIQ(ToServer, x, st)
	case st.Kind == stanza.Message && st.Type != "headline":
		s.bounce(st, stanza.ErrServiceUnavailable)
	}
}

// hookedIQ gives an iq to the feature that asked for it (RFC 6120 §8.4: else service-unavailable).
func (s *Server) hookedIQ(target Target, x *Session, st *stanza.Stanza) {
	if st.Type != "get" && st.Type != "set" {
		return
	}
	f := s.hooks.iq[iqKey{target, st.First()}]
	if f == nil {
		s.bounce(st, stanza.ErrServiceUnavailable)
		return
	}
	if r := f(x, st); r != nil {
		if r.Type == "error" {
			s.count.iqRefused.Add(1)
		}
		s.Route(r)
	}
}

// toAccount takes what is for an account, by RFC 6121 §8.5. Without an address it is for the sender's own account.
func (s *Server) toAccount(x *Session, st *stanza.Stanza, again bool) {
	if st.To.IsZero() {
		st = st.WithTo(st.From.Bare())
	}
	if st.Kind == stanza.IQ {
		s.iqToAccount(x, st)
		return
	}
	if st.Kind == stanza.Message && !s.exists(st.To.Bare()) {
		s.bounce(st, stanza.ErrServiceUnavailable)
		return
	}
	if !again {
		s.keptBefore(st)
		for _, f := range s.hooks.inbound {
			if f(st) {
				return
			}
		}
	}
	if !st.To.IsBare() && s.toFull(st, again) {
		return
	}
	if st.Kind == stanza.Presence {
		if st.To.IsBare() {
			s.presenceToBare(st)
		}
		return
	}
	s.messageToBare(st)
}

// toFull delivers to the session with that address, or the sessions (Stanza.ForAll); false: no such, and RFC 6121 §8.5.3.2.1 wants it treated as for the bare
// address. So is what a session that broke did not get (again).
func (s *Server) toFull(st *stanza.Stanza, again bool) bool {
	if also := st.Also(); also != nil {
		if s.share(st, s.present(append([]stanza.JID{st.To}, also...))) {
			return true
		}
	} else if x := s.Session(st.To); x != nil && x.push(outItem{st: st}) {
		return true
	}
	if st.Kind == stanza.Presence {
		return true
	}
	switch st.Type {
	case "chat":
		return false
	case "headline", "error":
		return true
	case "groupchat":
		again = false
	}
	if !again {
		s.bounce(st, stanza.ErrServiceUnavailable)
	}
	return !again
}

func (s *Server) iqToAccount(x *Session, st *stanza.Stanza) {
	for _, f := range s.hooks.accIQ {
		if f(st) {
			return
		}
	}
	if st.To.IsBare() {
		if s.exists(st.To) {
			s.hookedIQ(ToAccount, x, st)
			return
		}
		s.bounce(st, stanza.ErrServiceUnavailable)
		return
	}
	if y := s.Session(st.To); y == nil || !y.push(outItem{st: st}) {
		s.bounce(st, stanza.ErrServiceUnavailable)
	}
}

// HasAccount tells whether bare is an account of the main domain.
func (s *Server) HasAccount(bare stanza.JID) bool {
	return bare.Domain() == s.cfg.Domain && bare.Local() != "" && s.exists(bare)
}

// exists tells whether there is such an account; a guest is one while it has a session.
func (s *Server) exists(bare stanza.JID) bool {
	if len(s.Sessions(bare)) > 0 {
		return true
	}
	if bare.Domain() != s.cfg.Domain {
		return false
	}
	ok, err := s.accounts.Exists(s.ctx, bare.Local())
	if err != nil {
		s.log.Warn("account look-up", "err", err)
	}
	return ok
}

// presenceToBare gives presence to all available sessions (RFC 6121 §8.5.2.1.2); subscriptions and probes are the roster's.
func (s *Server) presenceToBare(st *stanza.Stanza) {
	if st.Type != "" && st.Type != "unavailable" {
		return
	}
	for _, y := range s.Sessions(st.To) {
		if y.Presence() != nil {
			y.push(outItem{st: st})
		}
	}
}

// messageToBare chooses sessions by type and priority (RFC 6121 §8.5.2.1.1).
func (s *Server) messageToBare(st *stanza.Stanza) {
	switch st.Type {
	case "error":
		return
	case "groupchat":
		s.bounce(st, stanza.ErrServiceUnavailable)
		return
	}
	all := s.Sessions(st.To.Bare())
	best := mostAvailable(all, st.Type == "headline")
	if len(best) < len(all) {
		best = append(best, standIns(all, best)...)
	}
	if s.share(st, best) || st.Type == "headline" {
		return
	}
	s.toOffline(st)
}

// present are the sessions of some full addresses, without those that are no more.
func (s *Server) present(full []stanza.JID) []*Session {
	var out []*Session
	for _, j := range full {
		if x := s.Session(j); x != nil {
			out = append(out, x)
		}
	}
	return out
}

// share gives a message to clients of an account; false: none of them can take it, and it waits for no other one from before a restart.
func (s *Server) share(st *stanza.Stanza, to []*Session) bool {
	d := s.deliveryOf(st)
	d.left.Add(int32(len(to)) + 1) // one for us, until all have it
	for i, y := range to {
		one := st
		if i < len(to)-1 {
			one = st.Part()
		}
		if st.Also() != nil {
			one = one.WithTo(y.jid)
		}
		if !y.push(outItem{st: one, shared: d}) {
			d.left.Add(-1)
		}
	}
	return !d.lost()
}

// deliveryOf is a new one, or, at the start, that of a message from before.
func (s *Server) deliveryOf(st *stanza.Stanza) *delivery {
	if r := s.restored.Load(); r != nil && st.Archive() != "" {
		return r.get(st.To.Bare(), st.Archive())
	}
	return &delivery{}
}

// mostAvailable are the sessions of the highest priority, or with all those of any that is not negative.
func mostAvailable(list []*Session, all bool) []*Session {
	var out []*Session
	best := 0
	for _, y := range list {
		p := y.Presence()
		n := priority(p)
		if p == nil || n < 0 {
			continue
		}
		if n > best && !all {
			best, out = n, out[:0]
		}
		if all || n == best {
			out = append(out, y)
		}
	}
	return out
}

// standIns are those who get a message too while each of best has lost its link: clients that are here and ask for no copies (XEP-0280). They
// would see it only when the others are given up (Limits.ResumeTimeout).
func standIns(all, best []*Session) []*Session {
	if len(best) == 0 || slices.ContainsFunc(best, (*Session).linked) {
		return nil
	}
	var out []*Session
	for _, y := range all {
		if p := y.Presence(); p != nil && priority(p) >= 0 && y.linked() && y.Note(NoteCarbons) == "" {
			out = append(out, y)
		}
	}
	return out
}

func (s *Server) toOffline(st *stanza.Stanza) {
	for _, f := range s.hooks.offline {
		if f(st) {
			s.count.offline.Add(1)
			return
		}
	}
	s.bounce(st, stanza.ErrServiceUnavailable)
}

const (
	nsDelay   = "urn:xmpp:delay"
	nsCarbons = "urn:xmpp:carbons:2"
)

// isCarbon tells a copy for one client of what another one of the account sends or gets (XEP-0280).
func isCarbon(st *stanza.Stanza) bool {
	return st.Has(nsCarbons, "sent") || st.Has(nsCarbons, "received")
}

// reroute routes again what a session did not get: messages to other sessions, to the offline hooks or back, an iq back; presence is
// forgotten. Each copy of a message to several sessions counts once.
func (s *Server) reroute(items []outItem) {
	for i := range items {
		o := &items[i]
		if o.st == nil || o.st.Kind == stanza.Presence || !o.shared.lost() {
			continue
		}
		if o.st.From.IsZero() || o.st.To.IsZero() || o.st.Type == "error" { // of our own making, for that session only
			continue
		}
		if o.kept || isCarbon(o.st) { // on disk, or a copy for that client alone
			continue
		}
		s.count.rerouted.Add(1)
		st := o.st
		if st.Kind == stanza.Message && o.at != 0 && !st.Has(nsDelay, "delay") { // XEP-0198 §5 with XEP-0203
			stamp := time.UnixMilli(o.at).UTC().Format(time.RFC3339)
			delay := stanza.NewElement(nsDelay, "delay", "from", s.cfg.Domain, "stamp", stamp)
			st = st.WithPayload(append(st.Payload(), delay)...)
		}
		s.route(nil, st, true)
	}
}
