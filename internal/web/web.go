// Package web is the built-in meeting page and what serves it. The page is plain ES modules under static/, embedded as they
// are: what the browser runs is what is read here, and it speaks only the public protocol, so it is also an example of a
// Jitsi-compatible client. Its path, in order:
//
//	static/app.js               which view: / is the home page, /<room> a meeting; window.konzil for tests
//	static/ui/door.js           preview, devices, name, password, knocking; calls Conference.join
//	static/proto/conference.js  the order of a meeting, and the table of what is asked of the server
//	static/proto/xmpp.js        the stream: WebSocket, SASL, bind, stream management
//	static/proto/muc.js         the room
//	static/proto/call.js        the media of a stay in a room, with
//	static/proto/jingle.js      Jingle to plain objects and back
//	static/proto/sdp.js         plain objects to SDP and back
//	static/proto/session.js     the RTCPeerConnection: one slot (m-line) per source
//	static/proto/bridge.js      the bridge channel
//	static/proto/chat.js        and its neighbours (lobby, moderation, breakout, polls, reactions, recording, speakerstats) are a feature of
//	                            meetings each: they hear the conference's events and change what the page shows
//	static/ui/meeting.js        the view of a meeting; panels and dialogs are a file each
//	static/ui/tiles.js          what is on the screen, and so what is asked of the bridge
//	static/ui/notices.js        what is said in words
//	static/texts/               the words, by language
//
// The server offers media and the page answers, always; it announces neither peer-to-peer sessions nor SSRC rewriting.
//
// Instead of the page an operator can serve a build of jitsi-meet, the stock client, from a folder: site.go finds the file, the room or the
// tenant behind a URL, ssi.go puts index.html together, gzip.go keeps what is sent compressed. What both clients are told of the server
// comes from clientconfig.go.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed static
var static embed.FS

// Handler serves
//
//	/            the page, as home
//	/<room>      the page, as meeting: any other single-segment path
//	/static/...  modules, style, icon; with ETag, checked each time, so that a new binary is a new page
//	/config.js   `var config = {...}` for this host
//
// and 404 for all else, with a page that says so. Methods other than GET and HEAD get 405.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	files := loadStatic()
	index := files["/static/index.html"]
	mux.HandleFunc("GET /config.js", func(w http.ResponseWriter, r *http.Request) { serveConfig(w, r, cfg) })
	mux.HandleFunc("GET /static/", func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		f.serve(w, r)
	})
	page := func(w http.ResponseWriter, r *http.Request) { index.serve(w, r) }
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /{room}", page)
	lost := files["/static/notfound.html"]
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", lost.contentType)
		w.WriteHeader(http.StatusNotFound)
		w.Write(lost.body)
	})
	return secured(mux)
}

// file is one embedded file, ready to be sent.
type file struct {
	contentType, etag string
	body              []byte
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "no-cache") // keep it, but ask each time: 304 costs little
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

// contentTypes are fixed here because the system's table of types differs between machines.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

func loadStatic() map[string]file {
	out := map[string]file{}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		ct, ok := contentTypes[path.Ext(name)]
		if !ok {
			ct = mime.TypeByExtension(path.Ext(name))
		}
		sum := sha256.Sum256(body)
		out["/"+name] = file{contentType: ct, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, body: body}
		return nil
	})
	if err != nil {
		panic("web: embedded files cannot be read: " + err.Error()) // a broken build
	}
	return out
}

// contentPolicy allows nothing but our own files, no inline script or style. WebSockets may go to other hosts of ours (a bridge's
// own channel), and only with TLS, or to where the page came from.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; " +
	"connect-src 'self' wss:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self)")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
