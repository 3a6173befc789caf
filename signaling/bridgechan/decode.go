// Package bridgechan is the codec of the bridge channel: JSON objects that name their class in colibriClass, the same over SCTP and over
// a WebSocket. It is pure. What clients send is decoded, and what goes out is always written anew, so a doubled key or
// a forged sender in the input never reaches another client: of doubled keys the last counts, as it does in a browser.
package bridgechan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// MaxMessage is the longest message taken, in bytes: what browsers are told of SCTP.
const MaxMessage = 262144

// Messages of clients. Decode gives one of these.
type (
	// ClientHello is answered with ServerHello.
	ClientHello struct{}
	// EndpointMessage is for another endpoint, or for all with To "". Of From only what another bridge says counts.
	EndpointMessage struct {
		From    string
		To      string
		Payload json.RawMessage // an object
	}
	// EndpointStats are for all, opaque; From is as in EndpointMessage.
	EndpointStats struct {
		From   string
		Fields map[string]json.RawMessage
	}
	// LastNChanged sets last-n alone.
	LastNChanged struct{ LastN int }
	// ReceiverVideoConstraints changes what is wanted; nil fields stay as they were.
	ReceiverVideoConstraints struct {
		LastN             *int
		OnStage           []string
		Selected          []string
		OnStageEndpoints  []string // legacy: endpoint ids
		SelectedEndpoints []string
		Default           *Constraint
		Constraints       map[string]Constraint // by source, of old clients by endpoint
	}
	// ReceiverAudioSubscription chooses audio sources.
	ReceiverAudioSubscription struct {
		All              bool
		Include, Exclude []string
	}
	// SourceVideoType says what a source shows: camera, desktop, desktop_high_fps, none.
	SourceVideoType struct{ Source, VideoType string }
	// VideoType is SourceVideoType of old clients: for all of an endpoint's video.
	VideoType struct{ VideoType string }
)

// Messages of other bridges, beside those of clients that they pass on.
type (
	// AddReceiverMessage says what the clients of the bridge want of a source, the most of all.
	AddReceiverMessage struct {
		Source     string
		Constraint Constraint
	}
	// RemoveReceiverMessage says that none of them wants it any more.
	RemoveReceiverMessage struct{ Source string }
	// ConnectivityMessage tells whether anything is heard of one of its clients.
	ConnectivityMessage struct {
		Endpoint string
		Active   bool
	}
)

// Constraint is of one source. MaxHeight 0 is nothing, negative unlimited. MaxFrameRate <= 0 is unlimited.
type Constraint struct {
	MaxHeight    int
	MaxFrameRate float64
}

// Errors of Decode.
var (
	errTooLong = errors.New("bridgechan: message too long")
	errNotUTF8 = errors.New("bridgechan: message is not UTF-8")
	errNoClass = errors.New("bridgechan: no colibriClass")
)

type object map[string]json.RawMessage

// Decode reads a client's message. It gives nil without error for a class it does not know.
func Decode(msg []byte) (any, error) {
	switch {
	case len(msg) > MaxMessage:
		return nil, errTooLong
	case !utf8.Valid(msg): // SCTP does not look, and a WebSocket that it is passed on over would end with it (RFC 6455 §8.1)
		return nil, errNotUTF8
	}
	var o object
	if err := json.Unmarshal(msg, &o); err != nil {
		return nil, fmt.Errorf("bridgechan: %w", err)
	}
	var class string
	if err := json.Unmarshal(o["colibriClass"], &class); err != nil {
		return nil, errNoClass
	}
	v, err := o.decode(class)
	if err != nil {
		return nil, fmt.Errorf("bridgechan: %s: %w", class, err)
	}
	return v, nil
}

func (o object) decode(class string) (any, error) {
	var err error
	switch class {
	case "ClientHello":
		return ClientHello{}, nil
	case "EndpointMessage":
		m := EndpointMessage{Payload: bytes.TrimSpace(o["msgPayload"])}
		if len(m.Payload) == 0 || m.Payload[0] != '{' {
			return nil, errors.New("msgPayload is no object")
		}
		m.From, _ = o.str("from") // of clients it may be anything
		m.To, err = o.str("to")
		return m, err
	case "EndpointStats":
		from, _ := o.str("from")
		delete(o, "colibriClass")
		delete(o, "from")
		return EndpointStats{from, o}, nil
	case "LastNChangedEvent":
		n, err := o.integer("lastN")
		if err == nil && n == nil {
			err = errors.New("no lastN")
		}
		if err != nil {
			return nil, err
		}
		return LastNChanged{clampLastN(*n)}, nil
	case "ReceiverVideoConstraints":
		return o.videoConstraints()
	case "ReceiverAudioSubscription":
		return o.audioSubscription()
	case "SourceVideoTypeMessage":
		m := SourceVideoType{}
		if m.Source, err = o.str("sourceName"); err == nil {
			m.VideoType, err = o.str("videoType")
		}
		m.VideoType = strings.ToLower(m.VideoType)
		return m, err
	case "VideoTypeMessage":
		t, err := o.str("videoType")
		return VideoType{strings.ToLower(t)}, err
	case "AddReceiver", "RemoveReceiver", "EndpointConnectivityStatusChangeEvent":
		return o.ofBridge(class)
	}
	return nil, nil
}

