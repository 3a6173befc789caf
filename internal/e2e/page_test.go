package e2e

import (
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"konzil/internal/web"
)

// servePage serves the page alone: for what needs a browser and no server.
func servePage(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(web.Handler(web.Config{Domain: "localhost", MUC: "conference.localhost", Focus: "focus.localhost"}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestLoopback runs the page's WebRTC part against another RTCPeerConnection: what the server's tests cannot see.
func TestLoopback(t *testing.T) {
	script, err := os.ReadFile("testdata/loopback.js")
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, "Ada")
	p.do(chromedp.Navigate(servePage(t) + "/"))
	if got := eval[string](p, string(script)); got != "ok" {
		t.Fatal(got)
	}
}

// TestLanguages: the page speaks the browser's language, and the other one after the switch, also when it is opened again.
func TestLanguages(t *testing.T) {
	p := newPerson(t, "Ada")
	url := servePage(t)
	p.do(chromedp.Navigate(url + "/"))
	heading := "document.querySelector('h1').textContent === "
	p.until(5*time.Second, "English", heading+"'Meet face to face, from any browser.'")
	p.click("#language")
	p.until(5*time.Second, "German", heading+"'Von Angesicht zu Angesicht, in jedem Browser.' && document.documentElement.lang === 'de'")
	p.do(chromedp.Navigate(url + "/standup"))
	p.until(10*time.Second, "still German", "document.querySelector('#join')?.textContent === 'Beitreten'")
}

// TestLost: an address that can be no meeting leads to a page that says so, and on to the start page.
func TestLost(t *testing.T) {
	p := newPerson(t, "Ada")
	url := servePage(t)
	for _, path := range []string{"/%E0%A4", "/a%20%3Cb%3E", "/%00"} {
		p.do(chromedp.Navigate(url + path))
		p.says(".error", "That cannot be the name of a meeting.")
	}
	p.do(chromedp.Navigate(url + "/two/segments"))
	p.says("h1", "There is nothing here.")
	p.everyLook("lost")
	p.click(".primary")
	p.until(5*time.Second, "the start page", "window.konzil?.state === 'home' && !document.querySelector('.error').checkVisibility()")
}

// TestTabOrder: everything in the lobby that can be used is reached with the Tab key, and has a name for screen readers.
func TestTabOrder(t *testing.T) {
	p := newPerson(t, "Ada")
	p.do(chromedp.Navigate(servePage(t) + "/standup"))
	p.until(15*time.Second, "the lobby", "window.konzil?.media?.tracks.v0 && window.konzil.media.tracks.a0")
	eval[bool](p, "document.activeElement.blur(), window.seen = new Set(), addEventListener('focusin', (ev) => seen.add(ev.target)), true")
	for range eval[int](p, usable+".length") + 2 {
		p.press("Tab")
	}
	for _, missed := range eval[[]string](p, usable+".filter((e) => !seen.has(e)).map((e) => e.outerHTML)") {
		t.Errorf("not reached: %s", missed)
	}
	p.named()
}

// usable is what can be used on the page now.
const usable = "[...document.querySelectorAll('a[href], button, input, select, summary, textarea')].filter((e) => e.checkVisibility() && !e.disabled)"

// named: all that can be used has a name for screen readers.
func (p *person) named() {
	p.t.Helper()
	for _, e := range eval[[]string](p, usable+".filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)") {
		p.t.Errorf("%s: no name: %s", p.name, e)
	}
}

// TestUnreachable: a server that does not answer is said in the lobby, which can be used again.
func TestUnreachable(t *testing.T) {
	p := newPerson(t, "Ada")
	p.do(chromedp.Navigate(servePage(t) + "/standup")) // has no /xmpp-websocket
	p.until(15*time.Second, "the lobby", "window.konzil?.media?.tracks.v0")
	p.click("#join")
	p.until(20*time.Second, "the reason", "!document.querySelector('#join-error').hidden && document.querySelector('#join-error').textContent.includes('cannot be reached')")
	p.until(5*time.Second, "another try is possible", "!document.querySelector('#join').disabled")
}
