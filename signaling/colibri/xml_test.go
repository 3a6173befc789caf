package colibri

import (
	"reflect"
	"strings"
	"testing"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// What a jicofo of 2026 sends for a first participant, shortened in the codecs.
const createRequest = `<conference-modify xmlns='jitsi:colibri2' meeting-id='c0ffee00-1' name='standup@conference.meet.example' create='true' rtcstats-enabled='false'>
  <endpoint id='ab12cd34' stats-id='Jane-x1Y' muc-role='participant' create='true'>
    <capability name='source-names'/><capability name='ssrc-rewriting'/><capability name='private-address-connectivity'/>
    <media type='audio'>
      <payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='111' name='opus' clockrate='48000' channels='2'><parameter name='minptime' value='10'/></payload-type>
      <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='1' uri='urn:ietf:params:rtp-hdrext:ssrc-audio-level'/>
      <extmap-allow-mixed xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0'/>
    </media>
    <media type='video'><payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='100' name='VP8' clockrate='90000'><rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='nack' subtype='pli'/></payload-type></media>
    <transport ice-controlling='true'><sctp/></transport>
    <force-mute audio='true' video='false'/>
  </endpoint>
</conference-modify>`

const updateRequest = `<conference-modify xmlns='jitsi:colibri2' meeting-id='c0ffee00-1'>
  <endpoint id='ab12cd34'>
    <transport><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u1' pwd='p1'><rtcp-mux/>
      <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='active'>AA:BB</fingerprint>
      <candidate component='1' foundation='1' generation='0' id='c1' ip='192.0.2.1' network='0' port='1000' priority='1' protocol='udp' type='host'/></transport></transport>
    <sources>
      <media-source type='audio' id='ab12cd34-a0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1'/></media-source>
      <media-source type='video' id='ab12cd34-v0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='2'/><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='3'/>
        <ssrc-group xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' semantics='FID'><source ssrc='2'/><source ssrc='3'/></ssrc-group></media-source>
    </sources>
    <initial-last-n value='5'/>
  </endpoint>
</conference-modify>`

func parse(t *testing.T, s string) *ConferenceModify {
	t.Helper()
	el, err := stanza.ParseElement([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseModify(el)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseCreate(t *testing.T) {
	m := parse(t, createRequest)
	if m.MeetingID != "c0ffee00-1" || !m.Create || m.Expire || m.Name != "standup@conference.meet.example" || len(m.Endpoints) != 1 {
		t.Fatalf("%+v", m)
	}
	e := m.Endpoints[0]
	if e.ID != "ab12cd34" || e.StatsID != "Jane-x1Y" || e.Visitor || !e.Create || len(e.Capabilities) != 3 || e.Sources != nil || e.LastN != nil {
		t.Errorf("%+v", e)
	}
	if len(e.Media) != 2 || e.Media[0].Payloads[0].Channels != 2 || e.Media[0].HdrExts[0].ID != 1 || e.Media[1].Payloads[0].Feedback[0].Subtype != "pli" {
		t.Errorf("%+v", e.Media)
	}
	if e.Transport == nil || !e.Transport.ICEControlling || !e.Transport.SCTP || e.Transport.Remote != nil {
		t.Errorf("%+v", e.Transport)
	}
	if e.ForceMute == nil || !e.ForceMute.Audio || e.ForceMute.Video {
		t.Errorf("%+v", e.ForceMute)
	}
}

func TestParseUpdate(t *testing.T) {
	e := parse(t, updateRequest).Endpoints[0]
	if r := e.Transport.Remote; r.Ufrag != "u1" || len(r.Candidates) != 1 || r.Fingerprints[0].Setup != "active" {
		t.Errorf("%+v", r)
	}
	want := jingle.SourceSet{
		Sources: []jingle.Source{{SSRC: 1, Media: jingle.Audio, Name: "ab12cd34-a0"}, {SSRC: 2, Media: jingle.Video, Name: "ab12cd34-v0"}, {SSRC: 3, Media: jingle.Video, Name: "ab12cd34-v0"}},
		Groups:  []jingle.Group{{Media: jingle.Video, Semantics: jingle.FID, SSRCs: []uint32{2, 3}}},
	}
	if !reflect.DeepEqual(*e.Sources, want) {
		t.Errorf("%+v", e.Sources)
	}
	if e.LastN == nil || *e.LastN != 5 {
		t.Errorf("last-n %v", e.LastN)
	}
}

// TestRoundTrip: what is written is read as the same.
func TestRoundTrip(t *testing.T) {
	for _, s := range []string{createRequest, updateRequest,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m' expire='true'/>`,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><endpoint id='a'><transport ice-restart='true'/></endpoint><endpoint id='b' expire='true'/></conference-modify>`,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><endpoint id='a'><sources/></endpoint></conference-modify>`,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><relay id='r2' mesh-id='0' create='true'><transport ice-controlling='true'><sctp role='client'/></transport>
		 <endpoints><endpoint id='x' create='true'><sources><media-source type='audio' id='x-a0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='9'/></media-source></sources></endpoint></endpoints></relay></conference-modify>`,
	} {
		m := parse(t, s)
		again, err := ParseModify(m.Element())
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%s:\n%+v\n%+v %v", s, m, again, err)
		}
	}
}

func TestModified(t *testing.T) {
	m := &ConferenceModified{
		Endpoints: []EndpointModified{{ID: "a", Transport: &jingle.Transport{Ufrag: "u", Pwd: "p", SCTPPort: 5000, WebSockets: []string{"wss://h/colibri-ws/s/c/a?pwd=1"},
			Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "actpass", Value: "AA"}}}}, {ID: "b"}},
		Relays:  []RelayModified{{ID: "r", Transport: &jingle.Transport{Ufrag: "u", Pwd: "p", SCTPPort: 5000}, SCTPRole: SCTPClient}},
		Sources: jingle.SourceSet{Sources: []jingle.Source{{SSRC: 7, Media: jingle.Audio, Name: "jvb-a0"}, {SSRC: 8, Media: jingle.Video, Name: "jvb-v0"}}},
	}
	again, err := ParseModified(m.Element())
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("\n%+v\n%+v %v", m, again, err)
	}
}

