// Package admin is service administration by ad-hoc commands (XEP-0133), for the people that the operator names: accounts, sessions, words to
// all, the message of the day, the end of the server. What they do is carried out by an Operator, the same as for the operator's command line.
//
// The path of a command: ext.Commands (the stream's goroutine) checks who asks and what is filled in → Run of a command here → Operator, Server.
package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const nsAdmin = "http://jabber.org/protocol/admin"

// maxShown bounds lists of accounts and sessions in one answer.
const maxShown = 1000

// Operator carries out what changes the server.
type Operator interface {
	AddUser(ctx context.Context, account stanza.JID, password string) error
	SetPassword(ctx context.Context, account stanza.JID, password string) error
	Disable(ctx context.Context, account stanza.JID, disabled bool) error
	// Delete removes an account with all that is kept of it.
	Delete(ctx context.Context, account stanza.JID) error
	// Accounts are all that there are, and which of them are disabled.
	Accounts(ctx context.Context) (all []stanza.JID, disabled map[stanza.JID]bool, err error)
	// SetMOTD keeps the message of the day, "" for none.
	SetMOTD(ctx context.Context, text string) error
	MOTD() string
	// Stop ends the program.
	Stop()
}

type service struct {
	srv *xmpp.Server
	op  Operator
	may func(stanza.JID) bool
}

// Attach offers the commands to admins (bare addresses), and gives the message of the day to who comes.
func Attach(s *xmpp.Server, op Operator, admins []stanza.JID) {
	a := &service{srv: s, op: op, may: func(j stanza.JID) bool { return slices.Contains(admins, j.Bare()) }}
	a.accounts()
	a.lists()
	a.words()
	s.Hooks().Outbound(a.greet)
}

// command offers one command of XEP-0133 §4.
func (a *service) command(name, title string, fields []xmpp.Field, run func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error)) {
	c := xmpp.Command{Node: nsAdmin + "#" + name, Name: title, May: a.may, Run: func(ctx context.Context, _ stanza.JID, in xmpp.Values) (*xmpp.Form, error) {
		return run(ctx, in)
	}}
	if len(fields) > 0 {
		c.Form = &xmpp.Form{Title: title, Type: nsAdmin, Fields: fields}
	}
	a.srv.Hooks().Command(c)
}

func one(name, label string) xmpp.Field {
	return xmpp.Field{Var: name, Type: "jid-single", Label: label, Required: true}
}

func many(name, label string) xmpp.Field {
	return xmpp.Field{Var: name, Type: "jid-multi", Label: label, Required: true}
}

func secret(name, label string) xmpp.Field {
	return xmpp.Field{Var: name, Type: "text-private", Label: label, Required: true}
}

// account is an address of an account here.
func (a *service) account(text string) (stanza.JID, error) {
	j, err := stanza.ParseJID(text)
	if err != nil || j.Local() == "" || j.Domain() != a.srv.Domain() {
		return j, fmt.Errorf("%s is no address of this server", text)
	}
	return j, nil
}

// each carries out f for all accounts of a field, and tells which failed.
func (a *service) each(texts []string, f func(stanza.JID) error) (*xmpp.Form, error) {
	var failed []error
	for _, t := range texts {
		j, err := a.account(t)
		if err == nil {
			if err = f(j); err != nil {
				err = fmt.Errorf("%s: %w", t, err)
			}
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// accounts are §4.1 to §4.6.
func (a *service) accounts() {
	a.command("add-user", "Add an account", []xmpp.Field{one("accountjid", "Address"), secret("password", "Password"), secret("password-verify", "Password again")},
		func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
			j, err := a.account(in.Get("accountjid"))
			switch {
			case err != nil:
				return nil, err
			case in.Get("password") != in.Get("password-verify"):
				return nil, errors.New("the passwords are not the same")
			}
			return nil, a.op.AddUser(ctx, j.Bare(), in.Get("password"))
		})
	for _, c := range []struct {
		name, title string
		f           func(ctx context.Context, j stanza.JID) error
	}{
		{"delete-user", "Delete accounts", func(ctx context.Context, j stanza.JID) error { return a.op.Delete(ctx, j.Bare()) }},
		{"disable-user", "Disable accounts", func(ctx context.Context, j stanza.JID) error { return a.op.Disable(ctx, j.Bare(), true) }},
		{"reenable-user", "Enable accounts again", func(ctx context.Context, j stanza.JID) error { return a.op.Disable(ctx, j.Bare(), false) }},
		{"end-user-session", "End sessions", func(_ context.Context, j stanza.JID) error { return a.end(j) }},
	} {
		a.command(c.name, c.title, []xmpp.Field{many("accountjids", "Addresses")}, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
			return a.each(in["accountjids"], func(j stanza.JID) error { return c.f(ctx, j) })
		})
	}
	a.command("change-user-password", "Change a password", []xmpp.Field{one("accountjid", "Address"), secret("password", "New password")},
		func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
			j, err := a.account(in.Get("accountjid"))
			if err != nil {
				return nil, err
			}
			return nil, a.op.SetPassword(ctx, j.Bare(), in.Get("password"))
		})
}

