package s2s

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net"
	"strconv"
	"sync"
	"time"

	"konzil/internal/ledger"
	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// incoming is a stream that another server opened. Its goroutine (serve) uses all fields but those below the line.
type incoming struct {
	*conn
	s         *Service
	id        string
	local     string // `to` of the header; pinned once authenticated by EXTERNAL
	remote    string // `from`, as it claims
	external  bool
	session   *inSession
	verifying chan struct{} // capacity: keys that may be checked at a time
	done      chan struct{} // closed when serve has ended

	// ----
	mu    sync.Mutex // guards these
	pairs map[pair]bool
	first pair // that was proved
	bidi  bool // the other server takes stanzas on it (XEP-0288)

	back  *wayBack // Service.mu: what we may write
	ended bool     // Service.mu
}

// inSession is what of an incoming stream outlives it for a resumption (XEP-0198 §5).
type inSession struct {
	id    string
	in    *xmpp.Inbound
	ch    *ledger.Channel // how much was handled, over a restart
	pairs map[pair]bool
	timer *time.Timer // Service.mu: while it can be resumed
}

// serve runs the stream from its first byte to its last.
func (in *incoming) serve(direct bool) {
	defer close(in.done) // after finish
	in.verifying = make(chan struct{}, in.s.cfg.Limits.Verifying)
	_ = in.raw.SetReadDeadline(time.Now().Add(in.s.cfg.Limits.ConnectTimeout))
	err := in.negotiate(direct)
	if err == nil {
		err = in.loop()
	}
	if se := stanza.StreamErrorOf(err); se != nil {
		in.end(se)
	} else if errors.Is(err, stanza.ErrStreamEnd) {
		in.close(trailer)
	}
	in.s.log.Debug("stream of another server ended", "remote", in.remote, "err", err)
	in.finish(errors.Is(err, stanza.ErrStreamEnd))
}

// end says why and closes; from any goroutine.
func (in *incoming) end(se *stanza.StreamError) { in.close(string(se.Closing(stanza.NSServer))) }

// finish waits until what came is handled, and keeps the session for a resumption if the stream broke.
func (in *incoming) finish(orderly bool) {
	in.s.mu.Lock()
	in.s.forgetWayBack(in)
	in.s.mu.Unlock()
	x := in.session
	if x == nil {
		return
	}
	x.in.Drain()
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, x.id)
	if s.closing {
		return
	}
	if x.id == "" || orderly || len(s.asleep) >= s.cfg.Limits.Incoming {
		x.ch.Drop()
		return
	}
	s.sleepLocked(x)
}

// sleepLocked lets a session wait for its server; s.mu is held.
func (s *Service) sleepLocked(x *inSession) {
	s.asleep[x.id] = x
	x.timer = time.AfterFunc(s.cfg.Limits.ResumeTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.asleep[x.id] == x {
			delete(s.asleep, x.id)
			x.ch.Drop()
		}
	})
}

// header reads the other server's and answers with ours and the features that say.
func (in *incoming) header(features func() []*stanza.Element) error {
	in.restart()
	h, err := in.rd.Header()
	if err != nil {
		return err
	}
	se := in.checkHeader(h)
	to := in.remote
	b := header(in.local, to, in.id)
	if se != nil {
		if in.local == "" {
			b = header(in.s.srv.Domain(), to, in.id)
		}
		_ = in.write(b)
		return se
	}
	if h.Attr("version") != "" {
		b = append(b, "<stream:features>"...)
		for _, e := range features() {
			b = e.AppendXML(b, stanza.NSServer)
		}
		b = append(b, "</stream:features>"...)
	}
	return in.write(b)
}

func (in *incoming) checkHeader(h *stanza.Header) *stanza.StreamError {
	if h.Space != stanza.NSStream || h.Local != "stream" || h.Content != stanza.NSServer {
		return stanza.NewStreamError("invalid-namespace", "this is XMPP between servers")
	}
	to, err := stanza.ParseJID(h.Attr("to"))
	if err != nil || to.Local() != "" || !to.IsBare() || !in.s.srv.Serves(to.Domain()) || in.s.srv.GuestsOnly(to.Domain()) {
		return stanza.NewStreamError("host-unknown", "")
	}
	from := ""
	if v := h.Attr("from"); v != "" {
		j, err := stanza.ParseJID(v)
		if err != nil || j.Local() != "" || !j.IsBare() {
			return stanza.NewStreamError("improper-addressing", "from")
		}
		from = j.Domain()
	}
	if in.external && (to.Domain() != in.local || from != "" && from != in.remote) { // CVE-2018-10847
		return stanza.NewStreamError("improper-addressing", "the names of a stream cannot change")
	}
	in.local = to.Domain()
	if from != "" {
		if !in.s.cfg.Policy.Allows(from) {
			return stanza.NewStreamError("policy-violation", "this server does not exchange messages with "+from)
		}
		in.remote = from
	}
	return nil
}

