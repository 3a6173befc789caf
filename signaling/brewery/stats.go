package brewery

import (
	"strconv"
	"time"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// Stats is how a bridge is, as its presence says.
type Stats struct {
	Stress                     float64 // 0 idle, 1 full
	Conferences, Endpoints     int
	Healthy                    bool
	Drain                      bool // gets no new conferences; may be taken back
	GracefulShutdown, Shutdown bool // gets no new conferences, ends after the last; ends now. Neither can be taken back
}

// element is <stats/> as a focus reads it.
func (s Stats) element(c *Config, now time.Time) *stanza.Element {
	el := stanza.NewElement(jingle.NSColibri, "stats")
	add := func(name, value string) {
		if value != "" {
			el.Add(stanza.NewElement(jingle.NSColibri, "stat", "name", name, "value", value))
		}
	}
	add("stress_level", strconv.FormatFloat(s.Stress, 'f', 3, 64))
	add("version", c.Version)
	add("release", c.Release)
	add("region", c.Region)
	add("relay_id", c.RelayID)
	add("colibri2", "true")
	add("healthy", strconv.FormatBool(s.Healthy))
	add("drain", strconv.FormatBool(s.Drain)) // a focus takes its absence for true
	add("graceful_shutdown", strconv.FormatBool(s.GracefulShutdown))
	add("shutting_down", strconv.FormatBool(s.Shutdown))
	add("conferences", strconv.Itoa(s.Conferences))
	add("endpoints", strconv.Itoa(s.Endpoints))
	add("current_timestamp", now.UTC().Format("2006-01-02 15:04:05.000"))
	return el
}

// ParseStats reads the <stats/> of a bridge's presence: names and values as they are.
func ParseStats(presence *stanza.Stanza) map[string]string {
	out := map[string]string{}
	for _, x := range presence.Child(jingle.NSColibri, "stats").ChildrenNamed(jingle.NSColibri, "stat") {
		if len(out) < maxStats {
			out[x.Attr("name")] = x.Attr("value")
		}
	}
	return out
}

// maxStats bounds what is kept of one presence; bridges send some eighty.
const maxStats = 500
