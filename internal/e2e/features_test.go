package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestFeatures is one meeting of three that goes through everything that a participant and a moderator can do on the page. The steps share a
// server and three tabs, and each begins where the one before ended.
func TestFeatures(t *testing.T) {
	s := startServer(t, "rooms:\n  max_occupants: 4\n", // three people and the focus
		"services:\n  accounts: ['jibri@auth.localhost:secret-jibri']\n  jibri_brewery: jibribrewery\n")
	m := &seminar{t: t, url: s.url + "/seminar", ada: newPerson(t, "Ada"), grace: newPerson(t, "Grace"), linus: newPerson(t, "Linus")}
	m.ada.join(m.url)
	m.ada.until(20*time.Second, "moderator", "konzil.conference.isModerator && konzil.conference.info")
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"lobby", m.lobby}, {"full", m.full}, {"reactions", m.reactions}, {"chat", m.chat}, {"private", m.private}, {"polls", m.polls}, {"password", m.password},
		{"avmoderation", m.avModeration}, {"mute all", m.muteAll}, {"grant", m.grant}, {"breakout", m.breakout}, {"recording", m.recording}, {"speakers", m.speakers}, {"settings", m.settings},
		{"names", m.names}, {"end", m.end},
	} {
		if !t.Run(step.name, func(t *testing.T) { m.on(t); step.do() }) {
			break // the next ones would only fail too
		}
	}
}

// seminar is the meeting of TestFeatures.
type seminar struct {
	t                 *testing.T
	url               string
	ada, grace, linus *person
}

func (m *seminar) all() []*person { return []*person{m.ada, m.grace, m.linus} }

// on lets the people report to a step.
func (m *seminar) on(t *testing.T) {
	m.t = t
	for _, p := range m.all() {
		p.t = t
	}
}

// says waits for words on the screen, in an element.
func (p *person) says(css, text string) {
	p.t.Helper()
	p.until(20*time.Second, text+" in "+css, fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.checkVisibility() && e.textContent.includes(%q))", css, text))
}

// typeIn puts a text in a field, in place of what was there.
func (p *person) typeIn(css, text string) {
	p.t.Helper()
	p.click(css)
	eval[any](p, fmt.Sprintf("(document.querySelector(%q).select(), null)", css))
	p.do(chromedp.SendKeys(chromedp.CSS(css), text))
}

// flip clicks a switch of the moderation dialog and waits until the server has it.
func (p *person) flip(id string, on bool) {
	p.t.Helper()
	p.item("#more", "Moderation")
	p.click("#" + id)
	p.until(20*time.Second, id, fmt.Sprintf("document.getElementById(%q).checked === %v && konzil.conference.isModerator", id, on))
	p.closeDialog()
}

func (p *person) closeDialog() {
	p.t.Helper()
	p.press("Escape")
	p.until(20*time.Second, "the dialog is closed", "!document.querySelector('dialog[open]')")
}

// lobby: two knock, one is sent away and knocks again, both are let in at once.
func (m *seminar) lobby() {
	m.ada.flip("security-lobby", true)
	m.ada.until(20*time.Second, "the lobby is on", "konzil.conference.lobby.enabled && konzil.conference.lobby.room?.joined")
	knock := func(p *person) {
		p.do(chromedp.Navigate(m.url))
		p.until(20*time.Second, "camera and microphone are there", "window.konzil?.media?.tracks.a0 && konzil.media.tracks.v0")
		p.click("#join")
		p.says("#join-error", "Please enter your name")
		p.do(chromedp.SetValue(chromedp.CSS("#name"), p.name))
		p.click("#join")
		p.says("#door-knock", "has a lobby")
		p.says("#join", "Ask to join")
		p.click("#join")
		p.says("#waiting", "You have knocked")
	}
	knock(m.grace)
	m.ada.says(".request", "Grace would like to join.")
	knock(m.linus)
	m.ada.says(".request", "2 people would like to join: Grace, Linus")
	m.grace.click("#cancel")
	m.ada.says(".request", "Linus would like to join.")
	m.ada.press("p")
	m.ada.click("[aria-label='Deny Linus']")
	m.linus.says("#join-error", "You were not let in.")
	m.ada.until(20*time.Second, "nobody waits", "!document.querySelector('.request') && document.querySelector('.waiting').hidden")
	for _, p := range []*person{m.grace, m.linus} {
		p.click("#join")
		p.says("#waiting", "You have knocked")
	}
	m.ada.says(".waiting", "Linus")
	m.ada.says(".waiting", "Grace")
	m.ada.click(".request .primary")
	for _, p := range []*person{m.grace, m.linus} {
		p.until(20*time.Second, "let in", "konzil.state === 'joined'")
	}
	m.ada.until(20*time.Second, "nobody waits any more", "konzil.participants.length === 2 && !document.querySelector('.request')")
	m.ada.press("Escape")
	m.ada.flip("security-lobby", false)
	m.ada.until(20*time.Second, "the lobby is off", "!konzil.conference.lobby.enabled")
	for _, p := range m.all() {
		for _, o := range m.all() {
			if o != p {
				p.receives(o)
			}
		}
	}
	for _, p := range m.all() { // cameras cost the machine much, and the next steps look at other things
		p.press("v")
		p.until(20*time.Second, "camera off", "!konzil.media.sending('v0')")
	}
}