// end ends one session, or all of a bare address.
func (a *service) end(j stanza.JID) error {
	found := false
	for _, x := range a.srv.Sessions(j) {
		if j.IsBare() || x.JID() == j {
			x.Kill("policy-violation", "ended by an administrator")
			found = true
		}
	}
	if !found {
		return errors.New("there is no such session")
	}
	return nil
}

// lists are §4.8, §4.13 to §4.23.
func (a *service) lists() {
	number := func(name, title, field string, count func(ctx context.Context) (int, error)) {
		a.command(name, title, nil, func(ctx context.Context, _ xmpp.Values) (*xmpp.Form, error) {
			n, err := count(ctx)
			return result(xmpp.Field{Var: field, Type: "text-single", Label: title, Values: []string{strconv.Itoa(n)}}), err
		})
	}
	list := func(name, title, field string, get func(ctx context.Context) ([]string, error)) {
		a.command(name, title, nil, func(ctx context.Context, _ xmpp.Values) (*xmpp.Form, error) {
			l, err := get(ctx)
			slices.Sort(l)
			return result(xmpp.Field{Var: field, Type: "jid-multi", Label: title, Values: l[:min(len(l), maxShown)]}), err
		})
	}
	length := func(get func(ctx context.Context) ([]string, error)) func(ctx context.Context) (int, error) {
		return func(ctx context.Context) (int, error) { l, err := get(ctx); return len(l), err }
	}
	for _, c := range []struct {
		name, what, field string
		get               func(ctx context.Context) ([]string, error)
	}{
		{"registered-users", "Accounts", "registereduser", a.registered(func(bool) bool { return true })},
		{"disabled-users", "Disabled accounts", "disableduser", a.registered(func(disabled bool) bool { return disabled })},
		{"online-users", "People who are online", "onlineuser", a.online(true)},
		{"active-users", "Clients that somebody looks at", "activeuser", a.online(false)},
	} {
		number("get-"+c.name+"-num", c.what+", how many", c.field+"snum", length(c.get))
		if c.name != "active-users" {
			list("get-"+c.name+"-list", c.what, c.field+"jids", c.get)
		}
	}
	a.command("user-stats", "About an account", []xmpp.Field{one("accountjid", "Address")}, func(_ context.Context, in xmpp.Values) (*xmpp.Form, error) {
		j, err := a.account(in.Get("accountjid"))
		if err != nil {
			return nil, err
		}
		var resources []string
		for _, x := range a.srv.Sessions(j) {
			resources = append(resources, x.JID().Resource())
		}
		return result(xmpp.Field{Var: "accountjid", Type: "jid-single", Label: "Address", Values: []string{j.Bare().String()}},
			xmpp.Field{Var: "onlineresources", Type: "text-multi", Label: "Sessions", Values: resources}), nil
	})
}

func result(fields ...xmpp.Field) *xmpp.Form { return &xmpp.Form{Type: nsAdmin, Fields: fields} }

