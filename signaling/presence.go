package signaling

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// presence takes a presence of an occupant, or the room's refusal to let the focus in.
func (m *meeting) presence(st *stanza.Stanza) {
	nick := st.From.Resource()
	if st.Type == "error" {
		if !m.joined && (nick == "" || nick == m.me.Resource()) {
			e := stanzaError(st)
			m.log.Warn("room refused the focus", "err", e)
			m.fail(e)
		}
		return
	}
	if st.From == m.me {
		m.selfPresence(st)
		return
	}
	if nick == "" {
		return
	}
	switch st.Type {
	case "":
		m.available(nick, st)
	case "unavailable":
		if mem := m.members[nick]; mem != nil && mem.occ == st.From { // not a visitor whose nick somebody has now
			m.leave(mem)
			m.emptied()
		}
	}
}

// selfPresence is what the room says about the focus itself.
func (m *meeting) selfPresence(st *stanza.Stanza) {
	item := st.Child(nsMUCUser, "x").Child(nsMUCUser, "item")
	switch {
	case st.Type == "" && (item.Attr("jid") == m.f.self.String() || hasStatus(st, "110")):
		m.entered()
	case st.Type == "unavailable" && m.inRoom: // before that it is an earlier meeting's good-bye
		m.log.Info("focus was put out of the room, or the room is gone")
		m.end("gone", "the room is closed")
	}
}

func hasStatus(st *stanza.Stanza, code string) bool {
	for _, s := range st.Child(nsMUCUser, "x").ChildrenNamed(nsMUCUser, "status") {
		if s.Attr("code") == code {
			return true
		}
	}
	return false
}

// stanzaError reads the error of an error stanza.
func stanzaError(st *stanza.Stanza) *stanza.Error {
	el := st.Child(stanza.NSClient, "error")
	e := &stanza.Error{Type: el.Attr("type"), Condition: "undefined-condition"}
	for _, c := range el.Children() {
		switch {
		case c.Space == stanza.NSStanzas && c.Local == "text":
			e.Text = c.Text()
		case c.Space == stanza.NSStanzas:
			e.Condition = c.Local
		}
	}
	if e.Type == "" {
		e.Type = "cancel"
	}
	return e
}

// available takes a join or an update. A nick that now belongs to another address has left and come.
func (m *meeting) available(nick string, st *stanza.Stanza) {
	item := st.Child(nsMUCUser, "x").Child(nsMUCUser, "item")
	real, err := stanza.ParseJID(item.Attr("jid"))
	if err != nil {
		m.log.Warn("occupant without a real address is passed over", "nick", nick)
		return
	}
	if nick == jingle.BridgeOwner {
		m.log.Warn("occupant with the bridge's own name is passed over", "real", real)
		return
	}
	mem := m.members[nick]
	if mem != nil && mem.real != real {
		m.leave(mem)
		mem = nil
	}
	isNew := mem == nil
	if isNew {
		m.seq++
		mem = &member{nick: nick, occ: st.From, real: real, number: m.seq, audioMuted: true, videoMuted: true, service: m.f.cfg.Service != nil && m.f.cfg.Service(real)}
		m.members[nick] = mem
		mem.place = m.people(func(*member) bool { return true })
		m.f.count.joins.Add(1)
		stop(&m.emptyTimer)
		m.expected = time.Time{}
		if len(m.members) == 1 {
			m.f.notEmpty(m)
		}
	}
	mem.role, mem.affiliation = item.Attr("role"), item.Attr("affiliation")
	if mem.affiliation == "owner" {
		mem.granting = false
	}
	mem.update(st)
	if mem.visitor() {
		m.countVisitors()
	}
	if isNew {
		m.log.Debug("member came", "nick", nick)
	}
	m.checkLimits()
	m.review()
}

