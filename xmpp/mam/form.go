package mam

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"konzil/internal/archive"
	"konzil/xmpp/stanza"
)

const (
	defaultPage = 50
	maxPage     = 250 // results of one query: each is a stanza in the client's queue
	maxIDs      = 100
	maxFields   = 32

	// maxSearches bounds the searches for words that are under way, maxSearchesEach those of one person: each may read the whole of a long archive, which
	// takes a core for seconds.
	maxSearches     = 4
	maxSearchesEach = 1
)

const (
	fieldWith   = "with"
	fieldStart  = "start"
	fieldEnd    = "end"
	fieldBefore = "before-id"
	fieldAfter  = "after-id"
	fieldIDs    = "ids"
	fieldText   = "{urn:xmpp:fulltext:0}fulltext"
	fieldRooms  = "include-groupchat" // of XEP-0313 1.1; our archives of accounts never have groupchat
)

// request is a query as it was asked.
type request struct {
	archive.Query
	flip   bool
	exists []archive.ID // must be in the archive, else item-not-found (XEP-0313 §4.1.4, XEP-0059 §2.2)
}

// readQuery reads <query/>: the form and the wanted page.
func readQuery(owner stanza.JID, q *stanza.Element) (*request, *stanza.Error) {
	r := &request{Query: archive.Query{Owner: owner.String(), Max: defaultPage}, flip: q.Child(nsMAM, "flip-page") != nil}
	if x := q.Child(nsData, "x"); x != nil {
		if err := r.readForm(x); err != nil {
			return nil, err
		}
	}
	if set := q.Child(nsRSM, "set"); set != nil {
		if err := r.readPage(set); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *request) readForm(x *stanza.Element) *stanza.Error {
	fields := x.ChildrenNamed(nsData, "field")
	if len(fields) > maxFields {
		return stanza.ErrBadRequest.With("The form is too big")
	}
	var start, end time.Time
	for _, f := range fields {
		v := f.Child(nsData, "value").Text()
		var err error
		switch name := f.Attr("var"); name {
		case "FORM_TYPE":
			if v != nsMAM {
				return stanza.ErrBadRequest.With("FORM_TYPE")
			}
		case fieldWith:
			var j stanza.JID
			j, err = stanza.ParseJID(v)
			r.Peer = j.String()
		case fieldStart:
			start, err = time.Parse(time.RFC3339, v)
		case fieldEnd:
			end, err = time.Parse(time.RFC3339, v)
		case fieldBefore, fieldAfter:
			if bad := r.bound(v, name == fieldBefore); bad != nil {
				return bad
			}
		case fieldIDs:
			err = r.readIDs(f)
		case fieldText, "withtext":
			r.Match = words(v)
		case fieldRooms:
		default:
			return stanza.ErrFeatureNotImplemented.With("The field " + name + " is not known") // §4.1.5
		}
		if errors.Is(err, archive.ErrNotFound) {
			return stanza.ErrItemNotFound
		}
		if err != nil {
			return stanza.ErrBadRequest.With("The field " + f.Attr("var") + " cannot be read")
		}
	}
	r.Between(start, end)
	return nil
}

// bound sets one side of the range to a message that must exist.
func (r *request) bound(v string, before bool) *stanza.Error {
	id, err := archive.ParseID(v)
	if err != nil {
		return stanza.ErrItemNotFound
	}
	r.exists = append(r.exists, id)
	if !before {
		r.After = max(r.After, id)
	} else if r.Until == 0 || id < r.Until {
		r.Until = id
	}
	return nil
}

func (r *request) readIDs(f *stanza.Element) error {
	r.IDs = []archive.ID{}
	for _, v := range f.ChildrenNamed(nsData, "value") {
		id, err := archive.ParseID(v.Text())
		if err != nil {
			return err
		}
		if r.IDs = append(r.IDs, id); len(r.IDs) > maxIDs {
			return errors.New("too many")
		}
	}
	return nil
}

// readPage reads a result set request (XEP-0059 §2).
func (r *request) readPage(set *stanza.Element) *stanza.Error {
	if m := set.Child(nsRSM, "max"); m != nil {
		n, err := strconv.Atoi(strings.TrimSpace(m.Text()))
		if err != nil || n < 0 {
			return stanza.ErrBadRequest.With("max")
		}
		r.Max = min(n, maxPage)
	}
	if set.Child(nsRSM, "index") != nil {
		return stanza.ErrFeatureNotImplemented.With("Pages by index are not offered")
	}
	if b := set.Child(nsRSM, "before"); b != nil {
		r.Last = true
		if b.Text() != "" {
			return r.bound(b.Text(), true)
		}
	}
	if a := set.Child(nsRSM, "after"); a != nil && a.Text() != "" {
		return r.bound(a.Text(), false)
	}
	return nil
}

// words makes a condition of a search: each word is in the message's text, in any case (XEP-0431).
func words(search string) func([]byte) bool {
	want := strings.Fields(strings.ToLower(search))
	return func(xml []byte) bool {
		st, err := stanza.Parse(xml)
		if err != nil {
			return false
		}
		text := strings.ToLower(st.Child(stanza.NSClient, "body").Text() + "\n" + st.Child(stanza.NSClient, "subject").Text())
		for _, w := range want {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	}
}

// form is what can be asked (XEP-0313 §4.1.5).
func form() *stanza.Element {
	x := stanza.NewElement(nsData, "x", "type", "form").Add(
		stanza.NewElement(nsData, "field", "type", "hidden", "var", "FORM_TYPE").Add(stanza.TextElement(nsData, "value", nsMAM)))
	for _, f := range []struct{ name, typ string }{
		{fieldWith, "jid-single"}, {fieldStart, "text-single"}, {fieldEnd, "text-single"}, {fieldBefore, "text-single"}, {fieldAfter, "text-single"},
		{fieldIDs, "list-multi"}, {fieldText, "text-single"},
	} {
		el := stanza.NewElement(nsData, "field", "type", f.typ, "var", f.name)
		if f.name == fieldIDs { // any value (XEP-0122)
			el.Add(stanza.NewElement("http://jabber.org/protocol/xdata-validate", "validate", "datatype", "xs:string").Add(
				stanza.NewElement("http://jabber.org/protocol/xdata-validate", "open")))
		}
		x.Add(el)
	}
	return x
}
