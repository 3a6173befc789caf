package signaling

import (
	"net/http"
	"slices"
	"time"

	"konzil/xmpp/stanza"
)

// Config is what a focus has to know. Zero values of durations and numbers take the defaults below.
type Config struct {
	Domain      string // D
	FocusDomain string // component address that clients ask; default focus.D
	FocusUser   string // account that sits in the rooms; default focus@auth.D
	MUC         string // room service; default conference.D
	// AcceptMUC tells whether rooms of another domain may be served too (breakout rooms, tenants); nil: MUC alone.
	AcceptMUC func(domain string) bool
	// Breakout is the domain of breakout rooms, "" for none. They are served too: nobody needs to be authenticated to begin one, and nobody is
	// made owner in it, for the rooms themselves see to both.
	Breakout string
	// Components whose messages about a room are believed; default metadata.D and avmoderation.D.
	Components []string

	// AuthRequired: only who is authenticated may start a meeting. Existing meetings are open to guests.
	AuthRequired bool
	// AuthDomains are the domains whose users count as authenticated; default D.
	AuthDomains []string
	// Authenticated, if set, decides instead of AuthDomains: for servers with guests on D too. It must not wait for long.
	Authenticated func(user stanza.JID) bool
	// Owner, if set, tells of an authenticated user whether it is made owner; else all are.
	Owner func(user stanza.JID) bool
	// AuthenticatedRequest, if set, tells whether a request over HTTP comes from somebody authenticated.
	AuthenticatedRequest func(r *http.Request) bool
	// LoginURL, if set, is where people log in for a room; "": in the page itself.
	LoginURL func(room stanza.JID) string
	// DisableAutoOwner: nobody is made owner for having come first.
	DisableAutoOwner bool

	// DisableSSRCRewriting: no client is offered rewritten SSRCs, even if it can.
	DisableSSRCRewriting bool
	// DisableRED: Opus redundancy (RFC 2198) is not offered to clients that ask for it.
	DisableRED bool
	// DisableFEC: repair packets for video are not offered to clients that ask for them.
	DisableFEC bool
	// DisableSCTP: no data content, the bridge channel is a WebSocket alone.
	DisableSCTP bool
	// MinParticipants for media to start; default 2.
	MinParticipants int
	// JibriBrewery and JigasiBrewery are the rooms where recorders and telephone gateways wait for work; "" for none.
	JibriBrewery, JigasiBrewery string
	// MayUse tells whether who is in a room may use a feature: recording, livestreaming, outbound-call, transcription; nil: moderators may.
	MayUse func(feature string, room, real stanza.JID) bool
	// Recorded, if set, is told when a recording or stream begins or ends. It must not wait.
	Recorded func(room stanza.JID, session, mode, initiator string, on bool, failure string)
	// Service tells of real addresses that are parts of the installation: they are nobody's moderators. Nil: presence tells.
	Service func(real stanza.JID) bool
	// Audience is where visitors of meetings are; nil: there are none.
	Audience Audience
	// MaxMeetings at a time, starting ones included; more are refused with resource-constraint. Default 10000: rooms of two
	// fill a large machine long before.
	MaxMeetings int
	// MaxEmpty meetings that one requester (bare address, or IP address over HTTP) has started and nobody has joined yet; more are
	// refused with resource-constraint, so that one client cannot use up MaxMeetings. Default 100: behind a proxy many people are
	// one IP address, and a meeting is empty for less than a second.
	MaxEmpty int
	// MaxAudioSenders, MaxVideoSenders bound who may send at a time in one meeting; 0: no limit.
	MaxAudioSenders, MaxVideoSenders int
	// SourceDelay is how long source changes are gathered in a meeting of so many members before the others are told; nil: none.
	SourceDelay func(members int) time.Duration

	StartTimeout  time.Duration // a meeting that nobody joins ends after this; default 20 s
	SingleTimeout time.Duration // a lone member's session is ended after this; default 20 s
	JoinTimeout   time.Duration // for the room to let the focus in; default 10 s
	DiscoTimeout  time.Duration // for a client to say what it can do; default 5 s, then audio, video and sctp are assumed
	IQTimeout     time.Duration // for other answers; default 15 s
	BridgeTimeout time.Duration // for one question to a bridge; default 10 s

	VisitorInterval time.Duration // at most so often the number of visitors is told; default 1 s

	Region  string // told to clients in the offer
	Version string // told in the focus' presence
}

