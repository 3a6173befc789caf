package xmpp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"konzil/internal/random"
	"konzil/xmpp/sasl"
	"konzil/xmpp/stanza"
)

const (
	nsSASL2 = "urn:xmpp:sasl:2"
	nsBind2 = "urn:xmpp:bind:0"
	nsFAST  = "urn:xmpp:fast:0"

	maxTag    = 64  // characters of a client's tag in its resource
	maxClient = 128 // of the id of a user agent
)

// tokenMechanisms are those of FAST, the best first, with the channel binding of each.
var tokenMechanisms = []struct{ name, binding string }{
	{"HT-SHA-256-EXPR", "tls-exporter"}, {"HT-SHA-256-UNIQ", "tls-unique"}, {"HT-SHA-256-ENDP", "tls-server-end-point"}, {"HT-SHA-256-NONE", ""},
}

// sasl2Feature offers SASL2 (XEP-0388 §2.1) with what can be done inline: resumption, Bind 2, FAST. It comes after saslFeatures; nil when there
// is nothing to log in with.
func (st *stream) sasl2Feature() *stanza.Element {
	if len(st.auth.offered) == 0 || st.srv.service(st.domain) {
		return nil
	}
	el := stanza.NewElement(nsSASL2, "authentication")
	for _, m := range st.auth.offered {
		el.Add(stanza.TextElement(nsSASL2, "mechanism", m))
	}
	features := stanza.NewElement(nsBind2, "inline").Add(stanza.NewElement(nsBind2, "feature", "var", nsSM), stanza.NewElement(nsBind2, "feature", "var", nsCSI))
	for _, f := range st.srv.hooks.bindFeatures {
		features.Add(stanza.NewElement(nsBind2, "feature", "var", f.space))
	}
	inline := stanza.NewElement(nsSASL2, "inline").Add(stanza.NewElement(nsSM, "sm"), stanza.NewElement(nsBind2, "bind").Add(features))
	if names := st.tokenMechanisms(); len(names) > 0 {
		fast := stanza.NewElement(nsFAST, "fast")
		for _, n := range names {
			fast.Add(stanza.TextElement(nsFAST, "mechanism", n))
		}
		inline.Add(fast)
	}
	return el.Add(inline).Add(st.upgradeFeatures()...)
}

// tokenMechanisms are the mechanisms of FAST that this connection can do.
func (st *stream) tokenMechanisms() (out []string) {
	if st.srv.cfg.Tokens == nil || st.domain != st.srv.cfg.Domain || !st.wire.secure() {
		return nil
	}
	for _, m := range tokenMechanisms {
		if m.binding == "" || st.auth.bindings[m.binding] != nil {
			out = append(out, m.name)
		}
	}
	return out
}

// login2 is what one <authenticate/> asks for.
type login2 struct {
	client        string // id of the user agent, "" if it said none
	agent         *stanza.Element
	fast, request *stanza.Element
	resume, bind  *stanza.Element
	rotate        bool // the token that was used is due for a new one
	mechanism     string
}

// authenticate2 is one try of SASL2 (XEP-0388 §2.3). A failure leaves the stream open for another.
func (st *stream) authenticate2(e *stanza.Element) (done bool, err error) {
	st.auth.space = nsSASL2
	l := &login2{
		mechanism: e.Attr("mechanism"), fast: e.Child(nsFAST, "fast"), request: e.Child(nsFAST, "request-token"),
		resume: e.Child(nsSM, "resume"), bind: e.Child(nsBind2, "bind"), client: e.Child(nsSASL2, "user-agent").Attr("id"), agent: e.Child(nsSASL2, "user-agent"),
	}
	if len(l.client) > maxClient {
		return false, st.failed(&sasl.Failure{Condition: "malformed-request", Text: "the id of the user agent is too long"}, "")
	}
	mech := st.mechanism(l.mechanism)
	if l.fast != nil {
		mech = st.tokenMechanism(l)
	}
	mech, data, err := st.exchange(mech, e.Child(nsSASL2, "initial-response").Text())
	if mech == nil || err != nil {
		return false, err
	}
	if done, err = st.identify(mech); !done || err != nil {
		return false, err
	}
	if claimed, cerr := stanza.ParseJID(st.clientFrom); cerr == nil && !claimed.IsZero() && mech.Identity().User != "" && !st.means(claimed.Bare(), st.bare) {
		return false, st.failed(&sasl.Failure{Condition: "invalid-authzid", Text: "the stream is from somebody else"}, "") // XEP-0388 §2.3
	}
	upgraded, err := st.upgrade(e, data)
	if err != nil {
		return false, err
	}
	success := stanza.NewElement(nsSASL2, "success")
	if data != nil && !upgraded {
		success.Add(stanza.TextElement(nsSASL2, "additional-data", base64.StdEncoding.EncodeToString(data)))
	}
	if err := st.giveToken(l, success); err != nil {
		return false, err
	}
	return true, st.complete(l, success)
}

