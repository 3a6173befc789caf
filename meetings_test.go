package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"konzil/internal/webhook"
	"konzil/xmpp/stanza"
)

// The program as a Jitsi client meets it: whole, over its WebSocket and HTTP.

// patience is how long a test waits for what has to happen anyway.
const patience = 10 * time.Second

// house is a running program.
type house struct {
	t      testing.TB
	cfg    Config
	client *http.Client
	file   string        // of its settings
	errOut *bytes.Buffer // what it has logged
	exit   chan int      // its exit code
}

// openHouse starts the program with further settings; it ends with the test.
func openHouse(t testing.TB, more string) *house {
	t.Helper()
	return startHouse(t, settings(t, more))
}

// startHouse is openHouse with settings that are written already; command is what to run instead of the server.
func startHouse(t testing.TB, file string, command ...string) *house {
	t.Helper()
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, errOut, code := &ready{said: make(chan struct{})}, &bytes.Buffer{}, make(chan int, 1)
	go func() { code <- run(ctx, append(command, "-config", file), nil, out, errOut) }()
	h := &house{t, c, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, file, errOut, code}
	t.Cleanup(func() {
		h.client.CloseIdleConnections()
		cancel()
		<-code
	})
	select {
	case <-out.said:
	case n := <-code:
		code <- n
		t.Fatalf("exit %d: %s", n, errOut)
	}
	return h
}

