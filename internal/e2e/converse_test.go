package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// converseJS is a web client with a face, as its makers publish it.
const converseJS = "converse.js@14.0.0"

// conversePage is a page of another origin that offers Converse. A plugin gives the test its API: the page alone has only the start.
const conversePage = `<!doctype html><meta charset="utf-8"><title>Converse</title>
<link rel="stylesheet" href="/dist/converse.min.css"><script type="module" src="/dist/converse.min.js"></script>
<body><script type="module">
converse.plugins.add('test', { initialize() { globalThis.api = this._converse.api; globalThis._converse = this._converse; } });
</script>`

// converseSite fetches Converse from the npm registry and serves it.
func converseSite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, step := range [][]string{{"npm", "pack", "--silent", converseJS}, {"sh", "-c", "tar xzf *.tgz package/dist"}} {
		cmd := exec.Command(step[0], step[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("%s cannot be had from the npm registry: %v %s", converseJS, err, out)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/dist/", http.FileServer(http.Dir(filepath.Join(dir, "package"))))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, conversePage)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

// converse is a person in front of Converse.
type converse struct{ *person }

// enterConverse opens Converse in a profile of its own and logs in with its form, by WebSocket.
func enterConverse(t *testing.T, s *server, site, name, jid, password string) converse {
	t.Helper()
	c := converse{newPerson(t, name)}
	c.do(chromedp.Navigate(site))
	c.until(10*time.Second, "Converse is loaded", `globalThis.converse?.initialize && document.readyState === 'complete'`)
	c.run(`converse.initialize({
		websocket_url: 'wss` + s.url[len("https"):] + `/xmpp-websocket', discover_connection_methods: false, authentication: 'login',
		assets_path: '/dist/', view_mode: 'fullscreen', whitelisted_plugins: ['test'], auto_subscribe: true, play_sounds: false,
		show_desktop_notifications: 'none', loglevel: 'warn', i18n: 'en', muc_nickname_from_jid: true,
	})`)
	c.until(10*time.Second, "login form", `document.querySelector('#converse-login input[name=password]')`)
	c.do(chromedp.SetValue(chromedp.CSS("#converse-login input[name=jid]"), jid), chromedp.SetValue(chromedp.CSS("#converse-login input[name=password]"), password))
	c.click("#converse-login [type=submit]")
	c.until(10*time.Second, "logged in", `globalThis.api?.connection.connected() && api.user.jid()`)
	c.run(`api.waitUntil('rosterContactsFetched')`)
	return c
}

// run runs a step of Converse's API to its end.
func (c converse) run(step string) {
	c.t.Helper()
	eval[any](c.person, `Promise.resolve(`+step+`).then(() => null)`)
}

// write writes to the chat or room with jid, which is then on screen.
func (c converse) write(kind, jid, text string) {
	c.t.Helper()
	c.run(`api.` + kind + `.open('` + jid + `', {}, true).then((chat) => chat.sendMessage({body: '` + text + `'}))`)
}

// reads waits until the texts are on screen in the chat with jid, in that order and each once.
func (c converse) reads(jid string, texts ...string) {
	c.t.Helper()
	shown := fmt.Sprintf(`[...document.querySelectorAll('[jid="%s"] .chat-msg__text')].map((e) => e.textContent.trim()).join('|')`, jid)
	defer func() {
		if c.t.Failed() {
			c.t.Logf("%s shows %q in %d chats", c.name, eval[string](c.person, shown), eval[int](c.person, `document.querySelectorAll('[jid="`+jid+`"]').length`))
			c.t.Logf("kept: %s", eval[string](c.person, `JSON.stringify(_converse.state.chatboxes.get('`+jid+`')?.messages?.map((m) => m.attributes))`))
		}
	}()
	// Converse sometimes keeps a chat that a message has made in the background, whoever opens it meanwhile: it is brought up again.
	up := fmt.Sprintf(`(document.querySelector('[jid="%[1]s"] .chat-msg__text') || _converse.state.chatboxes.get('%[1]s')?.maybeShow?.(true), true)`, jid)
	c.until(10*time.Second, fmt.Sprintf("reads %q", texts), fmt.Sprintf(`%s && %s === %q`, up, shown, strings.Join(texts, "|")))
}

// TestConverse: two people with Converse add each other, see each other's presence, write to each other and in a room. Another device of
// one of them then finds contact, room (by its bookmark), both histories and the other's name and picture on the server.
func TestConverse(t *testing.T) {
	s := startServer(t)
	site := converseSite(t)
	s.addUser("ada", "secret-a")
	s.addUser("ben", "secret-b")
	const room = "tea@conference.localhost"
	ada := enterConverse(t, s, site, "Ada", "ada@localhost", "secret-a")
	ben := enterConverse(t, s, site, "Ben", "ben@localhost", "secret-b")

	ada.run(`api.contacts.add({jid: 'ben@localhost', name: 'Benjamin'})`)
	for p, other := range map[converse]string{ada: "ben@localhost", ben: "ada@localhost"} {
		p.until(10*time.Second, other+" is a contact and online", contact(other)+`?.get('subscription') === 'both' && `+contact(other)+`.presence.getStatus() === 'online'`)
	}

	ada.write("chats", "ben@localhost", "Hello Ben")
	ben.run(`api.chats.open('ada@localhost', {}, true)`)
	ben.reads("ada@localhost", "Hello Ben")
	ben.write("chats", "ada@localhost", "Hello <Ada> & all")
	ada.reads("ben@localhost", "Hello Ben", "Hello <Ada> & all")

	ada.run(`api.vcard.set('ada@localhost', {fn: 'Ada Lovelace', image: '` + pixel + `', image_type: 'image/gif'})`)

	tea := `_converse.state.chatboxes.get('` + room + `')`
	// Ada makes a room that stays: others have no archive.
	ada.run(`api.rooms.open('` + room + `', {nick: 'Ada', auto_configure: true, roomconfig: {persistentroom: true}}, true)`)
	ada.until(10*time.Second, "made the room", tea+`?.features.get('persistent') && `+tea+`.features.get('mam_enabled')`)
	ben.run(`api.rooms.open('` + room + `', {nick: 'Ben'}, true)`)
	ben.until(10*time.Second, "is in the room", tea+`?.isEntered()`)
	ada.write("rooms", room, "Tea is ready")
	ben.reads(room, "Tea is ready")
	ben.write("rooms", room, "Coming")
	ada.reads(room, "Tea is ready", "Coming")
	ben.reads(room, "Tea is ready", "Coming")
	ben.run(`api.bookmarks.set({jid: '` + room + `', name: 'Tea', nick: 'Ben', autojoin: true})`)

	again := enterConverse(t, s, site, "Ben again", "ben@localhost", "secret-b")
	again.until(10*time.Second, "Ada is a contact and online", contact("ada@localhost")+`?.get('subscription') === 'both' && `+contact("ada@localhost")+`.presence.getStatus() === 'online'`)
	again.run(`api.chats.open('ada@localhost', {}, true)`)
	again.reads("ada@localhost", "Hello Ben", "Hello <Ada> & all")
	again.until(10*time.Second, "came into the room by its bookmark", tea+`?.isEntered()`)
	again.run(`api.rooms.open('` + room + `', {}, true)`)
	again.reads(room, "Tea is ready", "Coming")
	again.until(10*time.Second, "has Ada's name and picture", contact("ada@localhost")+`.vcard?.get('fullname') === 'Ada Lovelace' && `+contact("ada@localhost")+`.vcard.get('image') === '`+pixel+`'`)

	ada.run(`api.user.logout()`)
	ben.until(10*time.Second, "sees Ada leave", contact("ada@localhost")+`.presence.getStatus() === 'offline'`)
}

// contact is an expression for the contact with jid.
func contact(jid string) string { return `_converse.state.roster.get('` + jid + `')` }

// pixel is a GIF of one pixel, in base64.
const pixel = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
