package signaling

import (
	"konzil/xmpp/stanza"
)

// request is one wish for a meeting, from an iq or over HTTP.
type request struct {
	room       stanza.JID
	from       stanza.JID // zero over HTTP
	requester  string     // for limits: bare address or IP address
	verified   bool       // who asks over HTTP is authenticated
	machineUID string
	sessionID  string
	props      map[string]string
}

// answer is what becomes of a request.
type answer struct {
	ready     bool
	node      string // where the client is to go instead, "" for nowhere
	sessionID string
	identity  string
	props     [][2]string
	err       *stanza.Error
}

const maxProperties = 32 // of a request; clients send about five

// handleConference answers a conference iq, from the address it was sent to.
func (f *Focus) handleConference(st *stanza.Stanza) {
	el := st.Child(nsFocus, "conference")
	room, err := stanza.ParseJID(el.Attr("room"))
	if err != nil {
		f.refuse(st, stanza.ErrBadRequest.With("room is no address"))
		return
	}
	req := request{room: room, from: st.From, requester: st.From.Bare().String(), machineUID: el.Attr("machine-uid"), sessionID: el.Attr("session-id"), props: map[string]string{}}
	for _, p := range el.ChildrenNamed(nsFocus, "property") {
		if len(req.props) < maxProperties {
			req.props[p.Attr("name")] = p.Attr("value")
		}
	}
	f.request(req, func(a answer) {
		if a.err != nil {
			f.refuse(st, a.err)
			return
		}
		out := stanza.NewElement(nsFocus, "conference", "room", room.String(), "ready", boolText(a.ready),
			"focusjid", f.user.String(), "vnode", a.node, "session-id", a.sessionID, "identity", a.identity)
		for _, p := range a.props {
			out.Add(property(p[0], p[1]))
		}
		f.router.Route(st.Result(out))
	})
}

// request starts or finds the meeting; reply is called once, on any goroutine, when the focus is in the room or cannot be.
func (f *Focus) request(req request, reply func(answer)) {
	f.count.requests.Add(1)
	if req.room.Local() == "" || !req.room.IsBare() || !f.cfg.acceptsMUC(req.room.Domain()) {
		reply(answer{err: stanza.ErrBadRequest.With("not a room of this service")})
		return
	}
	a := answer{props: f.properties(req.room)}
	authenticated, err := f.authenticate(&req, &a)
	if err != nil {
		reply(answer{err: err})
		return
	}
	if f.cfg.AuthRequired && !authenticated && req.room.Domain() != f.cfg.Breakout && f.meeting(req.room) == nil {
		f.count.refused.Add(1)
		reply(answer{err: stanza.ErrNotAuthorized})
		return
	}
	// A meeting that is just ending lets nothing into its mailbox any more; the second try starts a new one.
	for range 2 {
		m, serr := f.getOrStart(req.room, req.requester, req.props)
		if serr != nil {
			reply(answer{err: serr})
			return
		}
		if m.box.put(func() { m.handleRequest(&req, a, reply) }, maxStanzas) {
			return
		}
	}
	f.count.overflow.Add(1)
	reply(answer{err: stanza.ErrResourceConstraint})
}

func (f *Focus) properties(room stanza.JID) [][2]string {
	return [][2]string{
		{"authentication", boolText(f.cfg.AuthRequired)},
		{"externalAuth", boolText(f.cfg.AuthRequired && f.cfg.LoginURL != nil && f.cfg.LoginURL(room) != "")},
		{"sipGatewayEnabled", boolText(f.jigasis.count() > 0)},
		{"visitors-supported", boolText(f.cfg.offersVisitors(room))},
	}
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