// http asks over HTTPS and gives status and body.
func (h *house) http(method, path, body string, headers ...string) (int, string) {
	h.t.Helper()
	r, err := http.NewRequest(method, fmt.Sprintf("https://127.0.0.1:%d%s", h.cfg.HTTP.Port, path), strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// visitor is a client of the house.
type visitor struct {
	h   *house
	ws  *websocket.Conn
	jid stanza.JID
	got []*stanza.Stanza // read and not asked for
}

func (v *visitor) say(xml string) {
	v.h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := v.ws.Write(ctx, websocket.MessageText, []byte(xml)); err != nil {
		v.h.t.Fatal(err)
	}
}

func (v *visitor) frame() []byte {
	v.h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, b, err := v.ws.Read(ctx)
	if err != nil {
		v.h.t.Fatal(err)
	}
	return b
}

// enter logs in and binds.
func (h *house) enter(path, query, domain string, login ...string) (*visitor, string) {
	h.t.Helper()
	v, failure := h.stream(path, query, domain, login...)
	if v == nil {
		return nil, failure
	}
	v.say("<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	st := v.until(func(st *stanza.Stanza) bool { return st.Kind == stanza.IQ && st.ID == "bind" })
	v.jid = stanza.MustJID(st.Child("urn:ietf:params:xml:ns:xmpp-bind", "bind").Child("urn:ietf:params:xml:ns:xmpp-bind", "jid").Text())
	return v, ""
}

// stream opens one: as a guest, or as user with password. With query the URL has these arguments. It returns nil if the login is refused,
// with the frame that says so.
func (h *house) stream(path, query, domain string, login ...string) (*visitor, string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, fmt.Sprintf("wss://127.0.0.1:%d%s?%s", h.cfg.HTTP.Port, path, query),
		&websocket.DialOptions{Subprotocols: []string{"xmpp"}, HTTPClient: h.client})
	if err != nil {
		h.t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	h.t.Cleanup(func() { ws.CloseNow() })
	v := &visitor{h: h, ws: ws}
	open := "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='" + domain + "' version='1.0'/>"
	v.say(open)
	v.frame()
	v.frame()
	auth := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>"
	if len(login) == 2 {
		auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
			base64.StdEncoding.EncodeToString([]byte("\x00"+login[0]+"\x00"+login[1])) + "</auth>"
	}
	v.say(auth)
	if b := v.frame(); !bytes.HasPrefix(b, []byte("<success")) {
		return nil, string(b)
	}
	v.say(open)
	v.frame()
	v.frame()
	return v, ""
}

// guest enters anonymously for a room.
func (h *house) guest(room string) *visitor {
	h.t.Helper()
	v, failure := h.enter("/xmpp-websocket", "room="+room, h.cfg.Domain)
	if v == nil {
		h.t.Fatal(failure)
	}
	return v
}

// until reads on to the first stanza that is wanted; those before are kept in got.
func (v *visitor) until(wanted func(*stanza.Stanza) bool) *stanza.Stanza {
	v.h.t.Helper()
	for {
		b := v.frame()
		if bytes.HasPrefix(b, []byte("<r ")) || bytes.HasPrefix(b, []byte("<a ")) { // stream management
			continue
		}
		st, err := stanza.Parse(b)
		if err != nil {
			v.h.t.Fatal(err)
		}
		if wanted(st) {
			return st
		}
		v.got = append(v.got, st)
	}
}

// ask sends an iq and gives its answer.
func (v *visitor) ask(typ, to, payload string) *stanza.Stanza {
	v.h.t.Helper()
	id := fmt.Sprintf("ask%d", len(v.got))
	v.say(fmt.Sprintf("<iq xmlns='jabber:client' type='%s' id='%s' to='%s'>%s</iq>", typ, id, to, payload))
	return v.until(func(st *stanza.Stanza) bool {
		return st.Kind == stanza.IQ && st.ID == id && (st.Type == "result" || st.Type == "error")
	})
}

// nick is the id that Jitsi clients take.
func (v *visitor) nick() string { return v.jid.Local()[:8] }

// meet asks the focus for a meeting and enters the room; it gives its own presence, or the refusal.
func (v *visitor) meet(room string) *stanza.Stanza {
	v.h.t.Helper()
	a := v.ask("set", "focus."+v.h.cfg.Domain, "<conference xmlns='http://jitsi.org/protocol/focus' room='"+room+"' machine-uid='m'/>")
	if a.Type == "error" {
		return a
	}
	return v.join(room, "")
}

// join enters a room with further children of the presence.
func (v *visitor) join(room, more string) *stanza.Stanza {
	v.h.t.Helper()
	v.say("<presence xmlns='jabber:client' to='" + room + "/" + v.nick() + "'><x xmlns='http://jabber.org/protocol/muc'/>" + more + "</presence>")
	return v.until(func(st *stanza.Stanza) bool {
		return st.Kind == stanza.Presence && st.From.Bare().String() == room && (st.Type == "error" || st.From.Resource() == v.nick())
	})
}

// next is the next message of a component with JSON that has all of parts.
func (v *visitor) next(from string, parts ...string) string {
	v.h.t.Helper()
	st := v.until(func(st *stanza.Stanza) bool {
		text := st.Child("http://jitsi.org/jitmeet", "json-message").Text()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				return false
			}
		}
		return st.Kind == stanza.Message && st.From.String() == from
	})
	return st.Child("http://jitsi.org/jitmeet", "json-message").Text()
}

// TestJitsiClientConnects: what a client with a room in its URL is told at binding is what it would be told if it asked, all components are
// there, and the first one who comes to a meeting is owner of it.
func TestJitsiClientConnects(t *testing.T) {
	h := openHouse(t, "")
	a := h.guest("standup")
	if len(a.got) != 1 || a.got[0].Kind != stanza.Message || !a.got[0].Has("http://jabber.org/protocol/disco#info", "query") {
		t.Fatalf("before the answer to bind came %v", a.got)
	}
	pushed := a.got[0].Child("http://jabber.org/protocol/disco#info", "query")
	asked := a.ask("get", "localhost", "<query xmlns='http://jabber.org/protocol/disco#info'/>").Child("http://jabber.org/protocol/disco#info", "query")
	for _, q := range []*stanza.Element{pushed, asked} {
		have := map[string]string{}
		for _, id := range q.ChildrenNamed("http://jabber.org/protocol/disco#info", "identity") {
			have[id.Attr("type")] = id.Attr("name")
		}
		for typ, name := range map[string]string{
			"room_metadata": "metadata", "av_moderation": "avmoderation", "lobbyrooms": "lobby", "breakout_rooms": "breakout",
			"speakerstats": "speakerstats", "polls": "polls", "end_conference": "endconference", "file-sharing": "filesharing",
		} {
			if have[typ] != name+".localhost" {
				t.Errorf("component/%s is %q", typ, have[typ])
			}
			if r := a.ask("get", name+".localhost", "<ping xmlns='urn:xmpp:ping'/>"); r.Type != "result" {
				t.Errorf("%s: %s", name, r)
			}
		}
	}
	for _, want := range []string{"lobbyrooms#displayname_required", "breakout_rooms#rename"} {
		if !strings.Contains(a.got[0].String(), want) {
			t.Errorf("the push lacks %s", want)
		}
	}
	room := "standup@conference.localhost"
	if p := a.meet(room); p.Type == "error" {
		t.Fatal(p)
	}
	a.until(func(st *stanza.Stanza) bool {
		return strings.Contains(st.String(), "affiliation='owner'") && st.From.Resource() == a.nick()
	})
	b := h.guest("standup")
	if p := b.meet(room); p.Type == "error" {
		t.Fatal(p)
	}
	a.say("<message xmlns='jabber:client' to='endconference.localhost'><end_conference xmlns='http://jitsi.org/jitmeet'/></message>")
	b.until(func(st *stanza.Stanza) bool { return strings.Contains(st.String(), "The meeting has been terminated") })
}

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
	for _, st := range bob.got {
		if st.From.Resource() == ana.nick() && !strings.Contains(st.String(), "<identity><user><id>7</id><name>Ana</name></user>") {
			t.Errorf("Bob sees %s", st)
		}
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
		v.until(func(st *stanza.Stanza) bool {
			return strings.Contains(st.String(), "affiliation='owner'") && st.From.Resource() == v.nick()
		})
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

// TestREST: what integrations ask and do, with a token; what they get wrong.
func TestREST(t *testing.T) {
	h := openHouse(t, "api: {secret: "+tokenSecret+", issuers: [site]}\n")
	const room = "standup@conference.localhost"
	a, b := h.guest("standup"), h.guest("standup")
	for _, v := range []*visitor{a, b} {
		if p := v.meet(room); p.Type == "error" {
			t.Fatal(p)
		}
	}
	b.say("<presence xmlns='jabber:client' id='p1' to='" + room + "/" + b.nick() + "'><nick xmlns='http://jabber.org/protocol/nick'>Bob</nick><email>bob@example.org</email></presence>")
	b.until(func(st *stanza.Stanza) bool { return st.ID == "p1" })
	auth := []string{"Authorization", "Bearer " + signed(t, "*", "*", nil, nil), "Content-Type", "application/json"}
	for _, x := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/room-size?room=standup&domain=localhost", "", 200, `{"participants":2}`},
		{"GET", "/room-size?room=Standup", "", 200, `{"participants":2}`},
		{"GET", "/room-size?room=standup&domain=localhost&subdomain=acme", "", 404, ""},
		{"GET", "/room-size?room=standup&domain=example.org", "", 404, ""},
		{"GET", "/room-size", "", 400, ""},
		{"GET", "/room?room=standup&domain=localhost", "", 200, `[{"jid":"` + room + "/" + a.nick() + `","email":"","display_name":""},{"jid":"` + room + "/" + b.nick() + `","email":"bob@example.org","display_name":"Bob"}]`},
		{"GET", "/sessions", "", 200, "2"},
		{"PUT", "/kick-participant?room=standup", `{}`, 400, ""},
		{"PUT", "/kick-participant?room=standup", `{"participantId":"x","number":"1"}`, 400, ""},
		{"PUT", "/kick-participant?room=standup", `{"participantId":`, 400, ""},
		{"PUT", "/kick-participant?room=standup", `{"participantId":"focus"}`, 404, ""},
		{"PUT", "/kick-participant?room=other", `{"participantId":"` + b.nick() + `"}`, 404, ""},
		{"POST", "/send-system-chat-message", `{"room":"` + room + `","message":"x"}`, 400, ""},
		{"POST", "/send-system-chat-message", `{"room":"other@conference.localhost","message":"x","connectionJIDs":[]}`, 404, ""},
		{"POST", "/end-meeting", "", 400, ""},
		{"POST", "/end-meeting?conference=other@conference.localhost", "", 404, ""},
		{"POST", "/send-system-chat-message", `{"room":"` + room + `","message":"Five minutes","displayName":"Clock","connectionJIDs":["` + a.jid.String() + `","stranger@localhost/x"]}`, 200, ""},
		{"PUT", "/kick-participant?room=standup", `{"participantId":"` + b.nick() + `"}`, 200, ""},
		{"GET", "/room-size?room=standup", "", 200, `{"participants":1}`},
	} {
		code, text := h.http(x.method, x.path, x.body, auth...)
		if code != x.code || x.want != "" && text != x.want {
			t.Errorf("%s %s %s: %d %s, want %d %s", x.method, x.path, x.body, code, text, x.code, x.want)
		}
		if code, _ := h.http(x.method, x.path, x.body, "Content-Type", "application/json"); code != http.StatusUnauthorized {
			t.Errorf("%s %s without a token: %d", x.method, x.path, code)
		}
	}
	if code, text := h.http("GET", "/room-census", "", auth...); code != 200 || !strings.Contains(text, `{"room_name":"`+room+`","participants":1,"created_time":"`) {
		t.Errorf("census: %d %s", code, text)
	}
	if text := a.next(room, "system_chat_message"); text != `{"type":"system_chat_message","message":"Five minutes","displayName":"Clock"}` {
		t.Errorf("got %s", text)
	}
	b.until(func(st *stanza.Stanza) bool { return strings.Contains(st.String(), "<status code='307'/>") })
	if code, text := h.http("POST", "/end-meeting?conference="+room, "", auth...); code != 200 {
		t.Errorf("end: %d %s", code, text)
	}
	a.until(func(st *stanza.Stanza) bool { return strings.Contains(st.String(), "The meeting has been terminated") })
}

// TestWebhook: an operator's server is told of rooms and participants, in order and signed.
func TestWebhook(t *testing.T) {
	got := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at, sig, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("X-Konzil-Signature"), "t="), ",v1=")
		if sig != webhook.Sign(tokenSecret, at, body) {
			got <- "wrong signature"
		}
		var e struct {
			Type, Room, SessionID string
			Data                  struct{ ParticipantID string }
		}
		if err := json.Unmarshal(bytes.Replace(body, []byte("eventType"), []byte("type"), 1), &e); err != nil || e.SessionID == "" {
			got <- "bad body " + string(body)
		}
		got <- e.Type + " " + e.Room + " " + e.Data.ParticipantID
	}))
	defer receiver.Close()
	h := openHouse(t, "webhook: {url: '"+receiver.URL+"', secret: "+tokenSecret+"}\n")
	const room = "standup@conference.localhost"
	a := h.guest("standup")
	if p := a.meet(room); p.Type == "error" {
		t.Fatal(p)
	}
	a.until(func(st *stanza.Stanza) bool {
		return strings.Contains(st.String(), "affiliation='owner'") && st.From.Resource() == a.nick()
	})
	a.say("<message xmlns='jabber:client' to='endconference.localhost'><end_conference xmlns='http://jitsi.org/jitmeet'/></message>")
	for _, want := range []string{"ROOM_CREATED " + room + " ", "PARTICIPANT_JOINED " + room + " " + a.nick(), "PARTICIPANT_LEFT " + room + " " + a.nick(), "ROOM_DESTROYED " + room + " "} {
		select {
		case e := <-got:
			if e != want {
				t.Errorf("got %q, want %q", e, want)
			}
		case <-time.After(patience):
			t.Fatalf("no %s", want)
		}
	}
}

