// Package web is the built-in meeting page and what serves it. The page is plain ES modules under static/, embedded as they
// are: what the browser runs is what is read here, and it speaks only the public protocol, so it is also an example of a
// Jitsi-compatible client. Its path, in order:
//
//	static/app.js               which view: / is the home page, /<room> a meeting; window.konzil for tests
//	static/ui/lobby.js          preview, devices, name; calls Conference.join
//	static/proto/conference.js  the order of a meeting, and the table of what is asked of the server
//	static/proto/xmpp.js        the stream: WebSocket, SASL, bind, stream management
//	static/proto/muc.js         the room
//	static/proto/jingle.js      Jingle to plain objects and back
//	static/proto/sdp.js         plain objects to SDP and back
//	static/proto/session.js     the RTCPeerConnection: one slot (m-line) per source
//	static/proto/bridge.js      the bridge channel
//	static/ui/tiles.js          what is on the screen, and so what is asked of the bridge
//
// The server offers media and the page answers, always; it announces neither peer-to-peer sessions nor SSRC rewriting.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// Config is what config.js tells clients (this page and stock Jitsi clients alike).
type Config struct {
	Domain      string // domain of accounts; also where disco, ping and extdisco go
	GuestDomain string // domain of guests (SASL ANONYMOUS); "": guests use Domain
	MUC         string // room service
	Focus       string // address of the focus for conference requests

	SSRCRewriting bool // the server rewrites SSRCs for clients that can
	P2P           bool // two participants may send media directly to each other
}

// Handler serves
//
//	/            the page, as home
//	/<room>      the page, as meeting: any other single-segment path
//	/static/...  modules, style, icon; with ETag, checked each time, so that a new binary is a new page
//	/config.js   `var config = {...}` for this host
//
// and 404 for all else. Methods other than GET and HEAD get 405.
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

// clientConfig has the field names that Jitsi clients know.
type clientConfig struct {
	Hosts                 hosts           `json:"hosts"`
	WebSocket             string          `json:"websocket"`
	WebSocketKeepAlive    int             `json:"websocketKeepAlive"` // ms; -1 is off: stream management and pings do it
	WebSocketKeepAliveURL string          `json:"websocketKeepAliveUrl"`
	BridgeChannel         map[string]bool `json:"bridgeChannel"`
	Flags                 map[string]bool `json:"flags"`
	P2P                   map[string]any  `json:"p2p"`
	VideoQuality          map[string]any  `json:"videoQuality"`
	ChannelLastN          int             `json:"channelLastN"`
	EnableTCC             bool            `json:"enableTcc"`
	UseTURNUDP            bool            `json:"useTurnUdp"`
}

type hosts struct {
	Domain          string `json:"domain"`
	AnonymousDomain string `json:"anonymousdomain,omitempty"`
	MUC             string `json:"muc"`
	Focus           string `json:"focus"`
}

// goodHost is what may be written into config.js from the Host header: a name, an IPv4 or a bracketed IPv6 address, and a port.
var goodHost = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$`)

func serveConfig(w http.ResponseWriter, r *http.Request, cfg Config) {
	host := r.Host
	if !goodHost.MatchString(host) {
		host = cfg.Domain
	}
	c := clientConfig{
		Hosts:                 hosts{Domain: cfg.Domain, AnonymousDomain: cfg.GuestDomain, MUC: cfg.MUC, Focus: cfg.Focus},
		WebSocket:             scheme(r, "ws") + "://" + host + "/xmpp-websocket",
		WebSocketKeepAlive:    -1,
		WebSocketKeepAliveURL: scheme(r, "http") + "://" + host + "/config.js",
		BridgeChannel:         map[string]bool{"preferSctp": true},
		Flags: map[string]bool{
			"sourceNameSignaling":         true,
			"sendMultipleVideoStreams":    true,
			"receiveMultipleVideoStreams": true,
			"ssrcRewritingEnabled":        cfg.SSRCRewriting,
		},
		P2P: map[string]any{"enabled": cfg.P2P, "stunServers": []any{}},
		// VP8 costs the least to encode, and every client has hardware or wits for it.
		VideoQuality: map[string]any{"codecPreferenceOrder": []string{"VP8", "VP9", "H264", "AV1"}},
		ChannelLastN: -1,
		EnableTCC:    true,
		UseTURNUDP:   true,
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		http.Error(w, "config.js cannot be written", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentTypes[".js"])
	h.Set("Cache-Control", "no-cache")
	h.Set("Access-Control-Allow-Origin", "*") // nothing in it is secret, and clients on other hosts read it
	w.Write([]byte("var config = " + string(b) + ";\n"))
}

// scheme is ws or wss, http or https, after how the request came; behind a proxy TLS ends before us, and the proxy says so.
func scheme(r *http.Request, plain string) string {
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return plain + "s"
	}
	return plain
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
