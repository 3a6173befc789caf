package pubsub

import (
	"strings"

	"konzil/xmpp/stanza"
)

const (
	nodeVCard4 = "urn:xmpp:vcard4"
	nsVCard4   = "urn:ietf:params:xml:ns:vcard-4.0"
	vcard4Item = "current"
)

// vcardField is a field that both forms of a vcard have: by name, or by the path to its value. An empty leaf is the field itself.
type vcardField struct {
	old, oldLeaf string // vcard-temp: XEP-0054 §8
	now, nowLeaf string // vCard4: RFC 6351
	scheme       string // of URIs, which the old form does without
}

var vcardFields = []vcardField{
	{"FN", "", "fn", "text", ""}, {"NICKNAME", "", "nickname", "text", ""}, {"BDAY", "", "bday", "date", ""}, {"TITLE", "", "title", "text", ""}, {"ROLE", "", "role", "text", ""},
	{"DESC", "", "note", "text", ""}, {"URL", "", "url", "uri", ""}, {"ORG", "ORGNAME", "org", "text", ""}, {"EMAIL", "USERID", "email", "text", ""},
	{"TEL", "NUMBER", "tel", "uri", "tel:"}, {"JABBERID", "", "impp", "uri", "xmpp:"},
}

// vcardParts are fields of several values.
var vcardParts = []struct {
	old, now string
	parts    [][2]string
}{
	{"N", "n", [][2]string{{"FAMILY", "surname"}, {"GIVEN", "given"}, {"MIDDLE", "additional"}, {"PREFIX", "prefix"}, {"SUFFIX", "suffix"}}},
	{"ADR", "adr", [][2]string{{"STREET", "street"}, {"LOCALITY", "locality"}, {"REGION", "region"}, {"PCODE", "code"}, {"CTRY", "country"}}},
}

// VCard4 keeps the vCard4 that an account publishes (XEP-0292) and its vcard-temp (XEP-0054) in step: what both have. The rest stays where it is.
type VCard4 struct {
	e     *Engine
	cards VCards
}

// AttachVCard4 starts it, before serving.
func (e *Engine) AttachVCard4(cards VCards) *VCard4 {
	v := &VCard4{e: e, cards: cards}
	e.Changed(nodeVCard4, func(owner stanza.JID) {
		if err := v.published(owner); err != nil {
			e.failed("vCard4 not taken into the vcard", owner, err)
		}
	})
	return v
}

// current is the published vCard4, nil if there is none.
func (v *VCard4) current(owner stanza.JID) (*stanza.Element, error) {
	items, err := v.e.Items(owner, nodeVCard4, 1)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	return stanza.ParseElement(items[0].XML)
}

// published takes a vCard4 into the vcard.
func (v *VCard4) published(owner stanza.JID) error {
	now, err := v.current(owner)
	if err != nil || now == nil {
		return err
	}
	old, err := v.cards.Card(owner)
	if err != nil {
		return err
	}
	card := stanza.NewElement(nsVCard, "vCard").Add(oldFields(now)...)
	for _, c := range old.Children() {
		if !inBoth(c.Local, "") {
			card.Add(c)
		}
	}
	if sameXML(card, old) {
		return nil
	}
	return v.cards.Replace(owner, card)
}

// CardSet publishes what a client has set as vcard, with the access that vcards have.
func (v *VCard4) CardSet(owner stanza.JID, card *stanza.Element) {
	now, err := v.current(owner)
	if err == nil {
		out := stanza.NewElement(nsVCard4, "vcard").Add(newFields(card)...)
		for _, c := range now.Children() {
			if !inBoth("", c.Local) {
				out.Add(c)
			}
		}
		if sameXML(out, now) || now == nil && len(out.Nodes) == 0 {
			return
		}
		cfg := defaults(true, nodeVCard4)
		cfg.Access = accessOpen
		err = v.e.Publish(owner, nodeVCard4, vcard4Item, out, cfg)
	}
	if err != nil {
		v.e.failed("vcard not published as vCard4", owner, err)
	}
}

// Card is the vcard as asker may see it: where the vCard4 is not for him, without what it has.
func (v *VCard4) Card(owner, asker stanza.JID, card *stanza.Element) *stanza.Element {
	if !v.e.hasNode(owner, nodeVCard4) || v.e.readable(owner, nodeVCard4, asker) {
		return card
	}
	out := stanza.NewElement(nsVCard, "vCard")
	for _, c := range card.Children() {
		if !inBoth(c.Local, "") {
			out.Add(c)
		}
	}
	return out
}

func sameXML(a, b *stanza.Element) bool {
	return b != nil && string(a.AppendXML(nil, "")) == string(b.AppendXML(nil, ""))
}

// inBoth tells of a name in the old or the new form whether the other one has it, too.
func inBoth(old, now string) bool {
	for _, f := range vcardFields {
		if f.old == old || f.now == now {
			return true
		}
	}
	for _, f := range vcardParts {
		if f.old == old || f.now == now {
			return true
		}
	}
	return false
}

func oldFields(now *stanza.Element) (out []*stanza.Element) {
	for _, f := range vcardFields {
		for _, el := range now.ChildrenNamed(nsVCard4, f.now) {
			text := el.Child(nsVCard4, f.nowLeaf).Text()
			if text == "" { // numbers may be text
				text = el.Child(nsVCard4, "text").Text()
			}
			text = strings.TrimPrefix(text, f.scheme)
			switch {
			case text == "":
			case f.oldLeaf == "":
				out = append(out, stanza.TextElement(nsVCard, f.old, text))
			default:
				out = append(out, stanza.NewElement(nsVCard, f.old).Add(stanza.TextElement(nsVCard, f.oldLeaf, text)))
			}
		}
	}
	for _, f := range vcardParts {
		for _, el := range now.ChildrenNamed(nsVCard4, f.now) {
			field := stanza.NewElement(nsVCard, f.old)
			for _, p := range f.parts {
				if text := el.Child(nsVCard4, p[1]).Text(); text != "" {
					field.Add(stanza.TextElement(nsVCard, p[0], text))
				}
			}
			out = append(out, field)
		}
	}
	return out
}

func newFields(card *stanza.Element) (out []*stanza.Element) {
	for _, f := range vcardFields {
		for _, el := range card.ChildrenNamed(nsVCard, f.old) {
			text := el.Text()
			if f.oldLeaf != "" {
				text = el.Child(nsVCard, f.oldLeaf).Text()
			}
			if text = strings.TrimSpace(text); text != "" {
				out = append(out, stanza.NewElement(nsVCard4, f.now).Add(stanza.TextElement(nsVCard4, f.nowLeaf, f.scheme+text)))
			}
		}
	}
	for _, f := range vcardParts {
		for _, el := range card.ChildrenNamed(nsVCard, f.old) {
			field := stanza.NewElement(nsVCard4, f.now)
			for _, p := range f.parts {
				if text := el.Child(nsVCard, p[0]).Text(); text != "" {
					field.Add(stanza.TextElement(nsVCard4, p[1], text))
				}
			}
			out = append(out, field)
		}
	}
	return out
}
