package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Schema is the version of the JSON form of Report. Fields are added without a new one; none changes its meaning.
const Schema = 1

// Report is the result of a run and what -json writes. Times are in seconds, memory in bytes, latencies in nanoseconds; docs/bench.md
// explains the fields.
type Report struct {
	Schema   int               `json:"schema"`
	Scenario string            `json:"scenario"`
	Load     string            `json:"load"`
	Unit     string            `json:"unit"`
	Scale    int               `json:"scale"`
	PerScale string            `json:"scale_unit"`
	Command  []string          `json:"command"`
	Started  time.Time         `json:"started"`
	Elapsed  float64           `json:"elapsed_s"`
	Settings map[string]string `json:"settings"`
	Machine  map[string]string `json:"machine"`
	Gates    Gates             `json:"gates"`
	Fault    string            `json:"injected_fault,omitempty"`

	Servers     []ServerResult `json:"servers"`
	Rounds      []Round        `json:"rounds"`
	Comparisons []Comparison   `json:"comparisons,omitempty"`
	Refused     string         `json:"comparison_refused,omitempty"` // why no ratios are given

	Failed []string `json:"failed"` // gates that were not kept; empty when the run counts
	Notes  []string `json:"notes"`
}

// ServerResult is one server over all its rounds.
type ServerResult struct {
	Name     string               `json:"name"`
	Version  string               `json:"version"`
	Command  string               `json:"command,omitempty"`
	Attached bool                 `json:"attached"` // it ran already: how it is configured is not known
	Config   map[string]string    `json:"config,omitempty"`
	Labels   map[string]string    `json:"labels"`
	Figures  map[string]Spread    `json:"figures"` // by name, see Figures
	Latency  map[string]Latency   `json:"latency"` // all rounds together
	Added    map[string]Quantiles `json:"latency_added,omitempty"`
	Null     *Latency             `json:"latency_null,omitempty"`
	Steps    map[string]Latency   `json:"steps,omitempty"`
	Knee     *Knee                `json:"knee,omitempty"`
}

// Round is one measured interval of one server.
type Round struct {
	Server   string    `json:"server"`
	Number   int       `json:"number"`   // 1 is the first
	Interval int       `json:"interval"` // within the round; 1 is the first
	Scale    int       `json:"scale"`
	Dropped  bool      `json:"dropped,omitempty"` // not in the figures: the server was cold
	Started  time.Time `json:"started"`
	Elapsed  float64   `json:"elapsed_s"`

	Sent      uint64            `json:"sent"`
	Expected  uint64            `json:"expected"`
	Delivered uint64            `json:"delivered"`
	Bytes     uint64            `json:"bytes"`
	Verified  uint64            `json:"verified"`
	Wrong     map[string]uint64 `json:"wrong,omitempty"`
	Skipped   uint64            `json:"skipped"`

	Figures map[string]float64 `json:"figures"`
	Labels  map[string]string  `json:"labels,omitempty"`
	Latency map[string]Latency `json:"latency,omitempty"`
	Steps   map[string]Latency `json:"steps,omitempty"`
	Null    *Latency           `json:"latency_null,omitempty"`
	Memory  Memory             `json:"memory"`
	Series  []Point            `json:"series,omitempty"`
	Tables  []Table            `json:"tables,omitempty"`

	Error  string   `json:"error,omitempty"` // the round could not be done
	Failed []string `json:"failed,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// Memory is the server's memory at three points: before the load, with all of it prepared, and after measuring.
type Memory struct {
	IdleRSS     int64   `json:"idle_rss"`
	IdlePSS     int64   `json:"idle_pss"`
	PreparedRSS int64   `json:"prepared_rss"`
	PreparedPSS int64   `json:"prepared_pss"`
	EndRSS      int64   `json:"end_rss"`
	EndPSS      int64   `json:"end_pss"`
	PrepareCPU  float64 `json:"prepare_cpu_s"` // CPU time of the server while the load was prepared
	PrepareTime float64 `json:"prepare_s"`
}

// Point is one second of a round. Rates are per second.
type Point struct {
	T         float64 `json:"t"` // seconds since the interval began, at the end of this second
	CPU       float64 `json:"cpu"`
	User      float64 `json:"user"`
	System    float64 `json:"system"`
	Generator float64 `json:"generator"`
	Others    float64 `json:"others"` // CPU time of all other programs
	RSS       int64   `json:"rss"`
	Sent      float64 `json:"sent"`
	Delivered float64 `json:"delivered"`
}

// Comparison is server against the first server: figures of the same round divided, then their spread. A ratio above 1 is more of the
// figure for Server.
type Comparison struct {
	Server  string            `json:"server"`
	Against string            `json:"against"`
	Ratios  map[string]Spread `json:"ratios"`
}

// Knee is what -ramp found.
type Knee struct {
	Scale int        `json:"scale"` // the largest one at which all gates were kept; 0: none
	Limit string     `json:"limit"` // what failed above it
	Steps []KneeStep `json:"steps"`
}

// KneeStep is one scale that was tried.
type KneeStep struct {
	Scale  int      `json:"scale"`
	Kept   bool     `json:"kept"`
	Failed []string `json:"failed,omitempty"`
}

// Quantiles of a latency in nanoseconds.
type Quantiles struct {
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p99_9"`
	Max  int64 `json:"max"`
}

