package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"konzil/xmpp/stanza"
)

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

// leads reads on until the focus has made it owner of the meeting.
func (v *visitor) leads() {
	v.h.t.Helper()
	v.until(func(st *stanza.Stanza) bool {
		return strings.Contains(st.String(), "affiliation='owner'") && st.From.Resource() == v.nick()
	})
}

// owner is a guest who has begun a meeting on the conference domain, and leads it.
func (h *house) owner(meeting string) *visitor {
	h.t.Helper()
	v := h.guest(meeting)
	if p := v.meet(meeting + "@conference." + h.cfg.Domain); p.Type == "error" {
		h.t.Fatal(p)
	}
	v.leads()
	return v
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
