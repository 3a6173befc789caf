package measure

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Sample is what a load counted in one measured interval. Counts are in Unit.
type Sample struct {
	Unit      string // packets, messages, deliveries, logins, joins, presences
	Elapsed   time.Duration
	Sent      uint64 // what the generator sent
	Expected  uint64 // deliveries that what was sent must lead to
	Delivered uint64
	Bytes     uint64 // of what was delivered, payload of the transport

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
}

// NewHistogram holds 1 µs to 60 s with three digits.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1_000, 60_000_000_000, 3)
}
