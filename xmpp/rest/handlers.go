package rest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error is the client's gone
}

func fail(w http.ResponseWriter, code int, text string) {
	http.Error(w, strconv.Itoa(code)+" "+text, code)
}

// asked is the meeting of room, domain and subdomain; false: it was answered that there is none.
func (a *API) asked(w http.ResponseWriter, r *http.Request) (stanza.JID, bool) {
	q := r.URL.Query()
	tenant := q.Get("subdomain")
	if tenant == "" {
		tenant = q.Get("prefix")
	}
	if q.Get("room") == "" {
		fail(w, http.StatusBadRequest, "room is missing")
		return stanza.JID{}, false
	}
	room, ok := a.address(strings.ToLower(q.Get("room")), q.Get("domain"), tenant)
	if !ok || !a.rooms.Meeting(room) {
		fail(w, http.StatusNotFound, "there is no such meeting")
		return stanza.JID{}, false
	}
	return room, true
}

func (a *API) size(w http.ResponseWriter, r *http.Request) {
	if room, ok := a.asked(w, r); ok {
		answer(w, map[string]int{"participants": len(a.rooms.People(room))})
	}
}

// occupant is a participant as integrations read it.
type occupant struct {
	JID   string `json:"jid"`
	Email string `json:"email"`
	Name  string `json:"display_name"`
}

func (a *API) room(w http.ResponseWriter, r *http.Request) {
	room, ok := a.asked(w, r)
	if !ok {
		return
	}
	list := []occupant{}
	for _, p := range a.rooms.People(room) {
		list = append(list, occupant{p.Addr.String(), p.Email, p.Name})
	}
	answer(w, list)
}

func (a *API) sessions(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(strconv.Itoa(a.opt.Sessions())))
}

// entry is a meeting of the census.
type entry struct {
	Name         string    `json:"room_name"`
	Participants int       `json:"participants"`
	Created      time.Time `json:"created_time"`
	Leaked       bool      `json:"leaked"` // nobody is inside, and the room is there all the same
}

func (a *API) census(w http.ResponseWriter, _ *http.Request) {
	list := []entry{}
	for _, m := range a.opt.Census() {
		list = append(list, entry{m.JID.String(), m.Participants, m.Created.UTC(), m.Participants == 0})
	}
	answer(w, map[string][]entry{"room_census": list})
}

func (a *API) end(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	room, ok := a.external(q.Get("conference"))
	if !ok {
		fail(w, http.StatusBadRequest, "conference is no address of a room")
		return
	}
	if !a.rooms.Meeting(room) {
		fail(w, http.StatusNotFound, "there is no such meeting")
		return
	}
	instead, reason := stanza.JID{}, "The meeting has been terminated"
	if q.Get("silent-reconnect") == "true" {
		instead, reason = room, "The meeting has been terminated silently"
	}
	if !a.opt.End(room, instead, reason) {
		fail(w, http.StatusNotFound, "there is no such meeting")
	}
}

// body reads a JSON body; false: it was answered that it is none.
func body(w http.ResponseWriter, r *http.Request, v any) bool {
	if typ, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); typ != "application/json" {
		fail(w, http.StatusBadRequest, "the body is application/json")
		return false
	}
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		fail(w, http.StatusBadRequest, "the body is no JSON as it should be")
		return false
	}
	return true
}

func (a *API) kick(w http.ResponseWriter, r *http.Request) {
	var who struct {
		ID     string `json:"participantId"`
		Number string `json:"number"`
	}
	if !body(w, r, &who) {
		return
	}
	if (who.ID == "") == (who.Number == "") {
		fail(w, http.StatusBadRequest, "exactly one of participantId and number")
		return
	}
	room, ok := a.asked(w, r)
	if !ok {
		return
	}
	for _, p := range a.rooms.People(room) {
		byNumber := who.Number != "" && p.Gateway && strings.HasPrefix(p.Name, who.Number)
		if (who.ID != "" && p.ID() == who.ID || byNumber) && a.rooms.Kick(room, p.ID(), "") {
			return
		}
	}
	fail(w, http.StatusNotFound, "there is no such participant")
}

// message is what clients show as said by the system.
type message struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Name    string `json:"displayName,omitempty"`
}

func (a *API) say(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Room    string   `json:"room"`
		To      []string `json:"connectionJIDs"`
		Message string   `json:"message"`
		Name    string   `json:"displayName"`
	}
	if !body(w, r, &in) {
		return
	}
	room, ok := a.external(in.Room)
	if !ok || in.Message == "" || in.To == nil {
		fail(w, http.StatusBadRequest, "room, connectionJIDs and message are needed")
		return
	}
	if !a.rooms.Meeting(room) {
		fail(w, http.StatusNotFound, "there is no such meeting")
		return
	}
	text, err := json.Marshal(message{"system_chat_message", in.Message, in.Name})
	if err != nil { // strings
		panic("rest: " + err.Error())
	}
	st := stanza.NewMessage("", room, stanza.JID{}, stanza.TextElement(jitsi.NSJitMeet, "json-message", string(text)))
	for _, to := range in.To {
		j, err := stanza.ParseJID(to)
		if _, inside := a.rooms.Person(room, j); err == nil && inside { // to who is in the meeting alone: a room is no relay
			a.router.Route(st.WithTo(j))
		}
	}
}
