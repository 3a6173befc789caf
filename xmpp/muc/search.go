package muc

import (
	"slices"
	"strconv"
	"strings"

	"konzil/xmpp/stanza"
)

const (
	nsSearch       = "urn:xmpp:channel-search:0:search"
	nsSearchParams = "urn:xmpp:channel-search:0:search-params"
	nsSearchError  = "urn:xmpp:channel-search:0:error"
	searchByUsers  = "{urn:xmpp:channel-search:0:order}nusers"
	searchByName   = "{urn:xmpp:channel-search:0:order}address"
	nsRSM          = "http://jabber.org/protocol/rsm"
	searchType     = "xep-0045"
	maxSearchPage  = 100
)

// channel is a public room as the search shows it.
type channel struct {
	address, name, description, lang string
	users                            int
	open                             bool
}

// search answers XEP-0433 over the public rooms. Rooms have no words but name, description and address.
func (s *Service) search(st *stanza.Stanza) *stanza.Stanza {
	x := st.Child(nsSearch, "search").Child(nsData, "x")
	if x == nil {
		return st.Result(stanza.NewElement(nsSearch, "search").Add(searchForm()))
	}
	f, err := parseForm(x)
	if err != nil || f.formType() != nsSearchParams {
		return st.ErrorReply(stanza.ErrBadRequest)
	}
	words, all := strings.Fields(strings.ToLower(f.value("q"))), f.flag("all")
	least, ok := number(f.value("min_users"))
	key := f.value("key")
	switch {
	case all && len(words) > 0:
		return searchError(st, stanza.ErrBadRequest, "conflicting-fields")
	case !all && len(words) == 0 && f.has("q"):
		return searchError(st, stanza.ErrBadRequest, "invalid-search-terms")
	case !all && len(words) == 0:
		return searchError(st, stanza.ErrBadRequest, "no-search-conditions")
	case key != "" && key != searchByUsers && key != searchByName:
		return searchError(st, stanza.ErrFeatureNotImplemented, "invalid-sort-key")
	case !ok && f.value("min_users") != "":
		return st.ErrorReply(stanza.ErrBadRequest.With("min_users"))
	}
	on := func(name string) bool { return !f.has(name) || f.flag(name) }
	if f.has("types") && !slices.Contains(f["types"], searchType) { // rooms are all that there is
		return s.searchPage(st, nil)
	}
	var found []channel
	for _, r := range s.all() {
		c, public := r.channel()
		if public && c.users >= least && c.matches(words, on("sinname"), on("sindescription"), on("sinaddr")) {
			found = append(found, c)
		}
	}
	if key != searchByName {
		slices.SortStableFunc(found, func(a, b channel) int { return b.users - a.users })
	}
	return s.searchPage(st, found)
}

func searchError(st *stanza.Stanza, err *stanza.Error, condition string) *stanza.Stanza {
	e := err.With("", stanza.NewElement(nsSearchError, condition))
	e.Type = "modify"
	return st.ErrorReply(e)
}

// searchPage gives the page that the result set asks for; the mark of an item is its place.
func (s *Service) searchPage(st *stanza.Stanza, found []channel) *stanza.Stanza {
	set := st.Child(nsSearch, "search").Child(nsRSM, "set")
	size, first := maxSearchPage, 0
	if n, ok := number(set.Child(nsRSM, "max").Text()); ok {
		size = min(size, n)
	}
	if set.Child(nsRSM, "index") != nil {
		return st.ErrorReply(stanza.ErrFeatureNotImplemented.With("Pages by index are not offered"))
	}
	end := len(found)
	if before := set.Child(nsRSM, "before"); before != nil {
		if before.Text() != "" {
			n, ok := number(before.Text())
			if !ok {
				return st.ErrorReply(stanza.ErrItemNotFound)
			}
			end = min(n, len(found))
		}
		first = max(0, end-size)
	} else if after := set.Child(nsRSM, "after").Text(); after != "" {
		n, ok := number(after)
		if !ok {
			return st.ErrorReply(stanza.ErrItemNotFound)
		}
		first = min(n+1, len(found))
	}
	page := found[first:min(first+size, end)]
	res := stanza.NewElement(nsSearch, "result")
	for _, c := range page {
		it := stanza.NewElement(nsSearch, "item", "address", c.address).Add(stanza.TextElement(nsSearch, "name", c.name))
		for _, e := range [][2]string{{"description", c.description}, {"language", c.lang}} {
			if e[1] != "" {
				it.Add(stanza.TextElement(nsSearch, e[0], e[1]))
			}
		}
		it.Add(stanza.TextElement(nsSearch, "nusers", strconv.Itoa(c.users)), stanza.TextElement(nsSearch, "service-type", searchType))
		if c.open {
			it.Add(stanza.NewElement(nsSearch, "is-open"))
		}
		res.Add(it)
	}
	rsm := stanza.NewElement(nsRSM, "set")
	if len(page) > 0 {
		rsm.Add(stanza.TextElement(nsRSM, "first", strconv.Itoa(first)), stanza.TextElement(nsRSM, "last", strconv.Itoa(first+len(page)-1)))
	}
	rsm.Add(stanza.TextElement(nsRSM, "max", strconv.Itoa(size)), stanza.TextElement(nsRSM, "count", strconv.Itoa(len(found))))
	return st.Result(res.Add(rsm))
}

// channel describes the room to the search, false for hidden rooms.
func (r *room) channel() (channel, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return channel{r.jid.String(), r.title(), r.set.Description, r.set.Lang, len(r.order), !r.set.MembersOnly && r.set.Secret == ""},
		!r.dead && !r.locked && r.set.Public
}

// matches tells whether all words are in the fields that are looked at.
func (c channel) matches(words []string, name, description, address bool) bool {
	text := ""
	for _, f := range []struct {
		on bool
		s  string
	}{{name, c.name}, {description, c.description}, {address, c.address}} {
		if f.on {
			text += strings.ToLower(f.s) + "\n"
		}
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// types is the field of what is looked for.
func types() *stanza.Element {
	f := field("types", "list-multi", "Kinds", searchType)
	return f.Add(stanza.NewElement(nsData, "option", "label", "Rooms").Add(stanza.TextElement(nsData, "value", searchType)))
}

func searchForm() *stanza.Element {
	return stanza.NewElement(nsData, "x", "type", "form").Add(
		field("FORM_TYPE", "hidden", "", nsSearchParams),
		field("q", "text-single", "Search for"),
		field("all", "boolean", "All rooms", "0"),
		field("sinname", "boolean", "Search in names", "1"),
		field("sindescription", "boolean", "Search in descriptions", "1"),
		field("sinaddr", "boolean", "Search in addresses", "1"),
		types(),
		field("min_users", "text-single", "Least number of people", "0"),
		choice("key", "Order", searchByUsers, "People", searchByUsers, "Address", searchByName))
}
