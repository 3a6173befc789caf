package httpd

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyTimeout bounds all checks of one question together: probes give up after a few seconds.
const readyTimeout = 2 * time.Second

// status answers for health and metrics.
type status struct {
	stopping atomic.Bool

	mu      sync.Mutex // guards the two maps
	checks  map[string]func(context.Context) error
	sources map[string]source
}

// source is a room's numbers.
type source struct {
	numbers func() map[string]uint64
	gauges  []string // the names of those that also go down
}

func (st *status) init(own func() map[string]uint64) {
	st.checks = map[string]func(context.Context) error{}
	st.sources = map[string]source{"httpd": {numbers: own}}
}

// AddCheck makes /health/ready ask a room whether it can do its work; nil is yes. check must heed its context.
func (s *Server) AddCheck(room string, check func(context.Context) error) {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	s.status.checks[room] = check
}

// AddMetrics shows a room's numbers at /metrics as konzil_<room>_<name>. Those named in gauges, and those whose name ends in _now,
// are shown as gauges, all others as counters with _total.
func (s *Server) AddMetrics(room string, numbers func() map[string]uint64, gauges ...string) {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	s.status.sources[room] = source{numbers, gauges}
}

// live says that the process answers; nothing else.
func (st *status) live(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// ready says whether new work may come, with a line for each room that has a check.
func (st *status) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	st.mu.Lock()
	checks := maps.Clone(st.checks)
	st.mu.Unlock()
	var lines []string
	fine := true
	if st.stopping.Load() {
		fine = false
		lines = append(lines, "stopping")
	}
	for _, room := range slices.Sorted(maps.Keys(checks)) {
		if err := checks[room](ctx); err != nil {
			fine = false
			lines = append(lines, room+": "+strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			lines = append(lines, room+": ok")
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if fine {
		lines = append([]string{"ok"}, lines...)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, strings.Join(lines, "\n"))
}

// metrics gives all sources in Prometheus' text format, and the Go runtime's and the process's own numbers.
func (st *status) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{st})
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// collector turns the rooms' numbers into metrics when they are asked for.
type collector struct{ st *status }

// Describe sends nothing: which metrics there are shows when they are collected.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect asks all sources.
func (c collector) Collect(out chan<- prometheus.Metric) {
	c.st.mu.Lock()
	sources := maps.Clone(c.st.sources)
	c.st.mu.Unlock()
	seen := map[string]bool{} // the same name twice would spoil the whole answer
	for room, src := range sources {
		for name, value := range src.numbers() {
			kind, full := prometheus.CounterValue, "konzil_"+metricName(room)+"_"+metricName(name)
			if strings.HasSuffix(name, "_now") || slices.Contains(src.gauges, name) {
				kind = prometheus.GaugeValue
			} else if !strings.HasSuffix(full, "_total") {
				full += "_total"
			}
			if seen[full] {
				continue
			}
			seen[full] = true
			out <- prometheus.MustNewConstMetric(prometheus.NewDesc(full, room+": "+strings.ReplaceAll(name, "_", " "), nil, nil), kind, float64(value))
		}
	}
}

// metricName puts _ for what a metric's name may not have.
func metricName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		if r >= 'A' && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return '_'
	}, s)
}
