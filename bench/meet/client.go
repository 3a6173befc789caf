package meet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Limits of a client.
const (
	iqTimeout = 10 * time.Second // as lib-jitsi-meet
	workQueue = 256              // session events that wait for the session goroutine; overflow ends the client
	maxNotes  = 50               // remarks kept; more are dropped
	pingEvery = 10 * time.Second
)

// Config says who joins what, and how.
type Config struct {
	URL    string // wss://host/xmpp-websocket; ?room= is added
	Domain string // XMPP domain of the services
	Guest  string // domain for anonymous users, "": Domain
	MUC    string // "": conference.Domain
	Focus  string // "": focus.Domain
	Room   string // node of the room
	Nick   string // display name

	User, Password string // SASL PLAIN on Domain; "": ANONYMOUS on Guest

	Insecure    bool // accept any certificate
	AnyTarget   bool // allow media WebSockets that are not on this machine
	NoSM        bool // no stream management
	NoRewriting bool // do not announce SSRC rewriting
	XMLSources  bool // do not announce sources in JSON
	NoAudio     bool
	NoVideo     bool
	NoSimulcast bool // one layer of 720p

	LossUp, LossDown float64 // share of packets to lose on purpose, 0..1

	Constraints ReceiverConstraints      // what to ask of the bridge first
	Speaks      func(now time.Time) bool // whether the microphone hears speech now; nil: always
	Logger      *slog.Logger             // nil: discard

	// Media takes the media of the client instead of a PeerConnection. The client then knows no more of the room than it needs to stay in it,
	// so that many of them are cheap, and opens the bridge channel over WebSocket.
	Media Media
	Video string            // codec that Media sends and takes: VP8 (also ""), VP9
	Step  func(name string) // is told of each milestone, once; may be nil
}

// Media is what a client hands its session's media to. Its methods are called from one goroutine.
type Media interface {
	// Start begins with what the focus offers, for the client with that endpoint id. It returns the own side and what is sent.
	Start(id string, s *Session) (Transport, []LocalSource, error)
	// Limit says how many lines of an own source the bridge wants, 0 for nothing.
	Limit(source string, maxHeight int)
	// Stop ends what Start began.
	Stop()
}

func (c *Config) muc() string   { return or(c.MUC, "conference."+c.Domain) }
func (c *Config) focus() string { return or(c.Focus, "focus."+c.Domain) }
func (c *Config) room() string  { return strings.ToLower(c.Room) + "@" + c.muc() }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Step is one milestone of a join, and when it was reached after the start.
type Step struct {
	Name string
	At   time.Duration
}

// Client is one participant. Join makes it; all methods may be called from any goroutine.
type Client struct {
	cfg    Config
	log    *slog.Logger
	conn   *conn
	jid    string // full JID
	id     string // endpoint id and nick
	number uint32 // id as a number, for stamps

	ctx     context.Context
	cancel  context.CancelCauseFunc
	wg      sync.WaitGroup
	started time.Time
	work    chan func(context.Context)
	nextID  atomic.Uint64
	muted   atomic.Bool
	sent    sentCounter
	joined  chan error    // self presence or refusal
	left    chan struct{} // own unavailable presence came back
	channel chan struct{} // bridge channel is open
	call    *call         // owned by the session goroutine

	mu         sync.Mutex // guards all below
	pending    map[string]chan *Element
	steps      []Step
	occupants  map[string]bool
	focusSeen  bool
	streams    map[uint32]*recvStream
	source     map[uint32]Source
	messages   map[string]int
	forwarded  []string
	dominant   string
	downlink   uint64
	senderMax  map[string]int
	bridgeSend func([]byte) error
	screen     bool
	terminated int
	notes      []string
	isLeft     bool
}

