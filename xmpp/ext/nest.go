package ext

import (
	"slices"
	"strings"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Delegate makes what components announce for the namespaces that they answer take the place of what the server announces of them (XEP-0355 §7.2). f gives
// disco#info by namespace, nil where nothing is known; before Seal.
func (d *Disco) Delegate(f func(accounts bool) map[string]*stanza.Element) { d.delegated = f }

// announced are identities, features and forms of the server or of accounts, with those of components.
func (d *Disco) announced(target xmpp.Target, ids []Identity) ([]Identity, []string, []*stanza.Element) {
	features := unique(d.srv.Hooks().Features(target))
	if d.delegated == nil {
		return ids, features, nil
	}
	ids = slices.Clone(ids)
	var forms []*stanza.Element
	for ns, q := range d.delegated(target == xmpp.ToAccount) {
		of := func(f string) bool { return f == ns || strings.HasPrefix(f, ns+"#") }
		features = slices.DeleteFunc(features, of)
		if ns == "http://jabber.org/protocol/pubsub" {
			ids = slices.DeleteFunc(ids, func(i Identity) bool { return i.Category == "pubsub" })
		}
		for _, e := range q.ChildrenNamed(nsDiscoInfo, "feature") {
			features = append(features, e.Attr("var"))
		}
		for _, e := range q.ChildrenNamed(nsDiscoInfo, "identity") {
			ids = append(ids, Identity{Category: e.Attr("category"), Type: e.Attr("type"), Name: e.Attr("name")})
		}
		forms = append(forms, q.ChildrenNamed(nsData, "x")...)
	}
	return ids, unique(features), forms
}