// full: the fourth finds no place, and is told so.
func (m *seminar) full() {
	p := newPerson(m.t, "Mallory")
	p.do(chromedp.Navigate(m.url))
	p.until(20*time.Second, "the door", "window.konzil?.media?.tracks.v0")
	p.click("#join")
	p.says("#join-error", "This meeting is full.")
}

// reactions: emojis fly at the others', and hands have an order.
func (m *seminar) reactions() {
	m.grace.item("#react", "Applause")
	for _, p := range m.all() {
		p.says(".floater", "👏")
	}
	m.ada.says(".floater small", "Grace")
	m.linus.press("r")
	m.ada.until(20*time.Second, "Linus' hand", fmt.Sprintf("konzil.conference.hands[0] === %q", m.linus.id()))
	m.grace.press("r")
	m.ada.press("p")
	hand := func(p *person, n int) string {
		return fmt.Sprintf("document.querySelector('.people li[data-id=%q] .badge.hand')?.textContent === '%d'", p.id(), n)
	}
	m.ada.until(20*time.Second, "the order of hands", hand(m.linus, 1)+" && "+hand(m.grace, 2))
	m.linus.press("r")
	m.ada.until(20*time.Second, "the next is first", hand(m.grace, 1))
	m.grace.press("r")
	m.ada.press("Escape")
}

// last is the newest message in the panel with that text.
func last(text string) string {
	return fmt.Sprintf("[...document.querySelectorAll('.message')].findLast((e) => e.textContent.includes(%q))", text)
}

// act opens the menu of the message with that text.
func (p *person) act(text, entry string) {
	p.t.Helper()
	p.until(20*time.Second, "the message "+text, last(text))
	id := eval[string](p, last(text)+".dataset.id")
	p.item(fmt.Sprintf(".message[data-id=%q] .more", id), entry)
}

func (p *person) write(text string) {
	p.t.Helper()
	p.typeIn("#chat-input", text)
	p.press("Enter")
}

// chat: an answer, a correction, a reaction given and taken back, a retraction, and what a moderator removes.
func (m *seminar) chat() {
	for _, p := range []*person{m.ada, m.grace} {
		p.press("c")
	}
	m.ada.write("Shall we strat?")
	m.linus.until(20*time.Second, "unread", "document.querySelector('#chat .count').textContent === '1'")
	m.linus.press("c")
	m.linus.until(20*time.Second, "read", "document.querySelector('#chat .count').hidden")
	m.ada.act("strat", "Edit")
	m.ada.until(20*time.Second, "the text to change", "document.querySelector('#chat-input').value === 'Shall we strat?'")
	m.ada.write("Shall we start?")
	m.grace.says(".message p", "Shall we start? (edited)")
	m.grace.until(time.Second, "one message", "document.querySelectorAll('.message').length === 1")
	m.grace.act("start", "Reply")
	m.grace.write("Yes")
	m.linus.says(".message blockquote", "Ada Shall we start?")
	m.linus.act("Yes", "React with 🎉")
	m.ada.says(".pill", "🎉 1")
	m.ada.act("Yes", "React with 🎉")
	m.grace.says(".pill", "🎉 2")
	m.linus.click(".pill")
	m.grace.says(".pill", "🎉 1")
	m.linus.write("Oops")
	m.ada.says(".message", "Oops")
	m.linus.act("Oops", "Delete")
	m.linus.click("#ask .primary")
	for _, p := range m.all() {
		p.says(".message .gone", "This message was deleted.")
	}
	m.linus.write("Buy cheap watches")
	m.ada.act("watches", "Delete")
	m.ada.click("#ask .primary")
	for _, p := range m.all() {
		p.says(".message .gone", "A moderator deleted this message.")
	}
}