// Latency is a histogram. In JSON it is its quantiles and, under "hdr", the histogram itself in the compressed base64 form V2 of
// HdrHistogram, which its tools in all languages read.
type Latency struct{ *hdrhistogram.Histogram }

type latencyJSON struct {
	Count int64 `json:"count"`
	Quantiles
	HDR string `json:"hdr"`
}

// Quantiles reads the usual ones.
func (l Latency) Quantiles() Quantiles {
	h := l.Histogram
	if h == nil || h.TotalCount() == 0 {
		return Quantiles{}
	}
	return Quantiles{h.ValueAtQuantile(50), h.ValueAtQuantile(90), h.ValueAtQuantile(99), h.ValueAtQuantile(99.9), h.Max()}
}

// MarshalJSON implements json.Marshaler.
func (l Latency) MarshalJSON() ([]byte, error) {
	if l.Histogram == nil {
		return []byte("null"), nil
	}
	b, err := l.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("measure: histogram: %w", err)
	}
	return json.Marshal(latencyJSON{l.TotalCount(), l.Quantiles(), string(b)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Latency) UnmarshalJSON(b []byte) error {
	var j *latencyJSON
	if err := json.Unmarshal(b, &j); err != nil || j == nil {
		return err
	}
	h, err := hdrhistogram.Decode([]byte(j.HDR))
	if err != nil {
		return fmt.Errorf("measure: histogram: %w", err)
	}
	l.Histogram = h
	return nil
}

// less is q with the latency of the path alone taken off, quantile by quantile, not below 0.
func (q Quantiles) less(n Quantiles) Quantiles {
	return Quantiles{max(q.P50-n.P50, 0), max(q.P90-n.P90, 0), max(q.P99-n.P99, 0), max(q.P999-n.P999, 0), max(q.Max-n.Max, 0)}
}

// WriteJSON writes the report, indented.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(rd io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(rd).Decode(&r); err != nil {
		return nil, fmt.Errorf("measure: report: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("measure: report has schema %d, not %d", r.Schema, Schema)
	}
	return &r, nil
}

func wrap(m map[string]*hdrhistogram.Histogram) map[string]Latency {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]Latency, len(m))
	for k, h := range m {
		if h != nil {
			out[k] = Latency{h}
		}
	}
	return out
}

// merge adds what add counted to the histograms of sum, which are its own.
func merge(sum, add map[string]Latency) map[string]Latency {
	for k, l := range add {
		if l.Histogram == nil {
			continue
		}
		if sum == nil {
			sum = make(map[string]Latency)
		}
		if sum[k].Histogram == nil {
			sum[k] = Latency{NewHistogram()}
		}
		sum[k].Merge(l.Histogram)
	}
	return sum
}
