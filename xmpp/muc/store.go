package muc

import (
	"context"
	"time"

	"konzil/xmpp/stanza"
)

// Store keeps persistent rooms. Each method is durable before it returns nil. Methods are called from several goroutines.
type Store interface {
	// Rooms gives all rooms of the service domain.
	Rooms(ctx context.Context, domain string) ([]RoomRecord, error)
	// SaveRoom writes a room in place of what was there. Nil Affiliations leave the stored ones, others replace them all.
	SaveRoom(ctx context.Context, r RoomRecord) error
	// SetAffiliations changes single entries of a stored room; affiliation none removes one.
	SetAffiliations(ctx context.Context, room string, changed []AffiliationRecord) error
	// VCard gives the vcard of a room as XML, nil if it has none; SetVCard changes it, nil removes it.
	VCard(ctx context.Context, room string) ([]byte, error)
	SetVCard(ctx context.Context, room string, xml []byte) error
	// DeleteRoom removes a room with all that belongs to it; one that is not there is no error.
	DeleteRoom(ctx context.Context, room string) error
}

// RoomRecord is a room as it is stored.
type RoomRecord struct {
	Room         string // bare JID
	Config       []byte // JSON of the settings
	Key          []byte // of occupant ids (XEP-0421): stable as long as the room
	Created      time.Time
	Subject      string
	SubjectBy    string // occupant JID
	SubjectAt    time.Time
	Affiliations []AffiliationRecord
}

// AffiliationRecord is an entry of an affiliation list.
type AffiliationRecord struct {
	JID         string // bare
	Affiliation string
	Nick        string
	Reason      string
}

// Observer is told what happens in rooms, in order and one call at a time for each room. Calls come from senders' goroutines with no lock
// held: an observer may ask the Service and use the Router, and must not block.
type Observer interface {
	// Joining comes before the newcomer gets any presence; send puts a stanza before them, addressed to the newcomer.
	Joining(room, real stanza.JID, nick string, send func(*stanza.Stanza))
	// Joined comes after the newcomer got presences, history and subject.
	Joined(room, real stanza.JID, nick string)
	// Left comes after an occupant's unavailable presence, whatever the reason.
	Left(room, real stanza.JID, nick string)
	// Destroyed comes when the room is gone from memory: destroyed by an owner, or temporary and empty.
	Destroyed(room stanza.JID)
}
