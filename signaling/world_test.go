package signaling

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a router with one room service, one focus and clients, all in memory and in one synctest bubble.
type world struct {
	t      *testing.T
	focus  *Focus
	bridge *fakeBridge

	mu      sync.Mutex // guards rooms, clients' inboxes
	rooms   map[string]*fakeRoom
	clients map[stanza.JID]*client
	muc     xmpp.Handler  // the real room service instead of the small one
	real    bool          // real time and sockets, no bubble
	refuse  *stanza.Error // the room service's answer to a join of the focus
	silent  bool          // the room service does not answer
}

type fakeRoom struct {
	jid  stanza.JID
	occ  []*occupant
	form string // meeting id
}

type occupant struct {
	nick, affiliation, role string
	real                    stanza.JID
	payload                 []*stanza.Element
}

func inWorld(t *testing.T, cfg Config, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, bridge: newFakeBridge(), rooms: map[string]*fakeRoom{}, clients: map[stanza.JID]*client{}}
		cfg.Domain = "meet.example"
		var err error
		if w.focus, err = New(cfg, w, w.bridge, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		f(t, w)
		if err := w.focus.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// Route implements xmpp.Router.
func (w *world) Route(st *stanza.Stanza) {
	if st.From.IsZero() || st.To.IsZero() {
		w.t.Errorf("stanza without addresses: %s", st)
		return
	}
	switch st.To.Domain() {
	case "focus.meet.example", "auth.meet.example":
		w.focus.HandleStanza(st)
	case "conference.meet.example":
		if w.muc != nil {
			w.muc.HandleStanza(st)
			return
		}
		for _, out := range w.room(st) {
			w.Route(out)
		}
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		if c := w.clients[st.To]; c != nil {
			c.inbox = append(c.inbox, st)
		}
	}
}

// room is a very small room service: joins, presence to all, private iqs, the room's disco#info, affiliations.
func (w *world) room(st *stanza.Stanza) []*stanza.Stanza {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent {
		return nil
	}
	r := w.rooms[st.To.Local()]
	if r == nil {
		if w.refuse != nil {
			return []*stanza.Stanza{st.ErrorReply(w.refuse)}
		}
		r = &fakeRoom{jid: st.To.Bare(), form: "id-of-" + st.To.Local()}
		w.rooms[st.To.Local()] = r
	}
	switch {
	case st.Kind == stanza.Presence && st.Type == "unavailable":
		return r.leave(st)
	case st.Kind == stanza.Presence:
		return r.join(st)
	case st.Kind == stanza.IQ && st.To.IsBare():
		return r.iq(st)
	case st.Kind == stanza.IQ:
		from, to := r.byReal(st.From), r.byNick(st.To.Resource())
		if from == nil || to == nil {
			if e := st.ErrorReply(stanza.ErrItemNotFound); e != nil {
				return []*stanza.Stanza{e}
			}
			return nil
		}
		return []*stanza.Stanza{st.WithFromTo(r.addr(from), to.real)}
	}
	return nil
}

func (r *fakeRoom) addr(o *occupant) stanza.JID {
	j, err := r.jid.WithResource(o.nick)
	if err != nil {
		panic(err)
	}
	return j
}

func (r *fakeRoom) byReal(j stanza.JID) *occupant {
	for _, o := range r.occ {
		if o.real == j {
			return o
		}
	}
	return nil
}

func (r *fakeRoom) byNick(n string) *occupant {
	for _, o := range r.occ {
		if o.nick == n {
			return o
		}
	}
	return nil
}

func (r *fakeRoom) presenceOf(o *occupant, to *occupant, typ string) *stanza.Stanza {
	x := stanza.NewElement(nsMUCUser, "x").Add(stanza.NewElement(nsMUCUser, "item", "affiliation", o.affiliation, "role", o.role, "jid", o.real.String()))
	if o == to {
		x.Add(stanza.NewElement(nsMUCUser, "status", "code", "110"))
	}
	return stanza.NewPresence(typ, r.addr(o), to.real, append([]*stanza.Element{x}, o.payload...)...)
}

func (r *fakeRoom) join(st *stanza.Stanza) []*stanza.Stanza {
	var out []*stanza.Stanza
	o := r.byReal(st.From)
	if o == nil {
		o = &occupant{nick: st.To.Resource(), real: st.From, affiliation: "none", role: "participant"}
		if o.nick == "focus" {
			o.affiliation, o.role = "owner", "moderator"
		}
		r.occ = append(r.occ, o)
		for _, x := range r.occ {
			if x != o {
				out = append(out, r.presenceOf(x, o, ""))
			}
		}
	}
	o.payload = nil
	for _, el := range st.Payload() {
		if el.Space != nsMUC {
			o.payload = append(o.payload, el)
		}
	}
	for _, x := range r.occ {
		out = append(out, r.presenceOf(o, x, ""))
	}
	return out
}

func (r *fakeRoom) leave(st *stanza.Stanza) []*stanza.Stanza {
	o := r.byReal(st.From)
	if o == nil {
		return nil
	}
	var out []*stanza.Stanza
	var rest []*occupant
	for _, x := range r.occ {
		out = append(out, r.presenceOf(o, x, "unavailable"))
		if x != o {
			rest = append(rest, x)
		}
	}
	r.occ = rest
	return out
}

func (r *fakeRoom) iq(st *stanza.Stanza) []*stanza.Stanza {
	switch {
	case st.Has(nsDiscoInfo, "query"):
		form := stanza.NewElement(nsForm, "x", "type", "result").Add(stanza.NewElement(nsForm, "field", "var", "muc#roominfo_meetingId").Add(stanza.TextElement(nsForm, "value", r.form)))
		return []*stanza.Stanza{st.Result(stanza.NewElement(nsDiscoInfo, "query").Add(form))}
	case st.Has(nsMUCAdmin, "query"):
		item := st.Child(nsMUCAdmin, "query").Child(nsMUCAdmin, "item")
		out := []*stanza.Stanza{st.Result()}
		for _, o := range r.occ {
			if o.real.Bare().String() == item.Attr("jid") {
				o.affiliation, o.role = item.Attr("affiliation"), "moderator"
				for _, x := range r.occ {
					out = append(out, r.presenceOf(o, x, ""))
				}
			}
		}
		return out
	}
	return []*stanza.Stanza{st.ErrorReply(stanza.ErrServiceUnavailable)}
}

// occupants is how many are in the test room.
func (w *world) occupants() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.rooms["standup"].occ)
}

