package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"konzil/xmpp/stanza"
	"konzil/xmpp/visitors"
)

const tokenSecret = "a secret of sixteen bytes or more"

// signed is a token of the site for room, with the person's claims.
func signed(t *testing.T, room, sub string, user, features map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(tokenSecret)}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": "site", "aud": "jitsi", "sub": sub, "room": room, "exp": time.Now().Add(time.Hour).Unix(),
		"context": map[string]any{"user": user, "features": features, "group": "staff"}}
	if features == nil {
		delete(claims["context"].(map[string]any), "features")
	}
	text, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestJWT: who comes with a token, as what, and who does not come in; guests may follow.
func TestJWT(t *testing.T) {
	h := openHouse(t, "tokens: {secret: "+tokenSecret+", issuers: [site], audiences: [jitsi], check_domain: true}\n")
	with := func(path, token string) *visitor {
		t.Helper()
		v, failure := h.enter(path, "room=standup&token="+token, "localhost")
		if v == nil {
			t.Fatal(failure)
		}
		return v
	}
	for query, want := range map[string]string{
		"room=standup":            "token required",
		"room=standup&token=x.y.": "bad token format",
		"room=standup&token=" + signed(t, "standup", "localhost", nil, nil) + "x": "",
	} {
		if v, failure := h.enter("/xmpp-websocket", query, "localhost"); v != nil || !strings.Contains(failure, "<not-allowed") || !strings.Contains(failure, want) {
			t.Errorf("%.40s: %s, want %q", query, failure, want)
		}
	}
	const room = "standup@conference.localhost"
	guest, failure := h.enter("/xmpp-websocket", "room=standup", "guest.localhost")
	if guest == nil {
		t.Fatal(failure)
	}
	if p := guest.meet(room); p.Type != "error" || !strings.Contains(p.String(), "not-authorized") {
		t.Errorf("a guest began a meeting: %s", p)
	}
	ana := with("/xmpp-websocket", signed(t, "standup", "localhost", map[string]any{"id": "7", "name": "Ana", "moderator": false}, map[string]any{"recording": "true"}))
	if p := ana.meet(room); p.Type == "error" {
		t.Fatal(p)
	}
	bob := with("/xmpp-websocket", signed(t, "*", "*", map[string]any{"name": "Bob", "moderator": true}, nil))
	p := bob.join(room, "<identity><user><name>Forged</name></user></identity>")
	if s := p.String(); !strings.Contains(s, "affiliation='owner'") || !strings.Contains(s, "<p name='recording' val='true'/>") || strings.Contains(s, "Forged") {
		t.Errorf("Bob is %s", s)
	}
	seen := ana.until(func(st *stanza.Stanza) bool { return st.From.Resource() == bob.nick() }).String()
	if !strings.Contains(seen, "<identity><user><name>Bob</name></user><group>staff</group></identity>") || strings.Contains(seen, "permissions") {
		t.Errorf("Ana sees %s", seen)
	}
	told := 0
	for _, st := range bob.got {
		if st.From.Resource() != ana.nick() {
			continue
		}
		told++
		if !strings.Contains(st.String(), "<identity><user><id>7</id><name>Ana</name></user>") {
			t.Errorf("Bob sees %s", st)
		}
	}
	if told == 0 {
		t.Errorf("Bob does not see Ana: %v", bob.got)
	}
	for _, st := range ana.got {
		if strings.Contains(st.String(), "affiliation='owner'") && st.From.Resource() == ana.nick() || strings.Contains(st.String(), "<permissions") {
			t.Errorf("Ana is %s", st)
		}
	}
	if p := guest.join(room, ""); p.Type == "error" {
		t.Errorf("a guest follows: %s", p)
	}
	other := with("/xmpp-websocket", signed(t, "other", "localhost", nil, nil))
	if p := other.join(room, ""); p.Type != "error" || !strings.Contains(p.String(), "not-allowed") {
		t.Errorf("a token for another room: %s", p)
	}
	// A tenant's meeting is another one, and its tokens name it.
	const tenants = "standup@conference.acme.localhost"
	carl := with("/acme/xmpp-websocket", signed(t, "standup", "acme", map[string]any{"name": "Carl"}, nil))
	if p := carl.meet(tenants); p.Type == "error" {
		t.Errorf("a tenant's meeting: %s", p)
	}
	if p := carl.join(room, ""); p.Type != "error" {
		t.Errorf("a tenant's token opens another door: %s", p)
	}
	if p := ana.join(tenants, ""); p.Type != "error" {
		t.Errorf("a token opens a tenant's door: %s", p)
	}
	ask := func(headers ...string) int {
		code, _ := h.http("POST", "/conference-request/v1", `{"room":"web@conference.localhost","properties":{}}`, headers...)
		return code
	}
	if code := ask(); code != http.StatusForbidden {
		t.Errorf("without token: %d", code)
	}
	if code := ask("Authorization", "Bearer "+signed(t, "web", "localhost", nil, nil)); code != http.StatusOK {
		t.Errorf("with token: %d", code)
	}
}

