package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"

	"konzil/internal/await"

	"github.com/pion/logging"
	"github.com/pion/turn/v3"
)

// turnLogin is what a session is told of the TURN server (XEP-0215).
type turnLogin struct{ at, user, password string }

func (v *visitor) turnLogin() (l turnLogin) {
	v.h.t.Helper()
	const ns = "urn:xmpp:extdisco:2"
	a := v.ask("get", v.h.cfg.Domain, "<services xmlns='"+ns+"'/>")
	for _, s := range a.Child(ns, "services").Children() {
		if s.Attr("type") == "turn" && s.Attr("transport") == "udp" {
			l = turnLogin{net.JoinHostPort("127.0.0.1", s.Attr("port")), s.Attr("username"), s.Attr("password")}
		}
	}
	if l.user == "" || l.password == "" {
		v.h.t.Fatalf("no TURN service: %s", a)
	}
	return l
}

// allocate makes an allocation; the client ends with the test.
func (l turnLogin) allocate(t *testing.T) (net.PacketConn, error) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logs := logging.NewDefaultLoggerFactory()
	logs.DefaultLogLevel = logging.LogLevelDisabled
	c, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: l.at, Conn: conn, Username: l.user, Password: l.password, Realm: "localhost", LoggerFactory: logs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); conn.Close() })
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	r, err := c.Allocate()
	if err == nil {
		t.Cleanup(func() { r.Close() })
	}
	return r, err
}

// TestTURNOnMediaPort: one UDP port is enough.
func TestTURNOnMediaPort(t *testing.T) {
	file := settings(t, "")
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.Replace(text, []byte("turn: {"), []byte("turn: {media_port: true, "), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := startHouse(t, file)
	l := h.guest("lecture").turnLogin()
	if want := net.JoinHostPort("127.0.0.1", strconv.Itoa(h.cfg.Media.Port)); l.at != want {
		t.Errorf("clients are told of %s, want %s", l.at, want)
	}
	if _, err := l.allocate(t); err != nil {
		t.Error(err)
	}
}

// TestSessionsOfTURN: each session has credentials of its own, which end with it, and its allocations too.
func TestSessionsOfTURN(t *testing.T) {
	h := openHouse(t, "")
	one, two := h.guest("lecture"), h.guest("lecture")
	first, second := one.turnLogin(), two.turnLogin()
	if first.user == second.user {
		t.Error("two sessions have one user")
	}
	for _, l := range []turnLogin{first, second} {
		if _, err := l.allocate(t); err != nil {
			t.Fatal(err)
		}
	}
	now := func() int {
		_, body := h.http("POST", "/debug/turn/drain", "")
		var n int
		if _, err := fmt.Sscanf(body, `{"allocations_now":%d}`, &n); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		return n
	}
	if n := now(); n != 2 {
		t.Errorf("%d allocations", n)
	}
	if _, err := second.allocate(t); err == nil {
		t.Error("an allocation of a server that drains")
	}
	one.say("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
	await.True(t, "the allocation of a session that has ended ends", func() bool { return now() == 1 })
	if status, _ := h.http("DELETE", "/debug/turn/drain", ""); status != 200 {
		t.Error(status)
	}
	if _, err := first.allocate(t); err == nil {
		t.Error("credentials of a session that has ended are good")
	}
	if _, err := second.allocate(t); err != nil {
		t.Errorf("those of another are not: %v", err)
	}
}
