package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"konzil/internal/auth"
	"konzil/xmpp/portable"
	"konzil/xmpp/stanza"
)

// importUsers is `konzil user import`: XML of another server (XEP-0227), or lines of names with passwords or keys.
func (s *server) importUsers(ctx context.Context, in io.Reader, out io.Writer) error {
	b := bufio.NewReaderSize(in, 64<<10)
	if begin, err := b.Peek(512); bytes.HasPrefix(bytes.TrimSpace(begin), []byte("<")) {
		return s.importXML(ctx, b, out)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("user: %w", err)
	}
	list, err := readAccounts(b)
	if err != nil {
		return err
	}
	if err := s.local.Import(ctx, list); err != nil {
		return err
	}
	fmt.Fprintln(out, len(list), "accounts imported")
	return nil
}

// importXML takes each account of a file with what belongs to it. What exists already is left alone and told, so that an import can be repeated.
func (s *server) importXML(ctx context.Context, in io.Reader, out io.Writer) error {
	n := 0
	err := portable.Read(in, nil, func(u *portable.User) error {
		if u.Host != "" && u.Host != s.cfg.Domain {
			fmt.Fprintf(out, "%s@%s is of another host: left out\n", u.Name, u.Host)
			return nil
		}
		err := s.importUser(ctx, u, out)
		if errors.Is(err, auth.ErrExists) {
			fmt.Fprintf(out, "%s is there already: left out\n", u.Name)
			return nil
		}
		if err != nil {
			return fmt.Errorf("user: %s: %w", u.Name, err)
		}
		n++
		return nil
	})
	fmt.Fprintln(out, n, "accounts imported")
	return err
}

func (s *server) importUser(ctx context.Context, u *portable.User, out io.Writer) error {
	owner, err := s.account(u.Name)
	if err != nil {
		return err
	}
	if err := s.importAccount(ctx, u, owner); err != nil {
		return err
	}
	contacts, err := s.roster.Import(owner, u.Child("jabber:iq:roster", "query"), named(u.Data, stanza.NSClient, "presence"))
	if err != nil {
		return err
	}
	nodes, err := s.pubsub.Import(owner, u.Child("http://jabber.org/protocol/pubsub#owner", "pubsub"), u.Child("http://jabber.org/protocol/pubsub", "pubsub"))
	if err != nil {
		return err
	}
	if card := u.Child(nsVCard, "vCard"); card != nil {
		if err := s.vcards.Replace(owner, card); err != nil {
			return err
		}
		s.vcards.Changed(owner, card)
	}
	if err := s.private.Import(owner, u.Child("jabber:iq:private", "query").Children()); err != nil {
		return err
	}
	if _, err := s.blocking.Import(ctx, owner, u.Child("jabber:iq:privacy", "query")); err != nil {
		return err
	}
	waiting, err := s.offline.Import(ctx, owner, u.Child(portable.NS, "offline-messages").ChildrenNamed(stanza.NSClient, "message"))
	if err != nil {
		return err
	}
	archived, err := s.mam.Import(ctx, owner, u.Child(portable.NSMAM, "archive").ChildrenNamed("urn:xmpp:mam:2", "result"))
	fmt.Fprintf(out, "%s: %d contacts, %d nodes, %d messages waiting, %d archived\n", owner, contacts, nodes, waiting, archived)
	return err
}

// importAccount makes the account. Who has no password in the file must be somebody of the directory.
func (s *server) importAccount(ctx context.Context, u *portable.User, owner stanza.JID) error {
	if u.Password != "" || len(u.Keys) > 0 {
		return s.local.Import(ctx, []auth.Imported{{Localpart: owner.Local(), Password: u.Password, Keys: u.Keys}})
	}
	there, err := s.accounts.Exists(ctx, owner.Local())
	if err == nil && !there {
		err = errors.New("there is no password for it, and it is not in the directory")
	}
	return err
}

func named(list []*stanza.Element, space, local string) (out []*stanza.Element) {
	for _, e := range list {
		if e.Space == space && e.Local == local {
			out = append(out, e)
		}
	}
	return out
}

// exportUsers is `konzil user export`: accounts with everything that is kept of them, for another server, or for a person who asks for it
// (GDPR article 15). Without names, all local accounts and all people of the directory who were here.
func (s *server) exportUsers(ctx context.Context, names []string, out io.Writer) error {
	if len(names) == 0 {
		list, err := s.local.List(ctx)
		if err != nil {
			return err
		}
		for _, a := range list {
			names = append(names, a.Localpart)
		}
		if s.people != nil {
			known, err := s.people.List(ctx)
			if err != nil {
				return err
			}
			for _, k := range known {
				names = append(names, k.Localpart)
			}
		}
	}
	w := portable.NewWriter(out, s.cfg.Domain)
	for _, name := range names {
		if err := s.exportUser(ctx, name, w); err != nil {
			return fmt.Errorf("user: %s: %w", name, err)
		}
	}
	return w.Close()
}

func (s *server) exportUser(ctx context.Context, name string, w *portable.Writer) error {
	owner, err := s.account(name)
	if err != nil {
		return err
	}
	if there, err := s.accounts.Exists(ctx, owner.Local()); err != nil {
		return err
	} else if !there {
		return auth.ErrNoAccount
	}
	u := &portable.User{Name: owner.Local()}
	if u.Keys, err = s.local.Keys(ctx, owner.Local()); err != nil {
		return err
	}
	if u.Data, err = s.belongings(ctx, owner); err != nil {
		return err
	}
	return w.User(u, func(add func(*stanza.Element)) error { return s.mam.Export(ctx, owner, add) })
}

// belongings are what is kept of an account, but for its archive.
func (s *server) belongings(ctx context.Context, owner stanza.JID) (out []*stanza.Element, err error) {
	contacts, requests, err := s.roster.Export(owner)
	if err != nil {
		return nil, err
	}
	out = append(append(out, contacts), requests...)
	waiting, err := s.offline.Export(ctx, owner)
	if err != nil {
		return nil, err
	}
	out = append(out, stanza.NewElement(portable.NS, "offline-messages").Add(waiting...))
	private, err := s.private.All(ctx, owner)
	if err != nil {
		return nil, err
	}
	out = append(out, stanza.NewElement("jabber:iq:private", "query").Add(private...))
	card, err := s.vcards.Card(owner)
	if err != nil {
		return nil, err
	}
	blocked, err := s.blocking.Export(ctx, owner)
	if err != nil {
		return nil, err
	}
	settings, items, err := s.pubsub.Export(ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, e := range []*stanza.Element{card, blocked, settings, items, s.meetings.rooms.Export(owner)} {
		if e != nil {
			out = append(out, e)
		}
	}
	return out, nil
}
