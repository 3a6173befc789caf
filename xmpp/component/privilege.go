package component

import (
	"strconv"
	"strings"
	"time"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// request is one that a component has asked for an account, or that was delegated to a component, until its answer comes.
type request struct {
	k       *Component
	asked   *stanza.Stanza // as it came
	inner   *stanza.Element
	roster  bool     // asked is answered plainly, not wrapped
	nesting *nesting // the server has asked what to announce
	timer   *time.Timer
}

// idPrefix begins the ids of what goes out in place of such requests.
const idPrefix = "component-"

// wait keeps r until the answer to id comes, or late runs; false: too many wait.
func (s *Service) wait(id string, r *request, late func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.pending) >= maxPending {
		return false
	}
	s.pending[id] = r
	r.timer = time.AfterFunc(pendingTime, func() {
		if s.answered(id) != nil {
			late()
		}
	})
	return true
}

// answered gives the request of id, once.
func (s *Service) answered(id string) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.pending[id]
	if r != nil {
		r.timer.Stop()
		delete(s.pending, id)
	}
	return r
}

// announce tells the component what it may do (XEP-0356 §4, XEP-0355 §4.2), and who is there.
func (k *Component) announce() {
	from := stanza.MustJID(k.s.srv.Domain())
	p := stanza.NewElement(nsPrivilege, "privilege")
	perm := func(access, typ string) *stanza.Element {
		e := stanza.NewElement(nsPrivilege, "perm", "access", access)
		if typ != "" {
			e.SetAttr("type", typ)
		}
		p.Add(e)
		return e
	}
	if k.cfg.Roster != "" {
		perm("roster", k.cfg.Roster).SetAttr("push", strconv.FormatBool(k.cfg.Roster != "set"))
	}
	if k.cfg.Message {
		perm("message", "outgoing")
	}
	if k.cfg.Presence != "" {
		perm("presence", k.cfg.Presence)
	}
	if len(k.cfg.IQ) > 0 {
		e := perm("iq", "")
		for _, q := range k.cfg.IQ {
			e.Add(stanza.NewElement(nsPrivilege, "namespace", "ns", q.Namespace, "type", q.Type))
		}
	}
	if len(p.Children()) > 0 {
		k.send(stanza.NewMessage("", from, k.jid, p).WithID(random.ID()))
	}
	if len(k.cfg.Delegate) > 0 {
		d := stanza.NewElement(nsDelegation, "delegation")
		for _, x := range k.cfg.Delegate {
			e := stanza.NewElement(nsDelegation, "delegated", "namespace", x.Namespace)
			for _, a := range x.Attributes {
				e.Add(stanza.NewElement(nsDelegation, "attribute", "name", a))
			}
			d.Add(e)
		}
		k.send(stanza.NewMessage("", from, k.jid, d).WithID(random.ID()))
		k.askFeatures()
	}
	if k.cfg.Presence != "" { // §7.1: it gets the presences that are there
		for _, x := range k.s.srv.AllSessions() {
			if p := x.Presence(); p != nil && !x.Guest() {
				k.send(p.WithFromTo(x.JID(), k.jid))
			}
		}
	}
}

// privileged carries out what a component asks for an account; false: st is nothing of that kind.
func (k *Component) privileged(st *stanza.Stanza) bool {
	switch {
	case st.Kind == stanza.Message && st.To.Local() == "" && k.s.srv.Domain() == st.To.Domain() && st.Has(nsPrivilege, "privilege"):
		k.message(st)
	case st.Kind == stanza.IQ && st.Has(nsPrivilege, "privileged_iq"):
		k.iq(st)
	case st.Kind == stanza.IQ && (st.Type == "get" || st.Type == "set") && st.First().Space == nsRoster && k.cfg.Roster != "" && k.s.srv.HasAccount(st.To.Bare()) && st.To.IsBare():
		k.roster(st)
	default:
		return false
	}
	return true
}

func (k *Component) forbid(st *stanza.Stanza, e *stanza.Error) {
	k.s.count.forbidden.Add(1)
	k.send(st.ErrorReply(e))
}

