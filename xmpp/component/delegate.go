package component

import (
	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

// delegate gives a request to the component that answers for its namespace (XEP-0355 §4.3); false: there is none, the server answers. A component's own
// requests are not delegated, so that it can build on what the server does.
func (s *Service) delegate(st *stanza.Stanza) bool {
	if st.Type != "get" && st.Type != "set" {
		return false
	}
	for _, k := range s.list {
		if !k.serves(st) || st.From.Domain() == k.cfg.Domain {
			continue
		}
		id := idPrefix + random.ID()
		r := &request{k: k, asked: st}
		if !s.wait(id, r, func() { s.bounce(st, stanza.ErrServiceUnavailable.With("The service does not answer")) }) {
			s.bounce(st, stanza.ErrResourceConstraint)
			return true
		}
		s.count.delegated.Add(1)
		d := stanza.NewElement(nsDelegation, "delegation").Add(stanza.NewElement(nsForward, "forwarded").Add(st.AsElement()))
		if !k.send(stanza.NewIQ("set", id, stanza.MustJID(s.srv.Domain()), k.jid, d)) && s.answered(id) != nil {
			s.bounce(st, stanza.ErrServiceUnavailable.With("The service is not connected"))
		}
		return true
	}
	return false
}

// serves tells whether the namespace of a request, with its attributes, is delegated to k.
func (k *Component) serves(st *stanza.Stanza) bool {
	for _, d := range k.cfg.Delegate {
		if d.Namespace != st.First().Space {
			continue
		}
		all := true
		for _, a := range d.Attributes {
			all = all && hasAttr(st, a)
		}
		if all {
			return true
		}
	}
	return false
}

// hasAttr looks at the payload and its children: pubsub has its node one level deeper.
func hasAttr(st *stanza.Stanza, name string) bool {
	for _, e := range st.Payload() {
		if e.Attr(name) != "" {
			return true
		}
		for _, c := range e.Children() {
			if c.Attr(name) != "" {
				return true
			}
		}
	}
	return false
}

// delegated takes the component's answer to a delegated request (§4.3); false: st is none.
func (k *Component) delegated(st *stanza.Stanza) bool {
	if st.Kind != stanza.IQ || st.Type != "result" && st.Type != "error" {
		return false
	}
	k.s.mu.Lock()
	r := k.s.pending[st.ID]
	k.s.mu.Unlock()
	if r == nil || r.k != k || r.inner != nil || r.roster || r.nesting != nil || k.s.answered(st.ID) == nil {
		return false
	}
	inner := st.Child(nsDelegation, "delegation").Child(nsForward, "forwarded").Child(stanza.NSClient, "iq")
	if st.Type == "error" || inner == nil {
		k.s.bounce(r.asked, stanza.ErrServiceUnavailable)
		return true
	}
	// Addresses and id are those of the request, whatever the component says: it answers for the namespace, it is not the server.
	answer := r.asked.Result(inner.Children()...)
	if inner.Attr("type") == "error" {
		answer = answer.WithType("error")
	}
	k.s.srv.Route(answer)
	return true
}