// negotiate goes from connection to TLS, and to SASL EXTERNAL if the other server likes.
func (in *incoming) negotiate(direct bool) error {
	if !direct {
		if err := in.header(func() []*stanza.Element {
			return []*stanza.Element{stanza.NewElement(nsTLS, "starttls").Add(stanza.NewElement(nsTLS, "required")), stanza.NewElement(nsBidiFeature, "bidi")}
		}); err != nil {
			return err
		}
		it, err := in.rd.Next()
		if err != nil {
			return err
		}
		if it.Elem == nil || it.Elem.Name != (stanza.Name{Space: nsTLS, Local: "starttls"}) {
			return stanza.NewStreamError("policy-violation", "use STARTTLS first")
		}
		if err := in.write([]byte("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")); err != nil {
			return err
		}
	}
	if err := in.handshake(direct); err != nil {
		return err
	}
	return in.header(in.features)
}

// features after TLS: EXTERNAL for who has shown a valid certificate, dialback, stream management.
func (in *incoming) features() []*stanza.Element {
	var out []*stanza.Element
	if !in.external {
		if in.remote != "" && in.s.validCertificate(in.tls, in.remote) {
			out = append(out, stanza.NewElement(nsSASL, "mechanisms").Add(stanza.TextElement(nsSASL, "mechanism", "EXTERNAL")))
		}
		if !in.s.cfg.RequireCertificate {
			out = append(out, stanza.NewElement(nsFeature, "dialback").Add(stanza.NewElement(nsFeature, "errors")))
		}
		out = append(out, stanza.NewElement(nsBidiFeature, "bidi"))
	}
	lim := in.s.cfg.Limits
	return append(out, stanza.NewElement(nsSM, "sm"), stanza.NewElement("urn:xmpp:stream-limits:0", "limits").Add(
		stanza.TextElement("urn:xmpp:stream-limits:0", "max-bytes", strconv.Itoa(lim.Stanza.Bytes)))) // XEP-0478
}

// loop reads what comes until the stream ends.
func (in *incoming) loop() error {
	for {
		it, err := in.rd.Next()
		var je *stanza.JIDError
		if err != nil && !errors.As(err, &je) {
			return err
		}
		switch {
		case it.Stanza != nil && je != nil:
			return stanza.NewStreamError("improper-addressing", "a bad address")
		case it.Stanza != nil:
			err = in.take(it.Stanza)
		case it.Elem.Space == nsDialback:
			err = in.dialback(it.Elem)
		case it.Elem.Space == nsSASL:
			err = in.sasl(it.Elem)
		case it.Elem.Space == nsSM:
			err = in.manage(it.Elem)
		case it.Elem.Name == stanza.Name{Space: nsBidi, Local: "bidi"}:
			in.mu.Lock()
			in.bidi = true
			in.mu.Unlock()
			in.offerBack()
		case it.Elem.Name == stanza.Name{Space: stanza.NSStream, Local: "error"}:
			return readStreamError(it.Elem)
		default:
			err = stanza.NewStreamError("unsupported-stanza-type", "")
		}
		if err != nil {
			return err
		}
	}
}

// take checks whether the other server may say that (RFC 6120 §8.1.1.2, §8.1.2.2).
func (in *incoming) take(st *stanza.Stanza) error {
	if st.From.IsZero() || st.To.IsZero() {
		return stanza.NewStreamError("improper-addressing", "stanzas between servers have both addresses")
	}
	if !in.proved(pair{st.To.Domain(), st.From.Domain()}) {
		in.s.count.forged.Add(1)
		return stanza.NewStreamError("invalid-from", "")
	}
	in.s.count.received.Add(1)
	in.begin()
	in.settleBack(false, "", 0)
	in.s.letIn(in.session.in, st)
	return nil
}

// letIn takes a stanza from elsewhere, or tells who sent it that it may not come in.
func (s *Service) letIn(to *xmpp.Inbound, st *stanza.Stanza) {
	switch {
	case !s.allows(st.From):
		to.Refuse(st, stanza.ErrNotAllowed)
	case !s.cfg.Policy.AllowsAccount(st.To):
		to.Refuse(st, stanza.ErrServiceUnavailable) // as if there were no such account
	default:
		to.Take(st)
	}
}

