package muc

import (
	"time"

	"golang.org/x/time/rate"

	"konzil/xmpp/stanza"
)

// Namespaces.
const (
	nsMUC          = "http://jabber.org/protocol/muc"
	nsUser         = "http://jabber.org/protocol/muc#user"
	nsAdmin        = "http://jabber.org/protocol/muc#admin"
	nsOwner        = "http://jabber.org/protocol/muc#owner"
	nsRegisterForm = "http://jabber.org/protocol/muc#register"
	nsRequest      = "http://jabber.org/protocol/muc#request"
	nsConfig       = "http://jabber.org/protocol/muc#roomconfig"
	nsRoomInfo     = "http://jabber.org/protocol/muc#roominfo"
	nsSelfPing     = "http://jabber.org/protocol/muc#self-ping-optimization"
	nsStableID     = "http://jabber.org/protocol/muc#stable_id"
	nsDiscoInfo    = "http://jabber.org/protocol/disco#info"
	nsDiscoItem    = "http://jabber.org/protocol/disco#items"
	nsData         = "jabber:x:data"
	nsInviteX      = "jabber:x:conference"
	nsDelay        = "urn:xmpp:delay"
	nsSID          = "urn:xmpp:sid:0"
	nsOccupant     = "urn:xmpp:occupant-id:0"
	nsPing         = "urn:xmpp:ping"
	nsVCard        = "vcard-temp"
	nsHints        = "urn:xmpp:hints"
	nsCarbons      = "urn:xmpp:carbons:2"
	nsRegister     = "jabber:iq:register"
	nsUnique       = "http://jabber.org/protocol/muc#unique"
	nsRetract      = "urn:xmpp:message-retract:1"
	nsModerate     = "urn:xmpp:message-moderate:1"
	nsFasten       = "urn:xmpp:fasten:0"
	nsNick         = "http://jabber.org/protocol/nick"
	nsJitMeet      = "http://jitsi.org/jitmeet"
)

// affiliation is the lasting relation of a bare JID to a room (XEP-0045 §5.2), ordered by power.
type affiliation int8

const (
	outcast affiliation = iota - 1
	none
	member
	admin
	owner
)

var affNames = map[affiliation]string{outcast: "outcast", none: "none", member: "member", admin: "admin", owner: "owner"}

func (a affiliation) String() string { return affNames[a] }

func parseAffiliation(s string) (affiliation, bool) {
	for a, n := range affNames {
		if n == s {
			return a, true
		}
	}
	return none, false
}

// role is what an occupant may do during this visit (XEP-0045 §5.1), ordered by power.
type role int8

const (
	roleNone role = iota
	visitor
	participant
	moderator
)

var roleNames = [...]string{"none", "visitor", "participant", "moderator"}

func (r role) String() string { return roleNames[r] }

func parseRole(s string) (role, bool) {
	for i, n := range roleNames {
		if n == s {
			return role(i), true
		}
	}
	return roleNone, false
}

// session is one client inside a room.
type session struct {
	jid      stanza.JID        // real, full
	presence []*stanza.Element // children of its last presence, cleaned
	lang     string
	limit    *rate.Limiter // of what it has broadcast
}

// occupant is a nick in a room with the sessions that share it; the first session is the one whose presence is shown and who gets iqs.
type occupant struct {
	nick     string
	addr     stanza.JID // room@service/nick
	role     role
	sessions []*session
	joined   time.Time
	id       string          // XEP-0421
	hats     *stanza.Element // XEP-0317, nil for none
	told     bool            // the others know that it is here (muc#roomconfig_presencebroadcast)
	// shown caches the presence as newcomers get it, without and with the real JID; nil after a change.
	shown [2]*stanza.Stanza
}

func (o *occupant) primary() *session  { return o.sessions[0] }
func (o *occupant) bare() stanza.JID   { return o.sessions[0].jid.Bare() }
func (o *occupant) real() stanza.JID   { return o.sessions[0].jid }
func (o *occupant) jids() []stanza.JID { return jidsOf(o.sessions) }

func jidsOf(ss []*session) []stanza.JID {
	out := make([]stanza.JID, len(ss))
	for i, s := range ss {
		out[i] = s.jid
	}
	return out
}

// settings are the configuration that owners change (XEP-0045 §10.2). It is stored as JSON.
type settings struct {
	Title         string `json:"title,omitempty"`
	Description   string `json:"description,omitempty"`
	Persistent    bool   `json:"persistent,omitempty"`
	NoArchive     bool   `json:"no_archive,omitempty"` // persistent rooms keep what is said unless an owner says no
	Logged        bool   `json:"logged,omitempty"`     // what is said is public elsewhere: people are told
	Public        bool   `json:"public,omitempty"`
	Moderated     bool   `json:"moderated,omitempty"`
	MembersOnly   bool   `json:"members_only,omitempty"`
	Secret        string `json:"secret,omitempty"` // "" is no password
	Anonymous     bool   `json:"anonymous,omitempty"`
	ChangeSubject bool   `json:"change_subject,omitempty"`
	AllowInvites  bool   `json:"allow_invites,omitempty"`

	ForwardMentions bool   `json:"forward_mentions,omitempty"` // XEP-0452
	MaxUsers        int    `json:"max_users,omitempty"`        // 0: the service's limit
	AllowPM         string `json:"allow_pm,omitempty"`         // who may write to single occupants: "" all, participants, moderators, none
	Hidden          uint8  `json:"hidden,omitempty"`           // 1<<role for each whose presence is not told to others
	Lang            string `json:"lang,omitempty"`
	Provided        bool   `json:"provided,omitempty"` // for a group of the organisation (provide.go)
	Avatar          string `json:"avatar,omitempty"`   // SHA-1 of the picture in the room's vcard, hex
}

// affEntry is one line of an affiliation list.
type affEntry struct {
	aff    affiliation
	nick   string
	reason string
}
