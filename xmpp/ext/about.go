package ext

import (
	"maps"
	"slices"

	"konzil/xmpp/stanza"
)

// About is what the operator tells everybody of the service, in forms of its disco#info (XEP-0128). The zero value tells nothing.
type About struct {
	Contacts map[string][]string // XEP-0157: abuse, admin, feedback, sales, security, status, support to URIs
	Outage   []string            // XEP-0455: where to read of an outage while we cannot tell it, URIs of JSON
	Policy   []PolicyField       // XEP-0504: how data are handled
	InfoNode string              // XEP-0485: URI of the node with what the server tells of itself; empty: none
}

// PolicyField is a field of XEP-0504 §3 with its values.
type PolicyField struct {
	Var, Type string
	Values    []string
}

func (a About) forms() []*stanza.Element {
	var out []*stanza.Element
	if len(a.Contacts) > 0 || a.InfoNode != "" {
		x := infoForm("http://jabber.org/network/serverinfo")
		if a.InfoNode != "" {
			x.Add(infoField("serverinfo-pubsub-node", "text-single", a.InfoNode))
		}
		for _, k := range slices.Sorted(maps.Keys(a.Contacts)) {
			x.Add(infoField(k+"-addresses", "list-multi", a.Contacts[k]...))
		}
		out = append(out, x)
	}
	if len(a.Outage) > 0 {
		out = append(out, infoForm("urn:xmpp:sos:0").Add(infoField("external-status-addresses", "list-multi", a.Outage...)))
	}
	if len(a.Policy) > 0 {
		x := infoForm("urn:xmpp:data-policy:0")
		for _, f := range a.Policy {
			x.Add(infoField(f.Var, f.Type, f.Values...))
		}
		out = append(out, x)
	}
	return out
}

func infoForm(typ string) *stanza.Element {
	return stanza.NewElement(nsData, "x", "type", "result").Add(infoField("FORM_TYPE", "hidden", typ))
}

func infoField(name, typ string, values ...string) *stanza.Element {
	f := stanza.NewElement(nsData, "field", "var", name, "type", typ)
	for _, v := range values {
		f.Add(stanza.TextElement(nsData, "value", v))
	}
	return f
}
