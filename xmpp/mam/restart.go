package mam

import (
	"context"
	"errors"

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

// Deliver hands them on: messages of rooms by room, others as if their sender had sent them now. served tells whether the queue from an address to
// another has it already, of the channels of the ledger that have.
func (u *Undelivered) Deliver(room func(st *stanza.Stanza, room stanza.JID, served func(to, from stanza.JID) bool),
	served func(by ledger.Served, to, from stanza.JID) bool) {
	last := map[ledger.Origin]string{} // whose copy has come furthest
	for _, x := range u.list {
		last[x.Origin] = x.Owner
	}
	for _, x := range u.list {
		by := func(to, from stanza.JID) bool { return served(x.Served, to, from) }
		switch {
		case u.m.private(x.st):
			if len(x.Served) > 0 || x.Origin.Channel != 0 && last[x.Origin] != x.Owner {
				continue // it has left the room: the copy of whom it is for is handed on
			}
			u.m.srv.Resend(x.st.WithOrigin(stanza.Origin(x.Origin))) // which that copy keeps, so that a further restart knows it again
		case x.st.Type == "groupchat":
			room(x.st, x.owner, by)
		case !u.m.served(x.st, by) && !u.m.waits(x.st):
			u.m.srv.Resend(x.st)
		}
		u.m.redelivered.Add(1)
	}
	if err := u.m.Settle(0); err != nil { // what rooms passed on is kept for whom it is for
		u.m.log.Error("messages from before the start may not be on disk", "err", err)
	}
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

// served tells whether the recipient of st, or a client of it, has it in its queue.
func (m *Service) served(st *stanza.Stanza, by func(to, from stanza.JID) bool) bool {
	if by(st.To, st.From) {
		return true
	}
	for _, x := range m.srv.Sessions(st.To.Bare()) {
		if by(x.JID(), st.From) {
			return true
		}
	}
	return false
}
