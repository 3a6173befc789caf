package mam

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"konzil/internal/archive"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// query answers for an account's archive (XEP-0313 §4).
func (m *Service) query(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if !m.own(sess, iq) {
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	return m.answer(sess.JID().Bare(), iq, func(st *stanza.Stanza) { sess.Send(st) })
}

// answer carries out a query on the archive of owner: send gets the results, what is returned is the answer to the iq.
func (m *Service) answer(owner stanza.JID, iq *stanza.Stanza, send func(*stanza.Stanza)) *stanza.Stanza {
	q := iq.Child(nsMAM, "query")
	if iq.Type == "get" {
		return iq.Result(stanza.NewElement(nsMAM, "query").Add(form()))
	}
	m.queries.Add(1)
	r, bad := readQuery(owner, q)
	if bad != nil {
		return iq.ErrorReply(bad)
	}
	if r.Match != nil {
		if !m.searching.Take(iq.From.Bare()) {
			return iq.ErrorReply(stanza.ErrResourceConstraint.With("Too many searches at once, wait for the answers"))
		}
		defer m.searching.Give(iq.From.Bare())
	}
	ctx, cancel := ioContext()
	defer cancel()
	page, err := m.page(ctx, r)
	switch {
	case errors.Is(err, archive.ErrNotFound):
		return iq.ErrorReply(stanza.ErrItemNotFound)
	case err != nil:
		return m.failed(iq, "archive not read", err)
	}
	m.results.Add(uint64(len(page.Messages)))
	set := pageSet(page)
	if r.flip {
		slices.Reverse(page.Messages)
	}
	for _, msg := range page.Messages {
		if st := result(owner, iq.From, q.Attr("queryid"), msg); st != nil {
			send(st)
		}
	}
	fin := stanza.NewElement(nsMAM, "fin")
	if page.Complete {
		fin.SetAttr("complete", "true")
	}
	return iq.Result(fin.Add(set))
}

// page finds what is asked for. Everything that was sent before the query is in it.
func (m *Service) page(ctx context.Context, r *request) (*archive.Page, error) {
	if err := m.archive.Barrier(ctx); err != nil {
		return nil, err
	}
	for _, id := range r.exists {
		if _, err := m.archive.Find(ctx, archive.Query{Owner: r.Owner, IDs: []archive.ID{id}, Max: 1}); err != nil {
			return nil, err
		}
	}
	return m.archive.Find(ctx, r.Query)
}

// pageSet says which page it is (XEP-0059 §2.1).
func pageSet(p *archive.Page) *stanza.Element {
	set := stanza.NewElement(nsRSM, "set")
	if n := len(p.Messages); n > 0 {
		set.Add(stanza.TextElement(nsRSM, "first", p.Messages[0].ID.String()), stanza.TextElement(nsRSM, "last", p.Messages[n-1].ID.String()))
	}
	if p.Count >= 0 {
		set.Add(stanza.TextElement(nsRSM, "count", strconv.Itoa(p.Count)))
	}
	return set
}

const stampFormat = "2006-01-02T15:04:05.000Z"

// result wraps an archived message (XEP-0313 §4.2, XEP-0297); nil if it cannot be read.
func result(owner, to stanza.JID, queryID string, msg archive.Message) *stanza.Stanza {
	el, err := stanza.ParseElement(msg.XML)
	if err != nil {
		return nil
	}
	res := stanza.NewElement(nsMAM, "result", "queryid", queryID, "id", msg.ID.String()).Add(
		stanza.NewElement(nsForward, "forwarded").Add(
			stanza.NewElement(nsDelay, "delay", "stamp", msg.ID.Time().UTC().Format(stampFormat)), el))
	return stanza.NewMessage("", owner, to, res)
}

// metadata tells where an archive begins and ends (XEP-0313 §4.4).
func (m *Service) metadata(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if !m.own(sess, iq) {
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	return m.ends(sess.JID().Bare(), iq)
}

func (m *Service) ends(owner stanza.JID, iq *stanza.Stanza) *stanza.Stanza {
	if iq.Type != "get" {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	el, err := m.describe(owner)
	if err != nil {
		return m.failed(iq, "archive not read", err)
	}
	return iq.Result(el)
}

// bound tells a client that binds where its archive ends (XEP-0386 §3.2).
func (m *Service) bound(x *xmpp.Session) *stanza.Element {
	if x.Guest() {
		return nil
	}
	el, err := m.describe(x.JID().Bare())
	if err != nil {
		m.failures.Add(1)
		m.log.Error("archive not read", "owner", x.JID().Bare().String(), "err", err)
		return nil
	}
	return el
}

// describe is <metadata/> of an archive.
func (m *Service) describe(owner stanza.JID) (*stanza.Element, error) {
	ctx, cancel := ioContext()
	defer cancel()
	if err := m.archive.Barrier(ctx); err != nil {
		return nil, err
	}
	oldest, newest, err := m.archive.Bounds(ctx, owner.String())
	if err != nil {
		return nil, err
	}
	el := stanza.NewElement(nsMAM, "metadata")
	if oldest == nil || newest == nil {
		return el, nil
	}
	for _, e := range []struct {
		name string
		id   archive.ID
	}{{"start", oldest.ID}, {"end", newest.ID}} {
		el.Add(stanza.NewElement(nsMAM, e.name, "id", e.id.String(), "timestamp", e.id.Time().UTC().Format(stampFormat)))
	}
	return el, nil
}
