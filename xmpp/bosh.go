package xmpp

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"konzil/internal/accept"
	"konzil/internal/httpd"
	"konzil/internal/slots"
)

// BOSH (XEP-0124, XEP-0206) is for clients that cannot keep a connection: what the client says comes in the bodies of requests, numbered by rid, and each request is
// held until there is something to answer. The path, in order:
//
//  1. BOSHHandler (net/http's goroutine) reads a body (boshbody.go) and finds the session by its sid, or makes one with a stream of its own (boshwire.go).
//  2. boshWire.accept (boshorder.go) puts the request where its rid belongs: those that are too early wait, repeated ones get the answer that they had.
//  3. What the body holds goes into the wire's queue, which the stream's goroutine reads like any other transport.
//  4. A write of the stream answers the oldest held request (boshWire.write) and returns when net/http has taken the answer; until then the stanzas stay in the session.
//  5. A request that is held for too long, or that is one too many, is answered with nothing; a client that holds none for too long is gone.

const (
	boshHold       = 1                // requests held at a time, at most: Stanza.js asks for two and has two in all, none to speak with if both are held
	boshWait       = 60 * time.Second // for which one of them is held, at most
	boshInactivity = 60 * time.Second // without a held one
	boshMaxPause   = 120 * time.Second
	boshPolling    = 5 * time.Second  // between empty requests of a client that wants none held
	boshBodyTime   = 30 * time.Second // for a request to come

	// Requests that are being read at a time, in all and of one peer: each may hold as much as the largest stanza, and HTTP/2 lets one connection have hundreds.
	boshReading     = 256
	boshReadingEach = 64
)

// boshSessions are the wires that clients know by sid.
type boshSessions struct {
	reading *slots.Slots[string] // for requests, by peer

	mu  sync.Mutex // guards all
	all map[string]*boshWire
}

func (b *boshSessions) get(sid string) *boshWire {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all[sid]
}

func (b *boshSessions) add(w *boshWire) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = map[string]*boshWire{}
	}
	b.all[w.sid] = w
}

func (b *boshSessions) remove(w *boshWire) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, w.sid)
}

// BOSHHandler serves XEP-0124. As with WebSockets everybody may use it from any web page.
func (s *Server) BOSHHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Max-Age", "7200")
		switch r.Method {
		case http.MethodPost:
			s.serveBOSH(w, r)
		case http.MethodOptions:
			w.WriteHeader(http.StatusNoContent)
		default:
			h.Set("Allow", "POST, OPTIONS")
			http.Error(w, "this is for XMPP over BOSH (XEP-0206)", http.StatusMethodNotAllowed)
		}
	})
}

// errBusy is for a request beyond boshReading.
var errBusy = errors.New("xmpp: too many requests of BOSH are being read")

// read reads a request of at most so many bytes.
func (b *boshSessions) read(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	peer := r.RemoteAddr // else everybody comes by a proxy on this machine
	if !loopback(peer) {
		peer = accept.Peer(remoteAddr(r))
	}
	if !b.reading.Take(peer) {
		return nil, errBusy
	}
	defer b.reading.Give(peer)
	httpd.LimitBody(w, r, most, boshBodyTime)
	return io.ReadAll(r.Body)
}

// serveBOSH answers one request.
func (s *Server) serveBOSH(w http.ResponseWriter, r *http.Request) {
	raw, err := s.bosh.read(w, r, int64(s.cfg.Limits.PostAuth.Bytes+boshWrapping))
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			writeBOSH(w, http.StatusRequestEntityTooLarge, terminateBody("policy-violation"))
		}
		if errors.Is(err, errBusy) {
			w.Header().Set("Retry-After", "5")
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
		}
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // else the held request ends with it
	body, err := s.readBOSH(raw)
	if err != nil {
		writeBOSH(w, http.StatusBadRequest, terminateBody("bad-request"))
		return
	}
	wire := body.wire
	switch {
	case body.sid != "" && wire == nil:
		writeBOSH(w, http.StatusOK, terminateBody("item-not-found"))
		return
	case wire == nil:
		if wire = s.openBOSH(r, body); wire == nil {
			writeBOSH(w, http.StatusOK, terminateBody("policy-violation"))
			return
		}
	}
	wire.hold(w, r, body)
}

// openBOSH makes a session and its stream; nil: there are too many.
func (s *Server) openBOSH(r *http.Request, body *boshBody) *boshWire {
	w := s.newBOSHWire(r, body)
	st := &stream{srv: s, wire: w, params: keptQuery(r)}
	if !loopback(r.RemoteAddr) { // else everybody comes by a proxy on this machine
		st.peer = accept.Peer(w.peer)
	}
	if !s.admit(st) {
		return nil
	}
	s.bosh.add(w)
	go func() {
		defer s.untrack(st)
		defer w.abandon()
		w.readDeadline(st.deadline)
		st.serve()
	}()
	return w
}

// remoteAddr is who sent r.
func remoteAddr(r *http.Request) net.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return &net.TCPAddr{}
	}
	return net.TCPAddrFromAddrPort(ap)
}

// writeBOSH sends a body; false: the client is gone.
func writeBOSH(w http.ResponseWriter, code int, body []byte) bool {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(boshBodyTime))
	w.WriteHeader(code)
	_, err := w.Write(body)
	if err == nil {
		err = c.Flush()
	}
	return err == nil || errors.Is(err, http.ErrNotSupported)
}
