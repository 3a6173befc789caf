package xmpp

import (
	"konzil/xmpp/stanza"
)

// maxStrangerIQs bounds what one stream may ask before it logs in.
const maxStrangerIQs = 10

// Stranger is a client that has not logged in, with what a feature keeps of it until it does.
type Stranger struct {
	Value any // the feature's; there is one feature
	st    *stream
	asked int
}

// Address is where it comes from.
func (p *Stranger) Address() string { return p.st.wire.remote().String() }

// strangers is what is served before login.
type strangers struct {
	answer   func(p *Stranger, iq *stanza.Stanza) *stanza.Stanza
	features []*stanza.Element
}

// Strangers has f answer iqs of clients that have not logged in, on streams to the main domain that TLS protects, and announces features there
// (XEP-0077 §8, XEP-0445 §3). There is one f.
func (h *Hooks) Strangers(f func(p *Stranger, iq *stanza.Stanza) *stanza.Stanza, features ...*stanza.Element) {
	if h.strangers.answer != nil {
		panic("xmpp: two features serve strangers")
	}
	h.strangers = strangers{f, features}
}

// servesStrangers tells whether this stream may ask before login.
func (st *stream) servesStrangers() bool {
	return st.srv.hooks.strangers.answer != nil && st.domain == st.srv.cfg.Domain && st.wire.secure()
}

// strangerFeatures are those of strangers here.
func (st *stream) strangerFeatures() []*stanza.Element {
	if !st.servesStrangers() {
		return nil
	}
	return st.srv.hooks.strangers.features
}

// stranger answers an iq before login.
func (st *stream) stranger(iq *stanza.Stanza) error {
	p := &st.auth.stranger
	p.st = st
	if p.asked++; !st.servesStrangers() || iq.Kind != stanza.IQ || iq.Type != "get" && iq.Type != "set" || iq.ID == "" || p.asked > maxStrangerIQs {
		return stanza.NewStreamError("not-authorized", "log in first")
	}
	r := st.srv.hooks.strangers.answer(p, iq)
	if r == nil {
		r = iq.ErrorReply(stanza.ErrNotAuthorized)
	}
	return st.send(r.AppendXML(nil, stanza.NSClient, st.wire.declares()))
}
