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
	// Settings are what administrators change at run time; SetSettings keeps them, and applies the lists to the exchange with other servers.
	Settings() Settings
	SetSettings(ctx context.Context, s Settings) error
	// Roster is the contact list of an account, as jabber:iq:roster has it.
	Roster(ctx context.Context, account stanza.JID) (*stanza.Element, error)
	// Login notes that an account has logged in, and tells whether it was the first time.
	Login(account stanza.JID) (first bool)
	// LastLogin is when an account logged in last; zero: never.
	LastLogin(account stanza.JID) time.Time
	// Stop ends the program, Restart also starts it again.
	Stop()
	Restart()
}

// Settings are what administrators change at run time.
type Settings struct {
	Welcome   string   `json:"welcome,omitempty"`   // words to who logs in for the first time
	Admins    []string `json:"admins,omitempty"`    // who administers, beside those of the configuration
	Blacklist []string `json:"blacklist,omitempty"` // addresses elsewhere with which nothing is exchanged: JIDs of any form
	Whitelist []string `json:"whitelist,omitempty"` // if there are any, only with these anything is
}

type service struct {
	srv   *xmpp.Server
	op    Operator
	fixed []stanza.JID // administrators by the configuration
}

// may tells whether who administers.
func (a *service) may(who stanza.JID) bool {
	who = who.Bare()
	return slices.Contains(a.fixed, who) || slices.Contains(a.op.Settings().Admins, who.String())
}

// Attach offers the commands to admins (bare addresses), and gives the message of the day to who comes.
func Attach(s *xmpp.Server, op Operator, admins []stanza.JID) {
	a := &service{srv: s, op: op, fixed: admins}
	a.accounts()
	a.lists()
	a.about()
	a.words()
	a.settings()
	s.Hooks().Bound(func(x *xmpp.Session) {
		if !x.Guest() && op.Login(x.JID().Bare()) {
			x.SetNote(welcomeNote, "due")
		}
	})
	s.Hooks().Outbound(a.greet)
}

// command offers one command of XEP-0133 §4.
func (a *service) command(name, title string, fields []xmpp.Field, run func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error)) {
	a.form(name, title, fields, nil, run)
}

// form is command with what is in the form at first.
func (a *service) form(name, title string, fields []xmpp.Field, now func() xmpp.Values, run func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error)) {
	c := xmpp.Command{Values: now, Node: nsAdmin + "#" + name, Name: title, May: a.may, Run: func(ctx context.Context, _ stanza.JID, in xmpp.Values) (*xmpp.Form, error) {
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

// howMany is what a list is cut at (§4.18).
var howMany = xmpp.Field{Var: "max_items", Type: "list-single", Label: "At most so many", Values: []string{"none"},
	Options: [][2]string{{"25", "25"}, {"50", "50"}, {"100", "100"}, {"200", "200"}, {"as many as there are", "none"}}}

// lists are §4.13 to §4.22.
func (a *service) lists() {
	number := func(name, title, field string, count func(ctx context.Context) (int, error)) {
		a.command(name, title, nil, func(ctx context.Context, _ xmpp.Values) (*xmpp.Form, error) {
			n, err := count(ctx)
			return result(xmpp.Field{Var: field, Type: "text-single", Label: title, Values: []string{strconv.Itoa(n)}}), err
		})
	}
	list := func(name, title, field string, get func(ctx context.Context) ([]string, error)) {
		a.command(name, title, []xmpp.Field{howMany}, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
			most := maxShown
			if n, err := strconv.Atoi(in.Get(howMany.Var)); err == nil {
				most = min(n, maxShown)
			}
			l, err := get(ctx)
			slices.Sort(l)
			return result(xmpp.Field{Var: field, Type: "jid-multi", Label: title, Values: l[:min(len(l), most)]}), err
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
		{"online-users", "People who are online", "onlineuser", a.online},
		{"active-users", "People who are online and look at it", "activeuser", a.present(true)},
		{"idle-users", "People who are online and away", "idleuser", a.present(false)},
	} {
		number("get-"+c.name+"-num", c.what+", how many", c.field+"snum", length(c.get))
		switch c.name {
		case "active-users", "idle-users": // §4.21, §4.22: the fields are the same
			list("get-"+c.name, c.what, "activeuserjids", c.get)
		default:
			list("get-"+c.name+"-list", c.what, c.field+"jids", c.get)
		}
	}
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

// online are the accounts with a session.
func (a *service) online(context.Context) (out []string, err error) {
	for _, x := range a.srv.AllSessions() {
		if !x.Guest() {
			out = append(out, x.JID().Bare().String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// present are the accounts with a client that somebody looks at, or those whose clients are all away.
func (a *service) present(active bool) func(ctx context.Context) ([]string, error) {
	return func(context.Context) (out []string, err error) {
		here := map[string]bool{}
		for _, x := range a.srv.AllSessions() {
			if !x.Guest() {
				show := x.Presence().Child(stanza.NSClient, "show").Text()
				bare := x.JID().Bare().String()
				here[bare] = here[bare] || !x.Inactive() && show != "away" && show != "xa"
			}
		}
		for j, looks := range here {
			if looks == active {
				out = append(out, j)
			}
		}
		return out, nil
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
	now := func() xmpp.Values { return xmpp.Values{"motd": lines(a.op.MOTD())} }
	for name, title := range map[string]string{"set-motd": "Set the message of the day", "edit-motd": "Change the message of the day"} {
		a.form(name, title, []xmpp.Field{motd}, now, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
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
	for _, c := range []struct {
		name, title, subject string
		do                   func()
	}{{"shutdown", "Stop the server", "The server is going down", a.op.Stop}, {"restart", "Restart the server", "The server restarts", a.op.Restart}} {
		a.command(c.name, c.title, []xmpp.Field{delay, text}, func(_ context.Context, in xmpp.Values) (*xmpp.Form, error) {
			secs, err := strconv.Atoi(in.Get("delay"))
			if err != nil {
				return nil, err
			}
			if words := strings.Join(in["announcement"], "\n"); words != "" {
				a.announce(c.subject, words)
			}
			time.AfterFunc(max(time.Duration(secs)*time.Second, answerTime), c.do) // it goes with the program
			return nil, nil
		})
	}
}

// lines are the values of a field of several lines.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
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

// welcomeNote is noted of the first session of an account until its client is available.
const welcomeNote = "welcome"

// motdNote is noted of a session that has got the message of the day.
const motdNote = "motd"

// greet gives the message of the day to a client that becomes available, once, and the words of welcome to the first one of an account.
func (a *service) greet(x *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind != stanza.Presence || st.Type != "" || !st.To.IsZero() || x.Guest() {
		return false
	}
	if words := a.op.Settings().Welcome; words != "" && x.Note(welcomeNote) != "" {
		x.SetNote(welcomeNote, "")
		x.Send(a.notice("Welcome", words, x.JID()))
	}
	if x.Note(motdNote) != "" {
		return false
	}
	if words := a.op.MOTD(); words != "" {
		x.SetNote(motdNote, "got")
		x.Send(a.notice("Message of the day", words, x.JID()))
	}
	return false
}
