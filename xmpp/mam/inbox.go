package mam

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"konzil/internal/archive"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsInbox   = "urn:xmpp:inbox:1"
	nsMarkers = "urn:xmpp:chat-markers:0"

	inboxDepth = 5000 // newest messages of an archive that are looked at: some ten milliseconds
	inboxPage  = 100  // conversations in an answer, at most
	inboxRooms = 200  // rooms that are looked at
	roomDepth  = 500  // newest messages of each: nobody counts further what is unread
)

// Room is a room that somebody belongs to.
type Room struct {
	JID        stanza.JID
	OccupantID string // of that person (XEP-0421)
	Seen       string // id of the last message that they have marked as displayed in the room, "" for none
}

// conversation is an entry of an inbox (XEP-0430 §3.1).
type conversation struct {
	with   string // bare
	last   archive.Message
	unread []archive.ID
}

// read takes out what was read: everything up to a message, by its id.
func (c *conversation) read(last string) {
	if last, err := archive.ParseID(last); err == nil {
		c.unread = slices.DeleteFunc(c.unread, func(id archive.ID) bool { return id <= last })
	}
}

// inbox answers with the conversations of an account, the newest first (XEP-0430).
func (m *Service) inbox(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if !m.own(sess, iq) {
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	q, owner := iq.Child(nsInbox, "inbox"), sess.JID().Bare()
	m.queries.Add(1)
	ctx, cancel := ioContext()
	defer cancel()
	all, err := m.conversations(ctx, owner)
	if err != nil {
		return m.failed(iq, "archive not read", err)
	}
	unread, sum := 0, 0
	shown := all[:0:0]
	for _, c := range all {
		if n := len(c.unread); n > 0 {
			unread++
			sum += n
		} else if yes(q.Attr("unread-only")) {
			continue
		}
		shown = append(shown, c)
	}
	page, set := cutInbox(shown, q.Child(nsRSM, "set"))
	if set == nil {
		return iq.ErrorReply(stanza.ErrItemNotFound)
	}
	messages := q.Attr("messages") == "" || yes(q.Attr("messages"))
	for _, c := range page {
		entry := stanza.NewElement(nsInbox, "entry", "unread", strconv.Itoa(len(c.unread)), "jid", c.with, "id", c.last.ID.String())
		st := stanza.NewMessage("", owner, sess.JID(), entry)
		if messages {
			if res := result(owner, sess.JID(), iq.ID, c.last); res != nil {
				st = st.WithPayload(append([]*stanza.Element{entry}, res.Payload()...)...)
			}
		}
		sess.Send(st)
	}
	m.results.Add(uint64(len(page)))
	return iq.Result(stanza.NewElement(nsInbox, "fin", "total", strconv.Itoa(len(all)), "unread", strconv.Itoa(unread), "all-unread", strconv.Itoa(sum)).Add(set))
}

func yes(v string) bool { return v == "true" || v == "1" }

// conversations are those of the newest messages and of rooms, by their last one. What somebody has answered, marked as displayed (XEP-0333) or says to
// have seen on any client (Options.Displayed) is read, and all before it.
func (m *Service) conversations(ctx context.Context, owner stanza.JID) ([]*conversation, error) {
	if err := m.archive.Barrier(ctx); err != nil {
		return nil, err
	}
	byPeer := map[string]*conversation{}
	if err := m.inRooms(ctx, owner, byPeer); err != nil {
		return nil, err
	}
	rooms := maps.Clone(byPeer)
	page, err := m.archive.Find(ctx, archive.Query{Owner: owner.String(), Max: inboxDepth, Last: true})
	if err != nil {
		return nil, err
	}
	for _, msg := range page.Messages {
		st, err := stanza.Parse(msg.XML)
		if err != nil {
			continue
		}
		peer, err := stanza.ParseJID(msg.Peer)
		if err != nil {
			continue
		}
		with := peer.Bare().String()
		if rooms[with] != nil { // a private message of an occupant is a conversation of its own
			with = peer.String()
		}
		byPeer[with] = byPeer[with].add(with, msg, st, st.From.Bare() == owner)
	}
	out := make([]*conversation, 0, len(byPeer))
	seen := map[string]string{}
	if m.opt.Displayed != nil {
		seen = m.opt.Displayed(owner)
	}
	for with, c := range byPeer {
		if c != nil {
			c.read(seen[with])
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *conversation) int {
		return cmp.Or(cmp.Compare(b.last.ID, a.last.ID), cmp.Compare(a.with, b.with))
	})
	return out, nil
}

// add takes the next message of a conversation, which is nil before the first that has to be read.
func (c *conversation) add(with string, msg archive.Message, st *stanza.Stanza, ours bool) *conversation {
	if c != nil && ours && (st.HasWords() || st.Has(nsMarkers, "displayed") || st.Has(nsMarkers, "acknowledged")) {
		c.unread = nil
	}
	if !st.HasWords() {
		return c
	}
	if c == nil {
		c = &conversation{with: with}
	}
	if c.last = msg; !ours {
		c.unread = append(c.unread, msg.ID)
	}
	return c
}

// inRooms adds the conversations of the rooms that owner belongs to.
func (m *Service) inRooms(ctx context.Context, owner stanza.JID, byPeer map[string]*conversation) error {
	if m.opt.Rooms == nil {
		return nil
	}
	rooms := m.opt.Rooms(owner)
	for _, room := range rooms[:min(len(rooms), inboxRooms)] {
		with := room.JID.String()
		page, err := m.archive.Find(ctx, archive.Query{Owner: with, Max: roomDepth, Last: true})
		if err != nil {
			return err
		}
		var c *conversation
		for _, msg := range page.Messages {
			if st, err := stanza.Parse(msg.XML); err == nil {
				c = c.add(with, msg, st, st.Child("urn:xmpp:occupant-id:0", "occupant-id").Attr("id") == room.OccupantID)
			}
		}
		if c != nil {
			c.last.XML = authorless(c.last.XML)
			c.read(room.Seen)
			byPeer[with] = c
		}
	}
	return nil
}

// authorless takes out the archive's note of who wrote a message of a room: not everybody may see that, and the room's own archive tells it to who may.
func authorless(xml []byte) []byte {
	st, err := stanza.Parse(xml)
	if err != nil || !st.Has(nsMUCUser, "x") {
		return xml
	}
	keep := slices.DeleteFunc(slices.Clone(st.Payload()), func(e *stanza.Element) bool { return e.Space == nsMUCUser })
	return st.WithPayload(keep...).AppendXML(nil, stanza.NSClient, true)
}

// cutInbox is the page that a client asks for (XEP-0059); the mark of a conversation is the id of its last message. A nil set: the mark is not there.
func cutInbox(all []*conversation, asked *stanza.Element) (page []*conversation, set *stanza.Element) {
	size := inboxPage
	if n, err := strconv.Atoi(asked.Child(nsRSM, "max").Text()); err == nil && n >= 0 {
		size = min(n, size)
	}
	lo, hi, backwards := 0, len(all), false
	find := func(mark string) int {
		return slices.IndexFunc(all, func(c *conversation) bool { return c.last.ID.String() == mark })
	}
	if el := asked.Child(nsRSM, "after"); el != nil {
		i := find(el.Text())
		if i < 0 {
			return nil, nil
		}
		lo = i + 1
	}
	if el := asked.Child(nsRSM, "before"); el != nil {
		backwards = true
		if el.Text() != "" {
			if hi = find(el.Text()); hi < 0 {
				return nil, nil
			}
		}
	}
	page = all[min(lo, hi):hi]
	switch {
	case len(page) <= size:
	case backwards:
		page = page[len(page)-size:]
	default:
		page = page[:size]
	}
	set = stanza.NewElement(nsRSM, "set")
	if n := len(page); n > 0 {
		set.Add(stanza.TextElement(nsRSM, "first", page[0].last.ID.String()), stanza.TextElement(nsRSM, "last", page[n-1].last.ID.String()))
	}
	return page, set.Add(stanza.TextElement(nsRSM, "count", strconv.Itoa(len(all))))
}
