package main

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"

	"rsc.io/qr"

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

// invitePage explains an invitation (XEP-0401 §4.2). It is plain HTML without scripts.
var invitePage = template.Must(template.New("invite").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex"><title>Invitation to {{.Domain}}</title>
<style>body{font:1.1em/1.5 system-ui,sans-serif;max-width:36em;margin:2em auto;padding:0 1em;color:#222;background:#fff}a.go{display:inline-block;padding:.6em 1.2em;border-radius:.4em;background:#0b57d0;color:#fff;text-decoration:none}img{width:12em;height:12em}@media(prefers-color-scheme:dark){body{color:#eee;background:#111}img{background:#fff;padding:.5em}}</style></head>
<body><main><h1>{{if .Inviter}}{{.Inviter}} invites you to chat{{else}}You are invited to {{.Domain}}{{end}}</h1>
<p><a class="go" href="{{.URI}}">Accept the invitation</a></p>
<p>If nothing happens, install a chat app first, such as <a href="https://conversations.im">Conversations</a> (Android), <a href="https://monal-im.org">Monal</a> (iPhone, Mac), <a href="https://gajim.org">Gajim</a> or <a href="https://dino.im">Dino</a> (computers), then come back to this page. With a phone you can also scan this:</p>
<p><img src="{{.Path}}?qr" alt="QR code of the invitation"></p>
<p>The invitation can be used until {{.Until.Format "2006-01-02 15:04 MST"}}.</p></main></body></html>
`))

// serveInvitation shows the page of a token, or its QR code.
func (s *server) serveInvitation(w http.ResponseWriter, r *http.Request) {
	i, err := s.register.Find(r.Context(), r.PathValue("token"))
	if err != nil {
		if !errors.Is(err, register.ErrNoInvitation) {
			s.log.Error("invitation not read", "err", err)
		}
		http.Error(w, "There is no such invitation, or it is over.", http.StatusNotFound)
		return
	}
	uri := i.URI(s.cfg.Domain)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if r.URL.RawQuery == "qr" {
		code, err := qr.Encode(uri, qr.M)
		if err != nil {
			http.Error(w, "too long", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(code.PNG()) // who asked may have gone
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'")
	if err := invitePage.Execute(w, map[string]any{
		"Domain": s.cfg.Domain, "Inviter": i.Inviter.String(), "URI": template.URL(uri), "Path": r.URL.Path, "Until": i.Until.UTC(), // of our own making
	}); err != nil {
		s.log.Debug("invitation not shown", "err", err)
	}
}