// client is a Jitsi client at the level of stanzas.
type client struct {
	w     *world
	nick  string
	real  stanza.JID
	inbox []*stanza.Stanza // what was not looked at yet
	seq   int
	feats []string
	sid   string
	alloc string
}

// Features of a current web client, and of gst-meet.
var (
	webFeatures = []string{featAudio, featVideo, featSCTP, featJSON, featRewriting, featMIDDemux, featTCC, featRTX}
	gstFeatures = []string{featAudio, featVideo, featTCC, featRTX}
	// jsonFeatures are of a web client in a deployment without rewriting.
	jsonFeatures = []string{featAudio, featVideo, featSCTP, featJSON, featTCC, featRTX}
)

func (w *world) client(nick string, features []string) *client {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clientLocked(nick, features)
}

func (w *world) clientLocked(nick string, features []string) *client {
	j := stanza.MustJID(nick + "-0000-4000-8000-000000000000@meet.example/res")
	c := &client{w: w, nick: nick, real: j, feats: features}
	w.clients[j] = c
	return c
}

const testRoom = "standup@conference.meet.example"

// settle waits until everybody in the bubble is at rest.
func (w *world) settle() {
	if !w.real {
		synctest.Wait()
	}
}

func (c *client) send(st *stanza.Stanza) { c.w.Route(st); c.w.settle() }

func (c *client) iq(typ, to string, payload ...*stanza.Element) *stanza.Stanza {
	c.w.t.Helper()
	c.seq++
	id := fmt.Sprintf("c%d", c.seq)
	c.send(stanza.NewIQ(typ, id, c.real, stanza.MustJID(to), payload...))
	return c.take("answer to "+id, func(st *stanza.Stanza) bool {
		return st.Kind == stanza.IQ && st.ID == id && (st.Type == "result" || st.Type == "error")
	})
}

// find takes the first stanza that is right out of the inbox, or gives nil.
func (c *client) find(is func(*stanza.Stanza) bool) *stanza.Stanza {
	c.w.settle()
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	for i, st := range c.inbox {
		if is(st) {
			c.inbox = append(c.inbox[:i:i], c.inbox[i+1:]...)
			return st
		}
	}
	return nil
}

