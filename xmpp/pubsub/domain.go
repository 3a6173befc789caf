package pubsub

import (
	"konzil/xmpp/stanza"
)

// HandleStanza is the service's domain (XEP-0060 as a component).
func (e *Engine) HandleStanza(st *stanza.Stanza) {
	switch {
	case st.Kind == stanza.IQ && (st.Type == "get" || st.Type == "set"):
		e.srv.Route(e.serviceIQ(st))
	case st.Kind == stanza.Message && st.Type != "error" && st.Has(nsData, "x"):
		e.authorized(e.service, st)
	case st.Kind == stanza.Message && st.Type != "error" && st.Type != "headline":
		if r := st.ErrorReply(stanza.ErrServiceUnavailable); r != nil {
			e.srv.Route(r)
		}
	}
}

func (e *Engine) serviceIQ(iq *stanza.Stanza) *stanza.Stanza {
	if iq.To != e.service {
		return iq.ErrorReply(stanza.ErrServiceUnavailable)
	}
	name := iq.First()
	switch {
	case name == stanza.Name{Space: nsPubSub, Local: "pubsub"}, name == stanza.Name{Space: nsOwner, Local: "pubsub"}:
		return e.answer(e.service, iq)
	case iq.Type != "get":
	case name == stanza.Name{Space: nsInfo, Local: "query"}:
		if iq.Child(nsInfo, "query").Attr("node") != "" {
			return e.Info(iq)
		}
		q := stanza.NewElement(nsInfo, "query").Add(stanza.NewElement(nsInfo, "identity", "category", "pubsub", "type", "service", "name", "Publish and subscribe"))
		for _, f := range append([]string{nsInfo, nsItems, nsRSM, "urn:xmpp:ping"}, features()...) {
			q.Add(stanza.NewElement(nsInfo, "feature", "var", f))
		}
		return iq.Result(q)
	case name == stanza.Name{Space: nsItems, Local: "query"}:
		return e.List(iq)
	case name == stanza.Name{Space: "urn:xmpp:ping", Local: "ping"}:
		return iq.Result()
	}
	return iq.ErrorReply(stanza.ErrServiceUnavailable)
}
