package admin

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// maxEntries bounds the lists that administrators edit.
const maxEntries = 1000

// about are §4.8 to §4.10: what is known of an account.
func (a *service) about() {
	who := []xmpp.Field{many("accountjids", "Addresses")}
	a.command("get-user-roster", "Contacts of accounts", who, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
		out := result(xmpp.Field{Var: "accountjids", Type: "jid-multi", Label: "Addresses", Values: in["accountjids"]})
		_, err := a.each(in["accountjids"], func(j stanza.JID) error {
			q, err := a.op.Roster(ctx, j.Bare())
			out.More = append(out.More, q)
			return err
		})
		return out, err
	})
	a.command("get-user-lastlogin", "Last login of accounts", who, func(_ context.Context, in xmpp.Values) (*xmpp.Form, error) {
		times := xmpp.Field{Var: "lastlogin", Type: "text-multi", Label: "Last login"}
		_, err := a.each(in["accountjids"], func(j stanza.JID) error {
			switch at := a.op.LastLogin(j.Bare()); {
			case !at.IsZero():
				times.Values = append(times.Values, at.UTC().Format(time.RFC3339))
			case !a.srv.HasAccount(j.Bare()):
				return errors.New("there is no such account")
			default:
				times.Values = append(times.Values, "never")
			}
			return nil
		})
		return result(xmpp.Field{Var: "accountjids", Type: "jid-multi", Label: "Addresses", Values: in["accountjids"]}, times), err
	})
	// The specification has one address here; some clients send several, as elsewhere.
	single, several := one("accountjid", "Address"), many("accountjids", "Addresses")
	single.Required, several.Required = false, false
	a.command("user-stats", "About an account", []xmpp.Field{single, several}, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
		return a.statistics(ctx, append(in["accountjid"], in["accountjids"]...))
	})
}

func (a *service) statistics(ctx context.Context, of []string) (*xmpp.Form, error) {
	if len(of) == 0 {
		return nil, errors.New("an address is needed")
	}
	var size int
	var resources, addresses []string
	_, err := a.each(of, func(j stanza.JID) error {
		q, err := a.op.Roster(ctx, j.Bare())
		if err != nil {
			return err
		}
		size += len(q.Children())
		for _, x := range a.srv.Sessions(j.Bare()) {
			resources = append(resources, x.JID().Resource())
			addresses = append(addresses, x.Network())
		}
		return nil
	})
	slices.Sort(addresses)
	return result(xmpp.Field{Var: "accountjids", Type: "jid-multi", Label: "Addresses", Values: of},
		xmpp.Field{Var: "rostersize", Type: "text-single", Label: "Contacts", Values: []string{strconv.Itoa(size)}},
		xmpp.Field{Var: "ipaddresses", Type: "text-multi", Label: "Networks of the clients", Values: slices.Compact(addresses)},
		xmpp.Field{Var: "onlineresources", Type: "text-multi", Label: "Sessions", Values: resources}), err
}

// settings are §4.11, §4.12 and §4.27 to §4.29: what is kept for the server.
func (a *service) settings() {
	for _, l := range []struct {
		name, title, field string
		of                 func(*Settings) *[]string
	}{
		{"edit-blacklist", "Addresses elsewhere with which nothing is exchanged", "blacklistjids", func(s *Settings) *[]string { return &s.Blacklist }},
		{"edit-whitelist", "Addresses elsewhere with which alone anything is exchanged", "whitelistjids", func(s *Settings) *[]string { return &s.Whitelist }},
	} {
		field := many(l.field, l.title)
		field.Required = false
		a.form(l.name, l.title, []xmpp.Field{field}, func() xmpp.Values {
			s := a.op.Settings()
			return xmpp.Values{l.field: *l.of(&s)}
		}, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
			list, err := addresses(in[l.field])
			if err != nil {
				return nil, err
			}
			s := a.op.Settings()
			*l.of(&s) = list
			return nil, a.op.SetSettings(ctx, s)
		})
	}
	admins := many("adminjids", "Who administers")
	a.form("edit-admin", "Who administers the server", []xmpp.Field{admins}, func() xmpp.Values {
		list := slices.Clone(a.op.Settings().Admins)
		for _, j := range a.fixed {
			list = append(list, j.String())
		}
		slices.Sort(list)
		return xmpp.Values{"adminjids": slices.Compact(list)}
	}, a.setAdmins)
	welcome := xmpp.Field{Var: "welcome", Type: "text-multi", Label: "Words to who logs in for the first time", Required: true}
	a.form("set-welcome", "Set the words of welcome", []xmpp.Field{welcome}, func() xmpp.Values {
		return xmpp.Values{"welcome": lines(a.op.Settings().Welcome)}
	}, func(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
		return nil, a.setWelcome(ctx, strings.Join(in["welcome"], "\n"))
	})
	a.command("delete-welcome", "Remove the words of welcome", nil, func(ctx context.Context, _ xmpp.Values) (*xmpp.Form, error) {
		return nil, a.setWelcome(ctx, "")
	})
}

func (a *service) setWelcome(ctx context.Context, words string) error {
	s := a.op.Settings()
	s.Welcome = words
	return a.op.SetSettings(ctx, s)
}

// setAdmins takes a new list. Who is in the configuration stays: else nobody could administer any more.
func (a *service) setAdmins(ctx context.Context, in xmpp.Values) (*xmpp.Form, error) {
	list, err := addresses(in["adminjids"])
	if err != nil {
		return nil, err
	}
	s := a.op.Settings()
	s.Admins = nil
	for _, text := range list {
		j, err := a.account(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(a.fixed, j.Bare()) {
			s.Admins = append(s.Admins, j.Bare().String())
		}
	}
	return nil, a.op.SetSettings(ctx, s)
}

// addresses are the entries of a list, in their canonical form.
func addresses(in []string) (out []string, err error) {
	if len(in) > maxEntries {
		return nil, errors.New("the list is too long")
	}
	for _, text := range in {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		j, err := stanza.ParseJID(text)
		if err != nil {
			return nil, err
		}
		out = append(out, j.String())
	}
	return out, nil
}