// update reads what a member says of itself.
func (mem *member) update(st *stanza.Stanza) {
	var sourceInfo string
	audio, video := "", ""
	mem.presFeatures = mem.presFeatures[:0]
	for _, el := range st.Payload() {
		text := func() string { return strings.TrimSpace(el.Text()) }
		switch el.Local {
		case "SourceInfo":
			sourceInfo = text()
		case "audiomuted":
			audio = text()
		case "videomuted":
			video = text()
		case "stats-id":
			mem.statsID = text()
		case "jitsi_participant_region":
			mem.region = text()
		case "region":
			if el.Space == "http://jitsi.org/jitsi-meet" { // gst-meet
				mem.region = el.Attr("id")
			}
		case "jitsi_participant_codecList", "jitsi_participant_codecType":
			mem.codecs = strings.Split(text(), ",")
		case "c":
			if el.Space == nsCaps {
				mem.caps = capsRef{node: el.Attr("node"), hash: el.Attr("hash"), ver: el.Attr("ver")}
			}
		case "features":
			for _, c := range el.Children() {
				if c.Local == "feature" {
					mem.presFeatures = append(mem.presFeatures, c.Attr("var"))
				}
			}
		case "feature":
			mem.presFeatures = append(mem.presFeatures, el.Attr("var"))
		}
	}
	if a, v, ok := parseSourceInfo(sourceInfo); ok {
		mem.audioMuted, mem.videoMuted = a, v
		return
	}
	mem.audioMuted, mem.videoMuted = audio == "true", video == "true"
}

// parseSourceInfo tells whether all audio, and all video, of a SourceInfo is muted. Source names are <id>-a<n>, <id>-v<n>.
func parseSourceInfo(text string) (audioMuted, videoMuted, ok bool) {
	if text == "" {
		return false, false, false
	}
	var info map[string]struct {
		Muted bool `json:"muted"`
	}
	if json.Unmarshal([]byte(text), &info) != nil {
		return false, false, false
	}
	audioMuted, videoMuted = true, true
	for name, s := range info {
		i := strings.LastIndexByte(name, '-')
		if s.Muted || i < 0 || i+1 >= len(name) {
			continue
		}
		switch name[i+1] {
		case 'a':
			audioMuted = false
		case 'v':
			videoMuted = false
		}
	}
	return audioMuted, videoMuted, true
}

// presencePayload is what the focus' presence carries besides the join.
func (m *meeting) presencePayload() []*stanza.Element {
	prop := func(k, v string) *stanza.Element {
		return stanza.NewElement(nsFocus, "property", "key", k).SetAttr("value", v)
	}
	versions := stanza.NewElement(nsJitmeet, "versions").Add(stanza.TextElement(nsJitmeet, "component", m.f.cfg.Version, "name", "focus"))
	props := stanza.NewElement(nsFocus, "conference-properties").Add(
		prop("support-terminate-restart", "true"),
		prop("bridge-count", strconv.Itoa(m.bridges)),
		prop("created-ms", strconv.FormatInt(m.createdAt.UnixMilli(), 10)),
		prop("audio-recording-enabled", "false"),
		prop("audio-limit-reached", boolText(m.audioLimit)),
		prop("video-limit-reached", boolText(m.videoLimit)),
		prop("visitors-enabled", boolText(m.f.cfg.offersVisitors(m.room))),
		prop("visitor-count", strconv.Itoa(m.visitors.count)),
		prop("visitor-codecs", m.visitors.codecs),
	)
	out := []*stanza.Element{versions, props}
	for _, el := range []*stanza.Element{m.recording, m.callState} {
		if el != nil {
			out = append(out, el)
		}
	}
	if m.bridgeMissing {
		out = append(out, stanza.NewElement(nsFocus, "bridgeNotAvailable"))
	}
	return out
}

// announce sends the focus' presence anew, after one of its properties changed.
func (m *meeting) announce() {
	m.send(stanza.NewPresence("", m.f.self, m.me, m.presencePayload()...))
}

// checkLimits counts who sends and tells when a limit is reached or no more.
func (m *meeting) checkLimits() {
	var audio, video int
	for _, mem := range m.members {
		if !mem.audioMuted {
			audio++
		}
		if !mem.videoMuted {
			video++
		}
	}
	c := m.f.cfg
	a := c.MaxAudioSenders > 0 && audio >= c.MaxAudioSenders
	v := c.MaxVideoSenders > 0 && video >= c.MaxVideoSenders
	if a != m.audioLimit || v != m.videoLimit {
		m.audioLimit, m.videoLimit = a, v
		m.announce()
	}
}
