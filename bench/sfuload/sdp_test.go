package sfuload

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func testLocal() Local {
	return Local{Ufrag: "ufra", Pwd: "pwdpwdpwdpwdpwdpwdpwd1", Candidate: netip.MustParseAddrPort("127.0.0.1:4001"), Hash: "sha-256", Print: "AB:CD"}
}

// What WriteSDP writes, ParseSDP reads: announced SSRCs, numbers, directions and the transport survive.
func TestSDPRoundTrip(t *testing.T) {
	video := &Track{Name: "v0", Kind: Video, Codec: "VP8", Layers: []Layer{{RID: "q", SSRC: 1, RTX: 11}, {RID: "h", SSRC: 2, RTX: 12}, {RID: "f", SSRC: 3, RTX: 13}}}
	audio := &Track{Name: "a0", Kind: Audio, Codec: "opus", Layers: []Layer{{SSRC: 4}}}
	sections := []Section{
		{Media: Media{MID: "0", Kind: Audio, Direction: "sendonly", Codecs: DefaultCodecs("opus"), Exts: DefaultExts(Audio)}, Track: audio},
		{Media: Media{MID: "1", Kind: Video, Direction: "sendonly", Codecs: DefaultCodecs("VP8"), Exts: DefaultExts(Video)}, Track: video},
		{Media: Media{MID: "2", Kind: Video, Direction: "recvonly", Codecs: DefaultCodecs("VP9"), Exts: DefaultExts(Video)}},
		{Media: Media{MID: "3", Kind: Application, Rejected: true}},
	}
	text := WriteSDP(testLocal(), "actpass", 3, sections)
	d, err := ParseSDP(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	l := testLocal()
	if d.Ufrag != l.Ufrag || d.Pwd != l.Pwd || d.Hash != l.Hash || d.Print != l.Print || d.Setup != "actpass" || !reflect.DeepEqual(d.Candidates, []netip.AddrPort{l.Candidate}) {
		t.Errorf("%+v", d)
	}
	if len(d.Media) != 4 || !strings.Contains(text, "a=group:BUNDLE 0 1 2\r\n") || !strings.Contains(text, "a=ssrc-group:SIM 1 2 3\r\n") {
		t.Fatal(text)
	}
	if !reflect.DeepEqual(d.Media[0].Codecs, DefaultCodecs("opus")) || !reflect.DeepEqual(d.Media[1].Exts, DefaultExts(Video)) || !reflect.DeepEqual(d.Media[2].Codecs, DefaultCodecs("VP9")) {
		t.Errorf("%+v", d.Media)
	}
	if want := []Source{{1, 11, "v0"}, {2, 12, "v0"}, {3, 13, "v0"}}; !reflect.DeepEqual(d.Media[1].Sources, want) {
		t.Errorf("%+v", d.Media[1].Sources)
	}
	if m := d.Media[1]; m.StreamID != "stream-v0" || m.TrackID != "track-v0" || m.Direction != "sendonly" || m.Rejected || !d.Media[3].Rejected {
		t.Errorf("%+v", m)
	}
	if c, rtx, ok := d.Media[1].Codec("vp8"); !ok || c.PT != 96 || rtx != 97 {
		t.Error(c, rtx, ok)
	}
	sections[1].UseRIDs = true
	d, err = ParseSDP(WriteSDP(l, "active", 4, sections))
	if err != nil || !reflect.DeepEqual(d.Media[1].RIDs, []string{"q", "h", "f"}) || len(d.Media[1].Sources) != 0 || d.Remote(true).Role != RolePassive {
		t.Error(err, d)
	}
	if p := d.Media[2].pick("VP9"); len(p.Codecs) != 2 || len(p.Exts) != 5 {
		t.Errorf("%+v", p)
	}
}

func TestParseCandidate(t *testing.T) {
	for s, want := range map[string]string{
		"candidate:1 1 udp 2130706431 127.0.0.1 10000 typ host":                              "127.0.0.1:10000",
		"a=candidate:1 1 UDP 2130706431 ::1 9 typ host":                                      "[::1]:9",
		"1 1 udp 2 10.0.0.1 7 typ srflx raddr 1.1.1.1 rport 8":                               "10.0.0.1:7",
		"candidate:1 1 tcp 2130706431 127.0.0.1 10000 typ host tcptype passive":              "",
		"candidate:1 2 udp 2130706431 127.0.0.1 10000 typ host":                              "",
		"candidate:1 1 udp 2130706431 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 9 typ host": "",
		"candidate:1 1 udp 1 127.0.0.1 99999 typ host":                                       "",
		"x": "",
	} {
		ap, ok := ParseCandidate(s)
		if ok != (want != "") || ok && ap.String() != want {
			t.Errorf("%q: %v %v", s, ap, ok)
		}
	}
}

func TestParseSDPErrors(t *testing.T) {
	for _, s := range []string{"", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ssrc:x cname:y\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\na=fingerprint:sha-256 A\r\n"} {
		if _, err := ParseSDP(s); err == nil {
			t.Errorf("accepted %q", s)
		}
	}
}

func FuzzParseSDP(f *testing.F) {
	f.Add(WriteSDP(testLocal(), "actpass", 1, []Section{{Media: Media{MID: "0", Kind: Video, Codecs: DefaultCodecs("VP8"), Exts: DefaultExts(Video)}}}))
	f.Fuzz(func(_ *testing.T, s string) {
		if d, err := ParseSDP(s); err == nil {
			d.Remote(true)
			for i := range d.Media {
				d.Media[i].pick("VP8")
			}
		}
	})
}
