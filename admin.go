package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"konzil/internal/oops"
	"konzil/xmpp/admin"
	"konzil/xmpp/stanza"
)

// attachAdmin offers service administration to the people of xmpp.admins.
func (s *server) attachAdmin() error {
	var admins []stanza.JID
	for _, a := range s.cfg.XMPP.Admins {
		j, err := stanza.ParseJID(a)
		if err != nil || j.Local() == "" || !j.IsBare() {
			return fmt.Errorf("xmpp.admins: %q is no address of a person", a)
		}
		admins = append(admins, j)
	}
	o := &operator{s: s, file: s.cfg.file("motd")}
	b, err := os.ReadFile(o.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return oops.File("motd", o.file, "let this user read it", err)
	}
	o.motd = string(b)
	admin.Attach(s.xmpp, o, admins)
	return nil
}

// operator is the server as its administrators handle it.
type operator struct {
	s    *server
	file string

	mu   sync.Mutex // guards motd
	motd string
}

func (o *operator) AddUser(ctx context.Context, j stanza.JID, password string) error {
	return o.s.local.Create(ctx, j.Local(), password)
}

func (o *operator) SetPassword(ctx context.Context, j stanza.JID, password string) error {
	return o.s.local.SetPassword(ctx, j.Local(), password)
}

func (o *operator) Disable(ctx context.Context, j stanza.JID, disabled bool) error {
	return o.s.disableUser(ctx, j.Local(), disabled)
}

func (o *operator) Delete(ctx context.Context, j stanza.JID) error {
	return o.s.deleteUser(ctx, j.Local(), io.Discard)
}

func (o *operator) Accounts(ctx context.Context) (all []stanza.JID, disabled map[stanza.JID]bool, err error) {
	disabled = map[stanza.JID]bool{}
	add := func(localpart string, off bool) {
		if j, err := o.s.account(localpart); err == nil {
			all = append(all, j)
			disabled[j] = off
		}
	}
	list, err := o.s.local.List(ctx)
	for _, a := range list {
		add(a.Localpart, a.Disabled)
	}
	if err != nil || o.s.people == nil {
		return all, disabled, err
	}
	known, err := o.s.people.List(ctx)
	for _, k := range known {
		add(k.Localpart, k.Disabled)
	}
	return all, disabled, err
}

func (o *operator) MOTD() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.motd
}

func (o *operator) SetMOTD(_ context.Context, text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := os.WriteFile(o.file, []byte(text), 0o600)
	if text = strings.TrimSpace(text); err == nil {
		o.motd = text
	}
	return err
}

func (o *operator) Stop() {
	o.s.log.Info("an administrator stops the server")
	o.s.quit()
}
