package main

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"

	"rsc.io/qr"

	"konzil/xmpp/register"
)

// inviteStyle is the page's style sheet, and invitePolicy lets a browser use that and no other.
const inviteStyle = `body { font: 1.1em/1.5 system-ui, sans-serif; max-width: 36em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
a.go { display: inline-block; padding: .6em 1.2em; border-radius: .4em; background: #0b57d0; color: #fff; text-decoration: none }
img { width: 12em; height: 12em }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #111 } img { background: #fff; padding: .5em } }
`

var (
	inviteStyleSum = sha256.Sum256([]byte(inviteStyle))
	invitePolicy   = fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		base64.StdEncoding.EncodeToString(inviteStyleSum[:]))
)

// invitePage explains an invitation (XEP-0401 §4.2). It is plain HTML without scripts.
var invitePage = template.Must(template.New("invite").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex"><title>Invitation to {{.Domain}}</title>
<style>{{.Style}}</style></head>
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
	w.Header().Set("Content-Security-Policy", invitePolicy)
	if err := invitePage.Execute(w, map[string]any{ // style and link are of our own making
		"Style": template.CSS(inviteStyle), "Domain": s.cfg.Domain, "Inviter": i.Inviter.String(), "URI": template.URL(uri), "Path": r.URL.Path, "Until": i.Until.UTC(),
	}); err != nil {
		s.log.Debug("invitation not shown", "err", err)
	}
}
