package pubsub

import (
	"konzil/xmpp/stanza"
)

// Access models (XEP-0060 §4.5).
const (
	accessOpen      = "open"
	accessPresence  = "presence"
	accessRoster    = "roster"
	accessAuthorize = "authorize"
	accessWhitelist = "whitelist"
)

// When the last item is sent to somebody new (pubsub#send_last_published_item).
const (
	lastNever    = "never"
	lastSub      = "on_sub"
	lastPresence = "on_sub_and_presence"
)

// Config is the settings of a node (XEP-0060 §16.4.4).
type Config struct {
	Title, Description, Type string
	Access                   string
	Groups                   []string // of the owner's roster, for the access model roster
	PublishModel             string   // publishers, subscribers, open
	MaxItems                 int      // kept; 1..maxItems
	Expire                   int      // seconds that an item is kept; 0: no limit
	Persist                  bool
	Payloads                 bool // in notifications
	NotifyRetract            bool
	NotifyDelete             bool
	NotifyConfig             bool
	NotifySub                bool // owners hear of subscriptions that come and go
	Silent                   bool // pubsub#deliver_notifications is false
	NoSubscribe              bool // pubsub#subscribe is false
	RejectFull               bool // a full node takes no new item; else the oldest goes (§7.1.2.5)
	MaxPayload               int  // bytes; 0: no less than the service allows
	SendLast                 string
	Kind                     string // type of the notifications
}

// defaults are those of XEP-0163 §3 for accounts.
func defaults(account bool, node string) Config {
	c := Config{Access: accessPresence, PublishModel: "publishers", MaxItems: 1, Persist: true, Payloads: true,
		NotifyRetract: true, NotifyDelete: true, SendLast: lastPresence, Kind: "headline"}
	if !account {
		c.Access, c.MaxItems, c.SendLast = accessOpen, 20, lastNever
	}
	if account && private(node) {
		c.Access, c.MaxItems, c.SendLast = accessWhitelist, maxItems, lastNever
	}
	return c
}

// private nodes hold what is nobody else's business, whatever a client forgets to say when it makes one (XEP-0402 §5, XEP-0490 §3).
func private(node string) bool {
	switch node {
	case nsBookmarks, nodeOldBookmarks, "urn:xmpp:mds:displayed:0":
		return true
	}
	return false
}

// form is a submitted data form (XEP-0004): values by field.
type form map[string][]string

const maxFields = 64

// readForm reads a form; nil x is an empty one. want is the FORM_TYPE it has to have, if it has one.
func readForm(x *stanza.Element, want string) (form, *stanza.Error) {
	f := form{}
	for i, el := range x.ChildrenNamed(nsData, "field") {
		if i >= maxFields {
			return nil, stanza.ErrBadRequest.With("The form is too big")
		}
		var values []string
		for _, v := range el.ChildrenNamed(nsData, "value") {
			values = append(values, v.Text())
		}
		f[el.Attr("var")] = values
	}
	if t := f["FORM_TYPE"]; len(t) > 0 && t[0] != want {
		return nil, stanza.ErrBadRequest.With("FORM_TYPE is not " + want)
	}
	return f, nil
}

func truth(v string) (value, ok bool) {
	switch v {
	case "1", "true":
		return true, true
	case "0", "false":
		return false, true
	}
	return false, false
}

func field(name, typ string, values ...string) *stanza.Element {
	el := stanza.NewElement(nsData, "field", "var", name, "type", typ)
	for _, v := range values {
		el.Add(stanza.TextElement(nsData, "value", v))
	}
	return el
}

func choice(name, value string, options ...string) *stanza.Element {
	el := field(name, "list-single", value)
	for _, o := range options {
		el.Add(stanza.NewElement(nsData, "option").Add(stanza.TextElement(nsData, "value", o)))
	}
	return el
}

func flagField(name string, v bool) *stanza.Element {
	if v {
		return field(name, "boolean", "1")
	}
	return field(name, "boolean", "0")
}

func newForm(typ, formType string, fields ...*stanza.Element) *stanza.Element {
	return stanza.NewElement(nsData, "x", "type", typ).Add(field("FORM_TYPE", "hidden", formType)).Add(fields...)
}

func (c *Config) maxPayload() int {
	if c.MaxPayload == 0 {
		return maxItemBytes
	}
	return c.MaxPayload
}
