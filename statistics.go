package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"time"
)

// What operators' tools ask of a Jitsi bridge and focus, under their paths: at http.admin, and for this machine's clients on the HTTPS port
// below /colibri and /about.

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error is the client's gone
}

// openStatistics adds them; a bridge alone has no focus.
func (s *server) openStatistics() {
	s.http.HandlePrivate("GET /colibri/stats", http.HandlerFunc(s.bridgeStatistics))
	if s.focus != nil {
		s.http.HandlePrivate("GET /stats", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.focus.Counters()) }))
	}
	s.http.HandlePrivate("GET /about/version", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]string{"name": "Konzil", "version": version()})
	}))
	s.http.HandlePrivate("GET /colibri/drain", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]bool{"drain": s.load.drain.Load()})
	}))
}

// bridgeStatistics has the names of JVB's /colibri/stats that are asked for by dashboards and autoscalers.
func (s *server) bridgeStatistics(w http.ResponseWriter, _ *http.Request) {
	b := s.bridgeStats()
	stats := map[string]any{
		"conferences": b.Conferences, "endpoints": b.Endpoints, "stress_level": b.Stress, "drain": b.Drain, "healthy": b.Healthy, "version": version(),
		"graceful_shutdown": b.GracefulShutdown, "region": s.cfg.Bridge.Region, "relay_id": s.relayID,
		"current_timestamp": time.Now().UTC().Format("2006-01-02 15:04:05.000"),
	}
	if s.focus != nil {
		largest, people := 0, 0
		for _, m := range s.census() {
			largest, people = max(largest, m.Participants), people+m.Participants
		}
		f := s.focus.Counters()
		maps.Copy(stats, map[string]any{
			"participants": people, "largest_conference": largest, "total_conferences_created": f["meetings_started"],
			"total_conferences_completed": f["meetings_ended"], "total_participants": f["members_joined"],
		})
	}
	writeJSON(w, stats)
}
