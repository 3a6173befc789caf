package mam

import (
	"context"
	"errors"
	"time"

	"konzil/internal/archive"
	"konzil/xmpp/stanza"
)

// Rooms is the archive as the room service uses it: one for each room.
type Rooms struct{ m *Service }

// Rooms gives the archives of rooms.
func (m *Service) Rooms() *Rooms { return &Rooms{m} }

// Features are what a room with an archive announces.
func (r *Rooms) Features() []string { return []string{nsMAM, nsExtended, nsFulltext, nsSID} }

// Keep puts a message of a room into its archive. make gets the id and gives the message as occupants will get it; then runs once it is on disk, in the
// order of the calls, or with an error when it could not be kept; it must not wait. Neither is called when Keep returns an error. by is who says it, an
// occupant or the room: queries can ask for the messages with it.
func (r *Rooms) Keep(room, by stanza.JID, make func(id string) *stanza.Stanza, then func(*stanza.Stanza, error)) error {
	var st *stanza.Stanza
	return r.m.appendThen(func(id archive.ID) *stanza.Stanza {
		st = make(id.String()).WithArchive(id.String(), room)
		return st
	}, func(err error) { then(st, err) }, archive.Copy{Owner: room.String(), Peer: by.String()})
}

// Said tells that a message of Keep was said to all inside, or that it will not be.
func (r *Rooms) Said(id string) {
	if id, err := archive.ParseID(id); err == nil {
		r.m.opt.Ledger.Done(uint64(id))
	}
}

// IQ answers an iq in the archive's namespace to a room, results to send; the room has checked that the asker may read. Preferences are none of rooms.
func (r *Rooms) IQ(room stanza.JID, iq *stanza.Stanza, send func(*stanza.Stanza)) *stanza.Stanza {
	switch iq.First() {
	case stanza.Name{Space: nsMAM, Local: "query"}:
		return r.m.answer(room, iq, send)
	case stanza.Name{Space: nsMAM, Local: "metadata"}:
		return r.m.ends(room, iq)
	}
	return iq.ErrorReply(stanza.ErrServiceUnavailable)
}

// Past gives the newest messages of a room, oldest first, with the times they came.
func (r *Rooms) Past(ctx context.Context, room stanza.JID, n int) ([]*stanza.Stanza, []time.Time, error) {
	p, err := r.m.archive.Find(ctx, archive.Query{Owner: room.String(), Max: n, Last: true})
	if err != nil {
		return nil, nil, err
	}
	var out []*stanza.Stanza
	var at []time.Time
	for _, msg := range p.Messages {
		if st, err := stanza.Parse(msg.XML); err == nil {
			out, at = append(out, st.WithArchive(msg.ID.String(), room)), append(at, msg.ID.Time())
		}
	}
	return out, at, nil
}

// Find gives one message of a room by the stanza-id that the room gave it, nil when there is none.
func (r *Rooms) Find(ctx context.Context, room stanza.JID, id string) (*stanza.Stanza, error) {
	n, err := archive.ParseID(id)
	if err != nil {
		return nil, nil
	}
	p, err := r.m.archive.Find(ctx, archive.Query{Owner: room.String(), IDs: []archive.ID{n}, Max: 1})
	if errors.Is(err, archive.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return stanza.Parse(p.Messages[0].XML)
}

// Replace puts a tombstone in the place of a message (XEP-0424 §5, XEP-0425 §5).
func (r *Rooms) Replace(ctx context.Context, room stanza.JID, id string, st *stanza.Stanza) error {
	n, err := archive.ParseID(id)
	if err != nil {
		return err
	}
	return r.m.archive.Replace(ctx, room.String(), n, st.AppendXML(nil, stanza.NSClient, true))
}

// Forget removes the archive of a room that is destroyed.
func (r *Rooms) Forget(ctx context.Context, room stanza.JID) error {
	return r.m.archive.Forget(ctx, room.String())
}
