// Package sfutest is for the tests of adapters: a Connector whose transports send nothing and note what they are told, and a WebSocket
// server that plays the other side.
package sfutest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// patience bounds every wait of a test.
const patience = 10 * time.Second

// Connector notes what an adapter does with it.
type Connector struct {
	mu         sync.Mutex // guards what follows
	steps      []string
	transports []*Transport
	changed    chan struct{} // closed and renewed at every change
}

// NewConnector makes one.
func NewConnector() *Connector { return &Connector{changed: make(chan struct{})} }

func (c *Connector) note(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Transport implements sfuload.Connector.
func (c *Connector) Transport(label string) (sfuload.Transport, error) {
	t := &Transport{Label: label, c: c, up: make(chan struct{}), done: make(chan struct{})}
	c.note(func() {
		t.local = sfuload.Local{Ufrag: fmt.Sprintf("uf%02d", len(c.transports)), Pwd: "ourpwdourpwdourpwdourpwd", Hash: "sha-256", Print: "AA:BB",
			Candidate: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(4000+len(c.transports)))}
		c.transports = append(c.transports, t)
	})
	return t, nil
}

// Step implements sfuload.Connector.
func (c *Connector) Step(name string) { c.note(func() { c.steps = append(c.steps, name) }) }

// Steps are the milestones so far.
func (c *Connector) Steps() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.steps)
}

// Wait waits until ok holds. ok may read everything of the connector's transports.
func (c *Connector) Wait(t testing.TB, what string, ok func(ts []*Transport) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		c.mu.Lock()
		good, changed := ok(c.transports), c.changed
		c.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Closed says that every transport has been closed.
func (c *Connector) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.ContainsFunc(c.transports, func(t *Transport) bool { return !t.Closed })
}

// Transport is a transport that sends nothing. Read its fields in Wait.
type Transport struct {
	Label      string
	Started    []sfuload.Remote
	Candidates []netip.AddrPort
	Sending    map[string]*sfuload.Media // by the name of the track
	Receiving  []*sfuload.Media
	Closed     bool

	c        *Connector
	local    sfuload.Local
	up, done chan struct{}
}

// Local implements sfuload.Transport.
func (t *Transport) Local() sfuload.Local { return t.local }

// Start implements sfuload.Transport.
func (t *Transport) Start(r sfuload.Remote) error {
	t.c.note(func() { t.Started = append(t.Started, r) })
	return nil
}

// Limit implements sfuload.Transport.
func (t *Transport) Limit(*sfuload.Track, int) {}

// AddCandidates implements sfuload.Transport.
func (t *Transport) AddCandidates(c ...netip.AddrPort) {
	t.c.note(func() { t.Candidates = append(t.Candidates, c...) })
}

// Connected implements sfuload.Transport.
func (t *Transport) Connected() <-chan struct{} { return t.up }

// Done implements sfuload.Transport.
func (t *Transport) Done() <-chan struct{} { return t.done }

// Err implements sfuload.Transport.
func (t *Transport) Err() error { return nil }

// Send implements sfuload.Transport.
func (t *Transport) Send(tr *sfuload.Track, m *sfuload.Media) error {
	t.c.note(func() {
		if t.Sending == nil {
			t.Sending = map[string]*sfuload.Media{}
		}
		t.Sending[tr.Name] = m
	})
	return nil
}

// Receive implements sfuload.Transport.
func (t *Transport) Receive(m *sfuload.Media) error {
	t.c.note(func() { t.Receiving = append(t.Receiving, m) })
	return nil
}

// Close implements sfuload.Transport.
func (t *Transport) Close() {
	t.c.note(func() {
		if !t.Closed {
			t.Closed = true
			close(t.done)
		}
	})
}

// Peer is the far end of a WebSocket in a test's script.
type Peer struct {
	T   testing.TB
	R   *http.Request
	ctx context.Context
	ws  *websocket.Conn
}

