package xmpp

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"konzil/xmpp/sasl"
	"konzil/xmpp/stanza"
)

const (
	maxSASLSteps    = 10 // responses in one exchange; SCRAM needs two
	maxSASLFailures = 10 // of any kind on one stream: a client tries its mechanisms in turn
)

// authState is the login of one stream.
type authState struct {
	bindings map[string][]byte
	offered  []string
	names    []string // that the client's certificate is for
	types    []string // of channel binding, as offered (XEP-0440)
	tried    string   // the name as typed, of the exchange that succeeded
	stranger Stranger // what a feature keeps of who is not logged in
	guesses  int      // wrong passwords
	failures int      // of any kind
	noBind   bool     // the client named a channel-binding type we have not
	space    string   // namespace of the exchange under way: nsSASL or nsSASL2
}

var errBackoff = errors.New("xmpp: too many wrong passwords from there")

// scramMechanisms are those of SCRAM, the best first.
var scramMechanisms = [...]string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"}

// mechanisms are what the stream offers now, the best first.
func (st *stream) mechanisms() []string {
	var out []string
	if st.srv.service(st.domain) && st.wire.secure() {
		return []string{"PLAIN"}
	}
	if st.domain == st.srv.cfg.Domain && st.wire.secure() {
		if len(st.auth.names) > 0 {
			out = append(out, "EXTERNAL")
		}
		can := st.srv.accounts.Mechanisms()
		for _, m := range scramMechanisms {
			if slices.Contains(can, m) && len(st.auth.bindings) > 0 {
				out = append(out, m+"-PLUS")
			}
		}
		for _, m := range append(scramMechanisms[:], "PLAIN") {
			if slices.Contains(can, m) {
				out = append(out, m)
			}
		}
	}
	if st.forGuests() {
		out = append(out, "ANONYMOUS") // XEP-0175
	}
	return out
}

// forGuests tells whether the domain that the stream was opened to takes guests.
func (st *stream) forGuests() bool {
	c := &st.srv.cfg
	switch {
	case c.GuestDomain == "":
		return false
	case st.domain == c.Domain:
		return c.AnonymousOnMain && st.tcp == nil
	}
	return st.domain == c.GuestDomain || slices.Contains(c.GuestDoors, st.domain)
}

// saslFeatures are <mechanisms/> and, with channel binding, its types (XEP-0440).
func (st *stream) saslFeatures() []*stanza.Element {
	st.auth.bindings, st.auth.names = st.wire.bindings(), st.certificateNames()
	st.auth.offered = st.mechanisms()
	m := stanza.NewElement(nsSASL, "mechanisms")
	for _, name := range st.auth.offered {
		m.Add(stanza.TextElement(nsSASL, "mechanism", name))
	}
	st.auth.types = nil
	if !st.plusOffered() {
		return []*stanza.Element{m}
	}
	cb := stanza.NewElement(nsSASLCB, "sasl-channel-binding")
	for _, typ := range []string{"tls-exporter", "tls-unique", "tls-server-end-point"} {
		if st.auth.bindings[typ] != nil {
			st.auth.types = append(st.auth.types, typ)
			cb.Add(stanza.NewElement(nsSASLCB, "channel-binding", "type", typ))
		}
	}
	return []*stanza.Element{m, cb}
}

func (st *stream) plusOffered() bool {
	return slices.ContainsFunc(st.auth.offered, func(m string) bool { return strings.HasSuffix(m, "-PLUS") })
}

// authenticate runs SASL until success (RFC 6120 §6.4), or SASL2 until the session is there as far as the client asked for it inline.
func (st *stream) authenticate() error {
	if err := st.open(); err != nil {
		return err
	}
	features := append(st.saslFeatures(), st.sasl2Feature(), limitsFeature(st.srv.cfg.Limits.PreAuth))
	if err := st.answerOpen(append(features, st.strangerFeatures()...)); err != nil {
		return err
	}
	for {
		it, err := st.wire.next()
		var je *stanza.JIDError
		if err != nil && !errors.As(err, &je) {
			return err
		}
		var done bool
		switch {
		case it.Elem != nil && it.Elem.Name == stanza.Name{Space: nsSASL, Local: "auth"}:
			done, err = st.authenticate1(it.Elem)
		case it.Elem != nil && it.Elem.Name == stanza.Name{Space: nsSASL2, Local: "authenticate"}:
			done, err = st.authenticate2(it.Elem)
		case it.Stanza != nil && je == nil:
			err = st.stranger(it.Stanza)
		case it.Elem != nil && it.Elem.Space == nsSM: // XEP-0198 §3: not before the resource is bound
			if err = st.refuseSM(); err == nil {
				continue
			}
		default:
			return stanza.NewStreamError("not-authorized", "log in first")
		}
		if err != nil || done {
			return err
		}
	}
}

