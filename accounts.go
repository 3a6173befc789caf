package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"konzil/internal/auth"
	"konzil/xmpp/ext"
	"konzil/xmpp/stanza"
)

// sessionsEnd is how long the sessions of an account that is shut out may take to end: each may take five seconds for what waits for its client.
const sessionsEnd = 10 * time.Second

// keeping is a part of the server that keeps something of accounts.
type keeping struct {
	name   string
	forget func(ctx context.Context, owner stanza.JID) error
}

// keepings are all of them: what is not here survives the deletion of an account.
func (s *server) keepings() []keeping {
	list := []keeping{
		{"tokens", func(ctx context.Context, owner stanza.JID) error { return s.tokens.Revoke(ctx, owner.Local(), "") }},
		{"contacts", s.roster.Forget}, // tells the contacts
		{"invitations", s.register.Forget},
		{"rooms", s.meetings.rooms.Forget},
		{"archive", s.mam.Forget},
		{"offline messages", s.offline.Forget},
		{"published items", s.pubsub.Forget},
		{"push", s.push.Forget},
		{"private storage", s.private.Forget},
		{"vcard", s.vcards.Forget},
		{"block list", s.blocking.Forget},
		{"last login", s.lastLogins.Forget},
	}
	if s.sharing.upload != nil {
		list = append(list, keeping{"files", s.sharing.upload.Forget})
	}
	return list
}

// account is the address of a local or directory account.
func (s *server) account(localpart string) (stanza.JID, error) {
	local, err := auth.PrepareLocalpart(localpart)
	if err != nil {
		return stanza.JID{}, err
	}
	return stanza.NewJID(local, s.cfg.Domain, "")
}

// deleteAccount removes an account and all that the server keeps of it. It can be repeated: the account itself goes last.
func (s *server) deleteAccount(ctx context.Context, localpart string) error {
	owner, err := s.account(localpart)
	if err != nil {
		return err
	}
	there, err := s.local.Exists(ctx, owner.Local())
	if err != nil {
		return err
	}
	if there {
		if err := s.local.Disable(ctx, owner.Local(), true); err != nil {
			return err
		}
	}
	s.shutOut(owner, "account deleted")
	if err := s.awaitEnd(ctx, owner); err != nil {
		return err
	}
	for _, k := range s.keepings() {
		if err := k.forget(ctx, owner); err != nil {
			return fmt.Errorf("%s of %s not deleted: %w", k.name, owner, err)
		}
	}
	if there {
		return s.local.Delete(ctx, owner.Local())
	}
	if s.people != nil {
		return s.people.Forget(ctx, owner.Local())
	}
	return nil
}

// shutOut ends the sessions of an account (RFC 6120 §4.9.3.10), those that wait for their client too.
func (s *server) shutOut(owner stanza.JID, why string) {
	for _, x := range s.xmpp.Sessions(owner) {
		x.Kill("not-authorized", why)
	}
}

// awaitEnd waits until an account has no sessions, so that none keeps anything after it was deleted.
func (s *server) awaitEnd(ctx context.Context, owner stanza.JID) error {
	ctx, cancel := context.WithTimeout(ctx, sessionsEnd)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(s.xmpp.Sessions(owner)) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("sessions of " + owner.String() + " do not end: try again")
		}
	}
	return nil
}

// accessStore is auth.Tokens as xmpp/ext asks it.
type accessStore struct{ tokens *auth.Tokens }

func (a accessStore) AccessClients(ctx context.Context, localpart string) ([]ext.AccessClient, error) {
	list, err := a.tokens.Clients(ctx, localpart)
	var out []ext.AccessClient
	for _, c := range list {
		out = append(out, ext.AccessClient{ID: c.ID, Issued: c.Issued})
	}
	return out, err
}

func (a accessStore) RevokeAccess(ctx context.Context, localpart, id string) error {
	return a.tokens.Revoke(ctx, localpart, id)
}