// service logs a part of the installation in, and has it wait in a brewery with that presence.
func (h *house) service(user, brewery, nick, presence string) *visitor {
	h.t.Helper()
	v, failure := h.enter("/xmpp-websocket", "", "auth.localhost", user, "service-secret")
	if v == nil {
		h.t.Fatal(failure)
	}
	v.say("<presence xmlns='jabber:client' to='" + brewery + "@internal.auth.localhost/" + nick + "'><x xmlns='http://jabber.org/protocol/muc'/>" + presence + "</presence>")
	v.until(func(st *stanza.Stanza) bool { return st.Kind == stanza.Presence && st.From.Resource() == nick })
	return v
}

const servicesConfig = "services: {accounts: ['jibri@auth.localhost:service-secret', 'jigasi@auth.localhost:service-secret', 'recorder@recorder.localhost:service-secret']}\n"

func jibriStatus(busy string) string {
	return "<jibri-status xmlns='http://jitsi.org/protocol/jibri'><busy-status status='" + busy + "'/><health-status xmlns='http://jitsi.org/protocol/health' status='healthy'/></jibri-status>"
}

// request waits for an iq of type set and gives it.
func (v *visitor) request(parts ...string) *stanza.Stanza {
	v.h.t.Helper()
	return v.until(func(st *stanza.Stanza) bool {
		for _, p := range parts {
			if !strings.Contains(st.String(), p) {
				return false
			}
		}
		return st.Kind == stanza.IQ && st.Type == "set"
	})
}

