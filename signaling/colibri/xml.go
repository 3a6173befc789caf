package colibri

import (
	"fmt"
	"strconv"
	"strings"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// COLIBRI2 as XML, between a focus and a bridge on different machines: <conference-modify/> asks, <conference-modified/> answers, both in
// an iq. Media, transports and sources inside are in the namespaces of Jingle.

// NS is the namespace of COLIBRI2.
const NS = jingle.NSColibri2

// Limits of one request. A focus asks about one endpoint at a time, more or less.
const (
	maxEndpoints    = 500
	maxCapabilities = 32
	maxID           = 256 // bytes of an id or name
)

// Element is the <conference-modify/>.
func (m *ConferenceModify) Element() *stanza.Element {
	el := stanza.NewElement(NS, "conference-modify", "meeting-id", m.MeetingID, "name", m.Name, "create", yes(m.Create), "expire", yes(m.Expire))
	for i := range m.Endpoints {
		el.Add(m.Endpoints[i].element())
	}
	for i := range m.Relays {
		el.Add(m.Relays[i].element())
	}
	return el
}

// yes is the value of an attribute that is left out when it is false.
func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func (e *Endpoint) element() *stanza.Element {
	el := stanza.NewElement(NS, "endpoint", "id", e.ID, "stats-id", e.StatsID, "create", yes(e.Create), "expire", yes(e.Expire))
	if e.Visitor {
		el.SetAttr("muc-role", "visitor")
	}
	for _, c := range e.Capabilities {
		el.Add(stanza.NewElement(NS, "capability", "name", c))
	}
	el.Add(mediaElements(e.Media)...)
	if e.Transport != nil {
		el.Add(e.Transport.element())
	}
	if e.Sources != nil {
		el.Add(sourcesElement(*e.Sources))
	}
	if e.ForceMute != nil {
		el.Add(stanza.NewElement(NS, "force-mute", "audio", strconv.FormatBool(e.ForceMute.Audio), "video", strconv.FormatBool(e.ForceMute.Video)))
	}
	if e.LastN != nil {
		el.Add(stanza.NewElement(NS, "initial-last-n", "value", strconv.Itoa(*e.LastN)))
	}
	for _, ssrc := range e.Acked {
		el.Add(stanza.NewElement(NS, "acked", "ssrc", strconv.FormatUint(uint64(ssrc), 10)))
	}
	return el
}

func (r *Relay) element() *stanza.Element {
	el := stanza.NewElement(NS, "relay", "id", r.ID, "mesh-id", r.MeshID, "create", yes(r.Create), "expire", yes(r.Expire))
	el.Add(mediaElements(r.Media)...)
	if r.Transport != nil {
		el.Add(r.Transport.element())
	}
	if r.Endpoints != nil {
		list := stanza.NewElement(NS, "endpoints")
		for i := range r.Endpoints {
			list.Add(r.Endpoints[i].element())
		}
		el.Add(list)
	}
	return el
}

func mediaElements(list []jingle.Description) []*stanza.Element {
	var out []*stanza.Element
	for i := range list {
		el := stanza.NewElement(NS, "media", "type", string(list[i].Media)).Add(list[i].Elements()...)
		out = append(out, el.Add(stanza.NewElement(jingle.NSHdrExt, "extmap-allow-mixed")))
	}
	return out
}

func (t *Transport) element() *stanza.Element {
	el := stanza.NewElement(NS, "transport", "ice-controlling", yes(t.ICEControlling), "ice-restart", yes(t.ICERestart))
	if t.SCTP {
		sctp := stanza.NewElement(NS, "sctp", "role", string(t.SCTPRole))
		el.Add(sctp)
	}
	if !t.Remote.Empty() {
		el.Add(t.Remote.Element(false))
	}
	return el
}

// sourcesElement has a <media-source/> for each name.
func sourcesElement(set jingle.SourceSet) *stanza.Element {
	el := stanza.NewElement(NS, "sources")
	byName, named := map[string]*stanza.Element{}, map[uint32]*stanza.Element{}
	for _, s := range set.Sources {
		key := string(s.Media) + " " + s.Name
		if byName[key] == nil {
			byName[key] = stanza.NewElement(NS, "media-source", "type", string(s.Media), "id", s.Name)
			el.Add(byName[key])
		}
		byName[key].Add(s.Element())
		named[s.SSRC] = byName[key]
	}
	for _, g := range set.Groups {
		if len(g.SSRCs) > 0 && named[g.SSRCs[0]] != nil {
			named[g.SSRCs[0]].Add(g.Element())
		}
	}
	return el
}

// ParseModify reads a <conference-modify/>; the error is a refusal of type *Error.
func ParseModify(el *stanza.Element) (*ConferenceModify, error) {
	if el == nil || el.Name != (stanza.Name{Space: NS, Local: "conference-modify"}) {
		return nil, badRequest("", "no conference-modify")
	}
	m := &ConferenceModify{MeetingID: el.Attr("meeting-id"), Name: el.Attr("name"), Create: isYes(el, "create"), Expire: isYes(el, "expire")}
	if m.MeetingID == "" || len(m.MeetingID) > maxID || len(m.Name) > 3*maxID {
		return nil, badRequest("", "a meeting-id of 1 to %d bytes is required", maxID)
	}
	for _, c := range el.ChildrenNamed(NS, "endpoint") {
		if len(m.Endpoints) == maxEndpoints {
			return nil, badRequest("", "more than %d endpoints", maxEndpoints)
		}
		ep, err := parseEndpoint(c)
		if err != nil {
			return nil, err
		}
		m.Endpoints = append(m.Endpoints, ep)
	}
	for _, c := range el.ChildrenNamed(NS, "relay") {
		r, err := parseRelay(c)
		if err != nil {
			return nil, err
		}
		m.Relays = append(m.Relays, r)
	}
	for _, c := range el.ChildrenNamed(NS, "connects") {
		if len(c.Children()) > 0 {
			return nil, &Error{Reason: ReasonFeatureNotSupported, Text: "media is not exported to WebSockets"}
		}
	}
	return m, nil
}

func isYes(el *stanza.Element, attr string) bool { return el.Attr(attr) == "true" }

func badRequest(endpoint, format string, args ...any) *Error {
	return &Error{Reason: ReasonBadRequest, Endpoint: endpoint, Text: fmt.Sprintf(format, args...)}
}

func parseEndpoint(el *stanza.Element) (Endpoint, error) {
	e := Endpoint{ID: el.Attr("id"), StatsID: el.Attr("stats-id"), Visitor: strings.EqualFold(el.Attr("muc-role"), "visitor"),
		Create: isYes(el, "create"), Expire: isYes(el, "expire")}
	if e.ID == "" || len(e.ID) > maxID {
		return e, badRequest("", "an endpoint needs an id of 1 to %d bytes", maxID)
	}
	var err error
	for _, c := range el.Children() {
		if c.Space != NS {
			continue
		}
		switch c.Local {
		case "capability":
			if len(e.Capabilities) < maxCapabilities {
				e.Capabilities = append(e.Capabilities, c.Attr("name"))
			}
		case "media":
			e.Media, err = parseMedia(e.Media, c, e.ID)
		case "transport":
			e.Transport, err = parseTransport(c, e.ID)
		case "sources":
			e.Sources, err = parseSources(c, e.ID)
		case "force-mute":
			e.ForceMute = &ForceMute{Audio: isYes(c, "audio"), Video: isYes(c, "video")}
		case "initial-last-n":
			n, bad := strconv.Atoi(c.Attr("value"))
			if bad != nil || n < -1 {
				err = badRequest(e.ID, "initial-last-n is -1 or more")
			}
			e.LastN = &n
		case "acked":
			if n, bad := strconv.ParseUint(c.Attr("ssrc"), 10, 32); bad == nil {
				e.Acked = append(e.Acked, uint32(n))
			}
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

func parseRelay(el *stanza.Element) (Relay, error) {
	r := Relay{ID: el.Attr("id"), MeshID: el.Attr("mesh-id"), Create: isYes(el, "create"), Expire: isYes(el, "expire")}
	if r.ID == "" || len(r.ID) > maxID {
		return r, badRequest("", "a relay needs an id of 1 to %d bytes", maxID)
	}
	var err error
	for _, c := range el.Children() {
		if c.Space != NS {
			continue
		}
		switch c.Local {
		case "media":
			r.Media, err = parseMedia(r.Media, c, "")
		case "transport":
			r.Transport, err = parseTransport(c, "")
		case "endpoints":
			r.Endpoints, err = parseRelayed(c)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// parseRelayed reads the endpoints at the other end of a relay.
func parseRelayed(el *stanza.Element) ([]Endpoint, error) {
	out := []Endpoint{}
	for _, c := range el.ChildrenNamed(NS, "endpoint") {
		if len(out) == maxEndpoints {
			return nil, badRequest("", "more than %d endpoints", maxEndpoints)
		}
		e, err := parseEndpoint(c)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func parseMedia(list []jingle.Description, el *stanza.Element, endpoint string) ([]jingle.Description, error) {
	d := jingle.Description{Media: jingle.Media(el.Attr("type"))}
	if d.Media != jingle.Audio && d.Media != jingle.Video || len(list) == 2 {
		return nil, badRequest(endpoint, "media is audio and video, each once")
	}
	if err := d.Parse(el); err != nil {
		return nil, badRequest(endpoint, "%v", err)
	}
	return append(list, d), nil
}

func parseTransport(el *stanza.Element, endpoint string) (*Transport, error) {
	t := &Transport{ICEControlling: isYes(el, "ice-controlling"), ICERestart: isYes(el, "ice-restart")}
	if s := el.Child(NS, "sctp"); s != nil {
		t.SCTP, t.SCTPRole = true, SCTPRole(strings.ToLower(s.Attr("role")))
	}
	if ice := el.Child(jingle.NSICE, "transport"); ice != nil {
		t.Remote = &jingle.Transport{}
		if err := t.Remote.Parse(ice); err != nil {
			return nil, badRequest(endpoint, "%v", err)
		}
	}
	return t, nil
}

func parseSources(el *stanza.Element, endpoint string) (*jingle.SourceSet, error) {
	set := &jingle.SourceSet{}
	for _, ms := range el.ChildrenNamed(NS, "media-source") {
		media, id := jingle.Media(ms.Attr("type")), ms.Attr("id")
		if media != jingle.Audio && media != jingle.Video {
			return nil, badRequest(endpoint, "a media-source is audio or video")
		}
		n := len(set.Sources)
		if err := set.Parse(ms, media); err != nil {
			return nil, badRequest(endpoint, "%v", err)
		}
		for i := range set.Sources[n:] {
			if id != "" {
				set.Sources[n+i].Name = id
			}
		}
	}
	return set, nil
}

// Element is the <conference-modified/>.
func (m *ConferenceModified) Element() *stanza.Element {
	el := stanza.NewElement(NS, "conference-modified")
	add := func(local, id string, t *jingle.Transport, role SCTPRole) {
		x := stanza.NewElement(NS, local, "id", id)
		if t != nil {
			tr := stanza.NewElement(NS, "transport")
			if t.SCTPPort > 0 {
				tr.Add(stanza.NewElement(NS, "sctp", "role", string(role), "port", strconv.Itoa(t.SCTPPort)))
			}
			x.Add(tr.Add(t.Element(false)))
		}
		el.Add(x)
	}
	for _, e := range m.Endpoints {
		add("endpoint", e.ID, e.Transport, SCTPServer)
	}
	for _, r := range m.Relays {
		add("relay", r.ID, r.Transport, r.SCTPRole)
	}
	if !m.Sources.Empty() {
		el.Add(sourcesElement(m.Sources))
	}
	return el
}

// ParseModified reads a <conference-modified/>.
func ParseModified(el *stanza.Element) (*ConferenceModified, error) {
	if el == nil || el.Name != (stanza.Name{Space: NS, Local: "conference-modified"}) {
		return nil, badRequest("", "no conference-modified")
	}
	m := &ConferenceModified{}
	for _, c := range el.Children() {
		if c.Space != NS {
			continue
		}
		switch c.Local {
		case "endpoint", "relay":
			t, role, err := parseLocal(c)
			if err != nil {
				return nil, err
			}
			if c.Local == "relay" {
				m.Relays = append(m.Relays, RelayModified{ID: c.Attr("id"), Transport: t, SCTPRole: role})
			} else {
				m.Endpoints = append(m.Endpoints, EndpointModified{ID: c.Attr("id"), Transport: t})
			}
		case "sources":
			set, err := parseSources(c, "")
			if err != nil {
				return nil, err
			}
			m.Sources = *set
		}
	}
	return m, nil
}

// parseLocal reads the bridge's side of a transport in an answer.
func parseLocal(el *stanza.Element) (*jingle.Transport, SCTPRole, error) {
	outer := el.Child(NS, "transport")
	if outer == nil {
		return nil, "", nil
	}
	t, role := &jingle.Transport{}, SCTPRole("")
	if ice := outer.Child(jingle.NSICE, "transport"); ice != nil {
		if err := t.Parse(ice); err != nil {
			return nil, "", badRequest(el.Attr("id"), "%v", err)
		}
	}
	if s := outer.Child(NS, "sctp"); s != nil {
		role = SCTPRole(s.Attr("role"))
		t.SCTPPort = 5000
		if n, err := strconv.ParseUint(s.Attr("port"), 10, 16); err == nil && n > 0 {
			t.SCTPPort = int(n)
		}
	}
	return t, role, nil
}

// conditions are the stanza errors that refusals travel in.
var conditions = map[Reason]*stanza.Error{
	ReasonConferenceExists:    stanza.ErrConflict,
	ReasonConferenceNotFound:  stanza.ErrItemNotFound,
	ReasonUnknownEndpoint:     stanza.ErrItemNotFound,
	ReasonGracefulShutdown:    stanza.ErrServiceUnavailable,
	ReasonFeatureNotSupported: stanza.ErrFeatureNotImplemented,
	ReasonBadRequest:          stanza.ErrBadRequest,
	ReasonLimit:               stanza.ErrResourceConstraint,
	ReasonInternal:            stanza.ErrInternal,
}

// named tells whether the <error/> element has a value for the reason: with another one a focus cannot read the stanza.
func (r Reason) named() bool {
	switch r {
	case ReasonConferenceExists, ReasonConferenceNotFound, ReasonUnknownEndpoint, ReasonGracefulShutdown, ReasonFeatureNotSupported:
		return true
	}
	return false
}

// Stanza is the refusal as a stanza error.
func (e *Error) Stanza() *stanza.Error {
	base := conditions[e.Reason]
	if base == nil {
		base = stanza.ErrInternal
	}
	if !e.Reason.named() {
		return base.With(e.Text)
	}
	return base.With(e.Text, stanza.NewElement(NS, "error", "reason", string(e.Reason), "endpoint", e.Endpoint))
}

// byCondition are refusals that a bridge gives by the stanza's condition alone: JVB without SCTP does so. item-not-found is not one of
// them: it is also what a room says when the bridge is gone.
var byCondition = map[string]Reason{
	stanza.ErrBadRequest.Condition:            ReasonBadRequest,
	stanza.ErrConflict.Condition:              ReasonConferenceExists,
	stanza.ErrFeatureNotImplemented.Condition: ReasonFeatureNotSupported,
	stanza.ErrResourceConstraint.Condition:    ReasonLimit,
}

// ParseError reads the refusal out of an iq of type error. What is none of a bridge's (it is not there, say) is ReasonInternal.
func ParseError(iq *stanza.Stanza) *Error {
	e := &Error{Reason: ReasonInternal}
	el := iq.Child(stanza.NSClient, "error")
	if el == nil {
		return e
	}
	for _, c := range el.Children() {
		switch {
		case c.Space == NS && c.Local == "error":
			if r := Reason(strings.ToLower(c.Attr("reason"))); r.named() {
				e.Reason, e.Endpoint = r, c.Attr("endpoint")
			}
		case c.Space == stanza.NSStanzas && c.Local == "text":
			e.Text = c.Text()
		case c.Space == stanza.NSStanzas:
			if e.Text == "" {
				e.Text = c.Local
			}
			if r, ok := byCondition[c.Local]; ok && e.Reason == ReasonInternal {
				e.Reason = r
			}
		}
	}
	return e
}

// nsOwn is of what COLIBRI2 has no words for and a focus may pass over.
const nsOwn = "urn:konzil:colibri"

// RelayLostElement tells a focus elsewhere what RelayListener tells one in this process.
func RelayLostElement(meetingID, relay string) *stanza.Element {
	return stanza.NewElement(nsOwn, "relay-lost", "meeting-id", meetingID, "relay", relay)
}

// ParseRelayLost reads it out of a message; false: it is about something else.
func ParseRelayLost(st *stanza.Stanza) (meetingID, relay string, ok bool) {
	el := st.Child(nsOwn, "relay-lost")
	return el.Attr("meeting-id"), el.Attr("relay"), el != nil && st.Type != "error"
}
