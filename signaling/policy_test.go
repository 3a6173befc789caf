package signaling

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

func (w *world) component(from, room, text string) {
	el := stanza.TextElement(nsJitmeet, "json-message", text, "room", room)
	w.Route(stanza.NewMessage("", stanza.MustJID(from), w.focus.self, el))
	w.settle()
}

func TestAVModeration(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, webFeatures, webFeatures) // a is owner
		on := `{"type":"av_moderation","enabled":true,"room":"` + testRoom + `","actor":"` + testRoom + "/" + a.nick + `","mediaType":"audio"}`
		isMute := func(st *stanza.Stanza) bool { return st.Has(nsMute+"audio", "mute") }
		w.component("b@evil.example", testRoom, on)
		if b.find(isMute) != nil {
			t.Fatal("a stranger's word was believed")
		}
		w.component("avmoderation.meet.example", testRoom, on)
		b.take("mute", isMute)
		if a.find(isMute) != nil {
			t.Error("the moderator was muted")
		}
		unmute := func() string {
			return stanzaError(b.iq("set", testRoom+"/focus", stanza.TextElement(nsMute+"audio", "mute", "false", "jid", testRoom+"/"+b.nick))).Condition
		}
		if got := unmute(); got != "not-allowed" {
			t.Errorf("unmuting under moderation: %s", got)
		}
		// Who comes now starts muted, at the bridge too.
		c := w.client("cccccccc", webFeatures)
		c.join()
		if sm := c.offer().Child(jingle.NSStartMuted, "startmuted"); sm.Attr("audio") != "true" {
			t.Error("a newcomer does not start muted")
		}
		if e := w.bridge.last(c.nick, func(e colibri.Endpoint) bool { return e.Create }); e.ForceMute == nil || !e.ForceMute.Audio {
			t.Error("a newcomer is not muted at the bridge")
		}
		w.component("avmoderation.meet.example", testRoom, `{"type":"av_moderation","room":"`+testRoom+`","whitelists":{"audio":["`+testRoom+"/"+b.nick+`"]},"mediaType":"audio"}`)
		if got := unmute(); got != "undefined-condition" { // no error at all
			t.Errorf("approved, yet %s", got)
		}
		w.component("avmoderation.meet.example", testRoom, strings.Replace(on, "true", "false", 1))
		if w.focus.meeting(stanza.MustJID(testRoom)).moderation["audio"] != nil {
			t.Error("moderation is still on")
		}
		if e := w.bridge.last(c.nick, func(e colibri.Endpoint) bool { return e.ForceMute != nil }); e.ForceMute.Audio {
			t.Error("who tried in vain to unmute stays muted at the bridge")
		}
	})
}

func TestStartMutedByMetadata(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		meet(w, webFeatures, webFeatures)
		w.component("metadata.meet.example", testRoom, `{"type":"room_metadata","metadata":{"startMuted":{"audio":false,"video":true}}}`)
		c := w.client("cccccccc", webFeatures)
		c.join()
		if sm := c.offer().Child(jingle.NSStartMuted, "startmuted"); sm.Attr("audio") != "false" || sm.Attr("video") != "true" {
			t.Errorf("got %v", sm)
		}
	})
}

func TestSenderLimit(t *testing.T) {
	inWorld(t, Config{MaxVideoSenders: 2}, func(t *testing.T, w *world) {
		a, _ := meet(w, webFeatures, webFeatures)
		a.take("limit", func(st *stanza.Stanza) bool {
			return st.Kind == stanza.Presence && strings.Contains(st.String(), "key='video-limit-reached' value='true'")
		})
		c := w.client("cccccccc", webFeatures)
		c.join(stanza.TextElement(stanza.NSClient, "SourceInfo", `{"cccccccc-v0":{"muted":true}}`))
		c.offer()
		cs := c.contents(300)
		cs[0].Add(clientTransport.Element(false))
		if got := stanzaError(c.jingle("session-accept", cs...)).Condition; got != "resource-constraint" {
			t.Errorf("got %s", got)
		}
	})
}

func TestStaleConferenceAtBridge(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		w.bridge.confs["id-of-standup"] = map[string]bool{"ghost": true}
		meet(w, webFeatures, webFeatures)
		if w.bridge.endpoints()["ghost"] {
			t.Error("an earlier focus' conference was taken over")
		}
	})
}

func TestMaxMeetings(t *testing.T) {
	inWorld(t, Config{MaxMeetings: 1}, func(t *testing.T, w *world) {
		a := w.client("aaaaaaaa", webFeatures)
		a.request()
		r := a.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", "second@conference.meet.example"))
		if got := stanzaError(r).Condition; got != "resource-constraint" {
			t.Errorf("got %s", got)
		}
	})
}