// private: only the two of them read it.
func (m *seminar) private() {
	m.ada.press("Escape")
	m.ada.press("p")
	m.ada.item(fmt.Sprintf(".people li[data-id=%q] [aria-label='More about Grace']", m.grace.id()), "Write to Grace")
	m.ada.write("Between us")
	m.grace.says(".message.private", "Between us")
	m.grace.says(".message.private em", "to you only")
	m.ada.says(".message.private em", "only to Grace")
	m.grace.act("Between us", "Reply")
	m.grace.write("I see")
	m.ada.says(".message.private", "I see")
	m.grace.act("Between us", "React with 👍")
	m.ada.says(".message.private .pill", "👍 1")
	m.grace.click("#panel-chat header button")
	m.ada.write("And all: private again?")
	m.grace.until(20*time.Second, "unread", "document.querySelector('#chat .count').textContent === '1'")
	if eval[bool](m.linus, "konzil.messages.some((x) => x.isPrivate || x.text === 'Between us')") {
		m.t.Error("Linus read it")
	}
	for _, p := range []*person{m.ada, m.linus} {
		p.click("#panel-chat header button")
	}
}

// polls: asked, answered, seen, and answered anew.
func (m *seminar) polls() {
	m.grace.item("#more", "Polls")
	m.grace.click("#new-poll")
	m.grace.typeIn("#poll-question", "When?")
	m.grace.typeIn(".poll-answers li:nth-child(1) input", "Monday")
	m.grace.typeIn(".poll-answers li:nth-child(2) input", "Tuesday")
	m.grace.click(".poll-form .primary")
	m.ada.says(".toast", "New poll: When?")
	for _, p := range []*person{m.ada, m.linus} {
		p.item("#more", "Polls")
		p.says(".poll", "asked by Grace")
	}
	m.ada.click(".poll .choice:nth-of-type(2) input")
	m.ada.click(".poll .primary")
	m.linus.click(".poll .buttons button:not(.primary)") // the results alone
	m.linus.says(".results li:nth-child(2)", "Ada")
	m.linus.says(".poll .hint", "1 voted")
	m.ada.click(".poll .buttons button") // another vote
	m.ada.click(".poll .choice:nth-of-type(1) input")
	m.ada.click(".poll .choice:nth-of-type(2) input")
	m.ada.click(".poll .primary")
	m.linus.says(".results li:nth-child(1)", "Ada")
	m.linus.until(20*time.Second, "the old vote is gone", "!document.querySelector('.results li:nth-child(2) small')")
	for _, p := range m.all() {
		p.click("#panel-polls header button")
	}
}

// password: asked for at the door, with words for a wrong one; who comes later finds the polls and the chat.
func (m *seminar) password() {
	m.ada.item("#more", "Moderation")
	m.ada.typeIn("#security-password", "sesame")
	m.ada.click("#security-set")
	m.ada.says("#security-state", "The meeting has a password.")
	m.linus.until(20*time.Second, "the lock", "!document.querySelector('.locked').hidden")
	m.linus.click("#leave")
	m.linus.until(20*time.Second, "out", "konzil.state === 'ended'")
	m.linus.do(chromedp.Navigate(m.url + "?again"))
	m.linus.until(20*time.Second, "the door", "window.konzil?.media?.tracks.a0 && konzil.media.tracks.v0")
	m.linus.click("#join")
	m.linus.says("#join-error", "This meeting has a password.")
	m.linus.typeIn("#room-password", "open")
	m.linus.click("#join")
	m.linus.says("#join-error", "The password of the meeting is not right.")
	m.ada.typeIn("#security-password", "sesame2")
	m.ada.click("#security-set")
	m.ada.until(20*time.Second, "changed", "document.querySelector('#security-password').value === ''")
	m.linus.typeIn("#room-password", "sesame2")
	m.linus.click("#join")
	m.linus.until(20*time.Second, "in", "konzil.state === 'joined'")
	m.linus.until(20*time.Second, "the poll from before", "konzil.conference.polls.list[0]?.answers[0].voters.size === 1")
	m.linus.until(20*time.Second, "the chat from before, as it was corrected", "konzil.messages.some((x) => x.text === 'Shall we start?' && x.delayed) && !konzil.messages.some((x) => /Oops|watches|us/.test(x.text))")
	m.ada.click("#security-remove")
	m.ada.says("#security-state", "The meeting has no password.")
	m.ada.closeDialog()
	m.linus.press("v")
	m.linus.hears(m.ada, m.grace)
}