// authenticate1 is one try of RFC 6120 §6. A failure leaves the stream open for another.
func (st *stream) authenticate1(auth *stanza.Element) (done bool, err error) {
	st.auth.space = nsSASL
	mech, data, err := st.exchange(st.mechanism(auth.Attr("mechanism")), auth.Text())
	if mech == nil || err != nil {
		return false, err
	}
	if done, err = st.identify(mech); !done || err != nil {
		return done, err
	}
	e := stanza.NewElement(nsSASL, "success")
	if data != nil {
		e.AddText(base64.StdEncoding.EncodeToString(data))
	}
	return true, st.sendElement(e)
}

// exchange runs mech to its end, and gives it back with the data of success; nil: it failed, and the client was told.
func (st *stream) exchange(mech sasl.Mechanism, initial string) (sasl.Mechanism, []byte, error) {
	if mech == nil {
		return nil, nil, st.failed(&sasl.Failure{Condition: "invalid-mechanism"}, "")
	}
	var response []byte // nil: none came with the request
	var failure *sasl.Failure
	if initial != "" {
		response, failure = decodeSASL(initial)
	}
	for range maxSASLSteps {
		var challenge []byte
		var ended bool
		if failure == nil {
			challenge, ended, failure = step(st.srv.ctx, mech, response)
		}
		if failure != nil {
			return nil, nil, st.failed(failure, mech.Name())
		}
		if ended {
			return mech, challenge, nil
		}
		if err := st.sendElement(stanza.TextElement(st.auth.space, "challenge", base64.StdEncoding.EncodeToString(challenge))); err != nil {
			return nil, nil, err
		}
		it, err := st.wire.next()
		if err != nil {
			return nil, nil, err
		}
		switch {
		case it.Elem == nil || it.Elem.Space != st.auth.space:
			return nil, nil, stanza.NewStreamError("not-authorized", "log in first")
		case it.Elem.Local == "abort":
			return nil, nil, st.failed(&sasl.Failure{Condition: "aborted"}, "")
		case it.Elem.Local != "response":
			return nil, nil, st.failed(&sasl.Failure{Condition: "malformed-request"}, "")
		}
		response, failure = decodeSASL(it.Elem.Text())
	}
	return nil, nil, st.failed(&sasl.Failure{Condition: "malformed-request", Text: "exchange too long"}, mech.Name())
}

func step(ctx context.Context, m sasl.Mechanism, response []byte) ([]byte, bool, *sasl.Failure) {
	challenge, done, err := m.Step(ctx, response)
	var f *sasl.Failure
	if err != nil && !errors.As(err, &f) {
		f = &sasl.Failure{Condition: "temporary-auth-failure"}
	}
	return challenge, done, f
}

// decodeSASL undoes the base64 of RFC 6120 §6.4.2; "=" is an empty response.
func decodeSASL(text string) ([]byte, *sasl.Failure) {
	if text == "" || text == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, &sasl.Failure{Condition: "incorrect-encoding"}
	}
	return b, nil
}

// mechanism makes the exchange for an offered name; nil for another.
func (st *stream) mechanism(name string) sasl.Mechanism {
	if !slices.Contains(st.auth.offered, name) {
		return nil
	}
	switch name {
	case "ANONYMOUS":
		return sasl.Anonymous{}
	case "EXTERNAL":
		return st.external()
	case "PLAIN":
		if st.srv.service(st.domain) {
			return &sasl.Plain{Check: st.checkService}
		}
		return &sasl.Plain{Check: st.checkPassword}
	}
	hash, plus := strings.CutSuffix(strings.TrimPrefix(name, "SCRAM-"), "-PLUS")
	return &sasl.SCRAM{Hash: hash, Plus: plus, Keys: st.scramKeys, Bindings: st.auth.bindings,
		Offer: sasl.Offer(st.auth.offered, st.auth.types), RefuseY: st.plusOffered() && (st.srv.cfg.StrictChannelBinding || !st.auth.noBind)}
}

// canonical is a typed user name in one form, for the back-off: without our own domain if that was typed too, prepared if it can be.
func (st *stream) canonical(user string) string {
	if st.srv.service(st.domain) {
		return strings.ToLower(strings.TrimSuffix(user, "@"+st.domain)) + "@" + st.domain
	}
	user = strings.TrimSuffix(user, "@"+st.srv.cfg.Domain)
	if j, err := stanza.NewJID(user, st.srv.cfg.Domain, ""); err == nil {
		return j.Local()
	}
	return strings.ToLower(user)
}

// allowed tells whether that name may be tried from there now.
func (st *stream) allowed(user string) bool {
	if st.srv.backoff.blocked(st.canonical(user), st.network()) {
		st.srv.count.authDelayed.Add(1)
		return false
	}
	return true
}

func (st *stream) scramKeys(ctx context.Context, user, hash string) ([]byte, int, []byte, []byte, bool, error) {
	if !st.allowed(user) {
		return nil, 0, nil, nil, false, errBackoff
	}
	return st.srv.accounts.SCRAM(ctx, user, hash)
}

func (st *stream) checkPassword(ctx context.Context, user, password string) (string, bool, error) {
	if !st.allowed(user) {
		return "", false, errBackoff
	}
	return st.srv.accounts.CheckPassword(ctx, user, password)
}

