package xmpp

import (
	"context"
	"time"

	"konzil/xmpp/stanza"
)

// Target is whom a hooked iq is addressed to.
type Target uint8

const (
	// ToServer is a served domain itself (example.org, guest.example.org), no localpart.
	ToServer Target = iota
	// ToAccount is the bare JID of an account, or no address at all: the sender's own account (RFC 6120 §10.3.3).
	ToAccount
)

// IQHandler answers an iq of type get or set. sess is the local session that sent it, nil when it came from elsewhere. The returned
// stanza is routed as the answer; nil means that the handler has sent, or will send, its own.
type IQHandler func(sess *Session, iq *stanza.Stanza) *stanza.Stanza

// Hooks is where features attach; a feature is one package or file with a function Attach(*Server, ...). All hooking is done before
// Server.Serve is called, so the tables need no lock. Handlers run on the goroutine of the stream that sent the stanza: they may
// ask the store, and must not wait for another session.
type Hooks struct {
	iq map[iqKey]IQHandler

	bound    []func(*Session)
	resumed  []func(*Session)
	closed   []func(*Session)
	presence []func(*Session, *stanza.Stanza) *stanza.Stanza
	outbound []func(*Session, *stanza.Stanza) bool
	inbound  []func(*stanza.Stanza) bool
	offline  []func(*stanza.Stanza) bool
	accIQ    []func(*stanza.Stanza) bool
	srvIQ    []func(*stanza.Stanza) bool
	covers   []func(*Session, stanza.JID) bool
	disco    []discoEntry
	commands []Command

	restored []func(*Session)
	signed   func(owner stanza.JID, ref uint64)

	streamFeatures []func() *stanza.Element
	strangers      strangers
	keeper         Keeper // nil: nothing is kept
	bindFeatures   []bindFeature
	boundInfo      []func(*Session) *stanza.Element
}

type iqKey struct {
	target Target
	name   stanza.Name
}

type discoEntry struct {
	target  Target
	feature string
}

// IQ gives iqs to target with that payload to f, and only one f.
func (h *Hooks) IQ(target Target, space, local string, f IQHandler) {
	if h.iq == nil {
		h.iq = map[iqKey]IQHandler{}
	}
	k := iqKey{target, stanza.Name{Space: space, Local: local}}
	if h.iq[k] != nil {
		panic("xmpp: two features want iq " + space + " " + local)
	}
	h.iq[k] = f
}

// Feature announces a disco#info feature of target (XEP-0030 §3).
func (h *Hooks) Feature(target Target, vars ...string) {
	for _, v := range vars {
		h.disco = append(h.disco, discoEntry{target, v})
	}
}

// Features lists what was announced for target, in order.
func (h *Hooks) Features(target Target) []string {
	var out []string
	for _, d := range h.disco {
		if d.target == target {
			out = append(out, d.feature)
		}
	}
	return out
}

// Bound is called when a session has its full JID, before the client's first stanza. Not on resumption.
func (h *Hooks) Bound(f func(*Session)) { h.bound = append(h.bound, f) }

// Resumed is called after a session continued on a new stream (XEP-0198 §5).
func (h *Hooks) Resumed(f func(*Session)) { h.resumed = append(h.resumed, f) }

// Restored is called at the start for each session that goes on after a restart of the program, before anything is served: it has its address, last
// presence and notes, its client has yet to come back.
func (h *Hooks) Restored(f func(*Session)) { h.restored = append(h.restored, f) }

// Signed is called when a client has a message of SendKept: it was acknowledged (XEP-0198), or written where the client does not acknowledge. It may run
// with the session locked, so it must neither block nor call the session. There is one.
func (h *Hooks) Signed(f func(owner stanza.JID, ref uint64)) {
	if h.signed != nil {
		panic("xmpp: two features keep messages")
	}
	h.signed = f
}

