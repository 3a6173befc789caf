package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// stropheJS is the library that Jitsi's and Converse's web clients speak XMPP with.
const stropheJS = "strophe.js@5.0.0"

// stropheScript fetches it from the npm registry.
func stropheScript(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, step := range [][]string{{"npm", "pack", "--silent", stropheJS}, {"sh", "-c", "tar xzf *.tgz package/dist/strophe.umd.min.js"}} {
		cmd := exec.Command(step[0], step[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("%s cannot be had from the npm registry: %v %s", stropheJS, err, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "package/dist/strophe.umd.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// elsewhere is a page of another origin.
func elsewhere(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>another page</title>")
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestStrophe: a stock web client from another origin logs in by BOSH (XEP-0206) and by WebSocket (RFC 7395), with SCRAM, and the two write to each other. The one with BOSH
// leaves, and its presence with it.
func TestStrophe(t *testing.T) {
	s := startServer(t)
	script := stropheScript(t)
	s.addUser("ada", "secret-a")
	s.addUser("ben", "secret-b")
	enter := func(name, service, jid, password string) *person {
		p := newPerson(t, name)
		p.do(chromedp.Navigate(elsewhere(t)))
		eval[any](p, script+"; null")
		state := eval[string](p, `new Promise((done) => {
			const {Strophe, $pres} = globalThis.strophe ?? globalThis;
			const c = globalThis.c = new Strophe.Connection('`+service+`', {keepalive: false});
			globalThis.Strophe = Strophe;
			globalThis.got = [];
			c.addHandler((m) => { got.push(m.getElementsByTagName('body')[0]?.textContent); return true; }, null, 'message', 'chat');
			c.addHandler((p) => { got.push('presence ' + (p.getAttribute('type') || 'available') + ' ' + p.getAttribute('from')); return true; }, null, 'presence');
			c.connect('`+jid+`', '`+password+`', (status, why) => {
				const s = Strophe.Status;
				console.log(status, why);
				if (status === s.CONNECTED) { c.send($pres().tree()); done('in by ' + c.mechanism?.mechname); }
				if (status === s.AUTHFAIL || status === s.CONNFAIL || status === s.CONNTIMEOUT) done('failed ' + why);
			});
		})`)
		if state[:2] != "in" {
			t.Fatalf("%s: %s", name, state)
		}
		return p
	}
	ada := enter("Ada", s.url+"/http-bind", "ada@localhost/bosh", "secret-a")
	ben := enter("Ben", "wss"+s.url[len("https"):]+"/xmpp-websocket", "ben@localhost/ws", "secret-b")
	send := func(p *person, to, text string) {
		eval[any](p, `(c.send(Strophe.xmlHtmlNode("<message xmlns='jabber:client' type='chat' to='`+to+`'><body>`+text+`</body></message>").documentElement), null)`)
	}
	// Ada sees Ben and the reverse.
	for p, to := range map[*person]string{ada: "ben@localhost", ben: "ada@localhost"} {
		for _, typ := range []string{"subscribe", "subscribed"} {
			eval[any](p, `(c.send(Strophe.xmlHtmlNode("<presence xmlns='jabber:client' type='`+typ+`' to='`+to+`'/>").documentElement), null)`)
		}
	}
	ben.until(10*time.Second, "sees Ada", `got.includes('presence available ada@localhost/bosh')`)
	for i, text := range []string{"one", "two", "three"} {
		send(ben, "ada@localhost/bosh", text)
		if i == 1 {
			send(ada, "ben@localhost/ws", "and back")
		}
	}
	ada.until(10*time.Second, "has all, in order", `got.filter((g) => ['one', 'two', 'three'].includes(g)).join() === 'one,two,three'`)
	ben.until(10*time.Second, "has the answer", `got.filter((g) => g === 'and back').length === 1`)
	eval[any](ada, `(c.disconnect('bye'), null)`)
	ben.until(10*time.Second, "sees Ada leave", `got.includes('presence unavailable ada@localhost/bosh')`)
	if eval[string](enterWrong(t, s, script), `globalThis.state`) != "refused" {
		t.Error("a wrong password was taken")
	}
}

// enterWrong tries a wrong password over BOSH.
func enterWrong(t *testing.T, s *server, script string) *person {
	t.Helper()
	p := newPerson(t, "Mallory")
	p.do(chromedp.Navigate(elsewhere(t)))
	eval[any](p, script+"; null")
	eval[any](p, `new Promise((done) => {
		const {Strophe} = globalThis.strophe ?? globalThis;
		const c = new Strophe.Connection('`+s.url+`/http-bind', {keepalive: false});
		c.connect('ada@localhost', 'wrong', (status) => {
			if (status === Strophe.Status.AUTHFAIL) { globalThis.state = 'refused'; done(null); }
			if (status === Strophe.Status.CONNECTED || status === Strophe.Status.CONNFAIL) { globalThis.state = 'status ' + status; done(null); }
		});
	})`)
	return p
}
