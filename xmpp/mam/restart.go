package mam

import (
	"context"
	"errors"
	"slices"

	"konzil/internal/archive"
	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// Undelivered is what came into the archive before a kill and had not gone to all who get it.
type Undelivered struct {
	m    *Service
	list []undelivered
}

type undelivered struct {
	ledger.Undone
	owner stanza.JID
	st    *stanza.Stanza
}

// left is the message for those who have not got it: of sessions that had it and are over, others get it from there. Nil: there are none.
func (x *undelivered) left(served func(u *ledger.Undone, full stanza.JID) bool) *stanza.Stanza {
	to := []stanza.JID{x.st.To}
	for _, name := range x.Also {
		if j, err := stanza.ParseJID(name); err == nil {
			to = append(to, j)
		}
	}
	to = slices.DeleteFunc(to, func(j stanza.JID) bool { return served(&x.Undone, j) })
	switch {
	case len(to) == 0:
		return nil
	case len(x.Also) == 0:
		return x.st
	}
	return x.st.ForAll(to)
}

// Undelivered finds out, at the start, which of the messages that were under way are in the archive: these count as handled, so it comes before
// sessions are restored.
func (m *Service) Undelivered(ctx context.Context) (*Undelivered, error) {
	u := &Undelivered{m: m}
	for _, x := range m.opt.Ledger.Undone() {
		id := archive.ID(x.Ref)
		p, err := m.archive.Find(ctx, archive.Query{Owner: x.Owner, IDs: []archive.ID{id}, Max: 1})
		if errors.Is(err, archive.ErrNotFound) {
			m.opt.Ledger.Forget(x.Ref)
			continue
		}
		if err != nil {
			return nil, err
		}
		m.opt.Ledger.Stored(x.Ref)
		st, err := stanza.Parse(p.Messages[0].XML)
		owner, oerr := stanza.ParseJID(x.Owner)
		if err = errors.Join(err, oerr); err != nil {
			m.failures.Add(1)
			m.log.Error("a message of the archive cannot be read", "id", id.String(), "err", err)
			m.opt.Ledger.Done(x.Ref)
			continue
		}
		u.list = append(u.list, undelivered{x, owner, st.WithArchive(id.String(), owner)})
	}
	return u, nil
}

// Deliver hands them on: messages of rooms by room, others as if their sender had sent them now. Who has one does not get it again (ledger.Channel.Push); served
// tells whether a session, which may be over, had it. Call Done when the sessions that are over have passed on what they had.
func (u *Undelivered) Deliver(room func(st *stanza.Stanza, room stanza.JID), served func(u *ledger.Undone, full stanza.JID) bool) {
	last := map[ledger.Origin]string{} // whose copy has come furthest
	for _, x := range u.list {
		last[x.Origin] = x.Owner
	}
	for _, x := range u.list {
		switch {
		case u.m.private(x.st):
			switch {
			case x.Origin.Channel != 0 && last[x.Origin] != x.Owner:
				continue // it has left the room: the copy of whom it is for is handed on
			case x.Passed: // it has left the room, and not all have it
				room(x.st, x.st.To.Bare())
			default:
				u.m.srv.Resend(x.st.WithOrigin(stanza.Origin(x.Origin))) // which that copy keeps, so that a further restart knows it again
			}
		case x.st.Type == "groupchat":
			room(x.st, x.owner)
		case !u.m.waits(x.st):
			if st := x.left(served); st != nil {
				u.m.srv.Resend(st)
			}
		}
		u.m.redelivered.Add(1)
	}
	if err := u.m.Settle(0); err != nil { // what rooms passed on is kept for whom it is for
		u.m.log.Error("messages from before the start may not be on disk", "err", err)
	}
}

// Done ends it: all who get them have them.
func (u *Undelivered) Done() {
	for _, x := range u.list {
		u.m.opt.Ledger.Done(x.Ref)
	}
}

// waits tells whether st waits for its recipient to come, as it was kept before the kill.
func (m *Service) waits(st *stanza.Stanza) bool {
	if m.opt.Waits == nil {
		return false
	}
	ctx, cancel := ioContext()
	defer cancel()
	has, err := m.opt.Waits(ctx, st.To.Bare(), st.Archive())
	if err != nil {
		m.failures.Add(1)
		m.log.Error("messages that wait", "of", st.To.Bare().String(), "err", err)
	}
	return has
}

// private tells a message to somebody in a room, of which there is a copy for its sender, and one for whom it is for once the room has passed it on.
func (m *Service) private(st *stanza.Stanza) bool {
	return st.To.Domain() != m.srv.Domain() && m.srv.Serves(st.To.Domain())
}
