package signaling

import (
	"hash/maphash"
	"log/slog"
	"strconv"
	"time"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// meeting is one room with the focus in it. Everything but box, jobs and what is set by newMeeting belongs to the goroutine of run.
type meeting struct {
	f    *Focus
	room stanza.JID
	me   stanza.JID // R/focus
	log  *slog.Logger
	box  *mailbox // the meeting's goroutine
	jobs *mailbox // its worker, which asks the bridge

	requester string // who started it, "" once somebody came; Focus.mu guards it

	repairSeed maphash.Seed // see repairSSRC

	id        string // meeting id; the bridge knows the conference by it
	asked     bool   // to be let in
	inRoom    bool   // the room has let us in
	joined    bool   // and told its id
	ended     bool
	waiters   []func(ready bool, err *stanza.Error)
	createdAt time.Time

	members map[string]*member // by nick
	seq     int                // numbers members as they come
	ledger  *jingle.Ledger
	ownMed  jingle.SourceSet // the bridge's feedback sources
	iqs     map[string]*pendingIQ
	iqSeq   uint64

	startAudioMuted, startVideoMuted int // members after the nth start muted; -1: none
	allAudioMuted, allVideoMuted     bool
	moderation                       map[string]*moderation // by media
	bridges                          int
	bridgeMissing                    bool
	audioLimit, videoLimit           bool
	visitors                         audienceSize // as told
	joinTimer, emptyTimer, lastTimer *time.Timer  // join; empty room; single member
	sourceTimer, visitorTimer        *time.Timer
	emptyUntil                       time.Time
	expected                         time.Time // when somebody asked for the meeting who may not be there yet; zero: nobody

	recorders    []*jibriSession
	recordStarts []time.Time     // of the last minute
	recording    *stanza.Element // shown in presence, nil if there was none; the next likewise
	callState    *stanza.Element

	created bool // the bridge has the conference; belongs to the worker
}

func newMeeting(f *Focus, room stanza.JID, props map[string]string) (*meeting, error) {
	me, err := room.WithResource("focus")
	if err != nil {
		return nil, err
	}
	m := &meeting{f: f, room: room, me: me, log: f.log.With("meeting", room.String()), box: newMailbox(), jobs: newMailbox(),
		createdAt: time.Now(), members: map[string]*member{}, ledger: jingle.NewLedger(), iqs: map[string]*pendingIQ{},
		startAudioMuted: -1, startVideoMuted: -1, moderation: map[string]*moderation{}, repairSeed: maphash.MakeSeed()}
	if n, err := strconv.Atoi(props["startAudioMuted"]); err == nil && n >= 0 {
		m.startAudioMuted = n
	}
	if n, err := strconv.Atoi(props["startVideoMuted"]); err == nil && n >= 0 {
		m.startVideoMuted = n
	}
	return m, nil
}

// run is the meeting's goroutine; it ends when the focus has left the room and the bridge has been told.
func (m *meeting) run() {
	done := make(chan struct{})
	go func() { defer close(done); m.jobs.run() }()
	m.joinRoom()
	m.box.run()
	<-done
}

// post queues f for the meeting's goroutine; it must not be lost.
func (m *meeting) post(f func()) {
	if !m.box.put(f, maxEvents) && !m.box.isClosed() {
		m.f.count.overflow.Add(1)
	}
}

// after is time.AfterFunc on the meeting's goroutine; f does not run once the meeting has ended.
func (m *meeting) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		m.post(func() {
			if !m.ended {
				f()
			}
		})
	})
}

func stop(ts ...**time.Timer) {
	for _, t := range ts {
		if *t != nil {
			(*t).Stop()
			*t = nil
		}
	}
}

func (m *meeting) send(st *stanza.Stanza) { m.f.router.Route(st) }

// joinRoom asks the room to let the focus in. The self-presence, or an error, goes on in presence.go. A room that is there already and is no
// meeting room is left alone: whoever asks for a meeting must not bring the focus, which makes owners, into a chat room of other people.
func (m *meeting) joinRoom() {
	m.joinTimer = m.after(m.f.cfg.JoinTimeout, func() {
		m.log.Warn("room did not let the focus in in time")
		m.fail(nil)
	})
	m.sendIQ("get", m.room, stanza.NewElement(nsDiscoInfo, "query"), m.f.cfg.DiscoTimeout, func(r *stanza.Stanza) {
		if r != nil && r.Type == "result" && meetingID(r) == "" {
			m.fail(errNoMeeting)
			return
		}
		m.asked = true
		m.send(stanza.NewPresence("", m.f.self, m.me, append([]*stanza.Element{stanza.NewElement(nsMUC, "x")}, m.presencePayload()...)...))
	})
}

var errNoMeeting = stanza.ErrNotAllowed.With("This room is not for meetings")

// entered goes on after the self-presence: the room's id is asked for.
func (m *meeting) entered() {
	if m.inRoom {
		return
	}
	m.inRoom = true
	m.sendIQ("get", m.room, stanza.NewElement(nsDiscoInfo, "query"), m.f.cfg.DiscoTimeout, func(r *stanza.Stanza) {
		switch m.id = meetingID(r); {
		case r == nil:
			m.fail(nil)
		case m.id == "":
			m.fail(errNoMeeting)
		default:
			m.ready()
		}
	})
}

// meetingID is muc#roominfo_meetingId of a room's disco#info, "" if it has none.
func meetingID(r *stanza.Stanza) string {
	if r == nil || r.Type != "result" {
		return ""
	}
	for _, x := range r.Child(nsDiscoInfo, "query").ChildrenNamed(nsForm, "x") {
		for _, fld := range x.ChildrenNamed(nsForm, "field") {
			if fld.Attr("var") == "muc#roominfo_meetingId" {
				return fld.Child(nsForm, "value").Text()
			}
		}
	}
	return ""
}