// ofBridge reads what only other bridges say.
func (o object) ofBridge(class string) (any, error) {
	if class == "EndpointConnectivityStatusChangeEvent" {
		id, err := o.str("endpoint")
		if err != nil {
			return nil, err
		}
		active, err := o.str("active")
		return ConnectivityMessage{id, active == "true"}, err
	}
	source, err := o.str("sourceName")
	if err == nil && source == "" {
		err = errors.New("no sourceName")
	}
	if err != nil || class == "RemoveReceiver" {
		return RemoveReceiverMessage{source}, err
	}
	c, err := constraint(o["videoConstraints"])
	return AddReceiverMessage{source, c}, err
}

// has tells that a key is there and not null.
func (o object) has(key string) bool {
	raw, ok := o[key]
	return ok && !bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

func (o object) str(key string) (s string, err error) {
	if o.has(key) {
		err = json.Unmarshal(o[key], &s)
	}
	return s, err
}

func (o object) strs(key string) (s []string, err error) {
	if o.has(key) {
		s = []string{}
		err = json.Unmarshal(o[key], &s)
	}
	return s, err
}

// integer reads a number that may be written as a float.
func (o object) integer(key string) (*int, error) {
	if !o.has(key) {
		return nil, nil
	}
	var f float64
	if err := json.Unmarshal(o[key], &f); err != nil {
		return nil, err
	}
	n := int(math.Max(-1e9, math.Min(1e9, f)))
	return &n, nil
}

func clampLastN(n int) int { return max(n, -1) }

func (o object) videoConstraints() (any, error) {
	var m ReceiverVideoConstraints
	var err error
	if m.LastN, err = o.integer("lastN"); err != nil {
		return nil, err
	}
	if m.LastN != nil {
		*m.LastN = clampLastN(*m.LastN)
	}
	for key, dst := range map[string]*[]string{"onStageSources": &m.OnStage, "selectedSources": &m.Selected,
		"onStageEndpoints": &m.OnStageEndpoints, "selectedEndpoints": &m.SelectedEndpoints} {
		if *dst, err = o.strs(key); err != nil {
			return nil, err
		}
	}
	if o.has("defaultConstraints") {
		var c Constraint
		if c, err = constraint(o["defaultConstraints"]); err != nil {
			return nil, err
		}
		m.Default = &c
	}
	if o.has("constraints") {
		var list object
		if err = json.Unmarshal(o["constraints"], &list); err != nil {
			return nil, err
		}
		m.Constraints = make(map[string]Constraint, len(list))
		for name, raw := range list {
			if m.Constraints[name], err = constraint(raw); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// constraint reads one; idealHeight is an old name of maxHeight, and none at all means no limit.
func constraint(raw json.RawMessage) (Constraint, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return Constraint{}, err
	}
	c := Constraint{MaxHeight: -1, MaxFrameRate: -1}
	for _, key := range []string{"idealHeight", "maxHeight"} {
		n, err := o.integer(key)
		if err != nil {
			return c, err
		}
		if n != nil {
			c.MaxHeight = max(*n, -1)
		}
	}
	if o.has("maxFrameRate") {
		if err := json.Unmarshal(o["maxFrameRate"], &c.MaxFrameRate); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (o object) audioSubscription() (any, error) {
	m := ReceiverAudioSubscription{All: true}
	var err error
	if m.Include, err = o.strs("include"); err != nil {
		return nil, err
	}
	if m.Exclude, err = o.strs("exclude"); err != nil {
		return nil, err
	}
	mode, err := o.str("mode")
	if err != nil {
		return nil, err
	}
	switch {
	case o.has("all"):
		err = json.Unmarshal(o["all"], &m.All)
	case mode != "":
		var list []string
		if list, err = o.strs("list"); err != nil {
			return nil, err
		}
		switch strings.ToLower(mode) {
		case "all":
		case "none":
			m.All = false
		case "include":
			m.All, m.Include = false, list
		case "exclude":
			m.Exclude = list
		default:
			err = errors.New("unknown mode")
		}
	default:
		m.All = m.Include == nil
	}
	return m, err
}
