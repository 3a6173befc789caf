package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// TestMeeting is one meeting from the first guest to the last, in the order in which things happen.
func TestMeeting(t *testing.T) {
	s := startServer(t)
	ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
	url := s.url + "/standup"

	ada.join(url)
	ada.until(5*time.Second, "the invitation is shown", "!document.querySelector('.invitation').hidden")
	grace.join(url)
	ada.receives(grace)
	grace.receives(ada)
	ada.until(5*time.Second, "the tile has a name", "[...document.querySelectorAll('.tile-name')].some((e) => e.textContent === 'Grace')")

	layers(t, ada, grace)
	keyboard(ada, grace)
	chat(ada, grace)

	linus := newPerson(t, "Linus")
	linus.join(url)
	linus.until(10*time.Second, "the history of the chat", "konzil.messages.some((m) => m.text === 'hello <b>all</b> https://example.org/x' && m.delayed)")
	linus.receives(ada, grace)
	ada.receives(linus, grace)
	grace.receives(ada, linus)

	screen(t, grace, ada, linus)

	// The speaker large: somebody else is on stage, and everybody is equal again.
	linus.press("w")
	linus.until(5*time.Second, "somebody else on stage", "document.querySelector('.stage .tile:not(.self)')")
	linus.press("w")
	linus.until(5*time.Second, "nobody on stage", "document.querySelector('.stage').hidden")

	// One leaves, the rest see it and go on.
	gone := linus.id()
	linus.click("#leave") // not a moderator: no question
	linus.until(5*time.Second, "the end is shown", "konzil.state === 'ended' && !document.querySelector('.overlay').hidden")
	for _, p := range []*person{ada, grace} {
		p.until(10*time.Second, "Linus is gone", fmt.Sprintf("konzil.participants.length === 1 && !document.querySelector('[data-key^=\"%s\"]')", gone))
	}
	ada.receives(grace)

	// A reload is a new participant, and media flow again both ways.
	old := grace.id()
	grace.do(chromedp.Reload())
	ada.until(15*time.Second, "the old Grace is gone", fmt.Sprintf("!konzil.participants.some((p) => p.id === %q)", old))
	grace.enter()
	ada.receives(grace)
	grace.receives(ada)
}

// layers: a tile on stage gets the camera's full size, and a small one again when it is put back.
func layers(t *testing.T, viewer, sender *person) {
	t.Helper()
	video := sender.id() + "-v0"
	tile := fmt.Sprintf(".tile[data-key=%q] .tile-button", video)
	small := viewer.stats(20*time.Second, "a small picture in the grid", func(s stats) bool { h := s.Inbound[video].Height; return h > 0 && h <= 360 })
	viewer.click(tile)
	viewer.until(5*time.Second, "the tile is on stage", "document.querySelector('.stage .tile')")
	viewer.stats(25*time.Second, "the highest layer on stage", func(s stats) bool { return s.Inbound[video].Height == 720 && s.Inbound[video].Width == 1280 })
	viewer.click(tile)
	large := viewer.stats(20*time.Second, "a small picture again", func(s stats) bool { h := s.Inbound[video].Height; return h > 0 && h <= 360 })
	if large.Inbound[video].FramesDecoded <= small.Inbound[video].FramesDecoded {
		t.Errorf("no frames were decoded in between: %d, then %d", small.Inbound[video].FramesDecoded, large.Inbound[video].FramesDecoded)
	}
	// The sender stops what nobody wants (SenderSourceConstraints).
	sender.stats(20*time.Second, "the highest layer is switched off", func(s stats) bool {
		l := s.Outbound[video]
		return len(l) == 3 && l[0].Active && !l[2].Active
	})
}

