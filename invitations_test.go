package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// before is an iq of somebody who has not logged in.
func (w *wire) before(typ, id, payload string) string {
	w.t.Helper()
	w.send("<iq type='%s' to='localhost' id='%s'>%s</iq>", typ, id, payload)
	w.wants("id='" + id + "'")
	if head := w.wants(">"); strings.HasSuffix(head, "/>") {
		return head
	}
	return w.wants("</iq>")
}

const (
	form     = "<query xmlns='jabber:iq:register'/>"
	filledIn = "<query xmlns='jabber:iq:register'><username>%</username><password>pw</password></query>"
)

func preauth(token string) string { return "<preauth xmlns='urn:xmpp:pars:0' token='" + token + "'/>" }

// tokenOf is what comes behind preauth= in a link.
func tokenOf(t *testing.T, text string) string {
	t.Helper()
	_, after, ok := strings.Cut(text, "preauth=")
	if !ok || len(after) < 26 {
		t.Fatalf("no link in %s", text)
	}
	return after[:26]
}

// TestInvitations: an account by the operator's link, with its name and only once; an account by a friend's, who is a contact then; a contact
// by a friend's link; nothing without one.
func TestInvitations(t *testing.T) {
	h := openHouse(t, "")
	stranger := h.dial()
	for typ, payload := range map[string]string{"get": form, "set": strings.Replace(filledIn, "%", "eve", 1)} {
		if answer := stranger.before(typ, "no", payload); !strings.Contains(answer, "not-allowed") {
			t.Errorf("without invitation: %s", answer)
		}
	}
	if answer := stranger.before("set", "p0", preauth("guess")); !strings.Contains(answer, "item-not-found") {
		t.Errorf("made-up token: %s", answer)
	}
	out, code := h.does("", "user", "invite", "Carol")
	if code != 0 || !strings.Contains(out, "xmpp:carol@localhost?register;preauth=") {
		t.Fatal(code, out)
	}
	carol := tokenOf(t, out)
	if status, page := h.http("GET", "/invite/"+carol, ""); status != 200 || !strings.Contains(page, "xmpp:carol@localhost?register;preauth="+carol) {
		t.Errorf("page: %d %s", status, page)
	}
	if resp, err := h.client.Get(fmt.Sprintf("https://127.0.0.1:%d/invite/%s", h.cfg.HTTP.Port, carol)); err != nil {
		t.Error(err)
	} else {
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		_, style, _ := strings.Cut(string(page), "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		sum := sha256.Sum256([]byte(style)) // a browser takes the style sheet only if this is the one in the policy
		csp := resp.Header.Get("Content-Security-Policy")
		if err != nil || len(style) < 100 || !strings.Contains(csp, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"';") ||
			strings.Contains(csp, "unsafe") || resp.Header.Get("Referrer-Policy") != "no-referrer" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v %v, style %q", err, resp.Header, style)
		}
	}
	if status, image := h.http("GET", "/invite/"+carol+"?qr", ""); status != 200 || !strings.HasPrefix(image, "\x89PNG") {
		t.Errorf("QR code: %d %.20q", status, image)
	}
	if status, _ := h.http("GET", "/invite/guess", ""); status != 404 {
		t.Errorf("page of a made-up token: %d", status)
	}
	if answer := stranger.before("set", "p1", preauth(carol)); !strings.Contains(answer, "/>") {
		t.Errorf("token: %s", answer)
	}
	if answer := stranger.before("get", "f1", form); !strings.Contains(answer, "<username>carol</username>") {
		t.Errorf("form: %s", answer)
	}
	if answer := stranger.before("set", "r1", strings.Replace(filledIn, "%", "mallory", 1)); !strings.Contains(answer, "not-acceptable") {
		t.Errorf("other name: %s", answer)
	}
	if answer := stranger.before("set", "r2", strings.Replace(filledIn, "%", "carol", 1)); strings.Contains(answer, "error") {
		t.Fatalf("registration: %s", answer)
	}
	if answer := stranger.before("set", "p2", preauth(carol)); !strings.Contains(answer, "item-not-found") {
		t.Errorf("token twice: %s", answer)
	}
	if w, said := h.login("carol", "pw"); w == nil {
		t.Fatal(said)
	}
	if w := h.dial(); !strings.Contains(w.before("set", "x", "<query xmlns='jabber:iq:private'/>"), "not-authorized") {
		t.Error("something else is answered before login")
	}
}

