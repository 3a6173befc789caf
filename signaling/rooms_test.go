package signaling

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"konzil/signaling/jingle"
	"konzil/xmpp/muc"
	"konzil/xmpp/stanza"
)

// TestChatRoomsAreLeftAlone: a stranger's request must not bring the focus into people's own room, where it would make owners.
func TestChatRoomsAreLeftAlone(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		rooms, err := muc.New(muc.Config{Domain: "conference.meet.example", Admins: []stanza.JID{w.focus.self.Bare()}, Create: muc.CreateAnyone},
			w, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		w.muc = rooms
		a, b := w.client("aaaaaaaa", nil), w.client("bbbbbbbb", nil)
		a.join() // makes the room, which is locked until it is configured
		a.iq("set", testRoom, stanza.NewElement("http://jabber.org/protocol/muc#owner", "query").Add(stanza.NewElement(nsForm, "x", "type", "submit")))
		if got := stanzaError(b.request()).Condition; got != "not-allowed" {
			t.Errorf("got %s", got)
		}
		for _, o := range rooms.Occupants(stanza.MustJID(testRoom)) {
			if o.Nick == "focus" {
				t.Error("the focus is inside")
			}
		}
		if a.find(func(st *stanza.Stanza) bool { return st.Kind == stanza.Presence && st.From.Resource() == "focus" }) != nil {
			t.Error("the focus was seen")
		}
	})
}

// TestWithRealRooms plays a meeting in the real room service: what the focus needs of it must be there.
func TestWithRealRooms(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		rooms, err := muc.New(muc.Config{Domain: "conference.meet.example", Admins: []stanza.JID{w.focus.self.Bare()}, Create: muc.CreateAdmins, HideRooms: true},
			w, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		w.muc = rooms
		a, b := meet(w, webFeatures, gstFeatures)
		room := stanza.MustJID(testRoom)
		id, ok := rooms.MeetingID(room)
		if !ok || id == "" || w.focus.meeting(room).id != id {
			t.Errorf("meeting id: the room's is %q, ours %q", id, w.focus.meeting(room).id)
		}
		for nick, want := range map[string]string{"focus": "owner", a.nick: "owner", b.nick: "none"} {
			for _, o := range rooms.Occupants(room) {
				if o.Nick == nick && o.Affiliation != want {
					t.Errorf("%s is %s, want %s", nick, o.Affiliation, want)
				}
			}
		}
		pres := a.take("presence of the focus", func(st *stanza.Stanza) bool {
			return st.Kind == stanza.Presence && st.From.Resource() == "focus" && st.Has(nsFocus, "conference-properties")
		})
		if item := pres.Child(nsMUCUser, "x").Child(nsMUCUser, "item"); item.Attr("jid") != "focus@auth.meet.example/focus" {
			t.Errorf("real address of the focus: %s", pres)
		}
		b.take("source-add", isJingle("source-add"))
		if r := a.iq("set", testRoom+"/focus", stanza.TextElement(nsMute+"audio", "mute", "true", "jid", testRoom+"/"+b.nick)); r.Type != "result" {
			t.Errorf("mute: %s", r)
		}
		b.take("mute", func(st *stanza.Stanza) bool { return st.Has(nsMute+"audio", "mute") })
		a.leave()
		if rm := b.take("source-remove", isJingle("source-remove")); len(rm.Child(jingle.NS, "jingle").ChildrenNamed(jingle.NS, "content")) != 2 {
			t.Errorf("got %s", rm)
		}
		b.leave()
		time.Sleep(6 * time.Second)
		w.settle()
		if n := len(rooms.Rooms()); n != 0 {
			t.Errorf("%d rooms are left", n)
		}
		// A client that comes before the focus is refused, and can come after a request.
		a.inbox = nil
		a.send(stanza.NewPresence("", a.real, stanza.MustJID(testRoom+"/"+a.nick), stanza.NewElement(nsMUC, "x")))
		if e := a.take("error", func(st *stanza.Stanza) bool { return st.Type == "error" }); !strings.Contains(e.String(), "not-allowed") {
			t.Errorf("got %s", e)
		}
		if r := a.request(); r.Child(nsFocus, "conference").Attr("ready") != "true" {
			t.Errorf("got %s", r)
		}
		a.join()
		if len(rooms.Occupants(room)) != 2 {
			t.Error("not both inside")
		}
		// The room is destroyed under the meeting.
		rooms.Close(room, stanza.JID{}, "over")
		w.settle()
		if n := w.focus.Counters()["meetings"]; n != 0 {
			t.Errorf("%d meetings after the end of the room", n)
		}
	})
}
