package register

import (
	"context"
	"errors"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// commands are those of XEP-0401: people invite contacts where the operator lets them, administrators make room for an account.
func (v *Service) commands() []xmpp.Command {
	out := []xmpp.Command{{
		Node: nsInvite + "#create-account", Name: "Invite to an account", May: v.opt.Admin, Run: v.createAccount,
		Form: &xmpp.Form{Title: "Invite to an account", Fields: []xmpp.Field{
			{Var: "username", Type: "text-single", Label: "Name, or empty for one of their choice"},
			{Var: "roster-subscription", Type: "boolean", Label: "Make us contacts of each other"},
		}},
	}}
	if v.opt.Users {
		out = append(out, xmpp.Command{Node: nsInvite + "#invite", Name: "Invite somebody", Run: v.invite})
	}
	return out
}

// invite makes an invitation for who asks (XEP-0401 §4.1).
func (v *Service) invite(ctx context.Context, by stanza.JID, _ xmpp.Values) (*xmpp.Form, error) {
	i, err := v.Invite(ctx, by.Bare(), "", v.opt.Accounts)
	if err != nil {
		return nil, errors.New("the invitation could not be made")
	}
	return v.result(i), nil
}

// createAccount makes one that an account comes of (XEP-0401 §4.4).
func (v *Service) createAccount(ctx context.Context, by stanza.JID, in xmpp.Values) (*xmpp.Form, error) {
	var inviter stanza.JID
	if on := in.Get("roster-subscription"); on == "1" || on == "true" {
		inviter = by.Bare()
	}
	i, err := v.Invite(ctx, inviter, in.Get("username"), true)
	if err != nil {
		return nil, err
	}
	return v.result(i), nil
}

func (v *Service) result(i *Invitation) *xmpp.Form {
	f := &xmpp.Form{Type: nsInvite + "#invitation", Fields: []xmpp.Field{{Var: "uri", Type: "text-single", Values: []string{i.URI(v.srv.Domain())}}}}
	if v.opt.Page != "" {
		f.Fields = append(f.Fields, xmpp.Field{Var: "landing-url", Type: "text-single", Values: []string{v.opt.Page + i.Token}})
	}
	f.Fields = append(f.Fields, xmpp.Field{Var: "expire", Type: "text-single", Values: []string{i.Until.UTC().Format(time.RFC3339)}})
	return f
}