// begin makes the session with the first use.
func (in *incoming) begin() {
	if in.session == nil {
		in.session = &inSession{}
		in.session.in = in.s.srv.NewInbound(in.acknowledge)
	}
}

func (in *incoming) proved(p pair) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.pairs[p]
}

// prove notes that a pair was proved. The first one ends the time for negotiation.
func (in *incoming) prove(p pair) bool {
	defer in.offerBack()
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.pairs) >= in.s.cfg.Limits.Pairs {
		return false
	}
	if len(in.pairs) == 0 {
		in.first = p
	}
	in.pairs[p] = true
	_ = in.raw.SetReadDeadline(time.Time{})
	return true
}

// sasl is EXTERNAL (XEP-0178 §3): the identity is the stream's from, for which the certificate is good.
func (in *incoming) sasl(e *stanza.Element) error {
	fail := func(condition string) error {
		return in.write(element(stanza.NewElement(nsSASL, "failure").Add(stanza.NewElement(nsSASL, condition))))
	}
	switch {
	case e.Local != "auth" || in.external:
		return stanza.NewStreamError("unsupported-stanza-type", "")
	case e.Attr("mechanism") != "EXTERNAL":
		return fail("invalid-mechanism")
	case in.remote == "" || !in.s.validCertificate(in.tls, in.remote):
		return fail("not-authorized")
	}
	if t := e.Text(); t != "" && t != "=" {
		id, err := base64.StdEncoding.DecodeString(t)
		if err != nil {
			return fail("incorrect-encoding")
		}
		if string(id) != in.remote {
			return fail("invalid-authzid")
		}
	}
	in.external = true
	in.prove(pair{in.local, in.remote})
	in.rd.SetLimits(in.s.cfg.Limits.Stanza)
	if err := in.write([]byte("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")); err != nil {
		return err
	}
	return in.header(in.features)
}

// dialback takes requests to check a key (we speak for the domain) and to believe one (XEP-0220 §2).
func (in *incoming) dialback(e *stanza.Element) error {
	from, ferr := stanza.ParseJID(e.Attr("from"))
	to, terr := stanza.ParseJID(e.Attr("to"))
	if ferr != nil || terr != nil || from.Local() != "" || to.Local() != "" || !from.IsBare() || !to.IsBare() {
		return stanza.NewStreamError("improper-addressing", "")
	}
	p := pair{to.Domain(), from.Domain()}
	switch {
	case e.Attr("type") != "": // an answer, to nothing that we asked here
		return nil
	case !in.s.srv.Serves(p.local):
		return in.answer(e.Local, p, e.Attr("id"), stanza.ErrItemNotFound)
	case e.Local == "verify":
		return in.s.answerVerify(in.conn, p, e)
	case e.Local != "result":
		return stanza.NewStreamError("unsupported-stanza-type", "")
	case in.s.cfg.RequireCertificate && !in.s.validCertificate(in.tls, p.remote), !in.s.cfg.Policy.Allows(p.remote):
		return in.answer("result", p, "", &stanza.Error{Type: "cancel", Condition: "policy-violation"})
	}
	if in.s.validCertificate(in.tls, p.remote) { // XEP-0344 §2: what the certificate proves need not be asked
		in.rd.SetLimits(in.s.cfg.Limits.Stanza)
		return in.believe(p, true)
	}
	select {
	case in.verifying <- struct{}{}:
	default:
		return stanza.NewStreamError("resource-constraint", "too many dialback requests at once")
	}
	key := e.Text()
	in.rd.SetLimits(in.s.cfg.Limits.Stanza) // what comes next is read under them, and comes after the answer
	in.s.wg.Go(func() {
		defer func() { <-in.verifying }()
		ctx, cancel := context.WithTimeout(in.s.ctx, in.s.cfg.Limits.ConnectTimeout)
		defer cancel()
		ok, err := in.s.verify(ctx, p, in.id, key)
		if err != nil {
			in.s.log.Info("dialback", "remote", p.remote, "err", err)
			err = in.answer("result", p, "", unverified(err))
		} else {
			err = in.believe(p, ok)
		}
		if err != nil {
			_ = in.raw.Close()
		}
	})
	return nil
}

// unverified is the reason why nobody could be asked.
func unverified(err error) *stanza.Error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound || errors.Is(err, errNoService) {
		return stanza.ErrRemoteServerNotFound
	}
	return &stanza.Error{Type: "wait", Condition: "remote-server-timeout"}
}