// answer sends the result of a request.
func (v *visitor) answer(to *stanza.Stanza, payload string) {
	v.say("<iq xmlns='jabber:client' type='result' id='" + to.ID + "' to='" + to.From.String() + "'>" + payload + "</iq>")
}

// TestJibri: a recording from the wish to its end, with what can go wrong.
func TestJibri(t *testing.T) {
	h := openHouse(t, servicesConfig)
	if v, _ := h.enter("/xmpp-websocket", "", "auth.localhost", "jibri", "wrong-password"); v != nil {
		t.Fatal("a wrong password was accepted")
	}
	jibri := h.service("jibri", "jibribrewery", "jibri-1", jibriStatus("idle"))
	const room = "standup@conference.localhost"
	ana, bob := h.guest("standup"), h.guest("standup")
	for _, v := range []*visitor{ana, bob} {
		if p := v.meet(room); p.Type == "error" {
			t.Fatal(p)
		}
	}
	ana.until(func(st *stanza.Stanza) bool { return st.From.Resource() == bob.nick() })
	start := func(attrs string) string {
		return "<jibri xmlns='http://jitsi.org/protocol/jibri' action='start' " + attrs + "/>"
	}
	for attrs, want := range map[string]string{"recording_mode='stream'": "bad-request", "recording_mode='file' streamid='x'": "bad-request", "recording_mode='tape'": "bad-request"} {
		if a := ana.ask("set", room+"/focus", start(attrs)); a.Type != "error" || !strings.Contains(a.String(), want) {
			t.Errorf("%s: %s, want %s", attrs, a, want)
		}
	}
	if a := bob.ask("set", room+"/focus", start("recording_mode='file'")); !strings.Contains(a.String(), "not-allowed") {
		t.Errorf("who is no moderator records: %s", a)
	}
	if a := ana.ask("set", room+"/focus", "<jibri xmlns='http://jitsi.org/protocol/jibri' action='stop'/>"); !strings.Contains(a.String(), "item-not-found") {
		t.Errorf("stop of nothing: %s", a)
	}
	ana.say("<iq xmlns='jabber:client' type='set' id='rec' to='" + room + "/focus'>" + start("recording_mode='file' app_data='{}'") + "</iq>")
	wish := jibri.request("action='start'", "room='"+room+"'", "recording_mode='file'", "app_data='{}'")
	id := wish.Child("http://jitsi.org/protocol/jibri", "jibri").Attr("session_id")
	jibri.answer(wish, "<jibri xmlns='http://jitsi.org/protocol/jibri' status='pending'/>")
	status := func(v *visitor, want string) {
		t.Helper()
		v.until(func(st *stanza.Stanza) bool {
			el := st.Child("http://jitsi.org/protocol/jibri", "jibri-recording-status")
			return st.From.Resource() == "focus" && el.Attr("status") == want && el.Attr("session_id") == id
		})
	}
	status(bob, "pending")
	ana.until(func(st *stanza.Stanza) bool {
		return st.ID == "rec" && st.Child("http://jitsi.org/protocol/jibri", "jibri").Attr("session_id") == id
	})
	if a := jibri.ask("set", wish.From.String(), "<jibri xmlns='http://jitsi.org/protocol/jibri' status='on' session_id='"+id+"'/>"); a.Type != "result" {
		t.Errorf("status: %s", a)
	}
	status(bob, "on")
	if a := ana.ask("set", room+"/focus", start("recording_mode='file'")); !strings.Contains(a.String(), "unexpected-request") {
		t.Errorf("a second one: %s", a)
	}
	// The recorder itself comes, past password and lobby, and nobody is made owner for it.
	ana.ask("set", room, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"+
		"<field var='muc#roomconfig_roomsecret'><value>sesame</value></field><field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field></x></query>")
	rec, failure := h.enter("/xmpp-websocket", "room=standup", "recorder.localhost", "recorder", "service-secret")
	if rec == nil {
		t.Fatal(failure)
	}
	rec.say("<presence xmlns='jabber:client' to='" + room + "/recorder'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	if p := rec.until(func(st *stanza.Stanza) bool { return st.From.Resource() == "recorder" }); p.Type == "error" {
		t.Errorf("the recorder: %s", p)
	}
	if a := ana.ask("set", room+"/focus", "<jibri xmlns='http://jitsi.org/protocol/jibri' action='stop' session_id='"+id+"'/>"); a.Type != "result" {
		t.Errorf("stop: %s", a)
	}
	jibri.request("action='stop'", "session_id='"+id+"'")
	status(bob, "off")
	jibri.say("<presence xmlns='jabber:client' id='busy' to='jibribrewery@internal.auth.localhost/jibri-1'>" + jibriStatus("busy") + "</presence>")
	jibri.until(func(st *stanza.Stanza) bool { return st.ID == "busy" })
	if a := ana.ask("set", room+"/focus", start("recording_mode='file'")); !strings.Contains(a.String(), "resource-constraint") {
		t.Errorf("all busy: %s", a)
	}
	jibri.say("<presence xmlns='jabber:client' type='unavailable' to='jibribrewery@internal.auth.localhost/jibri-1'/>")
	jibri.until(func(st *stanza.Stanza) bool { return st.Type == "unavailable" })
	if a := ana.ask("set", room+"/focus", start("recording_mode='file'")); !strings.Contains(a.String(), "service-unavailable") {
		t.Errorf("none there: %s", a)
	}
	if a := ana.ask("set", room+"/focus", start("recording_mode='file'")); !strings.Contains(a.String(), "resource-constraint") {
		t.Errorf("too many tries: %s", a)
	}
}

