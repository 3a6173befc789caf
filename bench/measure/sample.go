package measure

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Sample is what a load counted in one measured interval. Counts are in Unit.
type Sample struct {
	Unit    string // packets, messages, deliveries, logins, joins, presences
	Elapsed time.Duration
	// Began is when the counted window began. CPU times are then taken over Began to Began+Elapsed, for loads whose traffic goes on while Measure
	// waits for stragglers; zero takes them over the whole call. Where a load has called Mark it is the time between.
	Began     time.Time
	Sent      uint64 // what the generator sent
	Expected  uint64 // deliveries that what was sent must lead to
	Delivered uint64
	Bytes     uint64 // of what was delivered, payload of the transport

	// Kinds splits Expected and Delivered by kind of traffic (audio, video); the delivery gate is then kept by each kind, so that few packets of
	// one do not vanish among many of another. May be nil.
	Kinds map[string]Count

	// Verified counts deliveries whose content was checked (decrypted, hashed, compared); Wrong counts by kind what must not happen: payload,
	// order, duplicate, foreign (for somebody else), rejected. Any wrong one voids the run.
	Verified uint64
	Wrong    map[string]uint64

	// Latency from sending to delivery by kind of traffic (audio, video, message, ...), in nanoseconds. Steps are durations of what happened
	// once for each session (login, ice, dtls, first packet, ...), in nanoseconds.
	Latency map[string]*hdrhistogram.Histogram
	Steps   map[string]*hdrhistogram.Histogram

	Skipped uint64             // units that the generator could not send in time because it was busy itself
	Figures map[string]float64 // further figures, name with unit: "memory KB/session"
	Labels  map[string]string  // what was negotiated and must be equal among servers that are compared: "srtp": "AEAD_AES_128_GCM"
	Notes   []string
	Failed  []string // what the load itself found that voids the interval, besides Wrong and the driver's gates
	Tables  []Table  // details of this load for people, printed and kept with the round
}

// Count is a part of the deliveries.
type Count struct{ Expected, Delivered uint64 }

// Table is a table of a load's own.
type Table struct {
	Title string     `json:"title"`
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

// NewHistogram holds 1 µs to 60 s with three digits.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1_000, 60_000_000_000, 3)
}
