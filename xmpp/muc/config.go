package muc

import (
	"time"

	"konzil/internal/ledger"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Creators tells who may create rooms.
type Creators uint8

const (
	// CreateLocal lets admins and accounts of Config.LocalDomains create rooms. Guests live on another domain and may not.
	CreateLocal Creators = iota
	// CreateAdmins lets only Config.Admins create rooms.
	CreateAdmins
	// CreateAnyone lets everybody who can send presence to the service create rooms.
	CreateAnyone
)

// Config is what an operator decides about the service. Zero limits take the default given with each.
type Config struct {
	Domain string // the service's own domain, e.g. conference.example.org
	Name   string // shown in service discovery

	Admins       []stanza.JID // bare JIDs that are owner of every room and may create any, e.g. focus@auth.example.org
	Create       Creators
	LocalDomains []string // domains whose accounts count as local for CreateLocal
	AdminNicks   []string // nicks that only admins may take; default "focus" if there are admins

	// HideRooms keeps meeting rooms, those created by an admin, out of disco#items and refuses disco#info about them to who is not inside.
	HideRooms bool
	// Archive keeps the messages of persistent rooms whose owners do not say otherwise; nil: none are kept.
	Archive Archive

	// Opening is asked before a room is made by a join: what the room begins with, or why it may not be. It is called without locks.
	Opening func(room, by stanza.JID) (Opening, *stanza.Error)
	// Decorate gives elements that the server adds to each presence of an occupant: for all, and for the occupant alone. It is called with the room
	// locked: it must not wait, nor ask the Service.
	Decorate func(room, real stanza.JID, moderator bool) (all, own []*stanza.Element)
	// Hidden tells of real addresses whose people are no participants: recorders and the like. Nil: none.
	Hidden func(real stanza.JID) bool
	// Waiting makes the rooms waiting rooms: only moderators see who is there, and people can write to moderators alone.
	Waiting bool
	// AnyNick lets meeting rooms have nicks that are no endpoint ids: rooms of services.
	AnyNick bool
	// StrictNicks lets guests, people of other domains than LocalDomains, enter meetings only under the first eight characters of their
	// localpart, which is the endpoint id of Jitsi clients.
	StrictNicks bool

	// Ledger remembers who is inside persistent rooms over a restart; nil: a restart empties them.
	Ledger *ledger.Ledger
	// Hold is told of a message that waits in a room, by where it came from, and gives what is called once it is out: until then it is not handled; nil: nobody
	// counts (xmpp.Server.Hold).
	Hold func(stanza.Origin) (release func())

	// Hats gives the hats of a person in a room (XEP-0317), by its groups in a directory for one; nil: nobody has any. It must not wait.
	Hats func(room, bare stanza.JID) []Hat

	MaxVCard        int           // 64 KiB, the vcard of a room with its avatar
	MaxRooms        int           // 20000; about 4 kB each when empty
	MaxOccupants    int           // 5000 per room, also the ceiling of muc#roomconfig_maxusers
	MaxAffiliations int           // 20000 per room
	MaxNick         int           // 128 bytes
	MaxName         int           // 256 bytes, the localpart of a room
	MaxSubject      int           // 4096 bytes
	MaxPresence     int           // 32 KiB, one presence: it is kept and sent to everybody who comes later
	History         int           // 50 stanzas kept per room
	HistoryBytes    int           // 256 KiB kept per room, so that big stanzas do not add up
	Rate            float64       // 20 stanzas a second that one session may have broadcast
	JoinRate        float64       // 400 a second: presences that one person's joins may cost, in all rooms; 40 joins of small rooms
	JoinBurst       int           // 20000 of them at once: a client with many bookmarks
	Burst           int           // 100 of them at once: a client joining a call sends many small presence updates
	StoreTimeout    time.Duration // 10 s for one write or read of the store
}

// Limits that nobody needs to set.
const (
	// maxSessionsPerNick bounds the clients of one person that share a nick in a chat room.
	maxSessionsPerNick = 10
	// maxQueued is how many entries the outgoing queue of a room may have before stanzas that would add to it are refused with
	// resource-constraint. The queue is emptied without waiting, so this only fills when several cores outrun one.
	maxQueued = 4096
	// maxAdminItems bounds the items of one muc#admin set: a moderator grants membership to all present in one iq.
	maxAdminItems = 1000
	// maxInvites bounds the mediated invitations of one message.
	maxInvites = 20
	// maxDiscoRooms bounds a disco#items answer; the rest of the public rooms is found by name.
	maxDiscoRooms = 500
	// maxPending bounds the vcard requests of a room that wait for an answer from a bare JID.
	maxPending = 256
)

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "Chat rooms"
	}
	if c.AdminNicks == nil && len(c.Admins) > 0 {
		c.AdminNicks = []string{"focus"}
	}
	for _, d := range []struct {
		v *int
		n int
	}{
		{&c.MaxRooms, 20000}, {&c.MaxOccupants, 5000}, {&c.MaxAffiliations, 20000}, {&c.MaxNick, 128}, {&c.MaxName, 256},
		{&c.MaxSubject, 4096}, {&c.MaxPresence, 32 << 10}, {&c.History, 50}, {&c.HistoryBytes, 256 << 10}, {&c.MaxVCard, 64 << 10}, {&c.Burst, 100},
		{&c.JoinBurst, 20_000},
	} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	if c.Rate == 0 {
		c.Rate = 20
	}
	if c.JoinRate == 0 {
		c.JoinRate = 400
	}
	if c.StoreTimeout == 0 {
		c.StoreTimeout = xmpp.StoreTime
	}
	return c
}