// keyboard: mute, camera and hand by key; the other sees each.
func keyboard(one, other *person) {
	one.t.Helper()
	id := one.id()
	source := func(name string) string {
		return fmt.Sprintf("konzil.participants.find((p) => p.id === %q).sources[%q]", id, id+"-"+name)
	}
	one.press("m")
	other.until(5*time.Second, "muted", source("a0")+".muted")
	eval[bool](one, "document.activeElement.blur(), true")
	one.key(input.DispatchKeyEventTypeRawKeyDown, " ")
	other.until(5*time.Second, "heard while the space bar is held", "!"+source("a0")+".muted")
	one.key(input.DispatchKeyEventTypeKeyUp, " ")
	other.until(5*time.Second, "muted again", source("a0")+".muted")
	one.press("m")
	other.until(5*time.Second, "not muted any more", "!"+source("a0")+".muted")
	one.press("v")
	other.until(5*time.Second, "camera off", source("v0")+".muted")
	other.until(5*time.Second, "initials instead of the picture", fmt.Sprintf("!document.querySelector('[data-key=\"%s-v0\"] .avatar').hidden", id))
	one.press("v")
	other.until(10*time.Second, "camera on", "!"+source("v0")+".muted")
	other.receives(one)
	one.press("r")
	other.until(5*time.Second, "hand up", fmt.Sprintf("document.querySelector('[data-key=\"%s-v0\"] .badge.hand')", id))
	one.press("r")
	other.until(5*time.Second, "hand down", fmt.Sprintf("!document.querySelector('[data-key=\"%s-v0\"] .badge.hand')", id))
}

// chat: a message arrives as text, with its address as a link and no markup.
func chat(one, other *person) {
	one.t.Helper()
	one.press("c")
	one.do(chromedp.SendKeys(chromedp.CSS("#chat-input"), "hello <b>all</b> https://example.org/x"))
	one.press("Enter")
	other.until(5*time.Second, "the message", "konzil.messages.some((m) => m.text === 'hello <b>all</b> https://example.org/x' && m.name === 'Ada')")
	other.until(5*time.Second, "the unread mark", "document.querySelector('#chat .count').textContent === '1'")
	other.press("c")
	other.until(5*time.Second, "text, not markup", `(() => {
		const p = document.querySelector('.message:last-of-type p');
		return p.querySelector('a')?.href === 'https://example.org/x' && !p.querySelector('b') && p.textContent.startsWith('hello <b>');
	})()`)
	for _, p := range []*person{one, other} {
		p.press("Escape")
		p.until(5*time.Second, "the panel is closed", "document.querySelector('.side').hidden")
	}
}

// screen: a shared screen arrives as one more video track, comes to the stage, and goes.
func screen(t *testing.T, sharer *person, viewers ...*person) {
	t.Helper()
	source := sharer.id() + "-v1"
	sharer.click("#share")
	sharer.until(10*time.Second, "the screen is captured", "konzil.media.tracks.v1")
	for _, v := range viewers {
		v.stats(25*time.Second, "the shared screen", func(s stats) bool { return s.Inbound[source].FramesDecoded > 5 })
		v.until(5*time.Second, "the screen is on stage", fmt.Sprintf("document.querySelector('.stage [data-key=%q]')", source))
		v.until(5*time.Second, "it is a track of its own", fmt.Sprintf(`(() => {
			const m = konzil.participants.find((p) => p.id === %q).media.filter((m) => m.source.kind === 'video');
			return m.length === 2 && m.some((x) => x.source.videoType === 'desktop') && m[0].track !== m[1].track;
		})()`, sharer.id()))
		v.receives(sharer) // the camera goes on
	}
	sharer.click("#share")
	for _, v := range viewers {
		v.until(10*time.Second, "the screen is gone", fmt.Sprintf("!document.querySelector('[data-key=%q]')", source))
	}
}

// TestNetworkBreak: the socket breaks, the stream is resumed, and nothing is lost: the same endpoint, media all the time, messages
// of both sides.
func TestNetworkBreak(t *testing.T) {
	s := startServer(t)
	ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
	url := s.url + "/break"
	ada.join(url)
	grace.join(url)
	ada.receives(grace)
	id := ada.id()
	eval[bool](ada, "konzil.conference.connection.ws.close(), konzil.sendChat('while away'), true")
	grace.do(chromedp.Evaluate[chromedp.Void]("konzil.sendChat('to somebody away')"))
	ada.until(5*time.Second, "notices the break", "konzil.state === 'reconnecting' || konzil.messages.length === 2")
	ada.until(15*time.Second, "resumed", "konzil.state === 'joined'")
	ada.says(".toast", "The connection is back.")
	for _, p := range []*person{ada, grace} {
		p.until(10*time.Second, "both messages", "konzil.messages.filter((m) => m.text === 'while away').length === 1 && konzil.messages.filter((m) => m.text === 'to somebody away').length === 1")
	}
	if now := ada.id(); now != id {
		t.Errorf("endpoint %s became %s", id, now)
	}
	ada.receives(grace)
	grace.receives(ada)
}

