package component

import (
	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

const nsInfo = "http://jabber.org/protocol/disco#info"

// nesting is what is announced in a component's name: of the server, or (bare) of its accounts, for one delegated namespace.
type nesting struct {
	namespace string
	bare      bool
}

// node is where the component tells it (XEP-0355 §7.2).
func (n nesting) node() string {
	if n.bare {
		return nsDelegation + ":bare:" + n.namespace
	}
	return nsDelegation + "::" + n.namespace
}

// askFeatures asks a component that has connected what to announce of its namespaces.
func (k *Component) askFeatures() {
	for _, d := range k.cfg.Delegate {
		for _, n := range []nesting{{d.Namespace, false}, {d.Namespace, true}} {
			id := idPrefix + random.ID()
			if k.s.wait(id, &request{k: k, nesting: &n}, func() {}) {
				k.send(stanza.NewIQ("get", id, stanza.MustJID(k.s.srv.Domain()), k.jid, stanza.NewElement(nsInfo, "query", "node", n.node())))
			}
		}
	}
}

// nested takes an answer to that; false: st is none. A component that does not know the node has nothing to announce.
func (k *Component) nested(st *stanza.Stanza) bool {
	if st.Kind != stanza.IQ || st.Type != "result" && st.Type != "error" {
		return false
	}
	s := k.s
	s.mu.Lock()
	r := s.pending[st.ID]
	mine := r != nil && r.k == k && r.nesting != nil
	if mine {
		r.timer.Stop()
		delete(s.pending, st.ID)
		s.nestings[*r.nesting] = st.Child(nsInfo, "query")
	}
	changed := s.changed
	s.mu.Unlock()
	if mine && changed != nil {
		changed()
	}
	return mine
}

// Nested is what components want announced, by delegated namespace: nil where nothing is known. With accounts it is that of their bare addresses.
func (s *Service) Nested(accounts bool) map[string]*stanza.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]*stanza.Element{}
	for _, k := range s.list {
		for _, d := range k.cfg.Delegate {
			out[d.Namespace] = s.nestings[nesting{d.Namespace, accounts}]
		}
	}
	return out
}

// Changed calls f when that has changed.
func (s *Service) Changed(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = f
}
