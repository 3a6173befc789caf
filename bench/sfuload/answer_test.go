package sfuload

import (
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	l := testLocal()
	text := WriteSDP(l, "actpass", 1, []Section{
		{Media: Media{MID: "a", Kind: Audio, Direction: "sendonly", Codecs: append([]Codec{{PT: 63, Name: "red", Clock: 48000, Channels: 2}}, DefaultCodecs("opus")...), Exts: DefaultExts(Audio)},
			Track: &Track{Name: "a0", Kind: Audio, Codec: "opus", Layers: []Layer{{SSRC: 7}}}},
		{Media: Media{MID: "v", Kind: Video, Direction: "sendonly", Codecs: append(DefaultCodecs("VP9"), DefaultCodecs("VP8")...), Exts: append(DefaultExts(Video), Ext{13, ExtDD})}},
		{Media: Media{MID: "h", Kind: Video, Direction: "sendonly", Codecs: []Codec{{PT: 102, Name: "H264", Clock: 90000}}}},
		{Media: Media{MID: "i", Kind: Video, Direction: "inactive", Codecs: DefaultCodecs("VP8")}},
		{Media: Media{MID: "d", Kind: Application}},
	})
	offer, err := ParseSDP(text)
	if err != nil {
		t.Fatal(err)
	}
	sections, receive := answer(offer)
	answer, err := ParseSDP(WriteSDP(l, "active", 1, sections))
	if err != nil || len(answer.Media) != 5 || len(receive) != 2 {
		t.Fatal(err, answer, receive)
	}
	if m := answer.Media[0]; m.MID != "a" || m.Direction != "recvonly" || len(m.Codecs) != 1 || m.Codecs[0].PT != 111 || len(m.Sources) != 0 {
		t.Errorf("%+v", m)
	}
	if r := receive[0]; r.MID != "a" || len(r.Sources) != 1 || r.Sources[0].SSRC != 7 {
		t.Errorf("%+v", r)
	}
	if m := answer.Media[1]; len(m.Codecs) != 2 || m.Codecs[0].Name != "VP9" || m.Codecs[1].Params != "apt=98" || len(m.Exts) != 5 {
		t.Errorf("%+v", m)
	}
	if !answer.Media[2].Rejected || answer.Media[3].Direction != "inactive" || answer.Media[4].Rejected {
		t.Errorf("%+v", answer.Media)
	}
	if text := WriteSDP(l, "active", 1, sections); !strings.Contains(text, "m=application 9 ") || !strings.Contains(text, "BUNDLE a v i d\r\n") {
		t.Error(text)
	}
}
