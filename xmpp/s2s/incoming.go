package s2s

import (
	"errors"
	"strconv"
	"sync"
	"time"

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
		if !in.s.cfg.Policy.allows(from) {
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
	case !s.cfg.Policy.allowsAccount(st.To):
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