// Serve starts a server that runs script for each connection and gives its ws:// URL. It ends with the test. What the script leaves unread
// is read until the client closes.
func Serve(t testing.TB, subprotocol string, script func(p *Peer)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		opt := &websocket.AcceptOptions{}
		if subprotocol != "" {
			opt.Subprotocols = []string{subprotocol}
		}
		ws, err := websocket.Accept(w, r, opt)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow() // the client has closed
		p := &Peer{T: t, R: r, ctx: ctx, ws: ws}
		script(p)
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				return
			}
		}
	}))
	t.Cleanup(func() { cancel(); s.Close() })
	return "ws://" + strings.TrimPrefix(s.URL, "http://")
}

// Read gives the next message, nil when the client has gone.
func (p *Peer) Read() []byte {
	_, b, err := p.ws.Read(p.ctx)
	if err != nil {
		return nil
	}
	return b
}

// Write sends a message; binary or text.
func (p *Peer) Write(binary bool, b []byte) {
	typ := websocket.MessageText
	if binary {
		typ = websocket.MessageBinary
	}
	if err := p.ws.Write(p.ctx, typ, b); err != nil && p.ctx.Err() == nil {
		p.T.Log("write: ", err)
	}
}

// Close ends the connection from the server's side.
func (p *Peer) Close() { _ = p.ws.Close(websocket.StatusGoingAway, "bye") }

// far is the far end's half of a transport, for descriptions that a script writes.
func far() sfuload.Local {
	return sfuload.Local{Ufrag: "farf", Pwd: "farpwdfarpwdfarpwdfarpwd", Hash: "sha-256", Print: "CC:DD", Candidate: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 9000)}
}

// Answer is an SDP answer that takes everything of an offer.
func Answer(t testing.TB, offer string) string {
	t.Helper()
	d, err := sfuload.ParseSDP(offer)
	if err != nil {
		t.Errorf("%v in\n%s", err, offer)
		return ""
	}
	var sections []sfuload.Section
	for _, m := range d.Media {
		m.Direction, m.Sources, m.StreamID, m.TrackID = "recvonly", nil, "", ""
		sections = append(sections, sfuload.Section{Media: m})
	}
	return sfuload.WriteSDP(far(), "active", 1, sections)
}

// Offer is an SDP offer that sends the tracks, a section each, and has one for data channels when channel is set.
func Offer(channel bool, tracks ...*sfuload.Track) string {
	var sections []sfuload.Section
	for i, tr := range tracks {
		sections = append(sections, sfuload.Section{
			Media: sfuload.Media{MID: fmt.Sprint(i), Kind: tr.Kind, Direction: "sendonly", Codecs: sfuload.DefaultCodecs(tr.Codec), Exts: sfuload.DefaultExts(tr.Kind)},
			Track: tr,
		})
	}
	if channel {
		sections = append(sections, sfuload.Section{Media: sfuload.Media{MID: "data", Kind: sfuload.Application}})
	}
	return sfuload.WriteSDP(far(), "actpass", 1, sections)
}

// Tracks are a microphone and a camera with three layers.
func Tracks() []*sfuload.Track {
	return []*sfuload.Track{
		{Name: "a0", Kind: sfuload.Audio, Codec: "opus", Layers: []sfuload.Layer{{SSRC: 1000}}},
		{Name: "v0", Kind: sfuload.Video, Codec: "VP8", Layers: []sfuload.Layer{
			{RID: "q", SSRC: 1, RTX: 11, Width: 320, Height: 180, Bitrate: 150_000, FrameRate: 30},
			{RID: "h", SSRC: 2, RTX: 12, Width: 640, Height: 360, Bitrate: 500_000, FrameRate: 30},
			{RID: "f", SSRC: 3, RTX: 13, Width: 1280, Height: 720, Bitrate: 1_700_000, FrameRate: 30},
		}},
	}
}

// Refused is an address where nobody listens.
func Refused(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