// Join enters a meeting. It returns when the room has let the client in; media follow when the focus invites (see WaitMedia).
func Join(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, log: cfg.Logger, started: time.Now(), work: make(chan func(context.Context), workQueue), joined: make(chan error, 1),
		left: make(chan struct{}), channel: make(chan struct{}), pending: make(map[string]chan *Element), occupants: make(map[string]bool),
		streams: make(map[uint32]*recvStream), source: make(map[uint32]Source), messages: make(map[string]int), senderMax: make(map[string]int)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	if err := c.login(ctx); err != nil {
		c.Close()
		return nil, err
	}
	c.wg.Go(c.readLoop)
	c.wg.Go(c.session)
	c.wg.Go(c.keepAlive)
	if err := c.enter(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// login opens the stream up to a bound resource with stream management.
func (c *Client) login(ctx context.Context) error {
	if err := c.cfg.checkURL(c.cfg.URL); err != nil {
		return err
	}
	sep := "?"
	if strings.Contains(c.cfg.URL, "?") {
		sep = "&"
	}
	var err error
	if c.conn, err = dial(ctx, c.cfg.URL+sep+"room="+strings.ToLower(c.cfg.Room), c.cfg.Insecure); err != nil {
		return err
	}
	c.step("dial")
	to := c.cfg.Domain
	if c.cfg.User == "" {
		to = or(c.cfg.Guest, c.cfg.Domain)
	}
	f, err := c.conn.open(ctx, to)
	if err != nil {
		return err
	}
	if err = c.conn.auth(ctx, f, c.cfg.User, c.cfg.Password); err != nil {
		return err
	}
	if f, err = c.conn.open(ctx, to); err != nil {
		return err
	}
	c.step("sasl")
	if err = c.conn.send(ctx, fmt.Sprintf("<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='%s'/></iq>", nsBind)); err != nil {
		return err
	}
	for c.jid == "" {
		e, err := c.conn.read(ctx)
		if err != nil {
			return err
		}
		switch {
		case e.Name.Local == "iq" && e.Attr("id") == "bind":
			if j := e.Child(nsBind, "bind").Child(nsBind, "jid"); e.Attr("type") == "result" && j != nil {
				c.jid = j.Text
			} else {
				return fmt.Errorf("meet: bind: %w", stanzaError(e))
			}
		case e.Name.Local == "message": // services pushed before the result
		default:
			return fmt.Errorf("meet: <%s> while binding", e.Name.Local)
		}
	}
	if err := c.chooseID(); err != nil {
		return err
	}
	c.step("bind")
	if f.Child(nsSM, "sm") == nil || c.cfg.NoSM {
		return nil
	}
	if err = c.conn.send(ctx, fmt.Sprintf("<enable xmlns='%s' resume='true'/>", nsSM)); err != nil {
		return err
	}
	for {
		e, err := c.conn.read(ctx)
		if err != nil {
			return err
		}
		if e.Name.Space == nsSM {
			if e.Name.Local != "enabled" {
				return fmt.Errorf("meet: <%s> instead of <enabled>", e.Name.Local)
			}
			c.conn.smOn = true
			return nil
		}
	}
}

// chooseID makes the endpoint id as lib-jitsi-meet does: the first 8 characters of an anonymous account, else 8 random hex digits.
func (c *Client) chooseID() error {
	if c.cfg.User == "" && len(c.jid) > 8 {
		c.id = c.jid[:8]
		if n, err := strconv.ParseUint(c.id, 16, 32); err == nil {
			c.number = uint32(n)
			return nil
		}
		c.note("anonymous account does not begin with 8 hex digits: " + c.jid)
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	c.id = hex.EncodeToString(b[:])
	n, err := strconv.ParseUint(c.id, 16, 32)
	c.number = uint32(n)
	return err
}

// enter does what lib-jitsi-meet does between binding and being in the room.
func (c *Client) enter(ctx context.Context) error {
	if _, err := c.iq(ctx, c.cfg.Domain, "get", fmt.Sprintf("<services xmlns='%s'/>", nsExtdisco)); err != nil {
		c.note("extdisco: " + err.Error()) // no TURN then
	}
	if _, err := c.iq(ctx, c.cfg.Domain, "get", fmt.Sprintf("<query xmlns='%s'/>", nsDisco)); err != nil {
		c.note("disco#info: " + err.Error()) // lib-jitsi-meet goes on without the optional components
	}
	c.step("disco")
	if err := c.request(ctx); err != nil {
		return err
	}
	c.step("conference")
	if err := c.conn.send(ctx, c.presence(true)); err != nil {
		return err
	}
	select {
	case err := <-c.joined:
		if err != nil {
			return fmt.Errorf("meet: join: %w", err)
		}
	case <-ctx.Done():
		return fmt.Errorf("meet: join: no self presence: %w", ctx.Err())
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	c.step("joined")
	return nil
}

// request asks the focus for the conference until it is ready.
func (c *Client) request(ctx context.Context) error {
	machine := make([]byte, 16)
	if _, err := rand.Read(machine); err != nil {
		return err
	}
	body := fmt.Sprintf("<conference xmlns='%s' room='%s' machine-uid='%x'><property name='rtcstatsEnabled' value='false'/><property name='visitors-version' value='1'/></conference>",
		nsFocus, esc(c.cfg.room()), machine)
	for wait := time.Second; ; wait *= 2 {
		e, err := c.iq(ctx, c.cfg.focus(), "set", body)
		if err != nil {
			return fmt.Errorf("meet: conference request: %w", err)
		}
		if e.Child(nsFocus, "conference").attrOf("ready") == "true" {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// features are what lib-jitsi-meet announces, as far as this client has it.
func (c *Client) features() []string {
	f := []string{"http://jitsi.org/receive-multiple-video-streams", "http://jitsi.org/source-name", "http://jitsi.org/tcc", nsDisco, "urn:ietf:rfc:4588",
		"urn:ietf:rfc:5761", "urn:ietf:rfc:5888", nsDTLS, nsRTP, "urn:xmpp:jingle:apps:rtp:audio", "urn:xmpp:jingle:apps:rtp:video", nsJingle,
		nsICE, nsPing}
	if c.cfg.Media == nil {
		f = append(f, nsSCTP)
	}
	if !c.cfg.NoRewriting {
		f = append(f, "http://jitsi.org/ssrc-rewriting-1")
	}
	if !c.cfg.XMLSources {
		f = append(f, "http://jitsi.org/json-encoded-sources")
	}
	slices.Sort(f)
	return f
}

const capsNode = "https://jitsi.org/jitsi-meet"

// caps is the verification string of the features (XEP-0115 §5.1).
func (c *Client) caps() string {
	h := sha1.New() // what the protocol asks for
	h.Write([]byte("client/web//konzil-bench<" + strings.Join(c.features(), "<") + "<"))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// presence writes the client's full presence; join asks to enter.
func (c *Client) presence(join bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<presence xmlns='jabber:client' to='%s/%s'>", esc(c.cfg.room()), c.id)
	if join {
		fmt.Fprintf(&b, "<x xmlns='%s'/>", nsMUC)
	}
	info := fmt.Sprintf(`{"%s-a0":{"muted":%t},"%s-v0":{"muted":%t}`, c.id, c.cfg.NoAudio || c.muted.Load(), c.id, c.cfg.NoVideo)
	c.mu.Lock()
	if c.screen {
		info += fmt.Sprintf(`,"%s-v1":{"muted":false,"videoType":"desktop"}`, c.id)
	}
	c.mu.Unlock()
	fmt.Fprintf(&b, "<stats-id>konzil-bench</stats-id><c xmlns='%s' hash='sha-1' node='%s' ver='%s'/><SourceInfo>%s</SourceInfo><jitsi_participant_codecList>vp8</jitsi_participant_codecList><nick xmlns='%s'>%s</nick></presence>",
		nsCaps, capsNode, esc(c.caps()), esc(info+"}"), nsNick, esc(or(c.cfg.Nick, c.id)))
	return b.String()
}

// readLoop takes everything that the server sends.
func (c *Client) readLoop() {
	for {
		b, err := c.conn.frame(c.ctx)
		if err == nil && c.cfg.Media != nil && c.ofOthers(b) {
			c.conn.counted()
			continue
		}
		var e *Element
		if err == nil {
			e, err = element(b)
		}
		if err != nil {
			c.fail(fmt.Errorf("meet: stream: %w", err))
			return
		}
		switch e.Name.Local {
		case "iq", "presence", "message":
			c.conn.counted()
		}
		switch {
		case e.Name.Space == nsSM && e.Name.Local == "r":
			err = c.conn.ack(c.ctx)
		case e.Name.Local == "iq":
			err = c.gotIQ(e)
		case e.Name.Local == "presence":
			c.gotPresence(e)
		case e.Name.Space == nsFraming && e.Name.Local == "close":
			err = errors.New("meet: server closed the stream")
		case e.Name.Local == "error":
			err = fmt.Errorf("meet: stream error: %w", stanzaErrorOf(e))
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// ofOthers says whether a frame is a presence that tells nothing about the client itself. In a room of n there are n*n of them while it fills.
func (c *Client) ofOthers(b []byte) bool {
	return bytes.HasPrefix(b, []byte("<presence")) && !bytes.Contains(b, []byte("/"+c.id)) && !bytes.Contains(b, []byte("/focus")) &&
		!bytes.Contains(b, []byte("<error")) && !bytes.Contains(b, []byte("110"))
}

func (c *Client) gotIQ(e *Element) error {
	id, from := e.Attr("id"), e.Attr("from")
	if t := e.Attr("type"); t == "result" || t == "error" {
		c.mu.Lock()
		ch := c.pending[id]
		delete(c.pending, id)
		c.mu.Unlock()
		if ch != nil {
			ch <- e
		}
		return nil
	}
	reply := func(typ, body string) error {
		return c.conn.send(c.ctx, fmt.Sprintf("<iq xmlns='jabber:client' type='%s' id='%s' to='%s'>%s</iq>", typ, esc(id), esc(from), body))
	}
	if j := e.Child(nsJingle, "jingle"); j != nil {
		if from != c.cfg.room()+"/focus" { // peer-to-peer sessions are declined
			return reply("error", fmt.Sprintf("<error type='cancel'><service-unavailable xmlns='%s'/></error>", nsStanzaErr))
		}
		c.post(func(ctx context.Context) { c.jingle(ctx, from, j) })
		return reply("result", "")
	}
	if q := e.Child(nsDisco, "query"); q != nil {
		var b strings.Builder
		fmt.Fprintf(&b, "<query xmlns='%s'", nsDisco)
		if n := q.Attr("node"); n != "" {
			fmt.Fprintf(&b, " node='%s'", esc(n))
		}
		b.WriteString("><identity category='client' type='web' name='konzil-bench'/>")
		for _, f := range c.features() {
			fmt.Fprintf(&b, "<feature var='%s'/>", esc(f))
		}
		b.WriteString("</query>")
		return reply("result", b.String())
	}
	if e.Child(nsPing, "ping") != nil {
		return reply("result", "")
	}
	return reply("error", fmt.Sprintf("<error type='cancel'><service-unavailable xmlns='%s'/></error>", nsStanzaErr))
}

func (c *Client) gotPresence(e *Element) {
	room, nick, _ := strings.Cut(e.Attr("from"), "/")
	if room != c.cfg.room() {
		return
	}
	typ := e.Attr("type")
	if typ == "error" {
		select {
		case c.joined <- stanzaError(e):
		default:
		}
		return
	}
	self := nick == c.id
	x := e.Child(nsMUCUser, "x")
	for _, s := range x.All(nsMUCUser, "status") {
		self = self || s.Attr("code") == "110"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if typ == "unavailable" {
		delete(c.occupants, nick)
		if self && !c.isLeft {
			c.isLeft = true
			close(c.left)
		}
		return
	}
	switch {
	case self:
		select {
		case c.joined <- nil:
		default:
		}
	case nick == "focus":
		c.focusSeen = true
	default:
		c.occupants[nick] = true
	}
	if x.Child(nsMUCUser, "item").attrOf("jid") == "" && len(c.notes) < maxNotes {
		c.notes = append(c.notes, "presence without a real JID: "+nick)
	}
}

// iq sends a request and waits for its result; an error reply is returned as an error.
func (c *Client) iq(ctx context.Context, to, typ, body string) (*Element, error) {
	id := "m" + strconv.FormatUint(c.nextID.Add(1), 10)
	ch := make(chan *Element, 1)
	c.mu.Lock()
	c.pending[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	if err := c.conn.send(ctx, fmt.Sprintf("<iq xmlns='jabber:client' type='%s' id='%s' to='%s'>%s</iq>", typ, id, esc(to), body)); err != nil {
		return nil, err
	}
	t := time.NewTimer(iqTimeout)
	defer t.Stop()
	select {
	case e := <-ch:
		if e.Attr("type") == "error" {
			return nil, stanzaError(e)
		}
		return e, nil
	case <-t.C:
		return nil, fmt.Errorf("no answer from %s within %v", to, iqTimeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

func stanzaError(e *Element) error {
	x := e.Child("", "error")
	if x == nil {
		return errors.New("error without a reason")
	}
	return stanzaErrorOf(x)
}

func stanzaErrorOf(x *Element) error {
	s := x.Attr("type")
	for _, ch := range x.Children {
		s += " " + ch.Name.Local
		if ch.Text != "" {
			s += " " + strconv.Quote(ch.Text)
		}
	}
	return errors.New(strings.TrimSpace(s))
}

// keepAlive pings the server as lib-jitsi-meet does.
func (c *Client) keepAlive() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-t.C:
		}
		if _, err := c.iq(c.ctx, c.cfg.Domain, "get", fmt.Sprintf("<ping xmlns='%s'/>", nsPing)); err != nil && c.ctx.Err() == nil {
			c.note("ping: " + err.Error())
		}
	}
}

// step notes a milestone the first time that it is reached.
func (c *Client) step(name string) {
	at := time.Since(c.started)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.steps {
		if s.Name == name {
			return
		}
	}
	c.steps = append(c.steps, Step{name, at})
	if c.cfg.Step != nil {
		c.cfg.Step(name)
	}
}

func (c *Client) note(s string) {
	c.log.Info("note", "client", c.id, "what", s)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notes) < maxNotes {
		c.notes = append(c.notes, s)
	}
}

func (c *Client) fail(err error) { c.cancel(err) }

func (c *Client) speaks(now time.Time) bool { return c.cfg.Speaks == nil || c.cfg.Speaks(now) }

func (c *Client) stream(ssrc uint32, kind string) *recvStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[ssrc]
	if s == nil {
		s = &recvStream{}
		s.r.SSRC, s.r.Kind = ssrc, kind
		c.streams[ssrc] = s
	}
	return s
}

// maxHeight is the bridge's constraint on an own source, -1 before it said any.
func (c *Client) maxHeight(source string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.senderMax[source]; ok {
		return h
	}
	return -1
}

// ID is the endpoint id.
func (c *Client) ID() string { return c.id }

// Number is the sender in the stamps of the client's media.
func (c *Client) Number() uint32 { return c.number }

// Mute stops or starts the microphone's packets, and says so in the presence.
func (c *Client) Mute(ctx context.Context, on bool) error {
	c.muted.Store(on)
	return c.conn.send(ctx, c.presence(false))
}

// WaitMedia waits until the bridge channel is open, which is the last thing to come.
func (c *Client) WaitMedia(ctx context.Context) error {
	select {
	case <-c.channel:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("meet: no media: %w", ctx.Err())
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// Done is closed when the client has ended, and Err says why.
func (c *Client) Done() <-chan struct{} { return c.ctx.Done() }

// Err is why the client has ended, nil while it has not.
func (c *Client) Err() error { return context.Cause(c.ctx) }

// Snapshot is what a client knows.
type Snapshot struct {
	ID         string
	Steps      []Step
	Occupants  int // others, without the focus
	Sent       Sent
	Received   []Received
	Forwarded  []string       // as the bridge said last
	Messages   map[string]int // bridge messages by class
	Dominant   string
	Downlink   uint64         // the bridge's estimate, bit/s
	SenderMax  map[string]int // the bridge's constraints on own sources
	Terminated int            // sessions that the focus ended
	Notes      []string       // things that were not as expected
}

// Snapshot returns the counters of this moment.
func (c *Client) Snapshot() Snapshot {
	c.mu.Lock()
	s := Snapshot{ID: c.id, Steps: slices.Clone(c.steps), Occupants: len(c.occupants), Sent: c.sent.snapshot(), Forwarded: slices.Clone(c.forwarded),
		Messages: make(map[string]int), Dominant: c.dominant, Downlink: c.downlink, SenderMax: make(map[string]int), Terminated: c.terminated,
		Notes: slices.Clone(c.notes)}
	for k, v := range c.messages {
		s.Messages[k] = v
	}
	for k, v := range c.senderMax {
		s.SenderMax[k] = v
	}
	streams := make([]*recvStream, 0, len(c.streams))
	for _, st := range c.streams {
		streams = append(streams, st)
	}
	c.mu.Unlock()
	for _, st := range streams {
		r := st.snapshot()
		c.mu.Lock()
		src := c.source[r.SSRC]
		c.mu.Unlock()
		r.Source, r.Owner = src.Name, src.Owner
		s.Received = append(s.Received, r)
	}
	slices.SortFunc(s.Received, func(a, b Received) int { return strings.Compare(a.Kind+a.Source, b.Kind+b.Source) })
	return s
}

// Leave ends the session, leaves the room, closes the stream, and waits for all goroutines.
func (c *Client) Leave(ctx context.Context) error {
	defer c.Close()
	done := make(chan struct{})
	c.post(func(ctx context.Context) {
		defer close(done)
		if c.call == nil {
			return
		}
		body := fmt.Sprintf("<jingle xmlns='%s' action='session-terminate' initiator='%s' sid='%s'><reason><success/></reason><bridge-session xmlns='%s' id='%s' restart='false'/></jingle>",
			nsJingle, esc(c.call.s.Initiator), esc(c.call.s.SID), nsFocus, esc(c.call.s.BridgeID))
		if _, err := c.iq(ctx, c.cfg.room()+"/focus", "set", body); err != nil {
			c.note("session-terminate: " + err.Error())
		}
		c.closeCall(c.call)
		c.call = nil
	})
	select {
	case <-done:
	case <-ctx.Done():
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	if err := c.conn.send(ctx, fmt.Sprintf("<presence xmlns='jabber:client' to='%s/%s' type='unavailable'/>", esc(c.cfg.room()), c.id)); err != nil {
		return err
	}
	select {
	case <-c.left:
	case <-ctx.Done():
		return fmt.Errorf("meet: leave: no own unavailable presence: %w", ctx.Err())
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	if err := c.conn.send(ctx, fmt.Sprintf("<close xmlns='%s'/>", nsFraming)); err != nil {
		return err
	}
	return nil
}

// errClosed is Err after Close.
var errClosed = errors.New("meet: closed")

// Close drops the connection without saying goodbye, as a crashed browser does, and waits for all goroutines.
func (c *Client) Close() {
	c.cancel(errClosed)
	if c.conn != nil {
		_ = c.conn.ws.CloseNow() // nobody is left to tell
	}
	c.wg.Wait()
}

// checkURL refuses targets that are not on this machine unless the user has said that they are theirs.
func (c *Config) checkURL(raw string) error {
	if c.AnyTarget {
		return nil
	}
	return Loopback(raw)
}

func dialBridge(ctx context.Context, url string, insecure bool) (*websocket.Conn, error) {
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: httpClient(insecure)})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxFrame)
	return ws, nil
}