// TestJibriFails: another recorder takes over from one that fails or goes, and clients learn when there is none left.
func TestJibriFails(t *testing.T) {
	h := openHouse(t, servicesConfig)
	const room = "standup@conference.localhost"
	ana := h.guest("standup")
	if p := ana.meet(room); p.Type == "error" {
		t.Fatal(p)
	}
	ana.until(func(st *stanza.Stanza) bool {
		return strings.Contains(st.String(), "affiliation='owner'") && st.From.Resource() == ana.nick()
	})
	one := h.service("jibri", "jibribrewery", "jibri-1", jibriStatus("idle"))
	ana.say("<iq xmlns='jabber:client' type='set' id='rec' to='" + room + "/focus'><jibri xmlns='http://jitsi.org/protocol/jibri' action='start' recording_mode='stream' streamid='key'/></iq>")
	wish := one.request("action='start'", "streamid='key'")
	id := wish.Child("http://jitsi.org/protocol/jibri", "jibri").Attr("session_id")
	one.answer(wish, "<jibri xmlns='http://jitsi.org/protocol/jibri' status='pending'/>")
	two := h.service("jibri", "jibribrewery", "jibri-2", jibriStatus("idle"))
	one.ask("set", wish.From.String(), "<jibri xmlns='http://jitsi.org/protocol/jibri' status='off' failure_reason='error' should_retry='true' session_id='"+id+"'/>")
	wish = two.request("action='start'", "session_id='"+id+"'")
	two.answer(wish, "<jibri xmlns='http://jitsi.org/protocol/jibri' status='pending'/>")
	two.ask("set", wish.From.String(), "<jibri xmlns='http://jitsi.org/protocol/jibri' status='on' session_id='"+id+"'/>")
	if a := one.ask("set", wish.From.String(), "<jibri xmlns='http://jitsi.org/protocol/jibri' status='off' session_id='"+id+"'/>"); a.Type != "error" {
		t.Errorf("who does not record ends it: %s", a)
	}
	two.ws.CloseNow()
	ana.until(func(st *stanza.Stanza) bool {
		el := st.Child("http://jitsi.org/protocol/jibri", "jibri-recording-status")
		return el.Attr("status") == "off" && el.Attr("failure_reason") != ""
	})
}

