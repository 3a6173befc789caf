package pubsub

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"konzil/xmpp/stanza"
)

// setting is one field of the form of a node's settings (XEP-0060 §16.4.4): how it is shown, and how what is submitted is taken.
type setting struct {
	name string // without pubsub#
	show func(c *Config, name string) *stanza.Element
	// take changes c; v is the first of values, "" for none. It is false for what is not possible.
	take func(c *Config, v string, values []string) bool
}

// settings are all fields, in the order of the form.
var settings = []setting{
	text("title", func(c *Config) *string { return &c.Title }),
	text("description", func(c *Config) *string { return &c.Description }),
	{"node_type", // no collections (XEP-0248)
		func(_ *Config, name string) *stanza.Element { return choice(name, "leaf", "leaf") },
		func(_ *Config, v string, _ []string) bool { return v == "leaf" || v == "" }},
	text("type", func(c *Config) *string { return &c.Type }),
	oneOf("access_model", func(c *Config) *string { return &c.Access }, accessOpen, accessAuthorize, accessWhitelist, accessPresence, accessRoster),
	{"roster_groups_allowed",
		func(c *Config, name string) *stanza.Element { return field(name, "list-multi", c.Groups...) },
		func(c *Config, _ string, values []string) bool {
			c.Groups = slices.Clone(values)
			return len(values) <= maxFields
		}},
	oneOf("publish_model", func(c *Config) *string { return &c.PublishModel }, "publishers", "subscribers", "open"),
	{"max_items",
		func(c *Config, name string) *stanza.Element {
			return field(name, "text-single", strconv.Itoa(c.MaxItems))
		},
		func(c *Config, v string, _ []string) bool {
			n, ok := count(v, maxItems)
			c.MaxItems = max(1, min(n, maxItems))
			return ok
		}},
	{"item_expire",
		func(c *Config, name string) *stanza.Element {
			if c.Expire == 0 {
				return field(name, "text-single", "max")
			}
			return field(name, "text-single", strconv.Itoa(c.Expire))
		},
		func(c *Config, v string, _ []string) (ok bool) {
			c.Expire, ok = count(v, 0)
			return ok
		}},
	flag("persist_items", func(c *Config) *bool { return &c.Persist }),
	flag("deliver_payloads", func(c *Config) *bool { return &c.Payloads }),
	flag("notify_retract", func(c *Config) *bool { return &c.NotifyRetract }),
	flag("notify_delete", func(c *Config) *bool { return &c.NotifyDelete }),
	flag("notify_config", func(c *Config) *bool { return &c.NotifyConfig }),
	flag("notify_sub", func(c *Config) *bool { return &c.NotifySub }),
	inverse("deliver_notifications", func(c *Config) *bool { return &c.Silent }),
	inverse("subscribe", func(c *Config) *bool { return &c.NoSubscribe }),
	{fieldFull,
		func(c *Config, name string) *stanza.Element {
			if c.RejectFull {
				return choice(name, "reject", "retract-oldest", "reject")
			}
			return choice(name, "retract-oldest", "retract-oldest", "reject")
		},
		func(c *Config, v string, _ []string) bool {
			c.RejectFull = v == "reject"
			return c.RejectFull || v == "retract-oldest" || v == "discard-oldest"
		}},
	{"max_payload_size",
		func(c *Config, name string) *stanza.Element {
			return field(name, "text-single", strconv.Itoa(c.maxPayload()))
		},
		func(c *Config, v string, _ []string) bool {
			n, err := strconv.Atoi(v)
			c.MaxPayload = min(n, maxItemBytes)
			return err == nil && n >= 0
		}},
	oneOf("send_last_published_item", func(c *Config) *string { return &c.SendLast }, lastNever, lastSub, lastPresence),
	oneOf("notification_type", func(c *Config) *string { return &c.Kind }, "normal", "headline", "chat"),
}

// What a full node does has two names: XEP-0060 §7.1.2.5 has the one, §7.1.3.4 the other.
const (
	fieldFull      = "publish_node_full"
	fieldFullAlias = "publish_full_node"
)

func text(name string, of func(*Config) *string) setting {
	return setting{name,
		func(c *Config, name string) *stanza.Element { return field(name, "text-single", *of(c)) },
		func(c *Config, v string, _ []string) bool {
			*of(c) = v
			return len(v) <= maxName
		}}
}

func oneOf(name string, of func(*Config) *string, options ...string) setting {
	return setting{name,
		func(c *Config, name string) *stanza.Element { return choice(name, *of(c), options...) },
		func(c *Config, v string, _ []string) bool {
			*of(c) = v
			return slices.Contains(options, v)
		}}
}

func flag(name string, of func(*Config) *bool) setting {
	return setting{name,
		func(c *Config, name string) *stanza.Element { return flagField(name, *of(c)) },
		func(c *Config, v string, _ []string) (ok bool) {
			*of(c), ok = truth(v)
			return ok
		}}
}

// inverse is a flag whose field says the opposite.
func inverse(name string, of func(*Config) *bool) setting {
	return setting{name,
		func(c *Config, name string) *stanza.Element { return flagField(name, !*of(c)) },
		func(c *Config, v string, _ []string) bool {
			b, ok := truth(v)
			*of(c) = !b
			return ok
		}}
}

// count reads a number of items or seconds; "max" and nothing are most.
func count(v string, most int) (n int, ok bool) {
	if v == "max" || v == "" {
		return most, true
	}
	n, err := strconv.Atoi(v)
	return n, err == nil && n >= 0
}

// settingOf finds the setting behind the var of a field.
func settingOf(name string) (setting, bool) {
	key, ok := strings.CutPrefix(name, "pubsub#")
	if key == fieldFullAlias {
		key = fieldFull
	}
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == key })
	if !ok || i < 0 {
		return setting{}, false
	}
	return settings[i], true
}

// form is the settings as a form to fill in (XEP-0060 §8.2).
func (c *Config) form() *stanza.Element {
	fields := make([]*stanza.Element, len(settings))
	for i, s := range settings {
		fields[i] = s.show(c, "pubsub#"+s.name)
	}
	return newForm("form", formConfig, fields...)
}

// apply changes c by the fields of a form. Fields that are not known are passed over; a value that is not possible is an error.
func (c *Config) apply(f form) *stanza.Error {
	for name, values := range f {
		s, ok := settingOf(name)
		if !ok {
			continue
		}
		v := ""
		if len(values) > 0 {
			v = values[0]
		}
		if !s.take(c, v, values) {
			return stanza.ErrNotAcceptable.With("The value of " + name + " is not possible here")
		}
	}
	return nil
}

// knows tells whether all fields of a form are settings of nodes: options of a publication that are not known are not met (XEP-0060 §7.1.5).
func knows(f form) bool {
	for name := range f {
		if _, ok := settingOf(name); !ok && name != "FORM_TYPE" {
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