// Closed is called once when a session has ended for good: closed, or its time to resume ran out. Its last presence (Session.Presence) and
// JID can still be read. Unavailable presence for directed presences is the server's work, for the roster a hook's.
func (h *Hooks) Closed(f func(*Session)) { h.closed = append(h.closed, f) }

// Presence may change each presence of no type that a local session sends, broadcast or directed, before anything else sees it.
func (h *Hooks) Presence(f func(*Session, *stanza.Stanza) *stanza.Stanza) {
	h.presence = append(h.presence, f)
}

// Outbound sees every message and presence that a local session sends, `from` stamped, before it is routed; true: handled, go no
// further. For a presence without `to` Session.Presence already is the new one and SetPresence's previous one is gone.
func (h *Hooks) Outbound(f func(*Session, *stanza.Stanza) bool) { h.outbound = append(h.outbound, f) }

// Inbound sees every presence and message addressed to a local account (bare or full), before delivery to its sessions, from
// wherever it came; true: handled. Subscriptions and probes live here (RFC 6121 §3, §4.3).
func (h *Hooks) Inbound(f func(*stanza.Stanza) bool) { h.inbound = append(h.inbound, f) }

// AccountIQ sees every iq, answers included, addressed to a local account (bare or full), before it is answered or delivered, from
// wherever it came; true: handled. It may answer a get or set and nothing else (RFC 6120 §8.2.3).
func (h *Hooks) AccountIQ(f func(*stanza.Stanza) bool) { h.accIQ = append(h.accIQ, f) }

// ServerIQ sees every get and set addressed to a served domain itself, before it is answered; true: handled.
func (h *Hooks) ServerIQ(f func(*stanza.Stanza) bool) { h.srvIQ = append(h.srvIQ, f) }

// Covers is asked when a session becomes unavailable: true if the feature's own broadcast will tell to, who once got directed presence, so
// that it is told once (RFC 6121 §4.6.3).
func (h *Hooks) Covers(f func(s *Session, to stanza.JID) bool) { h.covers = append(h.covers, f) }

// Offline gets each message for an account of which no session can take it (RFC 6121 §8.5.2.2); true: stored, else the sender gets
// service-unavailable.
func (h *Hooks) Offline(f func(*stanza.Stanza) bool) { h.offline = append(h.offline, f) }

// StreamFeature announces el in the stream features after login (RFC 6120 §4.3.2), as roster versioning does. It is not changed after.
func (h *Hooks) StreamFeature(el *stanza.Element) {
	h.LiveStreamFeature(func() *stanza.Element { return el })
}

// LiveStreamFeature is StreamFeature for what changes.
func (h *Hooks) LiveStreamFeature(f func() *stanza.Element) {
	h.streamFeatures = append(h.streamFeatures, f)
}

// offered are those of now.
func (h *Hooks) offered() (out []*stanza.Element) {
	for _, f := range h.streamFeatures {
		out = append(out, f())
	}
	return out
}

// bindFeature is what can be asked for together with binding.
type bindFeature struct {
	space string
	f     func(x *Session, asked *stanza.Element) *stanza.Element
}

// BindFeature lets clients ask for a feature together with binding (XEP-0386 §3.2): f gets each child of that namespace in <bind/> when the session has
// its address and nothing was sent to it yet, and may return an answer for <bound/>.
func (h *Hooks) BindFeature(space string, f func(x *Session, asked *stanza.Element) *stanza.Element) {
	h.bindFeatures = append(h.bindFeatures, bindFeature{space, f})
}

// BoundInfo adds something to each <bound/> (XEP-0386 §3.2); nil: nothing for that session.
func (h *Hooks) BoundInfo(f func(x *Session) *stanza.Element) { h.boundInfo = append(h.boundInfo, f) }

// StoreTime bounds one question of a feature to what it keeps. SQLite answers in milliseconds; what takes this long is a disk that hangs.
const StoreTime = 10 * time.Second

// StoreContext is for such a question: it is answered also when the client that caused it has gone.
func StoreContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), StoreTime)
}