// TestServerRestart: a server that was restarted knows no session any more; the page joins again by itself, with name and media.
func TestServerRestart(t *testing.T) {
	s := startServer(t)
	ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
	url := s.url + "/restart"
	ada.join(url)
	grace.join(url)
	ada.receives(grace)
	s.stop()
	ada.until(10*time.Second, "says that it reconnects", "konzil.state === 'reconnecting' && !document.querySelector('.banner').hidden")
	s.start()
	for _, p := range []*person{ada, grace} {
		p.until(40*time.Second, "joined again", "konzil.state === 'joined' && konzil.participants.length === 1 && konzil.participants[0].name")
	}
	ada.receives(grace)
	grace.receives(ada)
}

// TestMediaRestart: when ICE fails, the page asks the focus for a new session and gets it.
func TestMediaRestart(t *testing.T) {
	s := startServer(t)
	ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
	url := s.url + "/media-restart"
	ada.join(url)
	grace.join(url)
	ada.receives(grace)
	sid := eval[string](ada, "konzil.conference.call.jingleSession.sid")
	eval[bool](ada, "konzil.conference.call.session.emit('ice', 'failed'), true")
	ada.until(15*time.Second, "a new session", fmt.Sprintf("konzil.conference.call.jingleSession && konzil.conference.call.jingleSession.sid !== %q", sid))
	ada.receives(grace)
	grace.receives(ada)
}

// TestLogin: an account signs in with SCRAM; a wrong password is said in the lobby.
func TestLogin(t *testing.T) {
	s := startServer(t)
	ada := newPerson(t, "Ada")
	s.stop() // accounts of a local store are made while nothing runs
	s.addUser("ada", "correct horse")
	s.start()
	ada.do(chromedp.Navigate(s.url + "/account"))
	ada.until(15*time.Second, "the lobby", "window.konzil?.media?.tracks.v0")
	ada.click("#account summary")
	ada.do(chromedp.SetValue(chromedp.CSS("#user"), "ada"), chromedp.SetValue(chromedp.CSS("#password"), "wrong"))
	ada.click("#join")
	ada.until(15*time.Second, "the reason", "document.querySelector('#join-error').textContent.includes('not right')")
	ada.do(chromedp.SetValue(chromedp.CSS("#password"), "correct horse"))
	ada.click("#join")
	ada.until(20*time.Second, "joined", "konzil.state === 'joined'")
	if jid := eval[string](ada, "konzil.conference.connection.jid.split('/')[0]"); jid != "ada@localhost" {
		t.Errorf("joined as %s", jid)
	}
}

// TestModeration: the first participant is moderator, mutes somebody and removes them.
func TestModeration(t *testing.T) {
	s := startServer(t)
	ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
	url := s.url + "/moderated"
	ada.join(url)
	grace.join(url)
	ada.receives(grace)
	ada.until(5*time.Second, "Ada is moderator", "konzil.conference.isModerator")
	ada.press("p")
	row := fmt.Sprintf(".people li[data-id=%q] ", grace.id())
	ada.click(row + "[aria-label='Mute Grace']")
	grace.until(10*time.Second, "muted by Ada", "!konzil.media.sending('a0')")
	grace.press("m")
	grace.until(5*time.Second, "unmuted again", "konzil.media.sending('a0')")
	ada.click(row + "[aria-label='More about Grace']")
	ada.click(".menu .danger")
	ada.click("#ask .primary")
	grace.until(10*time.Second, "removed", "konzil.state === 'ended' && document.querySelector('.overlay h2').textContent.startsWith('Ada removed you')")
	ada.until(10*time.Second, "alone", "konzil.participants.length === 0")
}

