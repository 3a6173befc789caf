package bridgechan

import (
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

func intp(n int) *int { return &n }

func TestDecode(t *testing.T) {
	tests := []struct {
		in   string
		want any
	}{
		{`{"colibriClass":"ClientHello"}`, ClientHello{}},
		{`{"colibriClass":"AddReceiver","bridgeId":"r","sourceName":"a-v0","videoConstraints":{"maxHeight":360,"maxFrameRate":-1.0}}`, AddReceiverMessage{"a-v0", Constraint{360, -1}}},
		{`{"colibriClass":"RemoveReceiver","bridgeId":"r","sourceName":"a-v0"}`, RemoveReceiverMessage{"a-v0"}},
		{`{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"true"}`, ConnectivityMessage{"a", true}},
		{`{"colibriClass":"EndpointMessage","to":"x","from":"forged","msgPayload":{"a":1}}`, EndpointMessage{"forged", "x", json.RawMessage(`{"a":1}`)}},
		{`{"colibriClass":"Unknown","x":1}`, nil},
		{`{"colibriClass":"LastNChangedEvent","lastN":-7}`, LastNChanged{-1}},
		{`{"colibriClass":"LastNChangedEvent","lastN":3.0}`, LastNChanged{3}},
		{`{"colibriClass":"ReceiverVideoConstraints","lastN":5,"onStageSources":[],"onStageEndpoints":null,"defaultConstraints":{"maxHeight":180},"constraints":{"a-v0":{"maxHeight":720,"maxFrameRate":15}}}`,
			ReceiverVideoConstraints{LastN: intp(5), OnStage: []string{}, Default: &Constraint{180, -1}, Constraints: map[string]Constraint{"a-v0": {720, 15}}}},
		{`{"colibriClass":"ReceiverVideoConstraints","defaultConstraints":{"idealHeight":360}}`, ReceiverVideoConstraints{Default: &Constraint{360, -1}}},
		{`{"colibriClass":"ReceiverAudioSubscription","all":false,"include":["a-a0"]}`, ReceiverAudioSubscription{Include: []string{"a-a0"}}},
		{`{"colibriClass":"ReceiverAudioSubscription","mode":"Exclude","list":["b-a0"]}`, ReceiverAudioSubscription{All: true, Exclude: []string{"b-a0"}}},
		{`{"colibriClass":"SourceVideoTypeMessage","sourceName":"a-v1","videoType":"DESKTOP"}`, SourceVideoType{"a-v1", "desktop"}},
		{`{"colibriClass":"VideoTypeMessage","videoType":"camera"}`, VideoType{"camera"}},
		{`{"colibriClass":"ClientHello","colibriClass":"LastNChangedEvent","lastN":1}`, LastNChanged{1}},
	}
	for _, tt := range tests {
		got, err := Decode([]byte(tt.in))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Decode(%s) = %#v, %v; want %#v", tt.in, got, err, tt.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, in := range []string{``, `[]`, `null`, `{}`, `{"colibriClass":7}`,
		`{"colibriClass":"EndpointMessage","to":"x"}`,
		`{"colibriClass":"EndpointMessage","msgPayload":"text"}`,
		`{"colibriClass":"LastNChangedEvent"}`,
		`{"colibriClass":"ReceiverVideoConstraints","lastN":"many"}`,
		`{"colibriClass":"ReceiverVideoConstraints","constraints":{"a":7}}`,
		"{\"colibriClass\":\"EndpointMessage\",\"msgPayload\":{\"a\":\"\xff\"}}", // a browser would end the WebSocket that it was passed on over (RFC 6455 §8.1)
		"{\"colibriClass\":\"EndpointStats\",\"a\":\"\xed\xa0\x80\"}"} {
		if v, err := Decode([]byte(in)); err == nil {
			t.Errorf("Decode(%s) = %#v, want an error", in, v)
		}
	}
	if _, err := Decode(make([]byte, MaxMessage+1)); err != errTooLong {
		t.Errorf("long message: %v", err)
	}
}

func TestRelayOverwritesSender(t *testing.T) {
	v, err := Decode([]byte(`{"colibriClass":"EndpointStats","from":"forged","jvbRTT":7,"from":"again"}`))
	if err != nil {
		t.Fatal(err)
	}
	got := string(RelayStats("real", v.(EndpointStats)))
	if want := `{"colibriClass":"EndpointStats","from":"real","jvbRTT":7}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	v, err = Decode([]byte(`{"colibriClass":"EndpointMessage","from":"forged","to":"","msgPayload":{"from":"inner <b>"}}`))
	if err != nil {
		t.Fatal(err)
	}
	got = string(Relay("real", v.(EndpointMessage)))
	if want := `{"colibriClass":"EndpointMessage","from":"real","to":"","msgPayload":{"from":"inner <b>"}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEncode(t *testing.T) {
	none := int64(-1)
	for _, tt := range []struct{ got, want string }{
		{string(ServerHello("")), `{"colibriClass":"ServerHello"}`},
		{string(Connectivity("a", false)), `{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"false"}`},
		{string(ForwardedSources(nil)), `{"colibriClass":"ForwardedSources","forwardedSources":[]}`},
		{string(SenderConstraint("a-v0", 0)), `{"colibriClass":"SenderSourceConstraints","sourceName":"a-v0","maxHeight":0}`},
		{string(DominantSpeaker("a", nil, false)), `{"colibriClass":"DominantSpeakerEndpointChangeEvent","dominantSpeakerEndpoint":"a","previousSpeakers":[],"silence":false}`},
		{string(VideoSourcesMap([]Mapping{{Source: "a-v0", Owner: "a", SSRC: 5, RTX: &none, VideoType: "CAMERA"}})),
			`{"colibriClass":"VideoSourcesMap","mappedSources":[{"source":"a-v0","owner":"a","ssrc":5,"rtx":-1,"videoType":"CAMERA"}]}`},
		{string(ConnectionStats(7)), `{"colibriClass":"ConnectionStats","estimatedDownlinkBandwidth":7}`},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

// FuzzDecode holds: nothing panics, and what is relayed is valid JSON, and UTF-8, with the true sender in it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"colibriClass":"EndpointMessage","to":"","msgPayload":{}}`,
		`{"colibriClass":"EndpointStats","a":[1,{"b":null}]}`,
		`{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"constraints":{"x":{"maxHeight":1e99}}}`,
		`{"colibriClass":"ReceiverAudioSubscription","mode":"Include","list":[]}`,
		`{"colibriClass":"SourceVideoTypeMessage","sourceName":"\u0000","videoType":"NONE"}`,
		`{"colibriClass":"LastNChangedEvent","lastN":1e400}`,
		"{\"colibriClass\":\"EndpointStats\",\"\xff\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := Decode(in)
		if err != nil {
			return
		}
		var out []byte
		switch m := v.(type) {
		case EndpointMessage:
			out = Relay("me", m)
		case EndpointStats:
			out = RelayStats("me", m)
		default:
			return
		}
		var o map[string]json.RawMessage
		if err := json.Unmarshal(out, &o); err != nil || string(o["from"]) != `"me"` || !utf8.Valid(out) {
			t.Fatalf("%s became %s: %v", in, out, err)
		}
	})
}
