package ext

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsCommands = "http://jabber.org/protocol/commands"

	maxCommands    = 1000             // forms that wait to be filled in, of all together
	commandTime    = 10 * time.Minute // and how long
	maxFormFields  = 64
	maxFieldValues = 1000
)

// Commands are ad-hoc commands (XEP-0050) of the server: those of Hooks.Command.
type Commands struct {
	srv *xmpp.Server
	log *slog.Logger
	now func() time.Time

	mu       sync.Mutex // guards sessions
	sessions map[string]commandSession
}

// commandSession is a form that waits.
type commandSession struct {
	who   stanza.JID
	node  string
	until time.Time
}

// AttachCommands adds ad-hoc commands to s; d, which lists them, may be nil.
func AttachCommands(s *xmpp.Server, d *Disco, log *slog.Logger) *Commands {
	c := &Commands{srv: s, log: log, now: time.Now, sessions: map[string]commandSession{}}
	s.Hooks().Feature(xmpp.ToServer, nsCommands)
	s.Hooks().IQ(xmpp.ToServer, nsCommands, "command", c.iq)
	s.Hooks().IQ(xmpp.ToAccount, nsCommands, "command", c.account)
	if d != nil {
		d.serverNode = c.disco
	}
	return c
}

// may tells whether who may use a command.
func (c *Commands) may(cmd *xmpp.Command, who stanza.JID) bool {
	if cmd.May != nil {
		return cmd.May(who.Bare())
	}
	return c.srv.HasAccount(who.Bare())
}

func (c *Commands) find(node string) *xmpp.Command {
	for _, cmd := range c.srv.Hooks().Commands() {
		if cmd.Node == node {
			return &cmd
		}
	}
	return nil
}

// disco lists the commands that who asks may use, and describes them (§2.1 to §2.3); nil: node is none of them.
func (c *Commands) disco(iq *stanza.Stanza, node string, items bool) *stanza.Element {
	if node == nsCommands && items {
		q := stanza.NewElement(nsDiscoItem, "query", "node", node)
		for _, cmd := range c.srv.Hooks().Commands() {
			if c.may(&cmd, iq.From) {
				q.Add(stanza.NewElement(nsDiscoItem, "item", "jid", iq.To.String(), "node", cmd.Node, "name", cmd.Name))
			}
		}
		return q
	}
	cmd := c.find(node)
	switch {
	case cmd != nil && c.may(cmd, iq.From) && items:
		return stanza.NewElement(nsDiscoItem, "query", "node", node)
	case cmd != nil && c.may(cmd, iq.From):
		return stanza.NewElement(nsDiscoInfo, "query", "node", node).Add(
			stanza.NewElement(nsDiscoInfo, "identity", "category", "automation", "type", "command-node", "name", cmd.Name),
			stanza.NewElement(nsDiscoInfo, "feature", "var", nsCommands), stanza.NewElement(nsDiscoInfo, "feature", "var", nsData))
	case node == nsCommands:
		return stanza.NewElement(nsDiscoInfo, "query", "node", node).Add(
			stanza.NewElement(nsDiscoInfo, "identity", "category", "automation", "type", "command-list"))
	}
	return nil
}

// badRequest is an error with a condition of §4.
func badRequest(condition string) *stanza.Error {
	return stanza.ErrBadRequest.With("", stanza.NewElement(nsCommands, condition))
}

// account takes commands at one's own address too, where some clients look for what they may do.
func (c *Commands) account(x *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if !own(x, iq) {
		return iq.ErrorReply(stanza.ErrServiceUnavailable)
	}
	return c.iq(x, iq)
}

