package muc

import (
	"errors"

	"konzil/xmpp/stanza"
)

// Bounds of a submitted form: far above what the forms of this package have.
const (
	maxFields = 128
	maxValues = 256
)

// form is a submitted data form (XEP-0004): values by field.
type form map[string][]string

// parseForm reads a form of type submit. A field named twice, or too many of anything, is an error.
func parseForm(x *stanza.Element) (form, error) {
	if x == nil || x.Attr("type") != "submit" {
		return nil, errors.New("no submitted form")
	}
	f := form{}
	for _, el := range x.ChildrenNamed(nsData, "field") {
		name := el.Attr("var")
		if name == "" {
			continue // fixed text
		}
		if _, twice := f[name]; twice {
			return nil, errors.New("field " + name + " is there twice")
		}
		values := []string{}
		for _, v := range el.ChildrenNamed(nsData, "value") {
			values = append(values, v.Text())
		}
		if len(f) >= maxFields || len(values) > maxValues {
			return nil, errors.New("the form is too big")
		}
		f[name] = values
	}
	return f, nil
}

func (f form) formType() string { return f.value("FORM_TYPE") }

func (f form) has(name string) bool { _, ok := f[name]; return ok }

// value is the first value of a field, "" if there is none.
func (f form) value(name string) string {
	if v := f[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// flag is a boolean field (XEP-0004 §3.3).
func (f form) flag(name string) bool { v := f.value(name); return v == "1" || v == "true" }

// field makes a field of a form.
func field(name, typ, label string, values ...string) *stanza.Element {
	el := stanza.NewElement(nsData, "field", "var", name, "type", typ, "label", label)
	for _, v := range values {
		el.Add(stanza.TextElement(nsData, "value", v))
	}
	return el
}

// choice is a list-single field with options: pairs of label and value.
func choice(name, label, value string, options ...string) *stanza.Element {
	el := field(name, "list-single", label, value)
	for i := 0; i+1 < len(options); i += 2 {
		el.Add(stanza.NewElement(nsData, "option", "label", options[i]).Add(stanza.TextElement(nsData, "value", options[i+1])))
	}
	return el
}

func boolean(v bool) string {
	if v {
		return "1"
	}
	return "0"
}
