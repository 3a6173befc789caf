package signaling

import (
	"strings"
	"time"

	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

const (
	nsJibri   = "http://jitsi.org/protocol/jibri"
	nsSIPCall = "http://jitsi.org/protocol/jibri/call_state"
	nsHealth  = "http://jitsi.org/protocol/health"
	nsColibri = "http://jitsi.org/protocol/colibri"
	nsRayo    = "urn:xmpp:rayo:1"
)

const (
	recordPending = 90 * time.Second // for a recorder to begin (jicofo's)
	recordTries   = 6                // instances that are asked, one after another
	maxAppData    = 16 << 10         // bytes of what a client sends along
	// maxRecordings is how many starts of a meeting are taken within a minute (mod_filter_iq_jibri).
	maxRecordings   = 3
	recordingWindow = time.Minute
)

// recording is what was asked for.
type recording struct {
	session               string
	mode                  string // file, stream; "" for a call
	stream, broadcast     string
	sip, name, data       string
	initiator, terminator string // occupant addresses
}

// jibriSession is one recording, stream or video call of a meeting at a Jibri. It belongs to the meeting's goroutine.
type jibriSession struct {
	m     *meeting
	what  recording
	at    stanza.JID // who does it, zero once it is over
	tried []stanza.JID
	timer *time.Timer
	on    bool

	wanted func(*stanza.Error) // answers who asked for it, nil: that was done
}

// jibri answers a client that wants to begin or end a recording, a stream or a video call.
func (m *meeting) jibri(mem *member, iq *stanza.Stanza) {
	el := iq.Child(nsJibri, "jibri")
	feature := "recording"
	if el.Attr("recording_mode") == "stream" {
		feature = "livestreaming"
	}
	switch action := el.Attr("action"); {
	case !m.mayUse(mem, feature):
		m.f.refuse(iq, stanza.ErrNotAllowed.With("Only moderators may do that"))
	case action == "start":
		m.startRecording(mem, iq, el)
	case action == "stop":
		r := m.recorderOf(el)
		if r == nil {
			m.f.refuse(iq, stanza.ErrItemNotFound.With("Unknown session"))
			return
		}
		r.what.terminator = mem.occ.String()
		r.stop()
		m.send(iq.Result())
	default:
		m.f.refuse(iq, stanza.ErrBadRequest.With("action is start or stop"))
	}
}

// mayUse tells whether a member may use a feature: as the operator's rules say, else moderators alone.
func (m *meeting) mayUse(mem *member, feature string) bool {
	if m.f.cfg.MayUse != nil {
		return m.f.cfg.MayUse(feature, m.room, mem.real)
	}
	return mem.moderator()
}

// recorderOf is the recorder that an iq is about: the recording or stream, or the call to that address.
func (m *meeting) recorderOf(el *stanza.Element) *jibriSession {
	sip, id := el.Attr("sipaddress"), el.Attr("session_id")
	for _, r := range m.recorders {
		if sip != "" && r.what.sip == sip || sip == "" && id != "" && r.what.session == id || sip == "" && id == "" && r.what.sip == "" {
			return r
		}
	}
	return nil
}

func (m *meeting) startRecording(mem *member, iq *stanza.Stanza, el *stanza.Element) {
	what := recording{session: random.Hex(16), mode: el.Attr("recording_mode"), stream: el.Attr("streamid"), broadcast: el.Attr("you_tube_broadcast_id"),
		sip: el.Attr("sipaddress"), name: el.Attr("displayname"), data: el.Attr("app_data"), initiator: mem.occ.String()}
	if what.sip != "" {
		what.mode = ""
	}
	var err *stanza.Error
	switch {
	case len(what.data) > maxAppData || len(what.stream) > maxAppData:
		err = stanza.ErrPolicyViolation.With("That is too long")
	case what.sip == "" && what.mode != "file" && what.mode != "stream":
		err = stanza.ErrBadRequest.With("recording_mode is file or stream")
	case what.mode == "stream" && what.stream == "":
		err = stanza.ErrBadRequest.With("Stream ID is empty or undefined")
	case what.mode == "file" && what.stream != "":
		err = stanza.ErrBadRequest.With("Stream ID is provided for a FILE recording.")
	case m.recorderOf(el) != nil:
		err = stanza.ErrUnexpectedRequest.With("Recording or live streaming is already enabled")
	case !m.mayRecord(time.Now()):
		err = stanza.ErrResourceConstraint.With("Too many tries, wait a minute")
	}
	if err != nil {
		m.f.refuse(iq, err)
		return
	}
	r := &jibriSession{m: m, what: what, wanted: func(err *stanza.Error) {
		if err != nil {
			m.f.refuse(iq, err)
			return
		}
		m.send(iq.Result(stanza.NewElement(nsJibri, "jibri", "session_id", what.session, "status", "pending")))
	}}
	m.recorders = append(m.recorders, r)
	m.f.count.recordings.Add(1)
	r.ask()
}

// answer tells who asked for it what became of that, once; nil: it begins.
func (r *jibriSession) answer(err *stanza.Error) {
	if wanted := r.wanted; wanted != nil {
		r.wanted = nil
		wanted(err)
	}
}

// mayRecord counts a start within the limit.
func (m *meeting) mayRecord(now time.Time) bool {
	for len(m.recordStarts) > 0 && now.Sub(m.recordStarts[0]) >= recordingWindow {
		m.recordStarts = m.recordStarts[1:]
	}
	if len(m.recordStarts) >= maxRecordings {
		return false
	}
	m.recordStarts = append(m.recordStarts, now)
	return true
}

// ask has one instance after another begin until one says that it does.
func (r *jibriSession) ask() {
	b := r.m.f.jibris
	to, any := b.pick(func(*instance) bool { return true }, r.tried)
	if to.IsZero() || len(r.tried) >= recordTries {
		err := stanza.ErrServiceUnavailable.With("no Jibris available")
		if any {
			err = stanza.ErrResourceConstraint.With("all Jibris are busy")
		}
		reason := "error"
		if any {
			reason = "busy"
		}
		known := r.wanted == nil // to clients
		r.answer(err)
		r.over(reason, known)
		return
	}
	r.at, r.tried = to, append(r.tried, to)
	b.watch(r, to)
	stop(&r.timer)
	r.timer = r.m.after(recordPending, r.pendingTooLong)
	w := r.what
	el := stanza.NewElement(nsJibri, "jibri", "action", "start", "recording_mode", w.mode, "room", r.m.room.String(), "session_id", w.session,
		"streamid", w.stream, "you_tube_broadcast_id", w.broadcast, "sipaddress", w.sip, "displayname", w.name, "app_data", w.data)
	r.m.f.ask(r.m, to, el, func(a *stanza.Stanza) {
		if r.at != to {
			return // it was stopped, or the instance has gone, meanwhile
		}
		status := ""
		if a != nil && a.Type == "result" {
			status = a.Child(nsJibri, "jibri").Attr("status")
		}
		if status != "pending" && status != "on" {
			b.failed(to)
			r.ask()
			return
		}
		r.publish(status, "")
		r.answer(nil)
	})
}

func (r *jibriSession) pendingTooLong() {
	if r.on || r.at.IsZero() {
		return
	}
	r.m.log.Warn("recorder did not begin", "at", r.at)
	r.m.f.jibris.failed(r.at)
	r.sendStop()
	r.over("error", true)
}

// status takes what the instance says became of it.
func (r *jibriSession) status(el *stanza.Element) {
	switch el.Attr("status") {
	case "on":
		r.on = true
		stop(&r.timer)
		r.publish("on", "")
	case "pending":
		r.publish("pending", "")
	case "off":
		reason := el.Attr("failure_reason")
		if reason != "" && el.Attr("should_retry") == "true" {
			r.again()
			return
		}
		r.over(reason, true)
	}
}

// again tries another instance.
func (r *jibriSession) again() {
	r.m.f.jibris.failed(r.at)
	r.at, r.on = stanza.JID{}, false
	r.ask()
}

// instanceGone is the brewery's word that the instance has left.
func (r *jibriSession) instanceGone(at stanza.JID) {
	if r.at == at && !r.m.ended {
		r.again()
	}
}

// stop ends it for a client, or with the meeting.
func (r *jibriSession) stop() {
	r.sendStop()
	r.over("", true)
}

func (r *jibriSession) sendStop() {
	if !r.at.IsZero() {
		r.m.f.ask(r.m, r.at, stanza.NewElement(nsJibri, "jibri", "action", "stop", "session_id", r.what.session), nil)
	}
}

// over forgets the recorder; publish: clients know of it.
func (r *jibriSession) over(reason string, publish bool) {
	stop(&r.timer)
	r.answer(stanza.ErrServiceUnavailable.With("It was ended before it began"))
	r.m.f.jibris.forget(r)
	r.at = stanza.JID{}
	for i, x := range r.m.recorders {
		if x == r {
			r.m.recorders = append(r.m.recorders[:i:i], r.m.recorders[i+1:]...)
			break
		}
	}
	if publish && !r.m.ended {
		r.publish("off", reason)
	}
}

// publish shows in the focus' presence how it is.
func (r *jibriSession) publish(status, reason string) {
	w := r.what
	if w.sip != "" {
		r.m.callState = stanza.NewElement(nsSIPCall, "jibri-sip-call-state", "state", status, "sipaddress", w.sip, "session_id", w.session, "failure_reason", reason)
	} else {
		by := w.initiator
		if status == "off" {
			by = w.terminator
		} else if status == "pending" {
			by = ""
		}
		r.m.recording = stanza.NewElement(nsJibri, "jibri-recording-status", "status", status, "session_id", w.session, "initiator", by,
			"recording_mode", w.mode, "failure_reason", reason)
	}
	r.m.announce()
	if r.m.f.cfg.Recorded != nil && w.sip == "" && status != "pending" {
		_, id, _ := strings.Cut(w.initiator, "/")
		r.m.f.cfg.Recorded(r.m.room, w.session, w.mode, id, status == "on", reason)
	}
}

// forget ends the watching of r's instance.
func (b *brewery) forget(r *jibriSession) {
	if b != nil {
		b.watch(r, stanza.JID{})
	}
}

// fromJibri hands an instance's iq to the meeting whose recorder it is.
func (f *Focus) fromJibri(st *stanza.Stanza) {
	b := f.jibris
	var r *jibriSession
	if b != nil {
		b.mu.Lock()
		for x, at := range b.watchers {
			if id := st.Child(nsJibri, "jibri").Attr("session_id"); at == st.From && (id == "" || id == x.what.session) {
				r = x
			}
		}
		b.mu.Unlock()
	}
	if r == nil {
		f.refuse(st, stanza.ErrItemNotFound.With("Unknown session"))
		return
	}
	r.m.post(func() {
		if r.at == st.From && !r.m.ended {
			r.status(st.Child(nsJibri, "jibri"))
		}
		f.router.Route(st.Result())
	})
}
