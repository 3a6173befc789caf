package xmpp

import "konzil/xmpp/stanza"

const (
	nsDiscoInfo = "http://jabber.org/protocol/disco#info"
	nsDiscoItem = "http://jabber.org/protocol/disco#items"
	nsPing      = "urn:xmpp:ping"
)

// IQService is the Handler of a domain that only answers iqs: who asks what it is (XEP-0030) or whether it is there (XEP-0199) gets an answer here, the
// rest goes to Answer.
type IQService struct {
	Router Router
	JID    stanza.JID // the domain

	Category, Type, Name string // the identity (XEP-0030 §3.1)
	Features             []string
	Forms                []*stanza.Element // extended information (XEP-0128)

	// Answer gets each iq of type get or set that is for the domain itself, on the sender's goroutine. Nil: service-unavailable.
	Answer func(iq *stanza.Stanza) *stanza.Stanza
}

// HandleStanza implements Handler.
func (v *IQService) HandleStanza(st *stanza.Stanza) {
	var r *stanza.Stanza
	switch {
	case st.Kind == stanza.Presence, st.Kind == stanza.Message && st.Type == "headline":
		return
	case st.Kind == stanza.IQ && (st.Type == "get" || st.Type == "set") && st.To == v.JID:
		r = v.answer(st)
	}
	if r == nil {
		r = st.ErrorReply(stanza.ErrServiceUnavailable)
	}
	if r != nil {
		v.Router.Route(r)
	}
}

func (v *IQService) answer(iq *stanza.Stanza) *stanza.Stanza {
	if iq.Type == "get" {
		switch iq.First() {
		case stanza.Name{Space: nsPing, Local: "ping"}:
			return iq.Result()
		case stanza.Name{Space: nsDiscoInfo, Local: "query"}:
			if iq.Child(nsDiscoInfo, "query").Attr("node") != "" {
				return iq.ErrorReply(stanza.ErrItemNotFound)
			}
			return iq.Result(v.info())
		case stanza.Name{Space: nsDiscoItem, Local: "query"}:
			return iq.Result(stanza.NewElement(nsDiscoItem, "query"))
		}
	}
	return v.Answer(iq)
}

func (v *IQService) info() *stanza.Element {
	q := stanza.NewElement(nsDiscoInfo, "query").Add(
		stanza.NewElement(nsDiscoInfo, "identity", "category", v.Category, "type", v.Type, "name", v.Name))
	for _, f := range append([]string{nsDiscoInfo, nsDiscoItem, nsPing}, v.Features...) {
		q.Add(stanza.NewElement(nsDiscoInfo, "feature", "var", f))
	}
	return q.Add(v.Forms...)
}
