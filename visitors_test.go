package main

import (
	"strings"
	"testing"

	"konzil/xmpp/stanza"
	"konzil/xmpp/visitors"
)

// askFor asks the focus for a meeting as current Jitsi clients do, and gives the node where the client is sent.
func (v *visitor) askFor(room, more string) string {
	v.h.t.Helper()
	const ns = "http://jitsi.org/protocol/focus"
	a := v.ask("set", "focus."+v.h.cfg.Domain, "<conference xmlns='"+ns+"' room='"+room+"' machine-uid='m'><property name='visitors-version' value='1'/>"+more+"</conference>")
	c := a.Child(ns, "conference")
	if c.Attr("ready") != "true" || c.Attr("focusjid") != "focus@auth."+v.h.cfg.Domain {
		v.h.t.Fatal(a)
	}
	return c.Attr("vnode")
}

// TestVisitors: the third of a meeting for two is sent to the visitors' node, hears of the meeting there and gets media from the focus, raises its
// hand, is let in, and is sent back.
func TestVisitors(t *testing.T) {
	h := openHouse(t, "meetings: {visitors: 2, min_participants: 2}\n")
	const room, watched = "all@conference.localhost", "all@conference." + visitors.Door
	a, b := h.guest("all"), h.guest("all")
	for _, v := range []*visitor{a, b} {
		if node := v.askFor(room, ""); node != "" {
			t.Fatalf("sent to %q", node)
		}
		if p := v.join(room, ""); p.Type == "error" {
			t.Fatal(p)
		}
	}
	info := a.ask("get", room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
	if !strings.Contains(info.String(), "<field var='muc#roominfo_visitorsEnabled'") {
		t.Errorf("the meeting says nothing of visitors: %s", info)
	}
	c := h.guest("all")
	if node := c.askFor(room, ""); node != visitors.Node {
		t.Fatalf("sent to %q", node)
	}
	if status, body := h.http("POST", "/conference-request/v1", `{"room":"`+room+`","properties":{"visitors-version":1}}`); status != 200 || !strings.Contains(body, `"vnode":"v1"`) {
		t.Errorf("over HTTP: %d %s", status, body)
	}
	if p := c.join(room, ""); p.Type != "error" || !strings.Contains(p.String(), "<promotion-not-allowed xmlns='jitsi:visitors'/>") {
		t.Fatalf("a visitor enters the meeting: %s", p)
	}

	v, failure := h.enter("/xmpp-websocket", "room=all&vnode=v1", visitors.Door)
	if v == nil {
		t.Fatal(failure)
	}
	if len(v.got) != 0 {
		t.Errorf("a visitor is told of components: %v", v.got)
	}
	about := v.ask("get", visitors.Door, "<query xmlns='http://jabber.org/protocol/disco#info'/>").String()
	if !strings.Contains(about, "<identity category='server'") || strings.Count(about, "component") != 1 || !strings.Contains(about, "type='polls'") {
		t.Errorf("the node says it is %s", about)
	}
	if r := v.ask("get", visitors.Door, "<services xmlns='urn:xmpp:extdisco:2'/>"); !r.Has("urn:xmpp:extdisco:2", "services") {
		t.Errorf("no TURN servers: %s", r)
	}
	if p := v.join(watched, "<nick xmlns='http://jabber.org/protocol/nick'>Vic</nick>"); p.Type == "error" || !strings.Contains(p.String(), "role='visitor'") {
		t.Fatal(p)
	}
	if len(v.got) == 0 || v.got[0].From.String() != watched+"/focus" || !strings.Contains(v.got[0].String(), "jid='focus@auth.localhost/focus'") {
		t.Fatalf("the focus is not the first that a visitor sees: %v", v.got)
	}
	// the focus asks what the client can do, and invites it
	disco := v.until(func(st *stanza.Stanza) bool {
		return st.Kind == stanza.IQ && st.Has("http://jabber.org/protocol/disco#info", "query")
	})
	v.say("<iq xmlns='jabber:client' type='result' id='" + disco.ID + "' to='" + disco.From.String() + "'><query xmlns='http://jabber.org/protocol/disco#info'>" +
		"<feature var='urn:xmpp:jingle:apps:rtp:audio'/><feature var='urn:xmpp:jingle:apps:rtp:video'/><feature var='http://jitsi.org/visitors-1'/></query></iq>")
	offer := v.until(func(st *stanza.Stanza) bool { return st.Has("urn:xmpp:jingle:1", "jingle") })
	if offer.From.String() != watched+"/focus" || offer.Child("urn:xmpp:jingle:1", "jingle").Attr("action") != "session-initiate" {
		t.Fatalf("invited by %s", offer)
	}
	v.say("<iq xmlns='jabber:client' type='result' id='" + offer.ID + "' to='" + offer.From.String() + "'/>")
	a.until(func(st *stanza.Stanza) bool {
		return strings.Contains(st.String(), "<property key='visitor-count' value='1'/>")
	})
	// A visitor that would send media is refused.
	sid := offer.Child("urn:xmpp:jingle:1", "jingle").Attr("sid")
	accept := v.ask("set", watched+"/focus", "<jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='"+sid+"'>"+
		"<content name='audio' creator='responder'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='77' name='"+v.nick()+"-a0'>"+
		"<parameter name='msid' value='s t'/></source></description><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='"+strings.Repeat("p", 22)+"'>"+
		"<fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='active'>"+strings.Repeat("AA:", 31)+"AA</fingerprint></transport></content></jingle>")
	if accept.Type != "error" || !strings.Contains(accept.String(), "<forbidden ") {
		t.Errorf("a visitor sends: %s", accept)
	}

	// It votes in a poll of the meeting, makes none, and is told how others vote.
	poll := func(who *visitor, text string) {
		who.say("<message xmlns='jabber:client' type='chat' id='poll' to='polls.localhost'><json-message xmlns='http://jitsi.org/jitmeet'>" + text + "</json-message></message>")
	}
	poll(a, `{"type":"polls","command":"new-poll","pollId":"p","question":"?","answers":[{"name":"yes"},{"name":"no"}]}`)
	v.next("polls.localhost", `"pollId":"p"`, `"senderId":"`+a.nick()+`"`)
	poll(v, `{"type":"polls","command":"new-poll","pollId":"q","question":"?","answers":[{"name":"yes"}]}`)
	if r := v.until(func(st *stanza.Stanza) bool { return st.ID == "poll" && st.Type == "error" }); !strings.Contains(r.String(), "<not-allowed ") {
		t.Errorf("a visitor makes a poll: %s", r)
	}
	poll(v, `{"type":"polls","command":"answer-poll","pollId":"p","answers":[false,true]}`)
	a.next("polls.localhost", `"command":"answer-poll"`, `"senderId":"`+v.nick()+`"`, `"senderName":"Vic"`, `"answers":[false,true]`)
	late, _ := h.enter("/xmpp-websocket", "room=all&vnode=v1", visitors.Door)
	late.join(watched, "")
	late.next("polls.localhost", `"command":"old-polls"`, `"voters":[{"id":"`+v.nick()+`"`)
	late.say("<presence xmlns='jabber:client' type='unavailable' to='" + watched + "/" + late.nick() + "'/>")

	v.say("<presence xmlns='jabber:client' to='" + watched + "/" + v.nick() + "'><nick xmlns='http://jabber.org/protocol/nick'>Vic</nick><jitsi_participant_raisedHand>1770000000000</jitsi_participant_raisedHand></presence>")
	a.next("visitors.localhost", `"action":"promotion-request"`, `"nick":"Vic"`, v.jid.String())
	a.say("<message xmlns='jabber:client' type='groupchat' to='" + room + "'><json-message xmlns='http://jitsi.org/jitmeet'>" +
		`{"type":"visitors","action":"promotion-response","approved":true,"id":"` + v.jid.String() + `"}</json-message></message>`)
	name := v.until(func(st *stanza.Stanza) bool { return st.Has("jitsi:visitors", "visitors") }).Child("jitsi:visitors", "visitors").Child("jitsi:visitors", "promotion-response").Attr("username")
	if other, _ := h.enter("/xmpp-websocket", "room=other&customusername="+name, "localhost"); other.jid.Local() == name {
		t.Error("the name holds for another meeting")
	}
	p, failure := h.enter("/xmpp-websocket", "room=all&customusername="+name, "localhost")
	if p == nil || p.jid.Local() != name {
		t.Fatalf("promoted to %v %s", p, failure)
	}
	if got := p.join(room, ""); got.Type == "error" {
		t.Fatal(got)
	}
	a.next("metadata.localhost", `"promoted":{"`+p.nick()+`":true}`)
	a.say("<message xmlns='jabber:client' type='groupchat' to='" + room + "'><json-message xmlns='http://jitsi.org/jitmeet'>" +
		`{"type":"visitors","action":"demote-request","id":"` + p.nick() + `","actor":"` + a.nick() + `"}</json-message></message>`)
	p.next("visitors.localhost", `"action":"demote-request"`)
	again := h.guest("all")
	if node := again.askFor(room, "<property name='visitor' value='true'/>"); node != visitors.Node {
		t.Errorf("who wants to watch is sent to %q", node)
	}
}

// TestNoVisitors: without the setting nobody is sent anywhere, and the node is not there.
func TestNoVisitors(t *testing.T) {
	h := openHouse(t, "meetings: {visitors: 0}\n")
	a, b := h.guest("all"), h.guest("all")
	a.askFor("all@conference.localhost", "")
	a.join("all@conference.localhost", "")
	if node := b.askFor("all@conference.localhost", "<property name='visitor' value='true'/>"); node != "" {
		t.Errorf("sent to %q", node)
	}
	if r := a.ask("get", visitors.Door, "<query xmlns='http://jabber.org/protocol/disco#info'/>"); r.Type != "error" {
		t.Errorf("%s answers", visitors.Door)
	}
}
