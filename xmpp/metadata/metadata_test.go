package metadata

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	room = stanza.MustJID("standup@rooms.example.org")
	mod  = stanza.MustJID("mod@guest.example.org/1")
	user = stanza.MustJID("user@guest.example.org/2")
	none = stanza.MustJID("none@guest.example.org/3")
)

// house is the rooms and the router.
type house struct {
	mu  sync.Mutex // guards got
	got []*stanza.Stanza
}

func (h *house) Meeting(r stanza.JID) bool { return r == room }
func (h *house) Standing(r, real stanza.JID) (bool, bool) {
	return r == room && (real == mod || real == user), r == room && real == mod
}
func (h *house) Recipients(stanza.JID) []stanza.JID { return []stanza.JID{mod, user} }
func (h *house) Route(st *stanza.Stanza) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, st)
}

func (h *house) take() []*stanza.Stanza {
	out := h.got
	h.got = nil
	return out
}

func newComponent(t *testing.T) (*Component, *house) {
	h := &house{}
	c, err := New("metadata.example.org", h, h, func(real stanza.JID) []Service {
		return []Service{{Type: "turn", Host: "turn.example.org", Port: "3478", Transport: "udp", Username: real.Local(), Password: "p", Restricted: "1"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, h
}

func set(c *Component, from stanza.JID, json string) {
	c.HandleStanza(stanza.NewMessage("", from, c.Domain, stanza.TextElement(jitsi.NSJitMeet, "room_metadata", json, "room", room.String())).WithID("m"))
}

func body(st *stanza.Stanza) string { return st.Child(jitsi.NSJitMeet, "json-message").Text() }

// TestMeeting: a newcomer gets services, a moderator's change reaches everybody without them, the end forgets all.
func TestMeeting(t *testing.T) {
	c, h := newComponent(t)
	var first *stanza.Stanza
	join := func() {
		c.Joining(room, user, "n", func(st *stanza.Stanza) { first = st })
	}
	join()
	if want := `{"type":"room_metadata","metadata":{"services":[{"type":"turn","host":"turn.example.org","port":"3478","transport":"udp","username":"user","password":"p","restricted":"1"}]}}`; body(first) != want {
		t.Errorf("got  %s\nwant %s", body(first), want)
	}
	if first.From.String() != "metadata.example.org" || first.Child(jitsi.NSJitMeet, "json-message").Attr("room") != room.String() {
		t.Errorf("got %s", first)
	}
	set(c, mod, `{"type":"room_metadata","key":"startMuted","data":{ "audio": true }}`)
	got := h.take()
	if len(got) != 2 || got[0].To != mod || got[1].To != user || body(got[1]) != `{"type":"room_metadata","metadata":{"startMuted":{"audio":true}}}` {
		t.Fatalf("got %v", got)
	}
	join()
	if !strings.Contains(body(first), `"startMuted":{"audio":true}`) || !strings.Contains(body(first), `"services"`) {
		t.Errorf("a later one got %s", body(first))
	}
	set(c, mod, `{"type":"room_metadata","key":"startMuted","data":null}`)
	if got := h.take(); len(got) != 2 || body(got[0]) != `{"type":"room_metadata","metadata":{}}` {
		t.Errorf("got %v", got)
	}
	c.Destroyed(room)
	if n := c.Counters()["meetings"]; n != 0 {
		t.Errorf("%d meetings are left", n)
	}
	first = nil
	c.Joining(stanza.MustJID("chat@rooms.example.org"), user, "n", func(st *stanza.Stanza) { first = st })
	if first != nil {
		t.Errorf("a chat room's newcomer got %s", first)
	}
}

// TestRefused: who may not, what may not, and too much.
func TestRefused(t *testing.T) {
	c, h := newComponent(t)
	for _, x := range []struct {
		from       stanza.JID
		json, want string
	}{
		{none, `{"type":"room_metadata","key":"a","data":1}`, "forbidden"},
		{user, `{"type":"room_metadata","key":"a","data":1}`, "forbidden"},
		{mod, `{"type":"room_metadata","key":"services","data":[]}`, "not-allowed"},
		{mod, `{"type":"room_metadata","key":"moderators","data":[]}`, "not-allowed"},
		{mod, `{"type":"room_metadata","key":"","data":1}`, "bad-request"},
		{mod, `{"type":"other","key":"a","data":1}`, "bad-request"},
		{mod, `{`, "bad-request"},
		{mod, `{"type":"room_metadata","key":"a","key":"services","data":[]}`, "not-allowed"}, // of doubled keys the last counts
		{mod, `{"type":"room_metadata","type":"other","key":"a","data":1}`, "bad-request"},
		{mod, `{"type":"room_metadata","key":"a","data":` + strings.Repeat("[", 15000) + strings.Repeat("]", 15000) + `}`, "bad-request"},
		{mod, `{"type":"room_metadata","key":"a","data":"` + strings.Repeat("x", maxUpdate) + `"}`, "policy-violation"},
	} {
		set(c, x.from, x.json)
		got := h.take()
		if len(got) != 1 || got[0].To != x.from || got[0].Type != "error" || got[0].Child(stanza.NSClient, "error").Child(stanza.NSStanzas, x.want) == nil {
			t.Errorf("%.60s from %s: got %v, want %s", x.json, x.from, got, x.want)
		}
	}
	big := strings.Repeat("x", 20<<10)
	for i := range 4 {
		set(c, mod, `{"type":"room_metadata","key":"k`+strconv.Itoa(i)+`","data":"`+big+`"}`)
	}
	got := h.take()
	if last := got[len(got)-1]; len(got) != 7 || last.Type != "error" {
		t.Errorf("%d stanzas, the last %.100s; want three changes for two and one error", len(got), last)
	}
	c.HandleStanza(stanza.NewMessage("error", mod, c.Domain))
	c.HandleStanza(stanza.NewPresence("", mod, c.Domain))
	if got := h.take(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// TestDisco: the identity by which clients know the component.
func TestDisco(t *testing.T) {
	c, h := newComponent(t)
	c.HandleStanza(stanza.NewIQ("get", "d", user, c.Domain, stanza.NewElement(jitsi.NSDiscoInfo, "query")))
	id := h.take()[0].Child(jitsi.NSDiscoInfo, "query").Child(jitsi.NSDiscoInfo, "identity")
	if id.Attr("category") != "component" || id.Attr("type") != "room_metadata" || id.Attr("name") != "metadata.example.org" {
		t.Errorf("identity is %v", id)
	}
}

// TestLastWins: whatever the order of changes made at once, all end up with the last state.
func TestLastWins(t *testing.T) {
	c, h := newComponent(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 50 {
				if err := c.Set(room, "n", json.RawMessage(strconv.Itoa(i*100+k))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := h.take()
	want := `{"type":"room_metadata","metadata":{"n":` + string(c.Get(room)["n"]) + `}}`
	if a, b := got[len(got)-2], got[len(got)-1]; body(a) != want || body(b) != want || a.To == b.To {
		t.Errorf("the last ones are %s and %s, want %s", a, b, want)
	}
}

// FuzzUpdate: no text breaks the parser, and what it accepts can be sent on.
func FuzzUpdate(f *testing.F) {
	for _, s := range []string{
		`{"type":"room_metadata","key":"whiteboard","data":{"a":[1,2,{"b":null}]}}`, `{"type":"room_metadata","key":"a"}`, `{}`, ``, `[`, `{"type":"room_metadata","key":"services","data":1}`,
		`{"type":"room_metadata","key":"x","data":"\u0000\ud800<&>"}`, `{"type":"room_metadata","key":"x","key":"y","data": 1e999 }`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, data, err := parseUpdate(s)
		if err != nil {
			return
		}
		if key == "" || len(key) > maxKey || serverKeys[key] || len(data) > maxUpdate {
			t.Fatalf("accepted key %q, %d bytes", key, len(data))
		}
		if data != nil && !json.Valid(data) {
			t.Fatalf("not JSON: %q", data)
		}
		h := &house{}
		c, nerr := New("metadata.example.org", h, h, nil)
		if nerr != nil {
			t.Fatal(nerr)
		}
		if serr := c.Set(room, key, data); serr != nil {
			t.Fatal(serr)
		}
		for _, st := range h.take() {
			if !json.Valid([]byte(body(st))) {
				t.Fatalf("sent what is not JSON: %s", body(st))
			}
		}
	})
}
