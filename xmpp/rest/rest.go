// Package rest answers integrations about meetings over HTTP, with the paths and bodies of jitsi-meet's plugins for Prosody:
//
//	GET  /room-size?room=&domain=&subdomain=             {"participants":n}                        mod_muc_size
//	GET  /room?room=&domain=&subdomain=                  [{"jid","email","display_name"}]          mod_muc_size
//	GET  /sessions                                       number of connections                     mod_muc_size
//	GET  /room-census                                    {"room_census":[...]}                     mod_muc_census
//	POST /end-meeting?conference=&silent-reconnect=true                                            mod_muc_end_meeting
//	PUT  /kick-participant?room=&prefix=                 an id or a number, as JSON                mod_muc_kick_participant
//	POST /send-system-chat-message                       room, addresses and text, as JSON         mod_system_chat_message
//
// A request goes, in order: Routes gives the handlers (rest.go); guarded asks Options.Allowed before each; handlers.go asks the rooms and writes
// JSON. All of it runs on the goroutine of the request.
package rest

import (
	"net/http"
	"strings"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// maxBody of a request: a system message to a meeting of a thousand has about a hundred kilobytes.
const maxBody = 256 << 10

// Room is a meeting in the census.
type Room struct {
	JID          stanza.JID
	Participants int // the focus not counted
	Created      time.Time
}

// Rooms is what is asked about and acted on.
type Rooms interface {
	jitsi.People
	Kick(room stanza.JID, nick, reason string) bool
}

// Options are the server's.
type Options struct {
	Domain string // D of conference.D
	// Allowed tells whether a request may be answered; nil: all may, the handlers are mounted where only operators come.
	Allowed func(r *http.Request) bool
	// Census lists the meetings there are.
	Census func() []Room
	// Sessions is the number of connections.
	Sessions func() int
	// End closes a whole meeting; a non-zero instead is where people go.
	End func(room, instead stanza.JID, reason string) bool
}

// API is the handlers.
type API struct {
	rooms  Rooms
	router xmpp.Router
	opt    Options
}

// New makes them.
func New(rooms Rooms, router xmpp.Router, opt Options) *API { return &API{rooms, router, opt} }

// Routes are the handlers by pattern, for http.ServeMux.
func (a *API) Routes() map[string]http.Handler {
	out := map[string]http.Handler{}
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /room-size": a.size, "GET /room": a.room, "GET /sessions": a.sessions, "GET /room-census": a.census,
		"POST /end-meeting": a.end, "PUT /kick-participant": a.kick, "POST /send-system-chat-message": a.say,
	} {
		out[pattern] = a.guarded(h)
	}
	return out
}

func (a *API) guarded(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.opt.Allowed != nil && !a.opt.Allowed(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "401 a token is needed", http.StatusUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		h(w, r)
	})
}

// address is that of a meeting by name, base domain ("": ours) and tenant ("": none).
func (a *API) address(room, domain, tenant string) (stanza.JID, bool) {
	if domain == "" {
		domain = a.opt.Domain
	}
	if room == "" || domain != a.opt.Domain {
		return stanza.JID{}, false
	}
	if tenant != "" {
		domain = tenant + "." + domain
	}
	j, err := stanza.NewJID(room, "conference."+domain, "")
	return j, err == nil
}

// external reads a room's address as people write it: room@conference.tenant.D, or [tenant]room@conference.D.
func (a *API) external(text string) (stanza.JID, bool) {
	j, err := stanza.ParseJID(text)
	if err != nil || j.Local() == "" {
		return stanza.JID{}, false
	}
	if tenant, room, ok := strings.Cut(strings.TrimPrefix(j.Local(), "["), "]"); ok && strings.HasPrefix(j.Local(), "[") {
		return a.address(room, "", tenant)
	}
	return j.Bare(), true
}