// failed answers a failure; an error ends the stream after too many.
func (st *stream) failed(f *sasl.Failure, user string) error {
	st.srv.count.authFailed.Add(1)
	st.auth.failures++
	st.auth.noBind = st.auth.noBind || f.Binding
	if f.Guess && !f.Binding {
		st.auth.guesses++
		user = st.canonical(user)
		st.srv.backoff.failed(user, st.network())
		st.srv.log.Info("login failed", "user", user, "address", st.wire.remote().String())
	}
	if err := st.sendFailure(f.Condition, f.Text); err != nil {
		return err
	}
	if st.auth.guesses >= st.srv.cfg.Limits.AuthAttempts || st.auth.failures >= maxSASLFailures {
		return stanza.NewStreamError("policy-violation", "too many failed logins")
	}
	return nil
}

func (st *stream) sendFailure(condition, text string) error {
	space := st.auth.space
	if space == "" {
		space = nsSASL
	}
	f := stanza.NewElement(space, "failure").Add(stanza.NewElement(nsSASL, condition))
	if text != "" {
		f.Add(stanza.TextElement(space, "text", text))
	}
	return st.sendElement(f)
}

func (st *stream) failThen(condition string, then error) error {
	if err := st.sendFailure(condition, ""); err != nil {
		return err
	}
	return then
}

// identify settles who it is; false: nobody, and the client was told.
func (st *stream) identify(mech sasl.Mechanism) (bool, error) {
	id := mech.Identity()
	st.auth.tried = mech.Name()
	bare, f := st.identity(id)
	if f != nil {
		return false, st.failed(f, id.User)
	}
	if f := st.admitted(bare, id.User == ""); f != nil {
		return false, st.failed(f, "")
	}
	st.bare = bare
	st.srv.count.authOK.Add(1)
	if id.User != "" {
		st.srv.backoff.succeeded(st.canonical(st.auth.tried), st.network())
	}
	return true, nil
}

// admitted asks Config.Admit.
func (st *stream) admitted(bare stanza.JID, guest bool) *sasl.Failure {
	if st.srv.cfg.Admit == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(st.srv.ctx, st.deadline)
	defer cancel()
	attach, err := st.srv.cfg.Admit(ctx, Login{Bare: bare, Guest: guest, Domain: st.domain, Params: st.params})
	if err != nil {
		return &sasl.Failure{Condition: "not-allowed", Text: err.Error()}
	}
	st.attach = attach
	return nil
}

// attached lets what Admit gave know the session.
func (st *stream) attached(x *Session) {
	if st.attach != nil {
		st.attach(x)
		st.attach = nil
	}
}

// identity is the bare JID of who logged in. An authzid may only name the same (RFC 6120 §6.3.8).
func (st *stream) identity(id sasl.Identity) (stanza.JID, *sasl.Failure) {
	if id.User == "" {
		return st.guestJID(), nil
	}
	if st.srv.service(st.domain) {
		bare, err := st.serviceJID(id.User)
		if err != nil || bare.Local() == "" || id.Authzid != "" && id.Authzid != bare.String() {
			return stanza.JID{}, &sasl.Failure{Condition: "not-authorized"}
		}
		return bare, nil
	}
	local, err := st.srv.accounts.Localpart(st.srv.ctx, id.User)
	if err != nil {
		return stanza.JID{}, &sasl.Failure{Condition: "not-authorized"}
	}
	bare, err := stanza.NewJID(local, st.srv.cfg.Domain, "")
	if err != nil || bare.Local() == "" {
		return stanza.JID{}, &sasl.Failure{Condition: "not-authorized"}
	}
	if id.Authzid != "" {
		if z, err := stanza.ParseJID(id.Authzid); err != nil || !st.means(z, bare) {
			return stanza.JID{}, &sasl.Failure{Condition: "invalid-authzid"}
		}
	}
	return bare, nil
}

// means tells that claimed is who has logged in: its address, or the one that it has typed, which may be its mail address.
func (st *stream) means(claimed, bare stanza.JID) bool {
	if claimed == bare {
		return true
	}
	typed, err := stanza.ParseJID(st.auth.tried)
	if err != nil || typed.Local() == "" {
		typed, err = stanza.NewJID(st.auth.tried, st.srv.cfg.Domain, "")
	}
	return err == nil && claimed == typed
}

// guestJID makes up a name: a lower-case UUID, of which Jitsi clients use the first eight digits as endpoint id. A guest who shows
// the id of a session that still exists gets its name again, and one who was promised a name gets that.
func (st *stream) guestJID() stanza.JID {
	name := ""
	if st.srv.cfg.GuestName != nil {
		name = st.srv.cfg.GuestName(Login{Guest: true, Domain: st.domain, Params: st.params})
	}
	if prev := st.params.Get("previd"); prev != "" {
		if x := st.srv.bySMID(prev); x != nil && x.jid.Domain() == st.srv.cfg.GuestDomain {
			return x.jid.Bare()
		}
	}
	if name == "" {
		name = uuid.NewString()
	}
	j, err := stanza.NewJID(name, st.srv.cfg.GuestDomain, "")
	if err != nil { // a UUID is a localpart and the domain was checked; GuestName gives what was handed out
		panic("xmpp: " + err.Error())
	}
	return j
}
