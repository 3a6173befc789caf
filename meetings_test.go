package main

import (
	"strings"
	"testing"

	"konzil/xmpp/stanza"
)

// The program as a Jitsi client meets it: whole, over its WebSocket and HTTP.

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
	a.leads()
	b := h.guest("standup")
	if p := b.meet(room); p.Type == "error" {
		t.Fatal(p)
	}
	a.say("<message xmlns='jabber:client' to='endconference.localhost'><end_conference xmlns='http://jitsi.org/jitmeet'/></message>")
	b.until(func(st *stanza.Stanza) bool { return strings.Contains(st.String(), "The meeting has been terminated") })
}