// tokenMechanism makes the exchange for a token; nil when it is not offered or the client has not said who it is.
func (st *stream) tokenMechanism(l *login2) sasl.Mechanism {
	if l.client == "" || !slices.Contains(st.tokenMechanisms(), l.mechanism) {
		return nil
	}
	var binding []byte
	for _, m := range tokenMechanisms {
		if m.name == l.mechanism && m.binding != "" {
			binding = st.auth.bindings[m.binding]
		}
	}
	count, _ := strconv.ParseUint(l.fast.Attr("count"), 10, 63) // only sent with early data, which we do not take: then 0
	invalidate := l.fast.Attr("invalidate") == "true" || l.fast.Attr("invalidate") == "1"
	return &sasl.HT{Binding: binding, Check: func(ctx context.Context, user string, matches func(string) bool) (bool, error) {
		if !st.allowed(user) {
			return false, errBackoff
		}
		local, err := st.srv.accounts.Localpart(ctx, user)
		if err != nil {
			return false, nil // nobody's
		}
		ok, rotate, err := st.srv.cfg.Tokens.CheckToken(ctx, local, l.client, l.mechanism, count, invalidate, matches)
		if err != nil || !ok {
			return false, err
		}
		l.rotate = rotate && !invalidate
		return st.srv.accounts.Enabled(ctx, local) // an account that is gone or disabled has no tokens that count
	}}
}

// giveToken adds a new token to success, where the client asks for one or its old one is due (XEP-0484 §3.3, §3.5).
func (st *stream) giveToken(l *login2, success *stanza.Element) error {
	mechanism := l.request.Attr("mechanism")
	if mechanism == "" && l.rotate {
		mechanism = l.mechanism
	}
	if l.client == "" || st.bare.Domain() != st.srv.cfg.Domain || !slices.Contains(st.tokenMechanisms(), mechanism) {
		return nil
	}
	token, expiry, err := st.srv.cfg.Tokens.IssueToken(st.srv.ctx, st.bare.Local(), l.client, mechanism)
	if err != nil { // the login is good all the same
		st.srv.log.Error("token not issued", "jid", st.bare.String(), "err", err)
		return nil
	}
	success.Add(stanza.NewElement(nsFAST, "token", "token", token, "expiry", expiry.UTC().Format(time.RFC3339)))
	return nil
}

// complete sends success, with the session resumed or bound where that was asked for, and the features that then hold (XEP-0388 §2.6.1).
func (st *stream) complete(l *login2, success *stanza.Element) error {
	say := func(identity string, features []*stanza.Element, more ...*stanza.Element) [][]byte {
		success.Add(stanza.TextElement(nsSASL2, "authorization-identifier", identity)).Add(more...)
		return [][]byte{success.AppendXML(nil, ""), st.features(features)}
	}
	var refused *stanza.Element
	if l.resume != nil {
		var err error
		refused, err = st.resumeBy(l.resume, func(resumed *stanza.Element) [][]byte {
			return say(st.bare.String(), st.srv.hooks.offered(), resumed)
		})
		if err != nil || refused == nil {
			return err
		}
	}
	if l.bind == nil {
		return st.send(say(st.bare.String(), st.srv.sessionFeatures(), refused)...)
	}
	return st.bind2(l, func(x *Session, bound *stanza.Element) [][]byte {
		return say(x.jid.String(), st.srv.hooks.offered(), refused, bound)
	})
}