// TestJigasi: a call goes to a gateway that can do it, and its answer to who wanted it.
func TestJigasi(t *testing.T) {
	h := openHouse(t, servicesConfig)
	const room = "standup@conference.localhost"
	ana := h.guest("standup")
	if p := ana.meet(room); p.Type == "error" {
		t.Fatal(p)
	}
	ana.until(func(st *stanza.Stanza) bool {
		return strings.Contains(st.String(), "affiliation='owner'") && st.From.Resource() == ana.nick()
	})
	dial := func(to, room string) string {
		return "<dial xmlns='urn:xmpp:rayo:1' from='fromnumber' to='" + to + "'><header name='JvbRoomName' value='" + room + "'/></dial>"
	}
	if a := ana.ask("set", room+"/focus", dial("+491234", room)); !strings.Contains(a.String(), "service-unavailable") {
		t.Errorf("without a gateway: %s", a)
	}
	stat := func(name, value string) string { return "<stat name='" + name + "' value='" + value + "'/>" }
	jigasi := h.service("jigasi", "jigasibrewery", "gw", "<stats xmlns='http://jitsi.org/protocol/colibri'>"+stat("stress_level", "0.1")+stat("supports_sip", "true")+stat("supports_transcription", "false")+"</stats>")
	for to, want := range map[string]string{"jitsi_meet_transcribe": "service-unavailable"} {
		if a := ana.ask("set", room+"/focus", dial(to, room)); !strings.Contains(a.String(), want) {
			t.Errorf("%s: %s", to, a)
		}
	}
	if a := ana.ask("set", room+"/focus", dial("+491234", "other@conference.localhost")); !strings.Contains(a.String(), "forbidden") {
		t.Errorf("for another meeting: %s", a)
	}
	ana.say("<iq xmlns='jabber:client' type='set' id='call' to='" + room + "/focus'>" + dial("+491234", room) + "</iq>")
	wish := jigasi.request("to='+491234'", "JvbRoomName")
	jigasi.answer(wish, "<ref xmlns='urn:xmpp:rayo:1' uri='xmpp:call@auth.localhost'/>")
	a := ana.until(func(st *stanza.Stanza) bool { return st.ID == "call" })
	if a.Type != "result" || a.From.String() != room+"/focus" || !strings.Contains(a.String(), "uri='xmpp:call@auth.localhost'") {
		t.Errorf("got %s", a)
	}
}