// Audience is where people are who watch meetings without taking part. The focus serves them as it does members, but their rooms are not its own:
// it gets their presence from there, and everything it says to them goes there.
type Audience interface {
	// Offers tells whether a meeting can have visitors.
	Offers(room stanza.JID) bool
	// Redirect names the node where who asks for a meeting is to go instead, "" for none. people are those who take part; wish: it wants to
	// watch; who is zero if it is not known. It must not wait.
	Redirect(room, who stanza.JID, wish bool, people int) (node string)
	// Main is the meeting that an audience's room belongs to; false: room is none.
	Main(room stanza.JID) (stanza.JID, bool)
}

func (c *Config) setDefaults() {
	str := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	num := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	str(&c.FocusDomain, "focus."+c.Domain)
	str(&c.FocusUser, "focus@auth."+c.Domain)
	str(&c.MUC, "conference."+c.Domain)
	str(&c.Version, "konzil")
	if c.Components == nil {
		c.Components = []string{"metadata." + c.Domain, "avmoderation." + c.Domain}
	}
	if c.AuthDomains == nil {
		c.AuthDomains = []string{c.Domain}
	}
	num(&c.MinParticipants, 2)
	num(&c.MaxMeetings, 10000)
	num(&c.MaxEmpty, 100)
	dur(&c.StartTimeout, 20*time.Second)
	dur(&c.SingleTimeout, 20*time.Second)
	dur(&c.JoinTimeout, 10*time.Second)
	dur(&c.DiscoTimeout, 5*time.Second)
	dur(&c.IQTimeout, 15*time.Second)
	dur(&c.BridgeTimeout, 10*time.Second)
	dur(&c.VisitorInterval, time.Second)
}

func (c *Config) authenticated(user stanza.JID) bool {
	if c.Authenticated != nil {
		return c.Authenticated(user)
	}
	return slices.Contains(c.AuthDomains, user.Domain())
}

// offersVisitors tells whether a meeting can have visitors.
func (c *Config) offersVisitors(room stanza.JID) bool {
	return c.Audience != nil && c.Audience.Offers(room)
}

// meetingOf is the room whose meeting a room's occupants belong to: itself, or the one that an audience watches. False: it is none of ours.
func (c *Config) meetingOf(room stanza.JID) (stanza.JID, bool) {
	if c.Audience != nil {
		if main, ok := c.Audience.Main(room); ok {
			return main, true
		}
	}
	return room, c.acceptsMUC(room.Domain())
}

func (c *Config) acceptsMUC(domain string) bool {
	return domain == c.MUC || c.Breakout != "" && domain == c.Breakout || c.AcceptMUC != nil && c.AcceptMUC(domain)
}

// Namespaces of stanzas the focus reads and writes besides Jingle.
const (
	nsFocus     = "http://jitsi.org/protocol/focus"
	nsJitmeet   = "http://jitsi.org/jitmeet"
	nsMUC       = "http://jabber.org/protocol/muc"
	nsMUCUser   = "http://jabber.org/protocol/muc#user"
	nsMUCAdmin  = "http://jabber.org/protocol/muc#admin"
	nsDiscoInfo = "http://jabber.org/protocol/disco#info"
	nsCaps      = "http://jabber.org/protocol/caps"
	nsPing      = "urn:xmpp:ping"
	nsForm      = "jabber:x:data"
	nsMute      = "http://jitsi.org/jitmeet/" // + audio, video, desktop
)

// Limits of queues.
const (
	// maxStanzas waiting for one meeting: a room of some thousand whose members all change presence at once fits. A presence above
	// that is dropped and counted.
	maxStanzas = 8192
	// maxRequests is the limit for iqs: with more waiting they are refused with resource-constraint and counted, so that a flood of
	// them leaves room for presence.
	maxRequests = 2048
	// maxEvents is for our own timers and answers and for people leaving, which must not be lost; they are bounded by members and
	// jobs, so this is a fuse.
	maxEvents = 65536
)

func property(name, value string) *stanza.Element {
	return stanza.NewElement(nsFocus, "property", "name", name).SetAttr("value", value)
}