func (m *meeting) ready() {
	stop(&m.joinTimer)
	m.joined = true
	m.f.named(m, m.id)
	m.log.Info("meeting started", "id", m.id)
	for _, w := range m.waiters {
		w(true, nil)
	}
	m.waiters = nil
	if len(m.members) == 0 {
		m.waitEmpty(m.f.cfg.StartTimeout)
	}
	m.review()
}

// handleRequest answers a conference request: at once when the focus is in the room.
func (m *meeting) handleRequest(req *request, a answer, reply func(answer)) {
	w := func(ready bool, err *stanza.Error) {
		a.ready, a.err = ready, err
		if ready {
			a.node = m.redirect(req)
		}
		reply(a)
	}
	m.expected = time.Now()
	switch {
	case m.ended: // the client asks again in a second, and gets a new meeting
		w(false, nil)
	case m.joined:
		if len(m.members) == 0 {
			m.waitEmpty(m.f.cfg.StartTimeout)
		}
		w(true, nil)
	case len(m.waiters) >= maxStanzas:
		w(false, nil)
	default:
		m.waiters = append(m.waiters, w)
	}
}

// fail gives up before the focus was in the room. With err nil clients are told to try again.
func (m *meeting) fail(err *stanza.Error) {
	waiters := m.waiters
	m.waiters = nil
	m.end("", "")
	for _, w := range waiters {
		w(false, err)
	}
}

// end leaves the room and forgets everything. reason is for sessions that still run.
func (m *meeting) end(reason, text string) {
	if m.ended {
		return
	}
	for _, mem := range m.members {
		if s := mem.session; s != nil && s.state != allocating && reason != "" {
			m.request(mem, jingle.Terminate(s.sid, m.f.self.String(), reason, text), nil)
		}
		mem.session = nil
	}
	m.ended = true
	for _, r := range m.recorders {
		stop(&r.timer)
		r.sendStop()
		r.answer(stanza.ErrItemNotFound.With("The meeting has ended"))
		m.f.jibris.forget(r)
	}
	m.recorders = nil
	stop(&m.joinTimer, &m.emptyTimer, &m.lastTimer, &m.sourceTimer, &m.visitorTimer)
	for _, p := range m.iqs {
		p.timer.Stop()
	}
	if m.asked {
		m.send(stanza.NewPresence("unavailable", m.f.self, m.me))
	}
	for _, w := range m.waiters {
		w(false, nil)
	}
	m.waiters = nil
	m.expireConference()
	m.f.forget(m)
	m.log.Info("meeting ended", "id", m.id)
}

// waitEmpty ends the meeting after d unless somebody comes, or asks, before.
func (m *meeting) waitEmpty(d time.Duration) {
	stop(&m.emptyTimer)
	m.emptyUntil = time.Now().Add(d)
	m.emptyTimer = m.after(d, func() {
		// A timer that was stopped too late has an earlier end than the one that counts.
		if len(m.members) == 0 && !time.Now().Before(m.emptyUntil) {
			m.end("", "")
		}
	})
}

// pendingIQ is an iq of ours that waits for its answer.
type pendingIQ struct {
	to    stanza.JID
	done  func(*stanza.Stanza) // nil: no answer came in time
	timer *time.Timer
}

// sendIQ asks to, and calls done with the result or error, or with nil after timeout.
func (m *meeting) sendIQ(typ string, to stanza.JID, payload *stanza.Element, timeout time.Duration, done func(*stanza.Stanza)) {
	m.iqSeq++
	id := "k" + strconv.FormatUint(m.iqSeq, 36)
	p := &pendingIQ{to: to, done: done}
	p.timer = m.after(timeout, func() {
		if m.iqs[id] != p {
			return
		}
		delete(m.iqs, id)
		m.f.count.iqTimeouts.Add(1)
		if p.done != nil {
			p.done(nil)
		}
	})
	m.iqs[id] = p
	m.send(stanza.NewIQ(typ, id, m.f.self, to, payload))
}

// request sends an iq of type set to a member.
func (m *meeting) request(mem *member, payload *stanza.Element, done func(*stanza.Stanza)) {
	m.sendIQ("set", mem.occ, payload, m.f.cfg.IQTimeout, done)
}

// handle takes one stanza that came from the room.
func (m *meeting) handle(st *stanza.Stanza) {
	if m.ended {
		m.f.refuse(st, stanza.ErrItemNotFound)
		return
	}
	switch st.Kind {
	case stanza.Presence:
		m.presence(st)
	case stanza.IQ:
		m.iq(st)
	}
}

func (m *meeting) iq(st *stanza.Stanza) {
	if st.Type == "result" || st.Type == "error" {
		p := m.iqs[st.ID]
		if p == nil || p.to != st.From {
			return // late, or not ours
		}
		delete(m.iqs, st.ID)
		p.timer.Stop()
		if p.done != nil {
			p.done(st)
		}
		return
	}
	mem := m.members[st.From.Resource()]
	if mem == nil || mem.occ != st.From {
		m.f.refuse(st, stanza.ErrItemNotFound.With("not an occupant"))
		return
	}
	n := st.First()
	switch {
	case st.Type == "set" && n == stanza.Name{Space: jingle.NS, Local: "jingle"}:
		m.jingle(mem, st)
	case st.Type == "set" && n == stanza.Name{Space: nsJibri, Local: "jibri"}:
		m.jibri(mem, st)
	case st.Type == "set" && n == stanza.Name{Space: nsRayo, Local: "dial"}:
		m.dial(mem, st)
	case st.Type == "set" && n.Local == "mute":
		m.mute(mem, st)
	default:
		m.send(answerCommon(st))
	}
}
