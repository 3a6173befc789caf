package xmpp

import (
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

const (
	nsTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsSASLCB  = "urn:xmpp:sasl-cb:0"
	nsBind    = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSession = "urn:ietf:params:xml:ns:xmpp-session"
	nsSM      = "urn:xmpp:sm:3"
	nsLimits  = "urn:xmpp:stream-limits:0"
)

const (
	lastWordsTimeout = time.Second     // for a stream error to get into the socket's buffer
	drainTimeout     = 5 * time.Second // for what waits before it
)

// stream is one connection: it reads, negotiates and, once it has a session, hands stanzas to it. serve runs on its own goroutine; that
// goroutine alone uses the fields above the line.
type stream struct {
	srv      *Server
	wire     wire
	tcp      *tcpWire // wire, when it is TCP
	params   url.Values
	deadline time.Time // of negotiation
	pending  bool      // counted as not logged in
	peer     string    // by which that is counted too; "": not

	domain     string // what `to` named; pinned
	clientFrom string
	lang       string
	headerSent bool
	auth       authState
	bare       stanza.JID     // once authenticated
	attach     func(*Session) // by Config.Admit, until there is a session

	// ----
	sess       *Session // set once, before the stream is known to the session
	hasSession bool     // guarded by Server.mu: Shutdown leaves the ending of st to the session

	// guarded by sess.mu
	flushing bool
	last     []outItem   // to be written as the very last; once set, nothing more is read
	drain    bool        // what waits goes out before last
	finished bool        // last is on its way or writing has failed
	cutoff   *time.Timer // ends a peer that does not read the last words

	in inOrder

	idle chan struct{} // guarded by sess.mu: closed when the flusher ends; nil: nobody waits

	done chan struct{} // closed when serve has ended
}

// xml is a stream error as bytes.
func (st *stream) xml(e *stanza.StreamError) []byte {
	return e.AppendXML(nil, stanza.NSClient, st.wire.declares())
}

// serve runs the stream from its first byte to its last.
func (st *stream) serve() {
	st.done = make(chan struct{})
	defer close(st.done)
	st.in.srv, st.in.do = st.srv, st.carryOut
	err := st.negotiate()
	st.settle()
	st.auth = authState{}
	if err == nil {
		st.wire.readDeadline(time.Time{}) // Shutdown does not set one on a stream with session
		err = st.loop()
	} else if st.srv.ctx.Err() == nil && st.srv.isClosing() {
		err = stanza.NewStreamError("system-shutdown", "")
	}
	st.finish(err)
}

// settle takes the stream off the count of those that have not logged in.
func (st *stream) settle() {
	if st.pending {
		st.pending = false
		st.srv.count.streamsPending.Add(-1)
		st.srv.peers.done(st.peer)
	}
}

// loop reads stanzas until the stream ends. It waits here and not deep in TLS, so that the stack of a stream that waits is small.
func (st *stream) loop() error {
	st.wire.patient()
	for {
		if err := st.payFanout(); err != nil {
			return err
		}
		it, err := st.wire.next()
		if err == error(errAgain) { // nobody wraps it, and most reads end so
			if err = st.wire.wait(); err != nil {
				return err
			}
			continue
		}
		je, err := badAddress(err)
		if err != nil {
			return err
		}
		if st.sess.closedTo(st) {
			return net.ErrClosed
		}
		if it.Stanza != nil {
			st.srv.count.stanzasIn.Add(1)
			err = st.sess.received(st, it.Stanza, je)
		} else {
			err = st.nonza(it.Elem)
		}
		if err != nil {
			return err
		}
	}
}

// badAddress takes from what next says the error of an address, with which the stream goes on.
func badAddress(err error) (*stanza.JIDError, error) {
	if err == nil {
		return nil, nil
	}
	var je *stanza.JIDError
	if errors.As(err, &je) {
		return je, nil
	}
	return nil, err
}

// asStreamError tells which stream error err is answered with; nil: none, the connection is gone or was closed properly.
func asStreamError(err error) *stanza.StreamError {
	if err == nil || errors.Is(err, stanza.ErrStreamEnd) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	if se := stanza.StreamErrorOf(err); se != nil {
		return se
	}
	var ne net.Error
	switch {
	case errors.Is(err, errNotText):
		return stanza.NewStreamError("bad-format", "WebSocket messages are text")
	case errors.As(err, &ne) && ne.Timeout():
		return stanza.NewStreamError("connection-timeout", "")
	}
	return nil
}

// finish says the last words and gives the session back.
func (st *stream) finish(err error) {
	se := asStreamError(err)
	if se != nil {
		st.srv.count.streamErrors.Add(1)
		st.srv.log.Debug("stream error", "jid", st.bare.String(), "condition", se.Condition, "text", se.Text)
	}
	orderly := errors.Is(err, stanza.ErrStreamEnd)
	if st.sess != nil { // what it has sent comes first
		st.in.drained()
		if st.in.settle() {
			st.sess.noteHandled()
		}
	}
	if st.sess == nil {
		if se != nil || orderly {
			st.farewell(se)
		}
		st.wire.abandon()
		return
	}
	if se != nil || orderly {
		st.sess.lastWords(st, se, true)
	}
	cutoff, idle := st.sess.leaving(st)
	if cutoff == nil { // the connection is gone
		st.wire.abandon()
	}
	<-idle
	st.sess.detach(st, se != nil || orderly)
	if cutoff != nil && cutoff.Stop() {
		st.wire.linger()
	}
	st.wire.abandon()
}

// farewell ends a stream without session; an error before our header needs one (RFC 6120 §4.9.1.2).
func (st *stream) farewell(se *stanza.StreamError) {
	var b []byte
	if !st.headerSent {
		from := st.domain
		if from == "" {
			from = st.srv.cfg.Domain
		}
		b = st.wire.appendHeader(b, header{from: from, id: random.ID(), lang: "en"})
	}
	items := []outItem{}
	if len(b) > 0 {
		items = append(items, outItem{raw: b})
	}
	if se != nil {
		items = append(items, outItem{raw: st.xml(se)})
	}
	items = append(items, outItem{raw: st.wire.appendTrailer(nil)})
	if st.wire.write(items) == nil {
		st.wire.endWrite()
		st.wire.linger()
	}
}

// network is where the stream comes from, as far as back-off tells people apart.
func (st *stream) network() string { return networkOf(st.wire.remote()) }

// abort is Shutdown's: it wakes a stream that still negotiates. One with a session has got its last words from that.
func (st *stream) abort() { st.wire.readDeadline(time.Now()) }

// send writes at once; only while there is no session.
func (st *stream) send(raw ...[]byte) error {
	items := make([]outItem, 0, len(raw))
	for _, b := range raw {
		items = append(items, outItem{raw: b})
	}
	return st.wire.write(items)
}

func (st *stream) sendElement(e *stanza.Element) error {
	return st.send(e.AppendXML(nil, ""))
}

// open reads the client's header (RFC 6120 §4.7) and checks it.
func (st *stream) open() error {
	st.headerSent = false // this is a new stream, on which an error needs a header first
	h, err := st.wire.readHeader()
	if err != nil {
		return err
	}
	return st.checkHeader(h)
}

// answerOpen sends our header and features (RFC 6120 §4.3.2).
func (st *stream) answerOpen(features []*stanza.Element) error {
	ours := st.wire.appendHeader(nil, header{from: st.domain, to: st.clientFrom, id: random.ID(), lang: st.replyLang()})
	st.headerSent = true
	return st.send(ours, st.features(features))
}

// features is <stream:features/>; nil elements are left out.
func (st *stream) features(list []*stanza.Element) []byte {
	f := []byte("<stream:features>")
	if st.wire.declares() {
		f = []byte("<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>")
	}
	for _, e := range list {
		if e != nil {
			f = e.AppendXML(f, stanza.NSClient)
		}
	}
	return append(f, "</stream:features>"...)
}

func (st *stream) replyLang() string {
	if st.lang != "" {
		return st.lang
	}
	return "en"
}

// maxLang is longer than any language tag in use.
const maxLang = 35

func (st *stream) checkHeader(h *stanza.Header) error {
	switch {
	case h.Local != "stream" || h.Space != stanza.NSStream && h.Space != nsFraming:
		return stanza.NewStreamError("invalid-namespace", "this is XMPP")
	case h.Content != stanza.NSClient:
		return stanza.NewStreamError("invalid-namespace", "clients speak jabber:client")
	}
	to, err := stanza.ParseJID(h.Attr("to"))
	if err != nil || to.Local() != "" || !to.IsBare() || !st.srv.local(to.Domain()) {
		return stanza.NewStreamError("host-unknown", "")
	}
	if st.domain != "" && st.domain != to.Domain() { // CVE-2018-10847: what was negotiated for one host must not serve another
		return stanza.NewStreamError("host-unknown", "the host of a stream cannot change")
	}
	st.domain = to.Domain()
	if major, _, _ := strings.Cut(h.Attr("version"), "."); major == "" || major == "0" {
		return stanza.NewStreamError("unsupported-version", "")
	}
	if from, err := stanza.ParseJID(h.Attr("from")); err == nil {
		st.clientFrom = from.String()
	}
	if l := h.Lang(); l != "" && len(l) <= maxLang {
		st.lang = l
	}
	return nil
}

// negotiate goes from connection to bound or resumed session: TLS, SASL, then a resource or the session of before (XEP-0170 §2.2).
func (st *stream) negotiate() error {
	if st.tcp != nil && st.tcp.tls == nil {
		if err := st.negotiateTLS(); err != nil {
			return err
		}
	}
	if err := st.authenticate(); err != nil {
		return err
	}
	st.wire.setLimits(st.srv.cfg.Limits.PostAuth)
	switch {
	case st.sess != nil: // bound or resumed inline
		return nil
	case st.auth.space == nsSASL2: // no new stream; the features are said
		return st.bindOrResume()
	}
	st.wire.restart()
	if err := st.open(); err != nil {
		return err
	}
	if err := st.answerOpen(st.srv.sessionFeatures()); err != nil {
		return err
	}
	return st.bindOrResume()
}

// sessionFeatures are offered after SASL.
func (s *Server) sessionFeatures() []*stanza.Element {
	out := []*stanza.Element{
		stanza.NewElement(nsBind, "bind"),
		stanza.NewElement(nsSession, "session").Add(stanza.NewElement(nsSession, "optional")),
		stanza.NewElement(nsSM, "sm"),
		stanza.NewElement(nsCSI, "csi"),
		limitsFeature(s.cfg.Limits.PostAuth),
	}
	return append(out, s.hooks.offered()...)
}

// limitsFeature tells what an element may cost (XEP-0478 §3). Silence costs nothing: who does not answer is asked first.
func limitsFeature(l stanza.Limits) *stanza.Element {
	return stanza.NewElement(nsLimits, "limits").Add(stanza.TextElement(nsLimits, "max-bytes", strconv.Itoa(l.Bytes)))
}

// negotiateTLS offers STARTTLS and nothing else (RFC 6120 §5.3.1).
func (st *stream) negotiateTLS() error {
	offer := stanza.NewElement(nsTLS, "starttls").Add(stanza.NewElement(nsTLS, "required"))
	if err := st.open(); err != nil {
		return err
	}
	if err := st.answerOpen([]*stanza.Element{offer}); err != nil {
		return err
	}
	it, err := st.wire.next()
	if err != nil {
		return err
	}
	if it.Elem == nil || it.Elem.Name != (stanza.Name{Space: nsTLS, Local: "starttls"}) {
		if it.Elem != nil && it.Elem.Space == nsSASL { // some try; tell them why it cannot be
			return st.failThen("encryption-required", stanza.NewStreamError("policy-violation", "use STARTTLS first"))
		}
		return stanza.NewStreamError("policy-violation", "use STARTTLS first")
	}
	if err := st.sendElement(stanza.NewElement(nsTLS, "proceed")); err != nil {
		return err
	}
	if !st.directTLS() {
		return net.ErrClosed // nothing can be said on it any more
	}
	return nil
}
