package signaling

import (
	"slices"
	"time"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// member is one occupant besides the focus. It belongs to the meeting's goroutine.
type member struct {
	nick   string // also the endpoint id
	occ    stanza.JID
	real   stanza.JID
	number int // orders members as they came
	place  int // how many were there when it came, itself included

	role, affiliation string
	region, statsID   string
	codecs            []string
	presFeatures      []string
	service           bool // by Config.Service
	caps              capsRef
	audioMuted        bool // as the member says
	videoMuted        bool

	features    map[string]bool // nil: not known yet
	asking      bool            // disco#info is on its way
	granting    bool            // ownership is being granted
	session     *session
	invited     bool     // once: startmuted is for the first time
	quit        bool     // the client ended its session; it is not invited again
	ended       []string // sids of former sessions, newest last
	restarts    restarts // of the session
	iceRestarts restarts // in place
	failures    int      // invitations in a row that the bridge refused
	audioForced bool     // muted at the bridge
	videoForced bool
	left        bool
}

// maxEnded is how many former sids are remembered to answer late requests with gone.
const maxEnded = 8

type sessionState uint8

const (
	allocating sessionState = iota // the bridge is asked for an endpoint
	offered                        // session-initiate is out
	active                         // accepted
)

// session is one Jingle session with a member.
type session struct {
	sid       string
	allocID   string // bridge-session id
	state     sessionState
	json      bool
	rewriting bool
	fec       bool                        // is told of repair packets
	remote    jingle.Transport            // the client's side as known so far
	told      map[string]jingle.SourceSet // by owner, what the client was told
}

// Presence features that mark services.
const (
	featJibri       = "http://jitsi.org/protocol/jibri"
	featJigasi      = "http://jitsi.org/protocol/jigasi"
	featTranscriber = "http://jitsi.org/protocol/transcriber"
)

// offers tells that the member's presence has a feature.
func (mem *member) offers(feature string) bool { return slices.Contains(mem.presFeatures, feature) }

// isService tells that the member is no person: a recorder, a telephone gateway, a transcriber.
func (mem *member) isService() bool {
	return mem.service || slices.ContainsFunc(mem.presFeatures, func(v string) bool { return v == featJibri || v == featJigasi || v == featTranscriber })
}

func (mem *member) moderator() bool { return mem.role == "moderator" }

func (mem *member) visitor() bool { return mem.role == "visitor" }

func (mem *member) has(feature string) bool { return mem.features[feature] }

// leave takes a member out who has left the room, and ends the meeting a little later if it was the last.
func (m *meeting) leave(mem *member) {
	delete(m.members, mem.nick)
	mem.left = true
	m.f.count.leaves.Add(1)
	m.dropSession(mem, nil)
	if mem.affiliation == "owner" || mem.granting {
		m.electOwner()
	}
	m.checkLimits()
	if mem.visitor() {
		m.countVisitors()
	}
	m.review()
}

// emptied ends a meeting that everybody has left, at once, as jicofo does: who comes next finds no password and no policy of it. Only for who has asked
// for it and is not there yet it stays.
func (m *meeting) emptied() {
	if len(m.members) > 0 || !m.joined {
		return
	}
	if rest := m.f.cfg.StartTimeout - time.Since(m.expected); rest > 0 {
		m.waitEmpty(rest)
		return
	}
	m.end("", "")
}

// review does what the present members call for: asks what they can do, makes an owner, invites, or ends a lonely session.
func (m *meeting) review() {
	if !m.joined || m.ended {
		return
	}
	m.electOwner()
	m.discoverAll()
	if len(m.members) < m.f.cfg.MinParticipants {
		if m.anySession() && m.lastTimer == nil {
			m.lastTimer = m.after(m.f.cfg.SingleTimeout, m.expireSingle)
		}
		return
	}
	stop(&m.lastTimer)
	for _, mem := range m.sorted((*member).waits) {
		m.invite(mem)
	}
}

func (m *meeting) anySession() bool {
	for _, mem := range m.members {
		if mem.session != nil {
			return true
		}
	}
	return false
}

// waits tells that a member could be invited and is not.
func (mem *member) waits() bool { return mem.features != nil && mem.session == nil && !mem.quit }

// sorted are the members for whom is holds, nil: all, in the order they came. Most often that is nobody, and cheap.
func (m *meeting) sorted(is func(*member) bool) []*member {
	var out []*member
	for _, mem := range m.members {
		if is == nil || is(mem) {
			out = append(out, mem)
		}
	}
	slices.SortFunc(out, func(a, b *member) int { return a.number - b.number })
	return out
}

// beginsAnew tells whether the client can start a second session after its first was ended. lib-jitsi-meet can, and all of its versions since
// 2022 know JSON sources. gst-meet cannot: it does not look at session-terminate, and what it sends stays with the media of its first session.
// Services do what they do with other focuses: a telephone gateway hangs up.
func (mem *member) beginsAnew() bool { return mem.session.json || mem.isService() }

// expireSingle ends the session of whoever has been alone for too long; the next to come starts a new one. A client that could not start
// again keeps its session: nobody wants what it sends, and it is told so.
func (m *meeting) expireSingle() {
	m.lastTimer = nil
	if len(m.members) >= m.f.cfg.MinParticipants {
		return
	}
	for _, mem := range m.members {
		if mem.session != nil && mem.beginsAnew() {
			m.f.count.idle.Add(1)
			m.terminate(mem, "expired", "Idle session timeout")
		}
	}
}