func (c *client) take(what string, is func(*stanza.Stanza) bool) *stanza.Stanza {
	c.w.t.Helper()
	wait := time.Duration(0) // in simulated time find waits by itself
	if c.w.real {
		wait = 10 * time.Second
	}
	var st *stanza.Stanza
	if await.Within(wait, time.Millisecond, func() bool { st = c.find(is); return st != nil }) {
		return st
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	var all []string
	for _, st := range c.inbox {
		all = append(all, st.String())
	}
	c.w.t.Fatalf("%s got no %s; it has:\n%s", c.nick, what, strings.Join(all, "\n"))
	return nil
}

func isJingle(action string) func(*stanza.Stanza) bool {
	return func(st *stanza.Stanza) bool {
		return st.Kind == stanza.IQ && st.Type == "set" && st.Child(jingle.NS, "jingle").Attr("action") == action
	}
}

func (c *client) request() *stanza.Stanza {
	c.w.t.Helper()
	return c.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", testRoom, "machine-uid", "m-"+c.nick))
}

// join enters the room and answers the focus' disco#info, and acknowledges what comes until then.
func (c *client) join(extra ...*stanza.Element) {
	c.w.t.Helper()
	to := stanza.MustJID(testRoom + "/" + c.nick)
	pl := append([]*stanza.Element{stanza.NewElement(nsMUC, "x"),
		stanza.TextElement(stanza.NSClient, "SourceInfo", `{"`+c.nick+`-a0":{"muted":false},"`+c.nick+`-v0":{"muted":false}}`)}, extra...)
	c.send(stanza.NewPresence("", c.real, to, pl...))
	if q := c.find(func(st *stanza.Stanza) bool { return st.Type == "get" && st.Has(nsDiscoInfo, "query") }); q != nil {
		c.send(q.Result(c.disco()))
	}
}

func (c *client) disco() *stanza.Element {
	q := stanza.NewElement(nsDiscoInfo, "query").Add(stanza.NewElement(nsDiscoInfo, "identity", "category", "client", "type", "web", "name", "test"))
	for _, f := range c.feats {
		q.Add(stanza.NewElement(nsDiscoInfo, "feature", "var", f))
	}
	return q
}

func (c *client) leave() {
	c.send(stanza.NewPresence("unavailable", c.real, stanza.MustJID(testRoom+"/"+c.nick)))
}

// offer takes the session-initiate and acknowledges it.
func (c *client) offer() *stanza.Element {
	c.w.t.Helper()
	st := c.take("session-initiate", isJingle("session-initiate"))
	if st.From.String() != testRoom+"/focus" {
		c.w.t.Errorf("offer is from %s", st.From)
	}
	c.send(st.Result())
	j := st.Child(jingle.NS, "jingle")
	c.sid = j.Attr("sid")
	c.alloc = j.Child(jingle.NSFocus, "bridge-session").Attr("id")
	return j
}

func (c *client) jingle(action string, children ...*stanza.Element) *stanza.Stanza {
	c.w.t.Helper()
	return c.iq("set", testRoom+"/focus", stanza.NewElement(jingle.NS, "jingle", "action", action, "sid", c.sid).Add(children...))
}

// contents are audio and video with one source each, SSRCs from base on: audio, video, its RTX.
func (c *client) contents(base uint32) []*stanza.Element {
	set := jingle.SourceSet{
		Sources: []jingle.Source{
			{SSRC: base, Media: jingle.Audio, Name: c.nick + "-a0", MSID: c.nick + "-audio t"},
			{SSRC: base + 1, Media: jingle.Video, Name: c.nick + "-v0", MSID: c.nick + "-video t", VideoType: "camera"},
			{SSRC: base + 2, Media: jingle.Video, Name: c.nick + "-v0", MSID: c.nick + "-video t", VideoType: "camera"},
		},
		Groups: []jingle.Group{{Media: jingle.Video, Semantics: jingle.FID, SSRCs: []uint32{base + 1, base + 2}}},
	}
	return sourceContents(c.nick, set)
}

func sourceContents(nick string, set jingle.SourceSet) []*stanza.Element {
	return jingle.SourceChange("x", "x", "x", []jingle.Owned{{Owner: nick, SourceSet: set}}, false).Children()
}

var clientTransport = jingle.Transport{Ufrag: "cufrag", Pwd: "cpwdcpwdcpwdcpwdcpwdcp",
	Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "active", Value: "AA:BB"}}}