// TestStatistics: what a bridge and a focus tell dashboards, to this machine alone, and that drain shows.
func TestStatistics(t *testing.T) {
	h := openHouse(t, "")
	a := h.guest("standup")
	if p := a.meet("standup@conference.localhost"); p.Type == "error" {
		t.Fatal(p)
	}
	read := func(path string) map[string]any {
		t.Helper()
		code, text := h.http("GET", path, "")
		out := map[string]any{}
		if err := json.Unmarshal([]byte(text), &out); code != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", path, code, text)
		}
		return out
	}
	if s := read("/colibri/stats"); s["participants"] != 1.0 || s["largest_conference"] != 1.0 || s["total_conferences_created"] != 1.0 || s["drain"] != false || s["healthy"] != true {
		t.Errorf("statistics %v", s)
	}
	if v := read("/about/version"); v["name"] != "Konzil" || v["version"] == "" {
		t.Errorf("version %v", v)
	}
	for path, want := range map[string]bool{"enable": true, "disable": false} {
		if code, _ := h.http("POST", "/colibri/drain/"+path, ""); code != http.StatusOK {
			t.Errorf("drain %s: %d", path, code)
		}
		if s := read("/colibri/drain"); s["drain"] != want {
			t.Errorf("drain %v after %s", s, path)
		}
	}
}
