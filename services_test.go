package main

import (
	"strings"
	"testing"

	"konzil/xmpp/stanza"
)

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
	ana := h.owner("standup")
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

// TestJibriStartIsAnswered: who wants a recording learns what became of that also when the recorder that was asked goes without an answer, or somebody
// stops it before there is one (RFC 6120 §8.2.3).
func TestJibriStartIsAnswered(t *testing.T) {
	h := openHouse(t, servicesConfig)
	const room = "standup@conference.localhost"
	ana := h.owner("standup")
	one := h.service("jibri", "jibribrewery", "jibri-1", jibriStatus("idle"))
	start := func(id string) {
		ana.say("<iq xmlns='jabber:client' type='set' id='" + id + "' to='" + room + "/focus'><jibri xmlns='http://jitsi.org/protocol/jibri' action='start' recording_mode='file'/></iq>")
	}
	answered := func(id string) *stanza.Stanza {
		return ana.until(func(st *stanza.Stanza) bool { return st.Kind == stanza.IQ && st.ID == id })
	}
	start("goes")
	one.request("action='start'")
	two := h.service("jibri", "jibribrewery", "jibri-2", jibriStatus("idle"))
	one.ws.CloseNow()
	two.answer(two.request("action='start'"), "<jibri xmlns='http://jitsi.org/protocol/jibri' status='pending'/>")
	a := answered("goes")
	id := a.Child("http://jitsi.org/protocol/jibri", "jibri").Attr("session_id")
	if a.Type != "result" || id == "" {
		t.Errorf("the other recorder begins: %s", a)
	}
	if a := ana.ask("set", room+"/focus", "<jibri xmlns='http://jitsi.org/protocol/jibri' action='stop' session_id='"+id+"'/>"); a.Type != "result" {
		t.Errorf("stop: %s", a)
	}
	start("stopped")
	id = two.request("action='start'").Child("http://jitsi.org/protocol/jibri", "jibri").Attr("session_id")
	ana.say("<iq xmlns='jabber:client' type='set' id='stop' to='" + room + "/focus'><jibri xmlns='http://jitsi.org/protocol/jibri' action='stop' session_id='" + id + "'/></iq>")
	if a := answered("stopped"); a.Type != "error" {
		t.Errorf("stopped before it began: %s", a)
	}
	answered("stop")
}

// TestJigasi: a call goes to a gateway that can do it, and its answer to who wanted it.
func TestJigasi(t *testing.T) {
	h := openHouse(t, servicesConfig)
	const room = "standup@conference.localhost"
	ana := h.owner("standup")
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
