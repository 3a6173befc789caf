package avmoderation

import (
	"strings"
	"testing"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

var (
	room  = stanza.MustJID("standup@rooms.example.org")
	focus = stanza.MustJID("focus@auth.example.org/focus")
	mod   = stanza.MustJID("mod@guest.example.org/1")
	user  = stanza.MustJID("user@guest.example.org/2")
)

// house is the rooms and the router.
type house struct{ got []*stanza.Stanza }

func (h *house) Meeting(r stanza.JID) bool { return r == room }
func (h *house) Standing(r, real stanza.JID) (bool, bool) {
	return r == room, r == room && (real == mod || real == focus)
}
func (h *house) Recipients(stanza.JID) []stanza.JID { return []stanza.JID{focus, mod, user} }
func (h *house) Route(st *stanza.Stanza)            { h.got = append(h.got, st) }

// said takes what was sent: "to json".
func (h *house) said() string {
	var out []string
	for _, st := range h.got {
		if st.Type == "error" {
			out = append(out, st.To.Local()+" error")
		} else {
			out = append(out, st.To.Local()+" "+st.Child(jitsi.NSJitMeet, "json-message").Text())
		}
	}
	h.got = nil
	return strings.Join(out, "\n")
}

// TestMeeting: enabling reaches everybody, a permission moderators and who gets it, newcomers what holds, and nobody else may.
func TestMeeting(t *testing.T) {
	h := &house{}
	c, err := New("avmoderation.example.org", h, h)
	if err != nil {
		t.Fatal(err)
	}
	c.Joined(room, focus, "focus")
	c.Joined(room, mod, "ab")
	c.Joined(room, user, "cd")
	say := func(from stanza.JID, attrs ...string) string {
		c.HandleStanza(stanza.NewMessage("", from, c.Domain, stanza.NewElement(stanza.NSClient, "av_moderation", attrs...)))
		return h.said()
	}
	const on = `{"type":"av_moderation","room":"standup@rooms.example.org","enabled":true,"actor":"standup@rooms.example.org/ab","mediaType":"audio"}`
	const list = `{"type":"av_moderation","room":"standup@rooms.example.org","mediaType":"audio","whitelists":{"audio":["standup@rooms.example.org/cd"]}}`
	for _, step := range []struct {
		from  stanza.JID
		attrs []string
		want  string
	}{
		{user, []string{"enable", "true", "mediaType", "audio"}, "user error"},
		{stanza.MustJID("stranger@example.org/x"), []string{"enable", "true", "mediaType", "audio"}, "stranger error"},
		{mod, []string{"enable", "true", "mediaType", "smell"}, "mod error"},
		{mod, []string{"mediaType", "audio", "jidToWhitelist", "standup@rooms.example.org/cd"}, "mod error"},
		{mod, []string{"enable", "true", "mediaType", "audio"}, "focus " + on + "\nmod " + on + "\nuser " + on},
		{mod, []string{"enable", "true", "mediaType", "audio"}, ""},
		{mod, []string{"mediaType", "audio", "jidToWhitelist", "standup@rooms.example.org/nobody"}, "mod error"},
		{mod, []string{"mediaType", "audio", "jidToWhitelist", "standup@rooms.example.org/cd"}, "focus " + list + "\nmod " + list +
			"\nuser " + `{"type":"av_moderation","room":"standup@rooms.example.org","mediaType":"audio","approved":true}`},
	} {
		if got := say(step.from, step.attrs...); got != step.want {
			t.Errorf("%v %v: got\n%s\nwant\n%s", step.from, step.attrs, got, step.want)
		}
	}
	c.Joined(room, mod, "ab")
	if got := h.said(); got != "mod "+on+"\nmod "+list {
		t.Errorf("a moderator who comes gets %s", got)
	}
	if got := say(mod, "mediaType", "audio", "jidToBlacklist", "standup@rooms.example.org/cd"); !strings.Contains(got, `"whitelists":{"audio":[]},"removed":true`) ||
		!strings.HasSuffix(got, "user "+`{"type":"av_moderation","room":"standup@rooms.example.org","mediaType":"audio","removed":true}`) {
		t.Errorf("taken back: %s", got)
	}
	if got := say(mod, "enable", "false", "mediaType", "audio"); strings.Count(got, `"enabled":false`) != 3 || c.Counters()["meetings"] != 0 {
		t.Errorf("switched off: %s", got)
	}
	say(mod, "enable", "true", "mediaType", "video")
	c.Left(room, user, "cd")
	c.Destroyed(room)
	if n := c.Counters()["meetings"]; n != 0 {
		t.Errorf("%d meetings are left", n)
	}
}