// TestScreenshots keeps pictures of every view, for eyes.
func TestScreenshots(t *testing.T) {
	s := startServer(t)
	ada, grace := newPerson(t, "Ada Lovelace"), newPerson(t, "Grace Hopper")
	url := s.url + "/colloquium"
	ada.look(1280, 800, "light")
	ada.do(chromedp.Navigate(s.url + "/"))
	ada.until(5*time.Second, "the home page", "window.konzil?.state === 'home'")
	ada.everyLook("home")
	ada.do(chromedp.Navigate(url))
	ada.until(15*time.Second, "the preview", "window.konzil?.media?.tracks.v0 && document.querySelector('.frame video').videoWidth > 0")
	ada.everyLook("door")
	ada.enter()
	ada.until(10*time.Second, "moderator", "konzil.conference.isModerator && konzil.conference.info")

	eval[any](ada, "konzil.conference.lobby.setEnabled(true)")
	grace.do(chromedp.Navigate(url))
	grace.until(15*time.Second, "the door", "window.konzil?.media?.tracks.a0 && konzil.media.tracks.v0")
	grace.do(chromedp.SetValue(chromedp.CSS("#name"), grace.name))
	grace.click("#join")
	grace.says("#join", "Ask to join")
	grace.everyLook("door-lobby")
	grace.click("#join")
	grace.says("#waiting", "You have knocked")
	grace.everyLook("door-waiting")
	ada.says(".request", "Grace Hopper would like to join.")
	ada.everyLook("meeting-knock")
	ada.press("p")
	ada.everyLook("meeting-people-waiting")
	ada.press("Escape")
	ada.click(".request .primary")
	ada.receives(grace)

	eval[bool](grace, "konzil.sendChat('The slides: https://example.org/slides.pdf'), konzil.conference.raiseHand(true), true")
	ada.until(5*time.Second, "the message", "konzil.messages.length > 0")
	eval[bool](ada, `(({chat, id}) => {
		const [m] = chat.messages;
		chat.react(m, '👍');
		chat.send('Thank you! There is a mistake on the third one.', {replyTo: m});
		chat.send('Shall we take a break at eleven?', {to: m.from});
		return true;
	})(konzil.conference)`)
	eval[bool](grace, `(({polls}) => polls.create('Where shall we meet next time?', ['In the large hall, as always', 'Outside, if the weather is fine', 'Here']))(konzil.conference)`)
	ada.until(5*time.Second, "the poll", "konzil.conference.polls.list.length === 1")
	eval[bool](ada, "konzil.conference.breakout.add('Compilers'), konzil.conference.breakout.add('Machines'), true")
	for _, v := range views {
		ada.look(v.width, v.height, v.scheme)
		ada.until(5*time.Second, "a picture of Grace", "document.querySelector('.tile:not(.self) video').videoWidth > 0")
		ada.screenshot("meeting-" + v.name)
		ada.press("e")
		ada.screenshot("meeting-react-" + v.name)
		ada.press("Escape")
	}
	ada.press("c")
	ada.everyLook("meeting-chat")
	ada.press("Escape")
	ada.press("p")
	ada.everyLook("meeting-people")
	ada.press("Escape")
	ada.item("#more", "Polls")
	ada.everyLook("meeting-poll")
	eval[bool](ada, "(({polls}) => polls.vote(polls.list[0], [true, false, true]))(konzil.conference)")
	ada.says(".results", "Here")
	ada.everyLook("meeting-poll-results")
	ada.click("#new-poll")
	ada.everyLook("meeting-poll-new")
	ada.click(".poll-form .buttons button:not(.primary)")
	ada.click("#panel-polls header button")
	ada.item("#more", "Breakout rooms")
	ada.until(5*time.Second, "the rooms", "document.querySelectorAll('.room').length === 3")
	ada.everyLook("meeting-breakout")
	ada.click("#panel-breakout header button")
	for _, d := range []string{"Moderation", "Speaking times", "Settings"} {
		ada.item("#more", d)
		ada.everyLook("meeting-dialog-" + strings.ToLower(d[:8]))
		ada.closeDialog()
	}
	for _, v := range views {
		ada.look(v.width, v.height, v.scheme)
		ada.click("#more")
		ada.screenshot("meeting-more-" + v.name)
		ada.press("Escape")
	}
	ada.look(1280, 800, "light")
	ada.item("#more", "Settings")
	ada.do(chromedp.SetValue(chromedp.CSS("#own-language"), "de"))
	eval[bool](ada, "document.querySelector('#own-language').dispatchEvent(new Event('change')), document.querySelector('dialog[open]').close(), true")
	ada.everyLook("meeting-german")
	eval[bool](ada, fmt.Sprintf("konzil.setStage(%q), true", grace.id()+"-v0"))
	ada.everyLook("meeting-stage")
	ada.item("#leave", "Besprechung verlassen")
	ada.everyLook("ended")
}

// everyLook keeps pictures of a view in all windows and colours.
func (p *person) everyLook(name string) {
	p.t.Helper()
	for _, v := range views {
		p.look(v.width, v.height, v.scheme)
		p.screenshot(name + "-" + v.name)
	}
}

var views = []struct {
	name          string
	width, height int64
	scheme        string
}{
	{"desktop-light", 1280, 800, "light"},
	{"desktop-dark", 1280, 800, "dark"},
	{"phone-light", 390, 844, "light"},
	{"phone-dark", 390, 844, "dark"},
}