func TestMaxEmpty(t *testing.T) {
	inWorld(t, Config{MaxEmpty: 2}, func(t *testing.T, w *world) {
		a, b := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", webFeatures)
		ask := func(c *client, room string) string {
			return stanzaError(c.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", room+"@conference.meet.example"))).Condition
		}
		const ok = "undefined-condition" // no error at all
		for i, want := range []string{ok, ok, "resource-constraint"} {
			if got := ask(a, []string{"standup", "two", "three"}[i]); got != want {
				t.Errorf("meeting %d: %s", i+1, got)
			}
		}
		if got := ask(b, "four"); got != ok {
			t.Errorf("somebody else: %s", got)
		}
		a.join()
		if got := ask(a, "five"); got != ok {
			t.Errorf("after one was joined: %s", got)
		}
		time.Sleep(30 * time.Second)
		if got := ask(a, "six"); got != ok {
			t.Errorf("after the others ended: %s", got)
		}
		w.focus.mu.Lock()
		defer w.focus.mu.Unlock()
		if len(w.focus.empty) != 1 {
			t.Errorf("accounts left: %v", w.focus.empty)
		}
	})
}

func TestSourceChangesAreGathered(t *testing.T) {
	inWorld(t, Config{SourceDelay: func(int) time.Duration { return 2 * time.Second }}, func(t *testing.T, w *world) {
		a, b := meet(w, jsonFeatures, jsonFeatures)
		time.Sleep(3 * time.Second)
		for b.find(isJingle("source-add")) != nil {
		}
		for i := range uint32(3) {
			set := jingle.SourceSet{Sources: []jingle.Source{{SSRC: 300 + i, Media: jingle.Audio, Name: a.nick + "-a1", MSID: ""}}}
			a.jingle("source-add", sourceContents(a.nick, set)...)
		}
		if b.find(isJingle("source-add")) != nil {
			t.Error("told at once")
		}
		time.Sleep(3 * time.Second)
		b.take("source-add", isJingle("source-add"))
		if b.find(isJingle("source-add")) != nil {
			t.Error("told more than once")
		}
	})
}

func TestReloadWithSameNick(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, webFeatures, jsonFeatures)
		for b.find(isJingle("source-add")) != nil {
		}
		a.leave()
		w.mu.Lock()
		a.real = stanza.MustJID("aaaaaaaa-1111-4000-8000-000000000000@meet.example/res2")
		w.clients[a.real] = a
		w.mu.Unlock()
		a.join()
		b.take("source-remove", isJingle("source-remove"))
		old := a.sid
		a.offer()
		if a.sid == old {
			t.Error("the old session goes on")
		}
		a.accept(100) // the same SSRCs are free again
	})
}

func TestHTTPRequest(t *testing.T) {
	inWorld(t, Config{AuthRequired: true}, func(t *testing.T, w *world) {
		post := func(body string) *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			w.focus.HTTPHandler().ServeHTTP(rec, httptest.NewRequest("POST", "/conference-request/v1?room=standup", strings.NewReader(body)))
			return rec
		}
		if r := post(`{"room":"` + testRoom + `"}`); r.Code != http.StatusForbidden {
			t.Errorf("unauthenticated: %d", r.Code)
		}
		if r := post(`{"room":"` + testRoom + `","sessionId":"made-up"}`); r.Code != http.StatusBadRequest || !strings.Contains(r.Body.String(), "400 invalid-session") {
			t.Errorf("bad session: %d %s", r.Code, r.Body)
		}
		if r := post(`nonsense`); r.Code != http.StatusBadRequest {
			t.Errorf("nonsense: %d", r.Code)
		}
		staff := w.client("bbbbbbbb", webFeatures)
		staff.request()
		r := post(`{"room":"` + testRoom + `","machineUid":"x","properties":{"startAudioMuted":9,"rtcstatsEnabled":false}}`)
		if want := `{"ready":true,"focusJid":"focus@auth.meet.example","properties":{"authentication":"true",`; r.Code != 200 || !strings.HasPrefix(r.Body.String(), want) {
			t.Errorf("existing meeting: %d %s", r.Code, r.Body)
		}
		rec := httptest.NewRecorder()
		w.focus.HTTPHandler().ServeHTTP(rec, httptest.NewRequest("OPTIONS", "/conference-request/v1", nil))
		if rec.Code != http.StatusNoContent || rec.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("preflight: %d", rec.Code)
		}
	})
}

func TestICEFailedNotice(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, _ := meet(w, webFeatures, webFeatures)
		failed := stanza.TextElement(nsFocus, "ice-state", "failed")
		bs := func(id string) *stanza.Element { return stanza.NewElement(nsFocus, "bridge-session", "id", id) }
		if got := stanzaError(a.jingle("session-info", failed, bs("other"))).Condition; got != "item-not-found" {
			t.Errorf("wrong allocation: %s", got)
		}
		if r := a.jingle("session-info", failed, bs(a.alloc)); r.Type != "result" {
			t.Errorf("got %s", r)
		}
		a.take("session-terminate", isJingle("session-terminate"))
		a.offer()
	})
}

func TestVisitorsDoNotSend(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		meet(w, webFeatures, webFeatures)
		w.mu.Lock()
		r := w.rooms["standup"]
		v := w.clientLocked("dddddddd", gstFeatures)
		r.occ = append(r.occ, &occupant{nick: v.nick, real: v.real, affiliation: "none", role: "visitor"})
		w.mu.Unlock()
		v.join()
		v.offer()
		cs := v.contents(400)
		cs[0].Add(clientTransport.Element(false))
		if got := stanzaError(v.jingle("session-accept", cs...)).Condition; got != "forbidden" {
			t.Errorf("got %s", got)
		}
		if e := w.bridge.last(v.nick, func(e colibri.Endpoint) bool { return e.Create }); !e.Visitor {
			t.Error("the bridge does not know")
		}
	})
}
