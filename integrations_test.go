package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"konzil/internal/webhook"
	"konzil/xmpp/stanza"
)

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
	a := h.owner("standup")
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