func (c *Commands) iq(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	e := iq.Child(nsCommands, "command")
	if iq.Type != "set" {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	cmd := c.find(e.Attr("node"))
	switch {
	case cmd == nil:
		return iq.ErrorReply(stanza.ErrItemNotFound)
	case !c.may(cmd, iq.From):
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	id := e.Attr("sessionid")
	if id != "" && !c.take(id, iq.From, cmd.Node) {
		return iq.ErrorReply(badRequest("bad-sessionid"))
	}
	switch action := e.Attr("action"); action {
	case "cancel":
		return iq.Result(stanza.NewElement(nsCommands, "command", "node", cmd.Node, "sessionid", id, "status", "canceled"))
	case "", "execute", "complete", "next":
	case "prev":
		return iq.ErrorReply(badRequest("bad-action"))
	default:
		return iq.ErrorReply(badRequest("malformed-action"))
	}
	x := e.Child(nsData, "x")
	if cmd.Form != nil && (id == "" || x == nil) {
		return c.ask(iq, cmd)
	}
	values, ok := submitted(cmd.Form, x)
	if !ok {
		return iq.ErrorReply(badRequest("bad-payload"))
	}
	return c.run(iq, cmd, id, values)
}

// ask shows the form.
func (c *Commands) ask(iq *stanza.Stanza, cmd *xmpp.Command) *stanza.Stanza {
	id := random.ID()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sessions) >= maxCommands {
		for k, s := range c.sessions {
			if c.now().After(s.until) {
				delete(c.sessions, k)
			}
		}
	}
	if len(c.sessions) >= maxCommands {
		return iq.ErrorReply(stanza.ErrResourceConstraint)
	}
	c.sessions[id] = commandSession{iq.From, cmd.Node, c.now().Add(commandTime)}
	return iq.Result(stanza.NewElement(nsCommands, "command", "node", cmd.Node, "sessionid", id, "status", "executing").Add(
		stanza.NewElement(nsCommands, "actions", "execute", "complete").Add(stanza.NewElement(nsCommands, "complete")),
		dataForm("form", filled(cmd))))
}

// filled is the form with the values of now.
func filled(cmd *xmpp.Command) *xmpp.Form {
	if cmd.Values == nil {
		return cmd.Form
	}
	f, now := *cmd.Form, cmd.Values()
	f.Fields = slices.Clone(f.Fields)
	for i := range f.Fields {
		if v, ok := now[f.Fields[i].Var]; ok {
			f.Fields[i].Values = v
		}
	}
	return &f
}

// take ends the waiting of a form; false: it is not who's, or too late.
func (c *Commands) take(id string, who stanza.JID, node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions[id]
	if !ok || s.who != who || s.node != node {
		return false
	}
	delete(c.sessions, id)
	return c.now().Before(s.until)
}

func (c *Commands) run(iq *stanza.Stanza, cmd *xmpp.Command, id string, in xmpp.Values) *stanza.Stanza {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if id == "" {
		id = iq.ID
	}
	done := stanza.NewElement(nsCommands, "command", "node", cmd.Node, "sessionid", id, "status", "completed")
	result, err := cmd.Run(ctx, iq.From, in)
	switch {
	case err != nil:
		done.Add(stanza.TextElement(nsCommands, "note", err.Error(), "type", "error"))
	case result != nil:
		done.Add(dataForm("result", result))
	default:
		done.Add(stanza.TextElement(nsCommands, "note", "Done", "type", "info"))
	}
	c.log.Info("command", "node", cmd.Node, "by", iq.From.Bare().String(), "failed", err != nil)
	return iq.Result(done)
}

// dataForm writes a form or a result.
func dataForm(typ string, f *xmpp.Form) *stanza.Element {
	x := stanza.NewElement(nsData, "x", "type", typ)
	if f.Title != "" {
		x.Add(stanza.TextElement(nsData, "title", f.Title))
	}
	if f.Instructions != "" {
		x.Add(stanza.TextElement(nsData, "instructions", f.Instructions))
	}
	if f.Type != "" {
		x.Add(stanza.NewElement(nsData, "field", "var", "FORM_TYPE", "type", "hidden").Add(stanza.TextElement(nsData, "value", f.Type)))
	}
	for _, field := range f.Fields {
		e := stanza.NewElement(nsData, "field", "var", field.Var, "type", field.Type, "label", field.Label)
		if field.Required {
			e.Add(stanza.NewElement(nsData, "required"))
		}
		for _, v := range field.Values {
			e.Add(stanza.TextElement(nsData, "value", v))
		}
		for _, o := range field.Options {
			e.Add(stanza.NewElement(nsData, "option", "label", o[0]).Add(stanza.TextElement(nsData, "value", o[1])))
		}
		x.Add(e)
	}
	return x.Add(f.More...)
}

// submitted reads what was filled in; false: it does not fit the form. A field of many lines has its lines as values.
func submitted(f *xmpp.Form, x *stanza.Element) (xmpp.Values, bool) {
	v := xmpp.Values{}
	if f == nil {
		return v, true
	}
	fields := x.ChildrenNamed(nsData, "field")
	if x.Attr("type") != "submit" || len(fields) > maxFormFields {
		return nil, false
	}
	for _, e := range fields {
		for _, c := range e.ChildrenNamed(nsData, "value") {
			v[e.Attr("var")] = append(v[e.Attr("var")], c.Text())
		}
	}
	for _, field := range f.Fields {
		got := slices.DeleteFunc(slices.Clone(v[field.Var]), func(s string) bool { return s == "" })
		if field.Required && len(got) == 0 || len(got) > maxFieldValues {
			return nil, false
		}
		for _, g := range got {
			if len(field.Options) > 0 && !slices.ContainsFunc(field.Options, func(o [2]string) bool { return o[1] == g }) {
				return nil, false
			}
		}
	}
	return v, true
}
