package rest

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"sync/atomic"
	"time"

	"konzil/signaling/colibri"
)

// Path is where Handler is to be mounted, with all below it.
const Path = "/colibri/v2/conferences"

// Config is what a handler has to know.
type Config struct {
	// Token is what requests need in "Authorization: Bearer TOKEN"; "": who can reach the handler may do all.
	Token string
	// Speakers gives the endpoints of a conference, who spoke last first; false: there is no such conference.
	Speakers func(meeting string) ([]string, bool)
	// Timeout is for the bridge to do what is asked; default 10 s.
	Timeout time.Duration
}

// API serves the requests that JVB has (doc/rest-colibri2.md there): POST makes a conference or changes one, PATCH .../{id} changes one,
// GET .../{id}/dominant-speaker-identification tells who speaks. JVB's other GETs say 501, and so do ours.
type API struct {
	bridge colibri.Bridge
	cfg    Config
	log    *slog.Logger
	mux    *http.ServeMux
	count  struct{ requests, refused, unauthorized atomic.Uint64 }
}

// New makes the interface of a bridge.
func New(b colibri.Bridge, cfg Config, log *slog.Logger) *API {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	a := &API{bridge: b, cfg: cfg, log: log, mux: http.NewServeMux()}
	a.mux.HandleFunc("POST "+Path, func(w http.ResponseWriter, r *http.Request) { a.modify(w, r, "") })
	a.mux.HandleFunc("POST "+Path+"/{$}", func(w http.ResponseWriter, r *http.Request) { a.modify(w, r, "") })
	a.mux.HandleFunc("PATCH "+Path+"/{id}", func(w http.ResponseWriter, r *http.Request) { a.modify(w, r, r.PathValue("id")) })
	a.mux.HandleFunc("GET "+Path+"/{id}/dominant-speaker-identification", a.speakers)
	a.mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, _ *http.Request) {
		a.refuse(w, http.StatusNotImplemented, "", "no list is offered")
	})
	a.mux.HandleFunc("GET "+Path+"/{id}", a.get)
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.count.requests.Add(1)
	if t := a.cfg.Token; t != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+t)) != 1 {
		a.count.unauthorized.Add(1)
		w.Header().Set("WWW-Authenticate", "Bearer")
		a.refuse(w, http.StatusUnauthorized, "", "a token is required")
		return
	}
	if _, known := a.mux.Handler(r); known == "" { // 404, 405
		a.count.refused.Add(1)
	}
	a.mux.ServeHTTP(w, r)
}

// Counters are totals since the start, by name.
func (a *API) Counters() map[string]uint64 {
	return map[string]uint64{"requests_total": a.count.requests.Load(), "refused_total": a.count.refused.Load(), "unauthorized_total": a.count.unauthorized.Load()}
}

// modify does a conference-modify; meeting is from the path, "": it is in the body.
func (a *API) modify(w http.ResponseWriter, r *http.Request, meeting string) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		a.refuse(w, http.StatusUnsupportedMediaType, "", "the body is application/json")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		a.refuse(w, http.StatusRequestEntityTooLarge, "", "the body is too long")
		return
	case err != nil:
		a.refuse(w, http.StatusBadRequest, "", "the body did not come")
		return
	}
	o, err := parseObject(body)
	if err != nil {
		a.refuse(w, http.StatusBadRequest, colibri.ReasonBadRequest, "JSON: "+err.Error())
		return
	}
	m, err := parseModify(o, meeting)
	if err == nil && meeting != "" && m.Create {
		err = &colibri.Error{Reason: colibri.ReasonBadRequest, Text: "what is changed is there already"}
	}
	if err != nil {
		a.fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	done, err := a.bridge.Modify(ctx, m)
	if err != nil {
		a.fail(w, err)
		return
	}
	reply(w, http.StatusOK, answer(done))
}

// fail answers with a bridge's refusal.
func (a *API) fail(w http.ResponseWriter, err error) {
	var refusal *colibri.Error
	if !errors.As(err, &refusal) {
		a.log.Warn("bridge cannot be asked", "err", err)
		a.refuse(w, http.StatusServiceUnavailable, "", "the bridge does not answer")
		return
	}
	code := http.StatusBadRequest // JVB's for all but a conference that is not there
	switch refusal.Reason {
	case colibri.ReasonConferenceNotFound:
		code = http.StatusNotFound
	case colibri.ReasonInternal:
		code = http.StatusInternalServerError
	case colibri.ReasonGracefulShutdown, colibri.ReasonLimit:
		code = http.StatusServiceUnavailable
	}
	a.refuse(w, code, refusal.Reason, refusal.Error())
}

func (a *API) get(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.cfg.Speakers(r.PathValue("id")); !ok {
		a.refuse(w, http.StatusNotFound, colibri.ReasonConferenceNotFound, "there is no such conference")
		return
	}
	a.refuse(w, http.StatusNotImplemented, "", "no description is offered")
}

// speakers tells who spoke, newest first.
func (a *API) speakers(w http.ResponseWriter, r *http.Request) {
	list, ok := a.cfg.Speakers(r.PathValue("id"))
	if !ok {
		a.refuse(w, http.StatusNotFound, colibri.ReasonConferenceNotFound, "there is no such conference")
		return
	}
	var first any
	if len(list) > 0 {
		first = list[0]
	} else {
		list = []string{}
	}
	reply(w, http.StatusOK, object{"dominantEndpoint": first, "dominantSpeakerIdentification": nil, "endpointsBySpeechActivity": list, "endpointsInLastNOrder": list})
}

// refuse answers with an error, and counts it.
func (a *API) refuse(w http.ResponseWriter, code int, reason colibri.Reason, text string) {
	a.count.refused.Add(1)
	o := object{"message": text}
	if reason != "" {
		o["reason"] = string(reason)
	}
	reply(w, code, o)
}

func reply(w http.ResponseWriter, code int, o object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o) // an error is the client's gone
}
