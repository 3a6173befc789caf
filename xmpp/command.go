package xmpp

import (
	"context"

	"konzil/xmpp/stanza"
)

// Command is an ad-hoc command of the server (XEP-0050): one form at most, then the result.
type Command struct {
	Node, Name string
	May        func(who stanza.JID) bool // bare; nil: everybody with an account here
	Form       *Form                     // what it asks for; nil: nothing
	Values     func() Values             // what is in the form's fields at first; nil: what Form says
	// Run carries it out. The error's text is shown to who asked.
	Run func(ctx context.Context, by stanza.JID, in Values) (*Form, error)
}

// Form is a data form (XEP-0004) that is asked for, or a result.
type Form struct {
	Title, Instructions string
	Type                string // value of FORM_TYPE, "" for none
	Fields              []Field
	More                []*stanza.Element // of a result, after the fields
}

// Field is one of its fields.
type Field struct {
	Var, Type, Label string // types of XEP-0004 §3.3
	Required         bool
	Options          [][2]string // label and value
	Values           []string
}

// Values are the fields of a submitted form.
type Values map[string][]string

// Get is the first value of a field, "" for none.
func (v Values) Get(name string) string {
	if l := v[name]; len(l) > 0 {
		return l[0]
	}
	return ""
}

// Command offers one, before serving; ext.AttachCommands answers for all.
func (h *Hooks) Command(c Command) { h.commands = append(h.commands, c) }

// Commands are all that are offered, in order.
func (h *Hooks) Commands() []Command { return h.commands }
