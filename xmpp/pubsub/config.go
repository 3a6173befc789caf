package pubsub

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

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

// apply changes c by the fields of a form. Fields that are not known are passed over; a value that is not possible is an error.
func (c *Config) apply(f form) *stanza.Error {
	for name, values := range f {
		key, ok := strings.CutPrefix(name, "pubsub#")
		if !ok {
			continue
		}
		v := ""
		if len(values) > 0 {
			v = values[0]
		}
		if !c.set(key, v, values) {
			return stanza.ErrNotAcceptable.With("The value of " + name + " is not possible here")
		}
	}
	return nil
}

// set changes one setting by the name of its field without pubsub#, v is the first of values. ok is false if the value is not possible.
func (c *Config) set(key, v string, values []string) (ok bool) {
	flag := func(to *bool) bool {
		b, ok := truth(v)
		*to = b
		return ok
	}
	one := func(to *string, of ...string) bool {
		*to = v
		return slices.Contains(of, v)
	}
	text := func(to *string) bool {
		*to = v
		return len(v) <= maxName
	}
	switch key {
	case "title":
		return text(&c.Title)
	case "description":
		return text(&c.Description)
	case "type":
		return text(&c.Type)
	case "node_type": // no collections (XEP-0248)
		return v == "leaf" || v == ""
	case "access_model":
		return one(&c.Access, accessOpen, accessPresence, accessRoster, accessAuthorize, accessWhitelist)
	case "roster_groups_allowed":
		c.Groups = append([]string(nil), values...)
		return len(values) <= maxFields
	case "publish_model":
		return one(&c.PublishModel, "publishers", "subscribers", "open")
	case "max_items":
		n, err := strconv.Atoi(v)
		if v == "max" || v == "" {
			n, err = maxItems, nil
		}
		c.MaxItems = max(1, min(n, maxItems))
		return err == nil && n >= 0
	case "item_expire":
		n, err := strconv.Atoi(v)
		if v == "max" || v == "" {
			n, err = 0, nil
		}
		c.Expire = n
		return err == nil && n >= 0
	case "persist_items":
		return flag(&c.Persist)
	case "deliver_payloads":
		return flag(&c.Payloads)
	case "notify_retract":
		return flag(&c.NotifyRetract)
	case "notify_delete":
		return flag(&c.NotifyDelete)
	case "notify_config":
		return flag(&c.NotifyConfig)
	case "notify_sub":
		return flag(&c.NotifySub)
	case "deliver_notifications":
		var deliver bool
		ok := flag(&deliver)
		c.Silent = !deliver
		return ok
	case "subscribe":
		var allowed bool
		ok := flag(&allowed)
		c.NoSubscribe = !allowed
		return ok
	case "publish_node_full", "publish_full_node": // §7.1.2.5 has the one name, §7.1.3.4 the other
		c.RejectFull = v == "reject"
		return c.RejectFull || v == "retract-oldest" || v == "discard-oldest"
	case "max_payload_size":
		n, err := strconv.Atoi(v)
		c.MaxPayload = min(n, maxItemBytes)
		return err == nil && n >= 0
	case "send_last_published_item":
		return one(&c.SendLast, lastNever, lastSub, lastPresence)
	case "notification_type":
		return one(&c.Kind, "normal", "headline", "chat")
	}
	return true
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

// form is the settings as a form to fill in (XEP-0060 §8.2).
func (c *Config) form() *stanza.Element {
	expire := "max"
	if c.Expire > 0 {
		expire = strconv.Itoa(c.Expire)
	}
	full := "retract-oldest"
	if c.RejectFull {
		full = "reject"
	}
	return newForm("form", formConfig,
		field("pubsub#title", "text-single", c.Title),
		field("pubsub#description", "text-single", c.Description),
		choice("pubsub#node_type", "leaf", "leaf"),
		field("pubsub#type", "text-single", c.Type),
		choice("pubsub#access_model", c.Access, accessOpen, accessAuthorize, accessWhitelist, accessPresence, accessRoster),
		field("pubsub#roster_groups_allowed", "list-multi", c.Groups...),
		choice("pubsub#publish_model", c.PublishModel, "publishers", "subscribers", "open"),
		field("pubsub#max_items", "text-single", strconv.Itoa(c.MaxItems)),
		field("pubsub#item_expire", "text-single", expire),
		flagField("pubsub#persist_items", c.Persist),
		flagField("pubsub#deliver_payloads", c.Payloads),
		flagField("pubsub#notify_retract", c.NotifyRetract),
		flagField("pubsub#notify_delete", c.NotifyDelete),
		flagField("pubsub#notify_config", c.NotifyConfig),
		flagField("pubsub#notify_sub", c.NotifySub),
		flagField("pubsub#deliver_notifications", !c.Silent),
		flagField("pubsub#subscribe", !c.NoSubscribe),
		choice("pubsub#publish_node_full", full, "retract-oldest", "reject"),
		field("pubsub#max_payload_size", "text-single", strconv.Itoa(c.maxPayload())),
		choice("pubsub#send_last_published_item", c.SendLast, lastNever, lastSub, lastPresence),
		choice("pubsub#notification_type", c.Kind, "normal", "headline", "chat"))
}

func (c *Config) maxPayload() int {
	if c.MaxPayload == 0 {
		return maxItemBytes
	}
	return c.MaxPayload
}

// knows tells whether all fields of a form are settings of nodes: options of a publication that are not known are not met (XEP-0060 §7.1.5).
func knows(f form) bool {
	names := []string{"FORM_TYPE"}
	for _, el := range (&Config{}).form().Children() {
		names = append(names, el.Attr("var"))
	}
	for name := range f {
		if !slices.Contains(names, name) {
			return false
		}
	}
	return true
}

// met tells whether a node with these settings is what the options of a publication ask for (XEP-0060 §7.1.5).
func (c *Config) met(f form) (bool, *stanza.Error) {
	want := *c
	if err := want.apply(f); err != nil {
		return false, err
	}
	return reflect.DeepEqual(want, *c), nil
}