// message sends for an account (XEP-0356 §5).
func (k *Component) message(st *stanza.Stanza) {
	inner := st.Child(nsPrivilege, "privilege").Child(nsForward, "forwarded").Child(stanza.NSClient, "message")
	if !k.cfg.Message || inner == nil {
		k.forbid(st, stanza.ErrForbidden)
		return
	}
	m, err := stanza.FromElement(inner)
	if err != nil || m.From.IsZero() || !m.From.IsBare() || !k.s.srv.HasAccount(m.From) || m.To.IsZero() {
		k.forbid(st, stanza.ErrForbidden.With("from is not the bare address of an account here"))
		return
	}
	k.s.count.privileged.Add(1)
	k.s.srv.SendAs(m.From, m)
}

// roster answers for the account, where the component may ask that (§4).
func (k *Component) roster(st *stanza.Stanza) {
	if k.cfg.Roster != "both" && k.cfg.Roster != st.Type {
		k.forbid(st, stanza.ErrForbidden)
		return
	}
	k.askFor(st.To, st, &request{k: k, asked: st, roster: true})
}

// iq asks for the account that it is addressed to (§6).
func (k *Component) iq(st *stanza.Stanza) {
	inner := st.Child(nsPrivilege, "privileged_iq").Child(stanza.NSClient, "iq")
	if inner == nil {
		k.forbid(st, stanza.ErrBadRequest)
		return
	}
	q, err := stanza.FromElement(inner)
	switch {
	case err != nil || q.ID == "" || q.Type != st.Type || q.Type != "get" && q.Type != "set" || len(q.Names) != 1 || !q.From.IsZero() && q.From != st.To:
		k.forbid(st, stanza.ErrBadRequest)
		return
	case !st.To.IsBare() || !k.s.srv.HasAccount(st.To) || !k.mayIQ(q):
		k.forbid(st, stanza.ErrForbidden)
		return
	}
	k.askFor(st.To, q, &request{k: k, asked: st, inner: inner})
}

func (k *Component) mayIQ(q *stanza.Stanza) bool {
	for _, p := range k.cfg.IQ {
		if p.Namespace == q.First().Space && (p.Type == "both" || p.Type == q.Type) {
			return true
		}
	}
	return false
}

// askFor sends q as account; the answer comes to accountIQ.
func (k *Component) askFor(account stanza.JID, q *stanza.Stanza, r *request) {
	id := idPrefix + random.ID()
	if !k.s.wait(id, r, func() {}) {
		k.forbid(r.asked, stanza.ErrResourceConstraint)
		return
	}
	k.s.count.privileged.Add(1)
	to := q.To
	if to.IsZero() {
		to = account
	}
	k.s.srv.SendAs(account, q.WithFromTo(account, to).WithID(id))
}

// accountIQ takes the answers to what components asked for accounts, and requests to accounts that are delegated.
func (s *Service) accountIQ(st *stanza.Stanza) bool {
	if st.Type == "get" || st.Type == "set" {
		return st.To.IsBare() && s.delegate(st)
	}
	if !st.To.IsBare() || !strings.HasPrefix(st.ID, idPrefix) {
		return false
	}
	r := s.answered(st.ID)
	if r == nil {
		return false
	}
	if r.roster {
		r.k.send(st.WithFromTo(r.asked.To, r.asked.From).WithID(r.asked.ID))
		return true
	}
	answer := st.WithID(r.inner.Attr("id")).AsElement()
	p := stanza.NewElement(nsPrivilege, "privilege").Add(stanza.NewElement(nsForward, "forwarded").Add(answer))
	r.k.send(r.asked.Result(p))
	return true
}

// presenceOut gives broadcast presence of accounts to components that may have it (§7).
func (s *Service) presenceOut(x *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind == stanza.Presence && st.To.IsZero() && (st.Type == "" || st.Type == "unavailable") && !x.Guest() {
		s.present(st.WithFrom(x.JID()), false)
	}
	return false
}

// presenceIn gives them the presence of contacts.
func (s *Service) presenceIn(st *stanza.Stanza) bool {
	if st.Kind == stanza.Presence && (st.Type == "" || st.Type == "unavailable") && st.From.Domain() != s.srv.Domain() {
		s.present(st, true)
	}
	return false
}

func (s *Service) present(st *stanza.Stanza, contact bool) {
	for _, k := range s.list {
		if k.cfg.Presence == "roster" || k.cfg.Presence == "managed_entity" && !contact {
			if st.From.Domain() != k.cfg.Domain {
				k.send(st.WithTo(k.jid))
			}
		}
	}
}

func (s *Service) sessionClosed(x *xmpp.Session) {
	if x.Presence() != nil && !x.Guest() {
		s.present(stanza.NewPresence("unavailable", x.JID(), stanza.JID{}), false)
	}
}