// rewrite changes a file.
func rewrite(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("no %q in %s: %v", old, text, err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFriends: people invite where the operator lets them.
func TestFriends(t *testing.T) {
	file := settings(t, "")
	rewrite(t, file, "federation: {", "invitations: {users: true, accounts: true}, federation: {")
	h := startHouse(t, file)
	for _, who := range []string{"alice", "bob"} {
		if out, code := h.does("pw\n", "user", "add", who); code != 0 {
			t.Fatal(out)
		}
	}
	alice, _ := h.login("alice", "pw")
	alice.ask("get", "", "<query xmlns='jabber:iq:roster'/>")
	if answer := alice.ask("get", "localhost", "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>"); !strings.Contains(answer, "node='urn:xmpp:invite#invite'") {
		t.Errorf("commands: %s", answer)
	}
	invite := func() string {
		answer := alice.ask("set", "localhost", "<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:invite#invite' action='execute'/>")
		if !strings.Contains(answer, "status='completed'") || !strings.Contains(answer, "xmpp:alice@localhost?roster;preauth=") || !strings.Contains(answer, ";ibr=y") || !strings.Contains(answer, "/invite/") {
			t.Fatal(answer)
		}
		return tokenOf(t, answer)
	}
	// Somebody without an account.
	dave := h.dial()
	dave.before("set", "p", preauth(invite()))
	if answer := dave.before("set", "r", strings.Replace(filledIn, "%", "dave", 1)); strings.Contains(answer, "error") {
		t.Fatal(answer)
	}
	alice.wants("jid='dave@localhost' subscription='both'")
	dave, _ = h.login("dave", "pw")
	if answer := dave.ask("get", "", "<query xmlns='jabber:iq:roster'/>"); !strings.Contains(answer, "<item jid='alice@localhost' subscription='both'/>") {
		t.Errorf("contacts: %s", answer)
	}
	// Somebody with one.
	bob, _ := h.login("bob", "pw")
	bob.ask("get", "", "<query xmlns='jabber:iq:roster'/>")
	bob.send("<presence/><presence to='alice@localhost' type='subscribed'/><presence to='alice@localhost' type='subscribe'>%s</presence>", preauth(invite()))
	bob.wants("jid='alice@localhost' subscription='both'")
	alice.wants("jid='bob@localhost' subscription='both'")
	// One's own account.
	if answer := dave.ask("get", "localhost", form); !strings.Contains(answer, "<registered/>") || !strings.Contains(answer, "<username>dave</username>") {
		t.Error(answer)
	}
	if answer := dave.ask("set", "localhost", strings.Replace(filledIn, "%", "alice", 1)); !strings.Contains(answer, "bad-request") {
		t.Errorf("somebody else's password: %s", answer)
	}
	if answer := dave.ask("set", "localhost", "<query xmlns='jabber:iq:register'><username>dave</username><password>new</password></query>"); strings.Contains(answer, "error") {
		t.Error(answer)
	}
	dave, said := h.login("dave", "new")
	if dave == nil {
		t.Fatal(said)
	}
	dave.send("<iq type='set' id='bye'><query xmlns='jabber:iq:register'><remove/></query></iq>")
	dave.wants("id='bye'")
	dave.wants("<not-authorized")
	alice.wants("type='unsubscribe")
	if w, _ := h.login("dave", "new"); w != nil {
		t.Error("the account is still there")
	}
}
