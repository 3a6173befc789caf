package muc

import (
	"context"
	"strings"
	"time"

	"konzil/xmpp/stanza"
)

// Archive keeps the messages of rooms for good (XEP-0313). Methods with a context may wait for the disk, Keep may not.
type Archive interface {
	// Features are what a room with an archive announces.
	Features() []string
	// Keep takes a message: make gets the id and gives what is to be kept; then runs once it is on disk, in the order of the calls, or with
	// an error when it is not. Neither is called when Keep returns an error. by is who says it: an occupant, or the room.
	Keep(room, by stanza.JID, make func(id string) *stanza.Stanza, then func(*stanza.Stanza, error)) error
	// Said tells that a message of Keep was said to all inside, or that it will not be.
	Said(id string)
	// IQ answers an iq of XEP-0313 to a room; send gets the results.
	IQ(room stanza.JID, iq *stanza.Stanza, send func(*stanza.Stanza)) *stanza.Stanza
	// Past gives the newest n messages, oldest first, with the times they came.
	Past(ctx context.Context, room stanza.JID, n int) ([]*stanza.Stanza, []time.Time, error)
	// Find gives a message by its id, nil when there is none.
	Find(ctx context.Context, room stanza.JID, id string) (*stanza.Stanza, error)
	// Replace puts a tombstone in the place of a message.
	Replace(ctx context.Context, room stanza.JID, id string, st *stanza.Stanza) error
	// Forget removes all messages of a room.
	Forget(ctx context.Context, room stanza.JID) error
}

// archived tells whether the room's messages are kept for good. The room is locked, as for all of this file but functions that say otherwise.
func (r *room) archived() bool {
	return r.svc.archive != nil && r.svc.store != nil && r.set.Persistent && !r.set.NoArchive && !r.meeting
}

// logged tells whether people are to be told that what they say is kept or public (XEP-0045 §14.3, status 170).
func (r *room) logged() bool { return r.archived() || r.set.Logged }

// archivable are messages that mean something later (XEP-0313 §5.1.2): words, what changes or marks words, the subject. Hints (XEP-0334) overrule.
func archivable(m *stanza.Stanza) bool {
	keep := m.Has(stanza.NSClient, "subject")
	for _, n := range m.Names {
		switch n.Space {
		case nsHints:
			if n.Local == "no-store" || n.Local == "no-permanent-store" {
				return false
			}
			keep = keep || n.Local == "store"
		case nsRetract, nsFasten, "urn:xmpp:reactions:0", "urn:xmpp:message-correct:0", "urn:xmpp:call-invites:0",
			"urn:xmpp:omemo:2", "eu.siacs.conversations.axolotl", "urn:xmpp:openpgp:0", "urn:xmpp:sce:1", "jabber:x:encrypted":
			keep = true
		}
	}
	return keep || m.Child(stanza.NSClient, "body").Text() != ""
}

// wait is a message on its way to the disk: its entry, and all behind it, stay in the queue until it is done.
type wait struct {
	done chan struct{} // closed when it is on disk or err says that it is not
	err  error
}

func (w *wait) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// say gives a message to the archive if the room has one and the message belongs there, and to all who are inside once it is on disk. build makes it
// with the stanza id (XEP-0359), "" for none; before runs right before it is said, without the lock. ask is who gets an error, o the author (nil: the room).
func (r *room) say(ask *stanza.Stanza, o *occupant, probe *stanza.Stanza, build func(id string) *stanza.Stanza, before func() error) {
	switch {
	case !r.archived():
		id := newID()
		m := build(id)
		r.remember(id, o, m)
		r.sayNow(ask, m, before)
	case !archivable(probe):
		r.sayNow(ask, build(""), before) // only what is in the archive has an id by which to ask it
	default:
		r.sayKept(ask, o, build, before)
	}
}

// sayNow says what does not wait for the disk.
func (r *room) sayNow(ask, m *stanza.Stanza, before func() error) {
	if before == nil {
		r.send(m, r.recipients...)
	} else {
		r.later(r.saying(ask, m, before))
	}
}

// sayKept says a message once the archive has it on disk; the queue waits for that.
func (r *room) sayKept(ask *stanza.Stanza, o *occupant, build func(id string) *stanza.Stanza, before func() error) {
	r.loadPast() // before the archive has the message: it must not come twice
	var m *stanza.Stanza
	var id string
	w := &wait{done: make(chan struct{})}
	by := r.jid
	if o != nil {
		by = o.addr
	}
	r.svc.tasks.begin()
	err := r.svc.archive.Keep(r.jid, by, func(given string) *stanza.Stanza {
		id, m = given, build(given).WithArchive(given, r.jid)
		return r.withAuthor(m, o)
	}, func(_ *stanza.Stanza, err error) {
		defer r.svc.tasks.end()
		w.err = err
		close(w.done)
		r.wake()
	})
	if err != nil {
		r.svc.tasks.end()
		r.svc.count.storeErrors.Add(1)
		r.fail(ask, &stanza.Error{Type: "wait", Condition: "resource-constraint", Text: "The message could not be stored"})
		return
	}
	r.svc.count.archived.Add(1)
	r.remember(id, o, m)
	say := r.saying(ask, m, before)
	r.queue = append(r.queue, out{wait: w, do: func() {
		defer r.svc.archive.Said(id)
		if w.err != nil {
			r.drop(id)
			r.unstored(ask, w.err)
			return
		}
		say()
	}})
}

