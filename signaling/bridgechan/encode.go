package bridgechan

import (
	"bytes"
	"encoding/json"
)

// Mapping is a slot of a receiver with rewritten SSRCs and the source that now travels on it.
type Mapping struct {
	Source    string `json:"source"`
	Owner     string `json:"owner"`
	SSRC      uint32 `json:"ssrc"`
	RTX       *int64 `json:"rtx,omitempty"` // video only; -1: none
	VideoType string `json:"videoType,omitempty"`
	MID       string `json:"mid,omitempty"`
}

// encode writes v without escaping HTML, which no browser needs here.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// Raw parts have been validated by Decode, the rest cannot fail.
		panic("bridgechan: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// ServerHello greets a client.
func ServerHello(version string) []byte {
	return encode(struct {
		Class   string `json:"colibriClass"`
		Version string `json:"version,omitempty"`
	}{"ServerHello", version})
}

// DominantSpeaker tells who speaks; previous are the speakers before, newest first.
func DominantSpeaker(endpoint string, previous []string, silence bool) []byte {
	if previous == nil {
		previous = []string{}
	}
	return encode(struct {
		Class    string   `json:"colibriClass"`
		Endpoint string   `json:"dominantSpeakerEndpoint"`
		Previous []string `json:"previousSpeakers"`
		Silence  bool     `json:"silence"`
	}{"DominantSpeakerEndpointChangeEvent", endpoint, previous, silence})
}

// Connectivity tells whether anything is heard of an endpoint; active is a string on the wire.
func Connectivity(endpoint string, active bool) []byte {
	s := "false"
	if active {
		s = "true"
	}
	return encode(struct {
		Class    string `json:"colibriClass"`
		Endpoint string `json:"endpoint"`
		Active   string `json:"active"`
	}{"EndpointConnectivityStatusChangeEvent", endpoint, s})
}

// Relay is an EndpointMessage as the receiver sees it: from is who really sent it.
func Relay(from string, m EndpointMessage) []byte {
	return encode(struct {
		Class   string          `json:"colibriClass"`
		From    string          `json:"from"`
		To      string          `json:"to"`
		Payload json.RawMessage `json:"msgPayload"`
	}{"EndpointMessage", from, m.To, m.Payload})
}

// RelayStats are EndpointStats as others see them.
func RelayStats(from string, m EndpointStats) []byte {
	o := make(map[string]any, len(m.Fields)+2)
	for k, v := range m.Fields {
		o[k] = v
	}
	o["colibriClass"], o["from"] = "EndpointStats", from
	return encode(o)
}

// AddReceiver tells another bridge that clients of bridge want a source of its clients, and how tall at most; -1 unlimited.
func AddReceiver(bridge, source string, maxHeight int) []byte {
	return encode(struct {
		Class       string           `json:"colibriClass"`
		Bridge      string           `json:"bridgeId"`
		Source      string           `json:"sourceName"`
		Constraints videoConstraints `json:"videoConstraints"`
	}{"AddReceiver", bridge, source, videoConstraints{maxHeight, -1}})
}

type videoConstraints struct {
	MaxHeight    int     `json:"maxHeight"`
	MaxFrameRate float64 `json:"maxFrameRate"`
}

// RemoveReceiver tells another bridge that none of bridge's clients wants a source any more.
func RemoveReceiver(bridge, source string) []byte {
	return encode(struct {
		Class  string `json:"colibriClass"`
		Bridge string `json:"bridgeId"`
		Source string `json:"sourceName"`
	}{"RemoveReceiver", bridge, source})
}

// RelayVideoType tells another bridge what a source of endpoint shows.
func RelayVideoType(endpoint, source, videoType string) []byte {
	return encode(struct {
		Class    string `json:"colibriClass"`
		Source   string `json:"sourceName"`
		Type     string `json:"videoType"`
		Endpoint string `json:"endpointId"`
	}{"SourceVideoTypeMessage", source, videoType, endpoint})
}

// ForwardedSources is the full list of video sources that now reach a client.
func ForwardedSources(sources []string) []byte {
	if sources == nil {
		sources = []string{}
	}
	return encode(struct {
		Class   string   `json:"colibriClass"`
		Sources []string `json:"forwardedSources"`
	}{"ForwardedSources", sources})
}

// SenderConstraint tells a sender how tall anybody wants its source: 0 not at all, -1 unlimited.
func SenderConstraint(source string, maxHeight int) []byte {
	return encode(struct {
		Class  string `json:"colibriClass"`
		Source string `json:"sourceName"`
		Height int    `json:"maxHeight"`
	}{"SenderSourceConstraints", source, maxHeight})
}

type sourcesMap struct {
	Class  string    `json:"colibriClass"`
	Mapped []Mapping `json:"mappedSources"`
}

// VideoSourcesMap and AudioSourcesMap tell which source travels on which slot.
func VideoSourcesMap(m []Mapping) []byte { return encode(sourcesMap{"VideoSourcesMap", m}) }

// AudioSourcesMap is for audio.
func AudioSourcesMap(m []Mapping) []byte { return encode(sourcesMap{"AudioSourcesMap", m}) }

// ConnectionStats tells the estimated downlink in bits per second.
func ConnectionStats(bps uint64) []byte {
	return encode(struct {
		Class string `json:"colibriClass"`
		BPS   uint64 `json:"estimatedDownlinkBandwidth"`
	}{"ConnectionStats", bps})
}
