package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"konzil/internal/oops"
	"konzil/xmpp/admin"
	"konzil/xmpp/s2s"
	"konzil/xmpp/stanza"
)

// attachAdmin offers service administration to the people of xmpp.admins.
func (s *server) attachAdmin() error {
	var admins []stanza.JID
	for _, a := range s.cfg.XMPP.Admins {
		admins = append(admins, stanza.MustJID(a)) // Config.check has seen to it
	}
	o := &operator{s: s, file: s.cfg.file("motd"), settingsFile: s.cfg.file("administration.json")}
	b, err := os.ReadFile(o.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return oops.File("motd", o.file, "let this user read it", err)
	}
	o.motd = string(b)
	if b, err = os.ReadFile(o.settingsFile); err == nil {
		err = json.Unmarshal(b, &o.settings)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return oops.File("administration", o.settingsFile, "let this user read it", err)
	}
	s.operator = o
	if o.logins, err = s.openLogins(); err != nil {
		return err
	}
	admin.Attach(s.xmpp, o, admins)
	return nil
}

// operator is the server as its administrators handle it.
type operator struct {
	s                  *server
	file, settingsFile string
	*logins

	mu       sync.Mutex // guards these
	motd     string
	settings admin.Settings
}

func (o *operator) Settings() admin.Settings {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settings
}

func (o *operator) SetSettings(_ context.Context, set admin.Settings) error {
	b, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := os.WriteFile(o.settingsFile, b, 0o600); err != nil {
		return err
	}
	o.settings = set
	return o.applyLists(set)
}

// applyLists gives the lists of addresses to who speaks with other servers.
func (o *operator) applyLists(set admin.Settings) error {
	var l s2s.Lists
	for from, to := range map[*[]string]*[]stanza.JID{&set.Blacklist: &l.Refused, &set.Whitelist: &l.Only} {
		for _, text := range *from {
			j, err := stanza.ParseJID(text)
			if err != nil {
				return fmt.Errorf("%s: %q: %w", o.settingsFile, text, err)
			}
			*to = append(*to, j)
		}
	}
	o.s.federation.SetLists(l)
	return nil
}

func (o *operator) Roster(_ context.Context, j stanza.JID) (*stanza.Element, error) {
	if !o.s.xmpp.HasAccount(j) {
		return nil, errors.New("there is no such account")
	}
	query, _, err := o.s.roster.Export(j)
	return query, err
}

func (o *operator) Restart() {
	o.s.log.Info("an administrator restarts the server")
	o.s.again.Store(true)
	o.s.quit()
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