// saying is a function for the queue that says m to those who are inside now, after before if there is one.
func (r *room) saying(ask, m *stanza.Stanza, before func() error) func() {
	to := r.recipients
	return func() {
		if before != nil {
			if err := before(); err != nil {
				r.unstored(ask, err)
				return
			}
		}
		r.svc.spread(m, to)
	}
}

// unstored says that something is not on disk. The room is not locked.
func (r *room) unstored(ask *stanza.Stanza, err error) {
	r.svc.count.storeErrors.Add(1)
	r.svc.log.Error("message not stored", "room", r.jid.String(), "err", err)
	r.svc.reply(ask.ErrorReply(stanza.ErrInternal.With("The message could not be stored")))
}

// drop takes what could not be stored out of the past. The room is not locked.
func (r *room) drop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unremember(func(e histEntry) bool { return e.id == id })
}

// withAuthor adds who wrote m, for those who may see that later: in rooms where everybody sees addresses (XEP-0313 §5.1.2).
func (r *room) withAuthor(m *stanza.Stanza, o *occupant) *stanza.Stanza {
	if r.set.Anonymous || o == nil {
		return m
	}
	bare := o.bare()
	return m.WithAdded(stanza.NewElement(nsUser, "x").Add(item(r.affiliation(bare), o.role, bare)))
}

// archiveIQ is a question to the archive, answered by a goroutine of its own: a search takes its time.
func (r *room) archiveIQ(st *stanza.Stanza) {
	if !r.archived() {
		r.fail(st, stanza.ErrServiceUnavailable)
		return
	}
	if err := r.mayRead(st.From); err != nil {
		r.fail(st, err)
		return
	}
	o := r.sessions[st.From]
	veiled := r.set.Anonymous && (o == nil || o.role < moderator) && r.affiliation(st.From.Bare()) < admin
	if !r.svc.tasks.runFor(st.From.Bare(), func() {
		send := r.svc.router.Route
		if veiled {
			send = func(m *stanza.Stanza) { r.svc.router.Route(veil(m)) }
		}
		r.svc.count.queries.Add(1)
		r.svc.reply(r.svc.archive.IQ(r.jid, st, send))
	}) {
		r.svc.count.overflows.Add(1)
		r.fail(st, stanza.ErrResourceConstraint.With("Too many questions at once, wait for the answers"))
	}
}

// mayRead tells who may ask the archive (XEP-0313 §7.1, XEP-0045 §7.2): who is inside, and who belongs to the room and could enter it any time.
func (r *room) mayRead(from stanza.JID) *stanza.Error {
	aff := r.affiliation(from.Bare())
	switch {
	case aff == outcast:
		return stanza.ErrForbidden.With("You are banned from this room")
	case r.sessions[from] != nil, aff >= member:
		return nil
	default:
		return stanza.ErrForbidden.With("Only occupants and members may ask for the archive")
	}
}

// veil takes the address of the author out of a result of the archive: it is from a time when all in the room saw it, who asks now may not.
func veil(m *stanza.Stanza) *stanza.Stanza {
	res := m.Payload()
	if len(res) != 1 {
		return m
	}
	clean := without(res[0], 3)
	return m.WithPayload(clean)
}

// without copies an element down to depth without muc#user children.
func without(e *stanza.Element, depth int) *stanza.Element {
	if depth == 0 {
		return e
	}
	c := &stanza.Element{Name: e.Name, Attrs: e.Attrs}
	for _, n := range e.Children() {
		if n.Space != nsUser {
			c.Add(without(n, depth-1))
		}
	}
	return c
}

// entomb puts a tombstone in the place of a message of the archive, if by may take it back (XEP-0424 §5): the room is not locked. It
// reports what is wrong, nil when it is done or nothing is to be done.
func (r *room) entomb(id string, allowed func(*stanza.Stanza) bool, retracted *stanza.Element) *stanza.Error {
	ctx, cancel := context.WithTimeout(context.Background(), r.svc.cfg.StoreTimeout)
	defer cancel()
	m, err := r.svc.archive.Find(ctx, r.jid, id)
	switch {
	case err != nil:
	case m == nil:
		return stanza.ErrItemNotFound.With("There is no such message")
	case m.Has(nsRetract, "retracted"):
		return nil
	case !allowed(m):
		return stanza.ErrForbidden.With("That message is somebody else's")
	default:
		err = r.svc.archive.Replace(ctx, r.jid, id, tombstone(m, retracted))
	}
	if err != nil {
		r.svc.count.storeErrors.Add(1)
		r.svc.log.Error("message not retracted", "room", r.jid.String(), "id", id, "err", err)
		return stanza.ErrInternal
	}
	r.svc.count.tombstones.Add(1)
	return nil
}

// tombstone is what stays of a message: who wrote it, under which ids, and that it was retracted.
func tombstone(m *stanza.Stanza, retracted *stanza.Element) *stanza.Stanza {
	var keep []*stanza.Element
	for _, e := range m.Payload() {
		if e.Space == nsOccupant || e.Space == nsSID || e.Space == nsUser {
			keep = append(keep, e)
		}
	}
	return m.WithPayload(append(keep, retracted)...)
}

func retracted(by string, at time.Time, more ...*stanza.Element) *stanza.Element {
	return stanza.NewElement(nsRetract, "retracted", "id", by, "stamp", at.UTC().Format("2006-01-02T15:04:05.000Z")).Add(more...)
}

// isMAM tells names of the archive's protocol.
func isMAM(n stanza.Name) bool { return strings.HasPrefix(n.Space, "urn:xmpp:mam:") }
