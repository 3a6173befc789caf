package signaling

import (
	"context"
	"log/slog"
	"sync"

	"konzil/internal/finish"
	"konzil/signaling/colibri"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Focus starts and runs meetings. Mount it on Config.FocusDomain and on the domain of Config.FocusUser.
type Focus struct {
	cfg    Config
	router xmpp.Router
	bridge colibri.Bridge
	log    *slog.Logger
	domain stanza.JID // focus.D
	user   stanza.JID // focus@auth.D
	self   stanza.JID // focus@auth.D/focus
	auth   *sessions
	caps   *capsCache
	fec    bool // the bridge sends repair packets, and may
	count  counters
	asks   asks // of services, across meetings

	jibris, jigasis *brewery // nil for none

	mu       sync.Mutex // guards meetings, byID, empty, closed, and the requester of each meeting
	meetings map[stanza.JID]*meeting
	byID     map[string]*meeting // by meeting id, once known
	empty    map[string]int      // meetings without members, by requester
	closed   bool
	wg       sync.WaitGroup // one per meeting
}

// New makes a focus; the error is for an address in cfg that is none.
func New(cfg Config, router xmpp.Router, bridge colibri.Bridge, log *slog.Logger) (*Focus, error) {
	cfg.setDefaults()
	f := &Focus{cfg: cfg, router: router, bridge: bridge, log: log, auth: newSessions(), caps: newCapsCache(),
		meetings: map[stanza.JID]*meeting{}, byID: map[string]*meeting{}, empty: map[string]int{}}
	var err error
	if f.domain, err = stanza.ParseJID(cfg.FocusDomain); err != nil {
		return nil, err
	}
	if f.user, err = stanza.ParseJID(cfg.FocusUser); err != nil {
		return nil, err
	}
	if f.self, err = f.user.WithResource("focus"); err != nil {
		return nil, err
	}
	if f.jibris, err = newBrewery(f, cfg.JibriBrewery); err != nil {
		return nil, err
	}
	if f.jigasis, err = newBrewery(f, cfg.JigasiBrewery); err != nil {
		return nil, err
	}
	if n, ok := bridge.(colibri.Notifier); ok {
		n.AddListener(f)
	}
	if p, ok := bridge.(colibri.Protector); ok {
		f.fec = p.SendsFEC() && !cfg.DisableFEC
	}
	return f, nil
}

// Start enters the breweries, once the focus is mounted.
func (f *Focus) Start() {
	for _, b := range []*brewery{f.jibris, f.jigasis} {
		if b != nil {
			b.join()
		}
	}
}

// HandleStanza takes what is addressed to the focus. It never blocks.
func (f *Focus) HandleStanza(st *stanza.Stanza) {
	f.count.stanzas.Add(1)
	brewery := f.breweryOf(st.From.Bare())
	room, inRoom := f.cfg.meetingOf(st.From.Bare())
	switch {
	case brewery != nil && st.To.Bare() == f.user:
		f.fromBrewery(brewery, st)
	case st.To.Bare() == f.user && inRoom:
		f.fromRoom(room, st)
	case st.To.Bare() == f.user && st.Kind == stanza.Message:
		f.fromComponent(st)
	case st.Kind == stanza.IQ && (st.Type == "get" || st.Type == "set"):
		f.handleIQ(st)
	}
}

// fromRoom takes what an occupant of the meeting in room says, or a visitor of it.
func (f *Focus) fromRoom(room stanza.JID, st *stanza.Stanza) {
	m := f.meeting(room)
	if m == nil {
		f.refuse(st, stanza.ErrItemNotFound)
		return
	}
	limit := maxStanzas
	switch {
	case st.Kind == stanza.Presence && st.Type == "unavailable", st.Kind == stanza.IQ && (st.Type == "result" || st.Type == "error"):
		limit = maxEvents
	case st.Kind == stanza.IQ:
		limit = maxRequests
	case st.Kind == stanza.Message:
		return // chat is none of our business
	}
	if !m.box.put(func() { m.handle(st) }, limit) {
		f.count.overflow.Add(1)
		f.refuse(st, stanza.ErrResourceConstraint)
	}
}

// refuse answers an iq request with err; other stanzas go unanswered.
func (f *Focus) refuse(st *stanza.Stanza, err *stanza.Error) {
	if st.Kind != stanza.IQ {
		return
	}
	if r := st.ErrorReply(err); r != nil {
		f.router.Route(r)
	}
}

// handleIQ answers what is asked of the focus itself, not of a meeting.
func (f *Focus) handleIQ(st *stanza.Stanza) {
	switch st.First() {
	case stanza.Name{Space: nsFocus, Local: "conference"}:
		f.handleConference(st)
	case stanza.Name{Space: nsFocus, Local: "login-url"}:
		f.handleLoginURL(st)
	case stanza.Name{Space: nsFocus, Local: "logout"}:
		f.handleLogout(st)
	default:
		f.router.Route(answerCommon(st))
	}
}

// answerCommon answers disco#info and ping, and refuses the rest.
func answerCommon(st *stanza.Stanza) *stanza.Stanza {
	if st.Type == "get" {
		switch st.First() {
		case stanza.Name{Space: nsDiscoInfo, Local: "query"}:
			q := stanza.NewElement(nsDiscoInfo, "query", "node", st.Child(nsDiscoInfo, "query").Attr("node"))
			q.Add(stanza.NewElement(nsDiscoInfo, "identity", "category", "component", "type", "generic", "name", "focus"))
			for _, v := range []string{nsDiscoInfo, nsPing, nsFocus, "urn:xmpp:jingle:1"} {
				q.Add(stanza.NewElement(nsDiscoInfo, "feature", "var", v))
			}
			return st.Result(q)
		case stanza.Name{Space: nsPing, Local: "ping"}:
			return st.Result()
		}
	}
	return st.ErrorReply(stanza.ErrFeatureNotImplemented)
}

func (f *Focus) meeting(room stanza.JID) *meeting {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.meetings[room]
}

// getOrStart gives the meeting of room, started if need be. The error is for the one who asked.
func (f *Focus) getOrStart(room stanza.JID, requester string, props map[string]string) (*meeting, *stanza.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.meetings[room]; m != nil {
		return m, nil
	}
	if f.closed {
		return nil, stanza.ErrServiceUnavailable.With("shutting down")
	}
	if len(f.meetings) >= f.cfg.MaxMeetings {
		f.count.refused.Add(1)
		return nil, stanza.ErrResourceConstraint.With("too many meetings")
	}
	if f.empty[requester] >= f.cfg.MaxEmpty {
		f.count.refused.Add(1)
		return nil, stanza.ErrResourceConstraint.With("too many meetings that nobody is in")
	}
	m, err := newMeeting(f, room, props)
	if err != nil {
		return nil, stanza.ErrBadRequest.With(err.Error())
	}
	f.meetings[room] = m
	m.requester = requester
	f.empty[requester]++
	f.wg.Add(1)
	f.count.started.Add(1)
	go func() {
		defer f.wg.Done()
		m.run()
	}()
	return m, nil
}

// notEmpty takes a meeting off its requester's account: somebody has come, or it has ended.
func (f *Focus) notEmpty(m *meeting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notEmptyLocked(m)
}

func (f *Focus) notEmptyLocked(m *meeting) {
	if m.requester == "" {
		return
	}
	if f.empty[m.requester]--; f.empty[m.requester] == 0 {
		delete(f.empty, m.requester)
	}
	m.requester = ""
}

// forget takes an ended meeting off the table; its mailbox is closed at the same time, so that whoever asks next starts a new one.
func (f *Focus) forget(m *meeting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.meetings[m.room] == m {
		delete(f.meetings, m.room)
	}
	if f.byID[m.id] == m {
		delete(f.byID, m.id)
	}
	f.notEmptyLocked(m)
	m.box.close()
	f.count.ended.Add(1)
}

func (f *Focus) named(m *meeting, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byID[id] = m
}

// EndpointLost implements colibri.Listener.
func (f *Focus) EndpointLost(meetingID, endpoint string) {
	f.mu.Lock()
	m := f.byID[meetingID]
	f.mu.Unlock()
	if m != nil {
		m.post(func() { m.endpointLost(endpoint) })
	}
}

// Shutdown ends all sessions, leaves all rooms and waits for that until ctx ends.
func (f *Focus) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	for _, m := range f.meetings {
		m.post(func() { m.end("gone", "the server is shutting down") })
	}
	f.mu.Unlock()
	return finish.Wait(ctx, &f.wg)
}