// avModeration: nobody but moderators may speak; one asks and is allowed, and is heard again; the other is not.
func (m *seminar) avModeration() {
	m.ada.flip("security-audio", true)
	for _, p := range []*person{m.grace, m.linus} {
		p.until(20*time.Second, "muted", "!konzil.media.sending('a0')")
		p.press("m")
		p.says(".toast", "Raise your hand to ask")
		p.until(time.Second, "still muted", "!konzil.media.sending('a0')")
	}
	m.grace.press("r")
	m.ada.says(".request", "Grace raised a hand")
	m.ada.click(".request .primary")
	m.grace.says(".request", "You may speak now.")
	m.grace.until(20*time.Second, "the hand goes down", "!konzil.conference.self.hand")
	m.grace.click(".request .primary")
	m.linus.until(20*time.Second, "Grace speaks", fmt.Sprintf("konzil.participants.find((p) => p.id === %q).sources[%q].muted === false", m.grace.id(), m.grace.id()+"-a0"))
	m.linus.hears(m.grace)
	m.linus.press("m")
	m.linus.until(time.Second, "muted all the same", "!konzil.media.sending('a0')")
	m.ada.press("p")
	m.ada.item(fmt.Sprintf(".people li[data-id=%q] [aria-label='More about Grace']", m.grace.id()), "Do not allow to speak any more")
	m.grace.until(20*time.Second, "muted again", "!konzil.media.sending('a0')")
	m.ada.flip("security-audio", false)
	for _, p := range []*person{m.grace, m.linus} {
		p.until(20*time.Second, "free", "konzil.conference.moderation.may('audio')")
		p.press("m")
		p.until(20*time.Second, "speaks", "konzil.media.sending('a0')")
	}
	m.grace.press("v")
	m.grace.until(20*time.Second, "camera on", "konzil.media.sending('v0')")
	for _, kind := range []string{"video", "desktop"} {
		m.ada.flip("security-"+kind, true)
		m.grace.until(20*time.Second, kind+" is moderated", fmt.Sprintf("!konzil.conference.moderation.may(%q)", kind))
	}
	m.grace.until(20*time.Second, "camera off", "!konzil.media.sending('v0')")
	m.grace.press("s")
	m.grace.says(".toast", "decides who shares a screen")
	for _, kind := range []string{"video", "desktop"} {
		m.ada.flip("security-"+kind, false)
	}
	m.grace.until(20*time.Second, "free", "konzil.conference.moderation.may('video') && konzil.conference.moderation.may('desktop')")
}

// muteAll silences everybody else.
func (m *seminar) muteAll() {
	m.ada.click("#mute-all")
	for _, p := range []*person{m.grace, m.linus} {
		p.until(20*time.Second, "muted", "!konzil.media.sending('a0')")
		p.press("m")
		p.until(20*time.Second, "speaks again", "konzil.media.sending('a0')")
	}
	m.ada.press("Escape")
	for _, p := range []*person{m.grace, m.linus} {
		m.ada.hears(p)
	}
}

// breakout: rooms are made and named, one is sent, one goes there itself; back, by chance, and closed.
func (m *seminar) breakout() {
	m.ada.item("#more", "Breakout rooms")
	m.ada.click("#breakout-add")
	m.ada.says(".room h3", "Room 1")
	room := func(name string) string {
		return fmt.Sprintf("konzil.conference.breakout.groups.find((r) => r.name === %q)", name)
	}
	first := eval[string](m.ada, room("Room 1")+".id")
	m.ada.item(fmt.Sprintf("[data-at='more %s']", first), "Rename")
	m.ada.typeIn("#ask-text", "Compilers")
	m.ada.click("#ask .primary")
	m.ada.says(".room h3", "Compilers")
	m.ada.item(fmt.Sprintf("[data-at='send %s']", m.grace.id()), "Compilers")
	m.grace.says(".top h1", "seminar · Compilers")
	m.ada.click(fmt.Sprintf("[data-at='go %s']", first))
	m.ada.says(".top h1", "seminar · Compilers")
	m.ada.hears(m.grace)
	m.grace.hears(m.ada)
	m.linus.until(20*time.Second, "alone", "konzil.participants.length === 0 && konzil.conference.breakout.groups[0].people.length === 2")
	m.ada.click("[data-at='go seminar']")
	m.linus.until(20*time.Second, "Ada is back", "konzil.participants.length === 1")
	m.linus.hears(m.ada)
	m.grace.item("#more", "Breakout rooms")
	m.grace.click("[data-at='go seminar']")
	m.ada.until(20*time.Second, "all in the main room", "konzil.participants.length === 2")
	m.ada.click("#breakout-add")
	m.ada.until(20*time.Second, "two rooms", "konzil.conference.breakout.groups.length === 2")
	m.ada.click("#breakout-assign")
	m.ada.until(20*time.Second, "one in each", "konzil.conference.breakout.groups.every((r) => r.people.length === 1)")
	m.ada.click("#breakout-close")
	m.ada.click("#ask .primary")
	m.ada.until(20*time.Second, "all are back", "konzil.participants.length === 2 && konzil.conference.breakout.groups.length === 0")
	for _, p := range []*person{m.ada, m.grace} {
		p.click("#panel-breakout header button")
	}
	m.ada.hears(m.grace, m.linus)
	m.grace.hears(m.linus)
}

