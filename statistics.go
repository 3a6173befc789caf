package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// What operators' tools ask of a Jitsi bridge and focus, under their paths: at http.admin, and for this machine's clients on the HTTPS port
// below /colibri and /about.

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error is the client's gone
}

// openStatistics adds them.
func (s *server) openStatistics() {
	s.http.HandlePrivate("GET /colibri/stats", http.HandlerFunc(s.bridgeStatistics))
	s.http.HandlePrivate("GET /stats", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.focus.Counters()) }))
	s.http.HandlePrivate("GET /about/version", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]string{"name": "Konzil", "version": version()})
	}))
	s.http.HandlePrivate("GET /colibri/drain", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]bool{"drain": s.load.drain.Load()})
	}))
}

// bridgeStatistics has the names of JVB's /colibri/stats that are asked for by dashboards and autoscalers.
func (s *server) bridgeStatistics(w http.ResponseWriter, _ *http.Request) {
	largest, people := 0, 0
	for _, m := range s.census() {
		largest, people = max(largest, m.Participants), people+m.Participants
	}
	b, f := s.bridgeStats(), s.focus.Counters()
	writeJSON(w, map[string]any{
		"conferences": b.Conferences, "endpoints": b.Endpoints, "participants": people, "largest_conference": largest,
		"total_conferences_created": f["meetings_started"], "total_conferences_completed": f["meetings_ended"], "total_participants": f["members_joined"],
		"stress_level": b.Stress, "drain": b.Drain, "healthy": b.Healthy, "version": version(),
		"current_timestamp": time.Now().UTC().Format("2006-01-02 15:04:05.000"),
	})
}
