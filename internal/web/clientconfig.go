package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Config is what config.js tells clients (this page and stock Jitsi clients alike).
type Config struct {
	Domain      string // domain of accounts; also where disco, ping and extdisco go
	GuestDomain string // domain to which guests open their streams (SASL ANONYMOUS); "": Domain
	MUC         string // room service
	Focus       string // address of the focus for conference requests

	BOSH          bool // /http-bind is there (XEP-0206)
	Tenants       bool // rooms of /<tenant>/<room> are at conference.<tenant>.<domain>
	SSRCRewriting bool // the server rewrites SSRCs for clients that can
	P2P           bool // two participants may send media directly to each other
}

// clientConfig has the field names that Jitsi clients know.
type clientConfig struct {
	Hosts                 hosts           `json:"hosts"`
	WebSocket             string          `json:"websocket"`
	WebSocketKeepAlive    int             `json:"websocketKeepAlive"` // ms; -1 is off: stream management and pings do it
	WebSocketKeepAliveURL string          `json:"websocketKeepAliveUrl"`
	BOSH                  string          `json:"bosh,omitempty"`
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

// client is the configuration for a page that came by r, of a tenant if there is one ("": none).
func (cfg Config) client(r *http.Request, tenant string) clientConfig {
	host, muc, base := r.Host, cfg.MUC, "/"
	if !goodHost.MatchString(host) {
		host = cfg.Domain
	}
	if tenant != "" && cfg.Tenants {
		base += url.PathEscape(tenant) + "/"
		muc = strings.TrimSuffix(cfg.MUC, cfg.Domain) + tenantLabel(tenant) + "." + cfg.Domain
	}
	c := clientConfig{
		Hosts:                 hosts{Domain: cfg.Domain, AnonymousDomain: cfg.GuestDomain, MUC: muc, Focus: cfg.Focus},
		WebSocket:             scheme(r, "ws") + "://" + host + base + "xmpp-websocket",
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
	if cfg.BOSH {
		c.BOSH = scheme(r, "http") + "://" + host + base + "http-bind"
	}
	return c
}

// tenantLabel is what stands for a tenant in the address of its rooms, "" if nothing is left of it. The name loses what jitsi-meet takes out of
// paths and room names (_fixPathPart in its uri.ts), then it is in lower case, with an underscore for each dot (its config.js), and what is not
// ASCII is %xx (its getBackendSafeRoomName).
func tenantLabel(tenant string) string {
	const taken = `:?#[]@!$&'()*+,;=></"`
	label := strings.Map(func(c rune) rune {
		switch {
		case strings.ContainsRune(taken, c):
			return -1
		case c == '.':
			return '_'
		}
		return unicode.ToLower(c)
	}, norm.NFKC.String(tenant))
	return strings.ToLower(strings.ReplaceAll(url.PathEscape(label), "~", "%7E")) // an address has no tilde in its domain
}

func serveConfig(w http.ResponseWriter, r *http.Request, cfg Config) {
	b, err := json.MarshalIndent(cfg.client(r, ""), "", "  ")
	if err != nil {
		http.Error(w, "config.js cannot be written", http.StatusInternalServerError)
		return
	}
	writeScript(w, "var config = "+string(b)+";\n")
}

// writeScript sends a script that is made for each request.
func writeScript(w http.ResponseWriter, text string) {
	h := w.Header()
	h.Set("Content-Type", contentTypes[".js"])
	h.Set("Cache-Control", "no-cache")
	h.Set("Access-Control-Allow-Origin", "*") // nothing in it is secret, and clients on other hosts read it
	io.WriteString(w, text)
}

// scheme is ws or wss, http or https, after how the request came; behind a proxy TLS ends before us, and the proxy says so.
func scheme(r *http.Request, plain string) string {
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return plain + "s"
	}
	return plain
}
