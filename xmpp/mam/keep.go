package mam

import (
	"context"
	"errors"
	"sync"

	"konzil/internal/archive"
	"konzil/internal/ledger"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// keepable are messages that mean something later (XEP-0313 §5.1.1): with words, or with what belongs to a conversation (conversational). Of rooms
// only private messages and invitations: the room has an archive of its own. Hints (XEP-0334) overrule, but not for what must never be kept.
func keepable(st *stanza.Stanza) bool {
	if st.Kind != stanza.Message || st.Type == "groupchat" || st.Type == "error" {
		return false
	}
	hint, words := false, false
	for _, n := range st.Names {
		switch {
		case n.Space == nsHints && (n.Local == "no-store" || n.Local == "no-permanent-store"), isMAM(n),
			n.Space == nsCarbons && (n.Local == "sent" || n.Local == "received"):
			return false
		case n.Space == nsHints && n.Local == "store":
			hint = true
		case conversational(n):
			words = true
		}
	}
	return hint || words && st.Type != "headline"
}

// conversational are children that make a message one to keep.
func conversational(n stanza.Name) bool {
	switch n.Space {
	case stanza.NSClient:
		return n.Local == "body"
	case "urn:xmpp:receipts", "urn:xmpp:chat-markers:0": // XEP-0184, XEP-0333
		return n.Local != "request" && n.Local != "markable"
	case "urn:xmpp:reactions:0", "urn:xmpp:message-retract:1", "urn:xmpp:message-correct:0", "urn:xmpp:jingle-message:0", "urn:xmpp:call-invites:0",
		"jabber:x:conference", "urn:xmpp:fasten:0":
		return true // XEP-0444, XEP-0424, XEP-0308, XEP-0353, XEP-0482, XEP-0249
	case nsMUCUser:
		return n.Local == "x" // an invitation; a private message has a body
	}
	return n.Encrypted() // XEP-0384, XEP-0373, XEP-0420
}

// Keep implements xmpp.Keeper.
func (m *Service) Keep(x *xmpp.Session, st *stanza.Stanza) (*stanza.Stanza, uint64, *stanza.Error) {
	if !keepable(st) {
		return st, 0, nil
	}
	from, to := st.From.Bare(), st.To.Bare()
	var copies []archive.Copy
	if x != nil && !x.Guest() && m.wants(from, st.To) {
		copies = append(copies, archive.Copy{Owner: from.String(), Peer: st.To.String()})
	}
	deliver := m.srv.HasAccount(to) && to != from && !m.refused(to, st.From) && m.wants(to, st.From)
	if deliver {
		copies = append(copies, archive.Copy{Owner: to.String(), Peer: st.From.String()})
	}
	if len(copies) == 0 {
		return st, 0, nil
	}
	out, ticket, err := m.append(st, deliver || to == from && len(copies) > 0, copies)
	if err != nil {
		return st, 0, m.refusal(err)
	}
	return out, uint64(ticket), nil
}

// append keeps st; the stanza that it returns is what was kept, with the id that an archive of the recipient's has for it when mark is set.
func (m *Service) append(st *stanza.Stanza, mark bool, copies []archive.Copy) (*stanza.Stanza, archive.Ticket, error) {
	out := st
	_, ticket, err := m.archive.Append(func(id archive.ID) []byte {
		m.opt.Ledger.Begin(uint64(id), copies[len(copies)-1].Owner, ledger.Origin(st.Origin()))
		out = m.marked(st, id, mark)
		return out.AppendXML(make([]byte, 0, out.Size()+maxHead), stanza.NSClient, true)
	}, copies...)
	return out, ticket, err
}

// appendThen keeps the stanza that make gives and calls then once it is on disk (archive.AppendThen).
func (m *Service) appendThen(make func(archive.ID) *stanza.Stanza, then func(error), c archive.Copy) error {
	var from stanza.Origin
	_, err := m.archive.AppendThen(func(id archive.ID) []byte {
		st := make(id)
		from = st.Origin()
		m.opt.Ledger.Begin(uint64(id), c.Owner, ledger.Origin(from), addresses(st.Also())...)
		m.keeping.add(from.Channel, 1)
		return st.AppendXML(nil, stanza.NSClient, true)
	}, func(err error) {
		m.keeping.add(from.Channel, -1)
		then(err)
	}, c)
	return err
}

func addresses(all []stanza.JID) (out []string) {
	for _, j := range all {
		out = append(out, j.String())
	}
	return out
}

// keeping counts the messages of appendThen that are not on disk, by the channels of their origins; those without are not counted.
type keeping struct {
	mu sync.Mutex // guards n
	n  map[uint32]int
}

func (k *keeping) add(channel uint32, n int) {
	if channel == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == nil {
		k.n = map[uint32]int{}
	}
	if k.n[channel] += n; k.n[channel] == 0 {
		delete(k.n, channel)
	}
}

// Keeping implements xmpp.Keeper.
func (m *Service) Keeping(channel uint32) bool {
	m.keeping.mu.Lock()
	defer m.keeping.mu.Unlock()
	return m.keeping.n[channel] > 0
}

// maxHead is room for the attributes of a stanza that Size does not count.
const maxHead = 96

func (m *Service) marked(st *stanza.Stanza, id archive.ID, mark bool) *stanza.Stanza {
	if !mark {
		return st.WithArchive(id.String(), stanza.JID{})
	}
	owner := st.To.Bare()
	return st.WithAdded(stanza.NewElement(nsSID, "stanza-id", "by", owner.String(), "id", id.String())).WithArchive(id.String(), owner)
}

// refusal is what the sender is told when the archive takes nothing.
func (m *Service) refusal(err error) *stanza.Error {
	m.failures.Add(1)
	if errors.Is(err, archive.ErrBusy) {
		return stanza.ErrResourceConstraint.With("The server is too busy to store the message")
	}
	return stanza.ErrInternal.With("The message could not be stored")
}

// Settle implements xmpp.Keeper. It waits for as long as the disk takes: an answer before that would tell that a message is not kept, or that one is handled,
// which may not be so.
func (m *Service) Settle(ticket uint64) error {
	t := archive.Ticket(ticket)
	if ticket == 0 {
		t = m.archive.Last()
	}
	if over, err := m.archive.Settled(t); over { // as a rule: one batch has much of a stream
		return err
	}
	return m.archive.Wait(context.Background(), t)
}

// Sent implements xmpp.Keeper.
func (m *Service) Sent(st *stanza.Stanza) {
	if id, err := archive.ParseID(st.Archive()); err == nil {
		m.opt.Ledger.Done(uint64(id))
	}
}

// inbound keeps what comes for an account from a room or another service of this server, and sends it on once it is on disk.
func (m *Service) inbound(st *stanza.Stanza) bool {
	if st.ArchivedFor(st.To.Bare()) || !keepable(st) || st.From.Domain() == m.srv.Domain() || !m.srv.HasAccount(st.To.Bare()) {
		return false
	}
	owner := st.To.Bare()
	if !m.wants(owner, st.From) {
		return false
	}
	var out *stanza.Stanza
	err := m.appendThen(func(id archive.ID) *stanza.Stanza {
		out = m.marked(st, id, true)
		return out
	}, func(err error) {
		if err == nil {
			m.Sent(st) // the copy of its sender, where it is of one of ours: from here on this one is what a restart hands on
			m.srv.Route(out)
		} else if r := st.ErrorReply(stanza.ErrInternal); r != nil {
			m.srv.Route(r)
		}
		m.Sent(out)
	}, archive.Copy{Owner: owner.String(), Peer: st.From.String()})
	if err != nil {
		if r := st.ErrorReply(m.refusal(err)); r != nil {
			m.srv.Route(r)
		}
	}
	return true
}

func (m *Service) refused(owner, peer stanza.JID) bool {
	return m.opt.Refused != nil && m.opt.Refused(owner, peer)
}

// Forget removes the archive and the preferences of an account.
func (m *Service) Forget(ctx context.Context, owner stanza.JID) error {
	if err := m.archive.Forget(ctx, owner.String()); err != nil {
		return err
	}
	m.prefs.Delete(owner)
	return m.store.SetPrefs(ctx, owner, nil)
}
