package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"konzil/internal/auth"
	"konzil/xmpp/register"
	"konzil/xmpp/stanza"
)

// invitePath is before the token in the link of an invitation.
const invitePath = "invite/"

// attachRegister lets people change their password and leave, and come by invitation. It comes before the roster, whose contacts it makes.
func (s *server) attachRegister() {
	c := s.cfg.XMPP.Invitations
	o := register.Options{
		Admin: s.isAdmin, Users: c.Users, Accounts: c.Accounts, Life: c.Life, Identity: c.Identity,
		Befriend: func(owner, contact stanza.JID, both bool) error { return s.roster.Befriend(owner, contact, both) },
	}
	if s.cfg.HTTP.Port != 0 || s.cfg.HTTP.PublicURL != "" {
		o.Page = s.cfg.publicURL() + invitePath
	}
	s.register = register.Attach(s.xmpp, s.db, ownAccounts{s}, o, s.log.With("part", "register"))
}

// isAdmin tells whether somebody is one of xmpp.admins.
func (s *server) isAdmin(who stanza.JID) bool {
	return slices.Contains(s.cfg.XMPP.Admins, who.Bare().String())
}

// ownAccounts are the local ones, as who registers sees them.
type ownAccounts struct{ s *server }

func (a ownAccounts) Create(ctx context.Context, localpart, password string) error {
	return a.s.local.Create(ctx, localpart, password)
}

func (a ownAccounts) Taken(ctx context.Context, localpart string) (bool, error) {
	return a.s.accounts.Exists(ctx, localpart)
}

func (a ownAccounts) Local(ctx context.Context, localpart string) (bool, error) {
	return a.s.local.Exists(ctx, localpart)
}

func (a ownAccounts) SetPassword(ctx context.Context, localpart, password string) error {
	return a.s.local.SetPassword(ctx, localpart, password)
}

func (a ownAccounts) Delete(ctx context.Context, localpart string) error {
	return a.s.deleteAccount(ctx, localpart)
}

func (ownAccounts) Prepare(localpart string) (string, error) { return auth.PrepareLocalpart(localpart) }

// inviteUser is `konzil user invite`.
func (s *server) inviteUser(ctx context.Context, args []string, out io.Writer) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	i, err := s.register.Invite(ctx, stanza.JID{}, name, true)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, i.URI(s.cfg.Domain))
	if s.cfg.HTTP.Port != 0 || s.cfg.HTTP.PublicURL != "" {
		fmt.Fprintln(out, s.cfg.publicURL()+invitePath+i.Token)
	}
	fmt.Fprintln(out, "until", i.Until.Format("2006-01-02 15:04"))
	return nil
}