func (c *client) accept(base uint32) {
	c.w.t.Helper()
	cs := c.contents(base)
	cs[0].Add(clientTransport.Element(false))
	if r := c.jingle("session-accept", cs...); r.Type != "result" {
		c.w.t.Fatalf("session-accept of %s: %s", c.nick, r)
	}
}

// fakeBridge remembers what it was asked and answers as told.
type fakeBridge struct {
	mu       sync.Mutex // guards all below
	asked    []*colibri.ConferenceModify
	confs    map[string]map[string]bool
	err      error // answer to creating requests
	errICE   error
	hold     chan struct{} // if not nil, the end of an endpoint takes until it is closed; set before there is any
	listener colibri.Listener
}

func newFakeBridge() *fakeBridge { return &fakeBridge{confs: map[string]map[string]bool{}} }

func (b *fakeBridge) AddListener(l colibri.Listener) { b.listener = l }

func (b *fakeBridge) Modify(_ context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	if b.hold != nil && slices.ContainsFunc(m.Endpoints, func(e colibri.Endpoint) bool { return e.Expire }) {
		<-b.hold
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, m)
	if m.Create {
		if b.err != nil {
			return nil, b.err
		}
		if b.confs[m.MeetingID] != nil {
			return nil, &colibri.Error{Reason: colibri.ReasonConferenceExists}
		}
		b.confs[m.MeetingID] = map[string]bool{}
	}
	eps := b.confs[m.MeetingID]
	if eps == nil {
		return nil, &colibri.Error{Reason: colibri.ReasonConferenceNotFound}
	}
	if m.Expire {
		delete(b.confs, m.MeetingID)
		return &colibri.ConferenceModified{}, nil
	}
	out := &colibri.ConferenceModified{}
	for _, e := range m.Endpoints {
		em := colibri.EndpointModified{ID: e.ID}
		switch {
		case e.Create && b.err != nil:
			return nil, b.err
		case e.Create:
			eps[e.ID] = true
			em.Transport = bridgeTransport(0)
			out.Sources = jingle.SourceSet{Sources: []jingle.Source{
				{SSRC: 901, Media: jingle.Audio, Name: "jvb-a0", MSID: "mixedmslabel mixedlabelaudio0"},
				{SSRC: 902, Media: jingle.Video, Name: "jvb-v0", MSID: "mixedmslabel mixedlabelvideo0"}}}
		case !eps[e.ID]:
			return nil, &colibri.Error{Reason: colibri.ReasonUnknownEndpoint, Endpoint: e.ID}
		case e.Expire:
			delete(eps, e.ID)
		case e.Transport != nil && e.Transport.ICERestart:
			if b.errICE != nil {
				return nil, b.errICE
			}
			em.Transport = bridgeTransport(1)
		}
		out.Endpoints = append(out.Endpoints, em)
	}
	return out, nil
}

func bridgeTransport(gen int) *jingle.Transport {
	return &jingle.Transport{Ufrag: fmt.Sprintf("bufrag%d", gen), Pwd: "bpwdbpwdbpwdbpwdbpwdbp", SCTPPort: 5000, Generation: gen,
		Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "actpass", Value: "CC:DD"}},
		WebSockets:   []string{"wss://meet.example/colibri-ws/s/c/e?pwd=x"},
		Candidates: []jingle.Candidate{{Foundation: "1", Component: 1, Protocol: "udp", Priority: 2130706431, Type: "host",
			Addr: netip.MustParseAddrPort("203.0.113.5:10000")}}}
}

// endpoints are those the bridge has now, of the only conference.
func (b *fakeBridge) endpoints() map[string]bool {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]bool{}
	for _, eps := range b.confs {
		for e := range eps {
			out[e] = true
		}
	}
	return out
}

func (b *fakeBridge) conferences() int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.confs)
}

// last is the newest request about an endpoint for which is holds.
func (b *fakeBridge) last(id string, is func(colibri.Endpoint) bool) *colibri.Endpoint {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.asked) - 1; i >= 0; i-- {
		for _, e := range b.asked[i].Endpoints {
			if e.ID == id && is(e) {
				return &e
			}
		}
	}
	return nil
}