func (a *service) registered(which func(disabled bool) bool) func(ctx context.Context) ([]string, error) {
	return func(ctx context.Context) (out []string, err error) {
		all, disabled, err := a.op.Accounts(ctx)
		for _, j := range all {
			if which(disabled[j]) {
				out = append(out, j.String())
			}
		}
		return out, err
	}
}

// online are the accounts with a session, or the clients that are not away.
func (a *service) online(people bool) func(ctx context.Context) ([]string, error) {
	return func(context.Context) (out []string, err error) {
		for _, x := range a.srv.AllSessions() {
			switch {
			case x.Guest():
			case people:
				out = append(out, x.JID().Bare().String())
			case !x.Inactive():
				out = append(out, x.JID().String())
			}
		}
		slices.Sort(out)
		return slices.Compact(out), nil
	}
}

// delays are what an administrator may choose from.
var delays = [][2]string{{"at once", "0"}, {"30 seconds", "30"}, {"1 minute", "60"}, {"3 minutes", "180"}, {"5 minutes", "300"}, {"15 minutes", "900"}, {"1 hour", "3600"}}

// words are §4.23 to §4.31.
func (a *service) words() {
	text := xmpp.Field{Var: "announcement", Type: "text-multi", Label: "Words", Required: true}
	subject := xmpp.Field{Var: "subject", Type: "text-single", Label: "Subject"}
	a.command("announce", "Write to all who are online", []xmpp.Field{subject, text}, func(_ context.Context, in xmpp.Values) (*xmpp.Form, error) {
		a.announce(in.Get("subject"), strings.Join(in["announcement"], "\n"))
		return nil, nil
	})
	motd := text
	motd.Var, motd.Label = "motd", "Message of the day"
	for name, title := range map[string]string{"set-motd": "Set the message of the day", "edit-motd": "Change the message of the day"} {
		a.command(name, title, []xmpp.Field{motd}, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
			words := strings.Join(in["motd"], "\n")
			err := a.op.SetMOTD(ctx, words)
			if err == nil && name == "set-motd" { // §4.24: who is here gets it now
				a.announce("Message of the day", words)
			}
			return nil, err
		})
	}
	a.command("delete-motd", "Remove the message of the day", nil, func(ctx context.Context, _ xmpp.Values) (*xmpp.Form, error) { return nil, a.op.SetMOTD(ctx, "") })
	text.Required = false
	delay := xmpp.Field{Var: "delay", Type: "list-single", Label: "When", Required: true, Options: delays, Values: []string{"60"}}
	a.command("shutdown", "Stop the server", []xmpp.Field{delay, text}, func(_ context.Context, in xmpp.Values) (*xmpp.Form, error) {
		secs, err := strconv.Atoi(in.Get("delay"))
		if err != nil {
			return nil, err
		}
		if words := strings.Join(in["announcement"], "\n"); words != "" {
			a.announce("The server is going down", words)
		}
		time.AfterFunc(max(time.Duration(secs)*time.Second, answerTime), a.op.Stop) // it goes with the program
		return nil, nil
	})
}

// answerTime lets the answer to the command out before the end.
const answerTime = 500 * time.Millisecond

func (a *service) announce(subject, text string) {
	for _, x := range a.srv.AllSessions() {
		if !x.Guest() && x.Presence() != nil {
			x.Send(a.notice(subject, text, x.JID()))
		}
	}
}

func (a *service) notice(subject, text string, to stanza.JID) *stanza.Stanza {
	var s *stanza.Element
	if subject != "" {
		s = stanza.TextElement(stanza.NSClient, "subject", subject)
	}
	return stanza.NewMessage("headline", stanza.MustJID(a.srv.Domain()), to, s, stanza.TextElement(stanza.NSClient, "body", text))
}

// motdNote is noted of a session that has got the message of the day.
const motdNote = "motd"

// greet gives the message of the day to a client that becomes available, once.
func (a *service) greet(x *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind != stanza.Presence || st.Type != "" || !st.To.IsZero() || x.Guest() || x.Note(motdNote) != "" {
		return false
	}
	if words := a.op.MOTD(); words != "" {
		x.SetNote(motdNote, "got")
		x.Send(a.notice("Message of the day", words, x.JID()))
	}
	return false
}