// recording: a recorder (played by a tab of its own) begins, and everybody is told; also when it ends.
func (m *seminar) recording() {
	script, err := os.ReadFile("testdata/jibri.js")
	if err != nil {
		m.t.Fatal(err)
	}
	jibri := newPerson(m.t, "Jibri")
	jibri.do(chromedp.Navigate(strings.TrimSuffix(m.url, "seminar")))
	if got := eval[string](jibri, string(script)); got != "ready" {
		m.t.Fatal(got)
	}
	ask := func(action string) {
		eval[any](m.ada, fmt.Sprintf(`(async () => {
			const {el} = await import('/static/proto/xml.js');
			const {connection, room} = konzil.conference;
			await connection.iq(el('iq', {type: 'set', to: room.jid + '/focus'}, el('jibri', {xmlns: 'http://jitsi.org/protocol/jibri', action: %q, recording_mode: 'file'})));
			return null;
		})()`, action))
	}
	eventually(m.t, 10*time.Second, "the recorder is found", func() (bool, error) {
		_, err := tryEval[any](m.ada, "null")
		return eval[bool](jibri, "jibri.seen"), err
	})
	ask("start")
	for _, p := range m.all() {
		p.says(".recorded", "Recording")
		p.says(".toast", "This meeting is being recorded.")
	}
	ask("stop")
	m.grace.says(".toast", "The recording has stopped.")
	m.grace.until(20*time.Second, "no mark", "document.querySelector('.recorded').hidden")
}

// speakers: the fake microphones beep, so somebody spoke.
func (m *seminar) speakers() {
	m.ada.item("#more", "Speaking times")
	m.ada.until(20*time.Second, "times", "[...document.querySelectorAll('#speakers td')].some((e) => /[1-9]/.test(e.textContent)) && document.querySelectorAll('#speakers tbody tr').length >= 3")
	m.ada.closeDialog()
}

// settings: another name is seen by the others, and there are devices to choose.
func (m *seminar) settings() {
	m.linus.item("#more", "Settings")
	m.linus.until(20*time.Second, "devices", "document.querySelectorAll('#device-a0 option').length > 1 && document.querySelectorAll('#device-out option').length > 0")
	m.linus.typeIn("#own-name", "Linus T.")
	m.linus.closeDialog()
	m.ada.says(".tile-name", "Linus T.")
}

// grant makes a second moderator.
func (m *seminar) grant() {
	m.ada.press("p")
	m.ada.item(fmt.Sprintf(".people li[data-id=%q] [aria-label='More about Grace']", m.grace.id()), "Make moderator")
	m.ada.click("#ask .primary")
	m.grace.until(20*time.Second, "moderator", "konzil.conference.isModerator")
	m.ada.press("Escape")
}

// names: whatever is opened has a name for screen readers, and so has each control in it.
func (m *seminar) names() {
	for _, key := range []string{"c", "p"} {
		m.ada.press(key)
		m.ada.named()
		m.ada.press("Escape")
	}
	for _, entry := range []string{"Polls", "Breakout rooms"} {
		m.ada.item("#more", entry)
		m.ada.named()
		m.ada.click(".panel header button")
	}
	for _, entry := range []string{"Moderation", "Speaking times", "Settings"} {
		m.ada.item("#more", entry)
		m.ada.named()
		m.ada.until(20*time.Second, "the dialog has a heading", "document.getElementById(document.querySelector('dialog[open]').getAttribute('aria-labelledby')).textContent")
		m.ada.closeDialog()
	}
	m.ada.click("#react")
	m.ada.named()
	m.ada.press("Escape")
	m.ada.until(20*time.Second, "the focus is back", "document.activeElement.id === 'react' && !document.querySelector('.menu')")
}

// end: the new moderator ends the meeting for all.
func (m *seminar) end() {
	m.grace.item("#leave", "End the meeting for all")
	m.grace.click("#ask .primary")
	for _, p := range m.all() {
		p.says(".overlay h2", "The meeting was ended.")
	}
}