func TestBadRequests(t *testing.T) {
	for in, want := range map[string]Reason{
		`<conference-modify xmlns='jitsi:colibri2'/>`:                                                                                           ReasonBadRequest,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='` + strings.Repeat("x", 300) + `'/>`:                                             ReasonBadRequest,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><endpoint/></conference-modify>`:                                              ReasonBadRequest,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><endpoint id='a'><media type='smell'/></endpoint></conference-modify>`:        ReasonBadRequest,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><endpoint id='a'><initial-last-n value='-2'/></endpoint></conference-modify>`: ReasonBadRequest,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><endpoint id='a'><sources><media-source type='audio' id='a-a0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='0'/></media-source></sources></endpoint></conference-modify>`: ReasonBadRequest,
		`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><connects><connect url='wss://x'/></connects></conference-modify>`:                                                                                                                 ReasonFeatureNotSupported,
		`<other xmlns='jitsi:colibri2'/>`: ReasonBadRequest,
	} {
		el, err := stanza.ParseElement([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseModify(el)
		ce, ok := err.(*Error)
		if !ok || ce.Reason != want {
			t.Errorf("%.120s: %v, want %s", in, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	from, to := stanza.MustJID("a@b/c"), stanza.MustJID("d@e/f")
	for reason, base := range conditions {
		e := &Error{Reason: reason, Text: "words"}
		if reason.named() {
			e.Endpoint = "ab12cd34"
		}
		req := stanza.NewIQ("get", "1", to, from)
		reply := req.ErrorReply(e.Stanza())
		if got := ParseError(reply); *got != *e {
			t.Errorf("%s: %+v, want %+v", reason, got, e)
		}
		if !strings.Contains(reply.String(), "<"+base.Condition) {
			t.Errorf("%s: %s", reason, reply)
		}
	}
	if got := ParseError(stanza.NewIQ("get", "1", to, from).ErrorReply(stanza.ErrFeatureNotImplemented.With("SCTP support is not configured"))); got.Reason != ReasonFeatureNotSupported {
		t.Errorf("JVB without SCTP: %+v", got)
	}
	if got := ParseError(stanza.NewIQ("get", "1", to, from).ErrorReply(&stanza.Error{Type: "wait", Condition: "recipient-unavailable"})); got.Reason != ReasonInternal || got.Text != "recipient-unavailable" {
		t.Errorf("%+v", got)
	}
}

// FuzzParse: no request panics, and what was read is read the same after it was written.
func FuzzParse(f *testing.F) {
	f.Add([]byte(createRequest))
	f.Add([]byte(updateRequest))
	f.Add([]byte(`<conference-modify xmlns='jitsi:colibri2' meeting-id='m'><relay id='r'><endpoints/></relay></conference-modify>`))
	f.Add([]byte(`<conference-modified xmlns='jitsi:colibri2'><endpoint id='a'><transport><sctp role='server' port='5000'/></transport></endpoint><sources/></conference-modified>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		el, err := stanza.ParseElement(b)
		if err != nil {
			return
		}
		if m, err := ParseModified(el); err == nil {
			if _, err := ParseModified(m.Element()); err != nil {
				t.Errorf("what was written is not read: %v", err)
			}
		}
		m, err := ParseModify(el)
		if err != nil {
			return
		}
		if _, err := ParseModify(m.Element()); err != nil {
			t.Errorf("what was written is not read: %v", err)
		}
	})
}
