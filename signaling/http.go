package signaling

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"konzil/xmpp/stanza"
)

// maxRequestBody of a conference request over HTTP; a real one has some hundred bytes.
const maxRequestBody = 16 << 10

type httpRequest struct {
	Room       string         `json:"room"`
	MachineUID string         `json:"machineUid"`
	SessionID  string         `json:"sessionId"`
	Properties map[string]any `json:"properties"` // strings, numbers and booleans
}

type httpAnswer struct {
	Ready      bool              `json:"ready"`
	FocusJID   string            `json:"focusJid"`
	VNode      string            `json:"vnode,omitempty"`
	SessionID  string            `json:"sessionId,omitempty"`
	Identity   string            `json:"identity,omitempty"`
	Properties map[string]string `json:"properties"`
}

// HTTPHandler serves POST /conference-request/v1. Requests over HTTP are anonymous unless they carry a session id.
func (f *Focus) HTTPHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		switch r.Method {
		case http.MethodOptions:
			h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization")
			w.WriteHeader(http.StatusNoContent)
		case http.MethodPost:
			f.serveRequest(w, r)
		default:
			h.Set("Allow", "POST, OPTIONS")
			http.Error(w, "405 POST only", http.StatusMethodNotAllowed)
		}
	})
}

func (f *Focus) serveRequest(w http.ResponseWriter, r *http.Request) {
	var in httpRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBody)).Decode(&in); err != nil {
		http.Error(w, "400 bad-json", http.StatusBadRequest)
		return
	}
	room, err := stanza.ParseJID(in.Room)
	if err != nil || len(in.Properties) > maxProperties {
		http.Error(w, "400 bad-room", http.StatusBadRequest)
		return
	}
	props := make(map[string]string, len(in.Properties))
	for k, v := range in.Properties {
		props[k] = fmt.Sprint(v)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	answers := make(chan answer, 1)
	verified := f.cfg.AuthenticatedRequest != nil && f.cfg.AuthenticatedRequest(r)
	f.request(request{room: room, requester: host, verified: verified, machineUID: in.MachineUID, sessionID: in.SessionID, props: props}, func(a answer) { answers <- a })
	select {
	case a := <-answers:
		f.writeAnswer(w, a)
	case <-r.Context().Done():
	}
}

func (f *Focus) writeAnswer(w http.ResponseWriter, a answer) {
	if a.err != nil {
		switch {
		case a.err.Condition == "not-authorized":
			http.Error(w, "403 not-authorized", http.StatusForbidden)
		case len(a.err.App) > 0 && a.err.App[0].Local == "session-invalid":
			http.Error(w, "400 invalid-session", http.StatusBadRequest)
		case a.err.Type == "wait" || a.err.Condition == "service-unavailable":
			http.Error(w, "503 "+a.err.Condition, http.StatusServiceUnavailable)
		default:
			http.Error(w, "400 "+a.err.Condition, http.StatusBadRequest)
		}
		return
	}
	out := httpAnswer{Ready: a.ready, FocusJID: f.user.String(), VNode: a.node, SessionID: a.sessionID, Identity: a.identity, Properties: map[string]string{}}
	for _, p := range a.props {
		out.Properties[p[0]] = p[1]
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(out) // an error is the client's gone
}