// believe answers a dialback request.
func (in *incoming) believe(p pair, valid bool) error {
	typ := "invalid"
	if valid {
		if !in.prove(p) {
			return in.answer("result", p, "", stanza.ErrResourceConstraint)
		}
		typ = "valid"
		in.s.count.verified.Add(1)
	} else {
		in.s.count.invalid.Add(1)
	}
	return in.say("result", p, "", typ, nil)
}

// answerVerify tells whether a key is ours (XEP-0220 §2.3).
func (s *Service) answerVerify(c *conn, p pair, e *stanza.Element) error {
	typ := "invalid"
	if s.ours(p.remote, p.local, e.Attr("id"), e.Text()) {
		typ = "valid"
	}
	return c.say("verify", p, e.Attr("id"), typ, nil)
}

// answer is a dialback error (XEP-0220 §2.4).
func (in *incoming) answer(local string, p pair, id string, e *stanza.Error) error {
	return in.say(local, p, id, "error", e)
}

// manage is stream management (XEP-0198).
func (in *incoming) manage(e *stanza.Element) error {
	in.mu.Lock()
	known := len(in.pairs) > 0
	in.mu.Unlock()
	switch {
	case e.Local == "a":
		return in.acknowledged(e)
	case !known:
		return in.write(element(stanza.NewElement(nsSM, "failed").Add(stanza.NewElement(stanza.NSStanzas, "unexpected-request"))))
	case e.Local == "r":
		in.begin()
		in.session.in.Ask()
		return nil
	case e.Local == "enable":
		return in.enable(e)
	case e.Local == "resume":
		return in.resume(e)
	}
	return stanza.NewStreamError("unsupported-stanza-type", "")
}

func (in *incoming) enable(e *stanza.Element) error {
	in.begin()
	x := in.session
	x.in.Number(nil, 0)
	answer := stanza.NewElement(nsSM, "enabled")
	if r := e.Attr("resume"); r == "true" || r == "1" {
		x.id, x.pairs = random.ID(), in.allPairs()
		x.ch = in.s.cfg.Ledger.New(inName + x.id)
		for p := range x.pairs {
			x.ch.Set(keyPair+p.local+" "+p.remote, []byte{})
		}
		x.in.Number(x.ch, 0)
		in.register(x)
		answer.SetAttr("id", x.id).SetAttr("resume", "true").SetAttr("max", strconv.Itoa(int(in.s.cfg.Limits.ResumeTimeout/time.Second)))
	}
	if err := in.write(element(answer)); err != nil {
		return err
	}
	in.settleBack(true, x.id, 0)
	return nil
}

// resume continues the session of a broken stream. The other server must have proved at least what it had proved then.
func (in *incoming) resume(e *stanza.Element) error {
	s := in.s
	prev := e.Attr("previd")
	mine := in.allPairs()
	s.mu.Lock()
	old := s.active[prev]
	s.mu.Unlock()
	if old != nil && old != in { // it does not know yet that its connection is gone
		_ = old.raw.Close()
		select {
		case <-old.done:
		case <-s.ctx.Done():
		}
	}
	s.mu.Lock()
	x := s.asleep[prev]
	if x != nil && covers(mine, x.pairs) && in.session == nil {
		x.timer.Stop()
		delete(s.asleep, prev)
	} else {
		x = nil
	}
	s.mu.Unlock()
	if x == nil {
		return in.write(element(stanza.NewElement(nsSM, "failed").Add(stanza.NewElement(stanza.NSStanzas, "item-not-found"))))
	}
	h := x.in.Drain()
	next := &inSession{id: x.id, pairs: mine, ch: x.ch}
	next.in = s.srv.NewInbound(in.acknowledge)
	next.in.Number(x.ch, h)
	in.session = next
	in.register(next)
	s.count.resumed.Add(1)
	if err := in.write(element(stanza.NewElement(nsSM, "resumed", "h", strconv.FormatUint(uint64(h), 10), "previd", prev))); err != nil {
		return err
	}
	if got, err := strconv.ParseUint(e.Attr("h"), 10, 32); err == nil {
		in.settleBack(true, x.id, uint32(got))
	}
	return nil
}

// register makes the session known to those who resume it before this stream has ended.
func (in *incoming) register(x *inSession) {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	in.s.active[x.id] = in
}

func (in *incoming) allPairs() map[pair]bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.pairs)
}

// covers tells whether have has all of want.
func covers(have, want map[pair]bool) bool {
	for p := range want {
		if !have[p] {
			return false
		}
	}
	return true
}