// resource2 names a session: the client's tag and something that stays the same for one client and tells nothing about it (XEP-0386 §3.2.1).
func (st *stream) resource2(l *login2) string {
	unique := random.Hex(8)
	if l.client != "" {
		sum := sha256.Sum256([]byte(st.bare.String() + "\x00" + l.client))
		unique = hex.EncodeToString(sum[:8])
	}
	tag := strings.TrimSpace(l.bind.Child(nsBind2, "tag").Text())
	if tag == "" || len(tag) > maxTag {
		return unique
	}
	return tag + "/" + unique
}

// bind2 makes the session (XEP-0386 §3.2). What others send to it from the moment that it has an address waits behind the answer.
func (st *stream) bind2(l *login2, answer func(x *Session, bound *stanza.Element) [][]byte) error {
	full, err := st.bare.WithResource(st.resource2(l))
	if err != nil { // a tag that cannot be in an address
		l.bind = stanza.NewElement(nsBind2, "bind")
		if full, err = st.bare.WithResource(st.resource2(l)); err != nil {
			return err
		}
	}
	x := st.newSession(full)
	bound := stanza.NewElement(nsBind2, "bound")
	for _, e := range l.bind.ChildrenNamed(nsSM, "enable") {
		if x.sm.on {
			break
		}
		el, window := x.enabled(e, e.Attr("resume") == "true" || e.Attr("resume") == "1")
		x.sm.on, x.sm.resume = true, window
		x.rememberSM(el.Attr("id"), window)
		bound.Add(el)
	}
	st.sess, st.in.ch, st.flushing = x, x.ch, true // nothing is written before the answer
	if !st.srv.register(x) {
		st.srv.unnameSM(x)
		x.ch.Drop()
		st.sess, st.in.ch, st.flushing = nil, nil, false
		return st.refuseBind2()
	}
	st.settle()
	st.attached(x)
	l.noteAgent(x)
	x.indicate(l.bind.Child(nsCSI, "inactive") == nil)
	for _, f := range st.srv.hooks.bindFeatures {
		for _, e := range l.bind.Children() {
			if e.Space == f.space {
				bound.Add(f.f(x, e))
			}
		}
	}
	for _, f := range st.srv.hooks.boundInfo {
		bound.Add(f(x))
	}
	for _, f := range st.srv.hooks.bound {
		f(x)
	}
	raw := answer(x, bound)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pending.prepend(rawItems(raw))
	st.srv.flushers.start(st)
	return nil
}

// The notes of a session that logged in by SASL2 and said what client it is (XEP-0388 §2.3.1), for who lists them (XEP-0494).
const (
	NoteClient   = "client"   // id of the user agent
	NoteSoftware = "software" // its name
	NoteDevice   = "device"   // what its owner calls the device
	NoteToken    = "token"    // not empty: it came with a token in place of the password
)

// maxAgentText bounds the words of a client about itself, bytes.
const maxAgentText = 256

// noteAgent remembers what the client says of itself.
func (l *login2) noteAgent(x *Session) {
	for note, text := range map[string]string{NoteClient: l.client, NoteSoftware: l.agent.Child(nsSASL2, "software").Text(), NoteDevice: l.agent.Child(nsSASL2, "device").Text()} {
		if text != "" && len(text) <= maxAgentText {
			x.SetNote(note, text)
		}
	}
	if l.fast != nil {
		x.SetNote(NoteToken, "used")
	}
}

// refuseBind2 ends a login whose account has too many sessions: there is nothing to be bound to.
func (st *stream) refuseBind2() error {
	return stanza.NewStreamError("resource-constraint", "too many sessions")
}

// unnameSM takes back the id of a session that did not come to be.
func (s *Server) unnameSM(x *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.smid != "" {
		delete(s.bySM, x.smid)
	}
}
