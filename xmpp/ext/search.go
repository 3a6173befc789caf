package ext

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"konzil/internal/slots"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsSearch = "jabber:iq:search"

	minSearch = 2   // characters of at least one thing that is looked for: nobody shall read out the whole directory
	maxSearch = 100 // bytes of one

	// maxSearches bounds the searches that wait for the directory, maxSearchesEach those of one person: each has a goroutine, and most of them would wait
	// for a connection that logins need.
	maxSearches     = 16
	maxSearchesEach = 2
)

// Found is somebody whom a search gives.
type Found struct {
	JID                      stanza.JID
	Name, First, Last, Email string
}

// Wanted is what a search looks for; empty fields do not matter.
type Wanted struct{ Name, First, Last, Email string }

// searchFields are the fields of XEP-0055 §2.1 in the order shown; nick stands for the whole name, as with other servers.
var searchFields = []struct {
	name, label string
	of          func(*Wanted) *string
	from        func(*Found) string
}{
	{"nick", "Name", func(w *Wanted) *string { return &w.Name }, func(f *Found) string { return f.Name }},
	{"first", "Given name", func(w *Wanted) *string { return &w.First }, func(f *Found) string { return f.First }},
	{"last", "Family name", func(w *Wanted) *string { return &w.Last }, func(f *Found) string { return f.Last }},
	{"email", "Mail address", func(w *Wanted) *string { return &w.Email }, func(f *Found) string { return f.Email }},
}

// Search answers searches for people. Mount it at a domain of its own.
type Search struct {
	srv  *xmpp.Server
	find func(context.Context, Wanted) ([]Found, error)
	log  *slog.Logger

	underWay *slots.Slots[stanza.JID]
	searches atomic.Uint64
}

// NewSearch makes the service; find gives those who let themselves be found.
func NewSearch(s *xmpp.Server, find func(context.Context, Wanted) ([]Found, error), log *slog.Logger) *Search {
	return &Search{srv: s, find: find, log: log, underWay: slots.New[stanza.JID](maxSearches, maxSearchesEach)}
}

// Counters are numbers for metrics.
func (s *Search) Counters() map[string]uint64 {
	return map[string]uint64{"searches_total": s.searches.Load(), "refused_total": s.underWay.Refused()}
}

// HandleStanza implements xmpp.Handler. People of this house may search, nobody else (XEP-0055 §8).
func (s *Search) HandleStanza(st *stanza.Stanza) {
	if st.Kind != stanza.IQ || st.Type != "get" && st.Type != "set" {
		if st.Kind == stanza.Message {
			s.answer(st.ErrorReply(stanza.ErrServiceUnavailable))
		}
		return
	}
	switch n := st.First(); {
	case st.To.Local() != "":
		s.answer(st.ErrorReply(stanza.ErrServiceUnavailable))
	case n.Space == nsDiscoInfo && st.Type == "get":
		s.answer(st.Result(stanza.NewElement(nsDiscoInfo, "query").Add(
			stanza.NewElement(nsDiscoInfo, "identity", "category", "directory", "type", "user", "name", "People"),
			stanza.NewElement(nsDiscoInfo, "feature", "var", nsDiscoInfo), stanza.NewElement(nsDiscoInfo, "feature", "var", nsSearch))))
	case n.Space == nsDiscoItem && st.Type == "get":
		s.answer(st.Result(stanza.NewElement(nsDiscoItem, "query")))
	case n.Space != nsSearch:
		s.answer(st.ErrorReply(stanza.ErrServiceUnavailable))
	case st.From.Domain() != s.srv.Domain():
		s.answer(st.ErrorReply(stanza.ErrForbidden))
	case st.Type == "get":
		s.answer(st.Result(searchForm()))
	case !s.underWay.Take(st.From.Bare()):
		s.answer(st.ErrorReply(stanza.ErrResourceConstraint.With("Too many searches at once, wait for the answers")))
	default:
		s.searches.Add(1)
		go func() { // the directory may take its time
			defer s.underWay.Give(st.From.Bare())
			s.search(st)
		}()
	}
}

func (s *Search) answer(st *stanza.Stanza) {
	if st != nil {
		s.srv.Route(st)
	}
}

// searchForm says what can be looked for, in both ways.
func searchForm() *stanza.Element {
	q := stanza.NewElement(nsSearch, "query").Add(stanza.TextElement(nsSearch, "instructions", "Fill in one field or more; a part of a word will do."))
	x := stanza.NewElement(nsData, "x", "type", "form").Add(
		stanza.TextElement(nsData, "title", "Search for people"),
		stanza.TextElement(nsData, "instructions", "Fill in one field or more; a part of a word will do."), formType(nsSearch))
	for _, f := range searchFields {
		q.Add(stanza.NewElement(nsSearch, f.name))
		x.Add(stanza.NewElement(nsData, "field", "type", "text-single", "var", f.name, "label", f.label))
	}
	return q.Add(x)
}

func formType(space string) *stanza.Element {
	return stanza.NewElement(nsData, "field", "type", "hidden", "var", "FORM_TYPE").Add(stanza.TextElement(nsData, "value", space))
}

// search answers one, in the way it was asked (XEP-0055 §2.2, §3).
func (s *Search) search(st *stanza.Stanza) {
	q := st.Child(nsSearch, "query")
	form := q.Child(nsData, "x")
	var w Wanted
	long := false
	for _, f := range searchFields {
		text := q.Child(nsSearch, f.name).Text()
		for _, field := range form.ChildrenNamed(nsData, "field") {
			if field.Attr("var") == f.name {
				text = field.Child(nsData, "value").Text()
			}
		}
		*f.of(&w) = strings.Trim(strings.TrimSpace(text), "*")
		if len(text) > maxSearch {
			s.answer(st.ErrorReply(stanza.ErrNotAcceptable.With("That is too long")))
			return
		}
		long = long || len(*f.of(&w)) >= minSearch
	}
	if !long {
		s.answer(st.ErrorReply(stanza.ErrNotAcceptable.With("Give at least two letters")))
		return
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	found, err := s.find(ctx, w)
	if err != nil {
		s.answer(failed(s.log, st, "people not searched", err))
		return
	}
	out := stanza.NewElement(nsSearch, "query")
	if form != nil {
		out.Add(foundForm(found))
	} else {
		for i := range found {
			item := stanza.NewElement(nsSearch, "item", "jid", found[i].JID.String())
			for _, f := range searchFields {
				item.Add(stanza.TextElement(nsSearch, f.name, f.from(&found[i])))
			}
			out.Add(item)
		}
	}
	s.answer(st.Result(out))
}

// foundForm is the table of XEP-0055 §3.
func foundForm(found []Found) *stanza.Element {
	reported := stanza.NewElement(nsData, "reported").Add(stanza.NewElement(nsData, "field", "var", "jid", "label", "Address", "type", "jid-single"))
	for _, f := range searchFields {
		reported.Add(stanza.NewElement(nsData, "field", "var", f.name, "label", f.label, "type", "text-single"))
	}
	x := stanza.NewElement(nsData, "x", "type", "result").Add(formType(nsSearch), reported)
	value := func(name, v string) *stanza.Element {
		return stanza.NewElement(nsData, "field", "var", name).Add(stanza.TextElement(nsData, "value", v))
	}
	for i := range found {
		item := stanza.NewElement(nsData, "item").Add(value("jid", found[i].JID.String()))
		for _, f := range searchFields {
			item.Add(value(f.name, f.from(&found[i])))
		}
		x.Add(item)
	}
	return x
}