// TestTokenOwners: whose token does not say whether they are moderators are so unless auto_owner is off.
func TestTokenOwners(t *testing.T) {
	const room = "standup@conference.localhost"
	for _, auto := range []bool{true, false} {
		h := openHouse(t, fmt.Sprintf("tokens: {secret: %s, issuers: [site], audiences: [jitsi]}\nmeetings: {auto_owner: %t}\n", tokenSecret, auto))
		with := func(user map[string]any) *visitor {
			v, failure := h.enter("/xmpp-websocket", "room=standup&token="+signed(t, "standup", "localhost", user, nil), "localhost")
			if v == nil {
				t.Fatal(failure)
			}
			return v
		}
		ana := with(map[string]any{"name": "Ana"})
		if p := ana.meet(room); p.Type == "error" {
			t.Fatal(p)
		}
		if auto {
			ana.leads()
			continue
		}
		bob := with(map[string]any{"name": "Bob", "moderator": true})
		if p := bob.join(room, ""); !strings.Contains(p.String(), "affiliation='owner'") {
			t.Errorf("Bob is %s", p)
		}
		bob.until(func(st *stanza.Stanza) bool { // the focus has looked at who is there
			return st.Type == "get" && st.From.String() == room+"/focus"
		})
		ana.ask("get", room+"/"+ana.nick(), "<ping xmlns='urn:xmpp:ping'/>")
		for _, st := range ana.got {
			if st.Kind == stanza.Presence && st.From.Resource() == ana.nick() && strings.Contains(st.String(), "affiliation='owner'") {
				t.Errorf("Ana is %s", st)
			}
		}
	}
}

// TestWithoutToken: who has none may follow others into meetings, by a domain that is not the one of guests' addresses; unless tokens are required of all.
func TestWithoutToken(t *testing.T) {
	for _, x := range []struct{ require, door string }{{"false", "anonymous.localhost"}, {"true", ""}} {
		h := openHouse(t, "tokens: {secret: "+tokenSecret+", issuers: [site], audiences: [jitsi]}\nmeetings: {visitors: 2, require_token: "+x.require+"}\n")
		var conf struct {
			Hosts struct{ AnonymousDomain string }
		}
		_, body := h.http("GET", "/config.js", "")
		text, _, _ := strings.Cut(strings.TrimPrefix(body, "var config = "), ";")
		if err := json.Unmarshal([]byte(text), &conf); err != nil || conf.Hosts.AnonymousDomain != x.door {
			t.Errorf("config.js names %q, want %q: %v", conf.Hosts.AnonymousDomain, x.door, err)
		}
		for _, domain := range []string{"localhost", "guest.localhost", "anonymous.localhost", visitors.Door} {
			v, failure := h.enter("/xmpp-websocket", "room=standup", domain)
			if in := x.door != "" && domain != "localhost"; in != (v != nil) {
				t.Errorf("require_token %s, by %s: %v %s", x.require, domain, v != nil, failure)
			}
			if v != nil && v.jid.Domain() != "guest.localhost" {
				t.Errorf("a guest by %s is %s", domain, v.jid)
			}
		}
	}
}

