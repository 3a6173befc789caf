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

// Handler serves the requests that JVB has (doc/rest-colibri2.md there): POST makes a conference or changes one, PATCH .../{id} changes one,
// GET .../{id}/dominant-speaker-identification tells who speaks. JVB's other GETs say 501, and so do ours.
func Handler(b colibri.Bridge, cfg Config, log *slog.Logger) http.Handler {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	h := &handler{b, cfg, log}
	m := http.NewServeMux()
	m.HandleFunc("POST "+Path, func(w http.ResponseWriter, r *http.Request) { h.modify(w, r, "") })
	m.HandleFunc("POST "+Path+"/{$}", func(w http.ResponseWriter, r *http.Request) { h.modify(w, r, "") })
	m.HandleFunc("PATCH "+Path+"/{id}", func(w http.ResponseWriter, r *http.Request) { h.modify(w, r, r.PathValue("id")) })
	m.HandleFunc("GET "+Path+"/{id}/dominant-speaker-identification", h.speakers)
	m.HandleFunc("GET "+Path, func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotImplemented, "", "no list is offered")
	})
	m.HandleFunc("GET "+Path+"/{id}", h.get)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cfg.Token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+cfg.Token)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "", "a token is required")
			return
		}
		m.ServeHTTP(w, r)
	})
}

type handler struct {
	bridge colibri.Bridge
	cfg    Config
	log    *slog.Logger
}

// modify does a conference-modify; meeting is from the path, "": it is in the body.
func (h *handler) modify(w http.ResponseWriter, r *http.Request, meeting string) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "", "the body is application/json")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		refuse(w, http.StatusRequestEntityTooLarge, "", "the body is too long")
		return
	case err != nil:
		refuse(w, http.StatusBadRequest, "", "the body did not come")
		return
	}
	o, err := parseObject(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, colibri.ReasonBadRequest, "JSON: "+err.Error())
		return
	}
	m, err := parseModify(o, meeting)
	if err == nil && meeting != "" && m.Create {
		err = &colibri.Error{Reason: colibri.ReasonBadRequest, Text: "what is changed is there already"}
	}
	if err != nil {
		h.fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Timeout)
	defer cancel()
	done, err := h.bridge.Modify(ctx, m)
	if err != nil {
		h.fail(w, err)
		return
	}
	reply(w, http.StatusOK, answer(done))
}

// fail answers with a bridge's refusal.
func (h *handler) fail(w http.ResponseWriter, err error) {
	var refusal *colibri.Error
	if !errors.As(err, &refusal) {
		h.log.Warn("bridge cannot be asked", "err", err)
		refuse(w, http.StatusServiceUnavailable, "", "the bridge does not answer")
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
	refuse(w, code, refusal.Reason, refusal.Error())
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	if _, ok := h.cfg.Speakers(r.PathValue("id")); !ok {
		refuse(w, http.StatusNotFound, colibri.ReasonConferenceNotFound, "there is no such conference")
		return
	}
	refuse(w, http.StatusNotImplemented, "", "no description is offered")
}

// speakers tells who spoke, newest first.
func (h *handler) speakers(w http.ResponseWriter, r *http.Request) {
	list, ok := h.cfg.Speakers(r.PathValue("id"))
	if !ok {
		refuse(w, http.StatusNotFound, colibri.ReasonConferenceNotFound, "there is no such conference")
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

func refuse(w http.ResponseWriter, code int, reason colibri.Reason, text string) {
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