// TestTokenRefresh: on resumption a new token takes the place of the old one, unless it is for another room.
func TestTokenRefresh(t *testing.T) {
	h := openHouse(t, "tokens: {secret: "+tokenSecret+", issuers: [site], audiences: [jitsi]}\n")
	token := func(room, name string) string {
		return signed(t, room, "localhost", map[string]any{"name": name}, nil)
	}
	v, failure := h.enter("/xmpp-websocket", "room=standup&token="+token("standup", "Ana"), "localhost")
	if v == nil {
		t.Fatal(failure)
	}
	const room = "standup@conference.localhost"
	if p := v.meet(room); !strings.Contains(p.String(), "<name>Ana</name>") {
		t.Fatal(p)
	}
	v.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	id := ""
	for id == "" {
		if e, err := stanza.ParseElement(v.frame()); err == nil && e.Local == "enabled" {
			id = e.Attr("id")
		}
	}
	for _, x := range []struct{ room, name, want string }{{"other", "Eve", "Ana"}, {"standup", "Ana M.", "Ana M."}} {
		v.ws.CloseNow()
		next, failure := h.stream("/xmpp-websocket", "room=standup&previd="+id+"&token="+token(x.room, x.name), "localhost")
		if next == nil {
			t.Fatal(failure)
		}
		next.jid = v.jid
		v = next
		v.say("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>")
		if b := v.frame(); !bytes.HasPrefix(b, []byte("<resumed")) {
			t.Fatalf("%s", b)
		}
		v.say("<presence xmlns='jabber:client' id='p" + x.room + "' to='" + room + "/" + v.nick() + "'/>")
		p := v.until(func(st *stanza.Stanza) bool { return st.ID == "p"+x.room })
		if !strings.Contains(p.String(), "<name>"+x.want+"</name>") {
			t.Errorf("after a token for %s: %s", x.room, p)
		}
	}
}

// TestTenants: meetings of one name on several domains have nothing to do with each other, nor have their lobbies; chat rooms are not there.
func TestTenants(t *testing.T) {
	h := openHouse(t, "")
	a, b := h.guest("standup"), h.guest("standup")
	// the second as jitsi-meet writes the address of a tenant with a dot and a letter beyond ASCII in its name
	const one, two = "standup@conference.acme.localhost", "standup@conference.other_%c3%b6.localhost"
	for v, room := range map[*visitor]string{a: one, b: two} {
		if p := v.meet(room); p.Type == "error" {
			t.Fatal(p)
		}
		v.leads()
		if r := v.ask("set", room, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"+
			"<field var='muc#roomconfig_membersonly'><value>true</value></field></x></query>"); r.Type != "result" {
			t.Fatal(r)
		}
	}
	c := h.guest("standup")
	name := "<nick xmlns='http://jabber.org/protocol/nick'>Cat</nick>"
	if p := c.join(one, name); !strings.Contains(p.String(), "[acme]standup@lobby.localhost") {
		t.Errorf("the lobby is %s", p)
	}
	if p := c.join(two, name); !strings.Contains(p.String(), "[other_%c3%b6]standup@lobby.localhost") {
		t.Errorf("the lobby is %s", p)
	}
	if p := c.join("own@conference.acme.localhost", name); !strings.Contains(p.String(), "Room creation is restricted") {
		t.Errorf("got %s", p)
	}
	if p := c.ask("get", "conference..localhost", "<ping xmlns='urn:xmpp:ping'/>"); p.Type != "error" {
		t.Errorf("got %s", p)
	}
}
