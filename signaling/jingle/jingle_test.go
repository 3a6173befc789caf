package jingle

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"konzil/xmpp/stanza"
)

func simulcast() SourceSet {
	s := SourceSet{Groups: []Group{{Video, SIM, []uint32{1, 2, 3}}, {Video, FID, []uint32{1, 11}}, {Video, FID, []uint32{2, 12}}, {Video, FID, []uint32{3, 13}}}}
	for _, x := range []uint32{1, 2, 3, 11, 12, 13} {
		s.Sources = append(s.Sources, Source{SSRC: x, Media: Video, Name: "ab12cd34-v0", MSID: "stream track", VideoType: "desktop"})
	}
	s.Sources = append(s.Sources, Source{SSRC: 7, Media: Audio, Name: "ab12cd34-a0", MSID: "a b"})
	return s
}

func TestStripSimulcast(t *testing.T) {
	got := simulcast().StripSimulcast()
	var ssrcs []uint32
	for _, s := range got.Sources {
		ssrcs = append(ssrcs, s.SSRC)
	}
	if !slices.Equal(ssrcs, []uint32{1, 11, 7}) || !reflect.DeepEqual(got.Groups, []Group{{Video, FID, []uint32{1, 11}}}) {
		t.Errorf("got %+v", got)
	}
}

func TestEncodingsAgree(t *testing.T) {
	set := simulcast()
	for _, asJSON := range []bool{true, false} {
		m, err := Parse(SourceChange("source-add", "s", "i", []Owned{{"ab12cd34", set}}, asJSON))
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Minus(m.Sources); !got.Empty() {
			t.Errorf("json %v lost %+v", asJSON, got)
		}
		if got := m.Sources.Minus(set); !got.Empty() {
			t.Errorf("json %v made up %+v", asJSON, got)
		}
	}
}

func TestJSONForm(t *testing.T) {
	got := string(appendJSON(nil, []Owned{{"jvb", SourceSet{Sources: []Source{{SSRC: 2, Media: Video, Name: "jvb-v0", MSID: "m v"}, {SSRC: 1, Media: Audio, Name: "jvb-a0", MSID: "m a"}}}}}))
	if want := `{"sources":{"jvb":[[{"s":2,"n":"jvb-v0","m":"m v"}],[],[{"s":1,"n":"jvb-a0","m":"m a"}]]}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = string(appendJSON(nil, []Owned{{"x", SourceSet{Sources: []Source{{SSRC: 5, Media: Video, VideoType: "desktop"}}, Groups: []Group{{Audio, FID, []uint32{1, 2}}, {Video, SIM, []uint32{5, 6}}}}}}))
	if want := `{"sources":{"x":[[{"s":5,"v":"d"}],[["s",5,6]],[],[["f",1,2]]]}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLedgerRules(t *testing.T) {
	src := func(ssrc uint32, msid string) Source {
		return Source{SSRC: ssrc, Media: Video, Name: "me-v0", MSID: msid}
	}
	many := SourceSet{}
	for i := range uint32(MaxSources + 1) {
		many.Sources = append(many.Sources, Source{SSRC: 100 + i, Media: Audio, Name: "me-a0"})
	}
	tests := []struct {
		name string
		set  SourceSet
		ok   bool
	}{
		{"plain", SourceSet{Sources: []Source{src(1, "a b")}}, true},
		{"no msid, no group", SourceSet{Sources: []Source{src(1, "")}}, true},
		{"simulcast", func() SourceSet {
			s := simulcast()
			for i := range s.Sources {
				s.Sources[i].Name = strings.Replace(s.Sources[i].Name, "ab12cd34", "me", 1)
			}
			return s
		}(), true},
		{"zero", SourceSet{Sources: []Source{src(0, "a b")}}, false},
		{"twice", SourceSet{Sources: []Source{src(1, "a b"), src(1, "a b")}}, false},
		{"taken", SourceSet{Sources: []Source{src(50, "a b")}}, false},
		{"reserved", SourceSet{Sources: []Source{src(60, "a b")}}, false},
		{"too many", many, false},
		{"group of nothing", SourceSet{Sources: []Source{src(1, "a b")}, Groups: []Group{{Video, FID, []uint32{1, 2}}}}, false},
		{"empty group", SourceSet{Sources: []Source{src(1, "a b")}, Groups: []Group{{Video, SIM, nil}}}, false},
		{"FID of three", SourceSet{Sources: []Source{src(1, "a b"), src(2, "a b"), src(3, "a b")}, Groups: []Group{{Video, FID, []uint32{1, 2, 3}}}}, false},
		{"grouped without msid", SourceSet{Sources: []Source{src(1, ""), src(2, "")}, Groups: []Group{{Video, FID, []uint32{1, 2}}}}, false},
		{"msids differ", SourceSet{Sources: []Source{src(1, "a b"), src(2, "c d")}, Groups: []Group{{Video, FID, []uint32{1, 2}}}}, false},
		{"msid of two sources", SourceSet{Sources: []Source{src(1, "a b"), src(2, "a b")}}, false},
		{"another's name", SourceSet{Sources: []Source{{SSRC: 1, Media: Video, Name: "you-v0", MSID: "a b"}}}, false},
		{"name of the other kind", SourceSet{Sources: []Source{{SSRC: 1, Media: Video, Name: "me-a0", MSID: "a b"}}}, false},
	}
	for _, tt := range tests {
		l := NewLedger()
		l.Reserve(60)
		if _, err := l.Add("you", SourceSet{Sources: []Source{{SSRC: 50, Media: Audio, Name: "you-a0"}}}); err != nil {
			t.Fatal(err)
		}
		_, err := l.Add("me", tt.set)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && !l.Of("me").Empty() {
			t.Errorf("%s: refused, yet something was taken", tt.name)
		}
	}
}

func TestLedgerRemove(t *testing.T) {
	l := NewLedger()
	got, err := l.Add("me", SourceSet{Sources: []Source{{SSRC: 1, Media: Video, MSID: "a b"}, {SSRC: 2, Media: Video, MSID: "a b"}, {SSRC: 3, Media: Audio}},
		Groups: []Group{{Video, FID, []uint32{1, 2}}}})
	if err != nil || got.Sources[0].Name != "me-v0" || got.Sources[2].Name != "me-a0" {
		t.Fatalf("%+v, %v", got, err)
	}
	gone := l.Remove("me", SourceSet{Sources: []Source{{SSRC: 2}, {SSRC: 99}}})
	if len(gone.Sources) != 1 || len(gone.Groups) != 1 {
		t.Errorf("gone %+v", gone)
	}
	if _, err := l.Add("you", SourceSet{Sources: []Source{{SSRC: 2, Media: Audio, Name: "you-a0"}}}); err != nil {
		t.Errorf("a freed SSRC is refused: %v", err)
	}
	l.RemoveOwner("me")
	if all := l.All(""); len(all) != 1 || all[0].Owner != "you" {
		t.Errorf("left %+v", all)
	}
}

func TestParseAccept(t *testing.T) {
	tr := Transport{Ufrag: "u", Pwd: "p", Fingerprints: []Fingerprint{{"sha-256", "active", "AA"}},
		Candidates: []Candidate{{Foundation: "1", Component: 1, Protocol: "udp", Priority: 5, Type: "host", Addr: netip.MustParseAddrPort("[2001:db8::1]:9")}}}
	vd := VideoDescription(Can{RTX: true, TCC: true})
	d := vd.element().Add(stanza.NewElement(NSColibri2, "initial-last-n", "value", "3"))
	el := stanza.NewElement(NS, "jingle", "action", "session-accept", "sid", "x").
		Add(contentElement("video").Add(d, tr.Element(false)), contentElement("data").Add(tr.Element(true)))
	m, err := Parse(el)
	if err != nil {
		t.Fatal(err)
	}
	if m.LastN == nil || *m.LastN != 3 || !reflect.DeepEqual(m.Transport.Fingerprints, tr.Fingerprints) || !reflect.DeepEqual(m.Transport.Candidates, tr.Candidates) {
		t.Errorf("got %+v", m)
	}
	if !reflect.DeepEqual(m.Payloads[Video], vd.Payloads) || !reflect.DeepEqual(m.HdrExts, vd.HdrExts) {
		t.Errorf("description: %+v", m.Payloads)
	}
}

func TestCandidatesWithNamesArePassedOver(t *testing.T) {
	el := stanza.NewElement(NSICE, "transport").Add(
		stanza.NewElement(NSICE, "candidate", "ip", "x.local", "port", "1", "priority", "1", "protocol", "udp", "type", "host"),
		stanza.NewElement(NSICE, "candidate", "ip", "192.0.2.1", "port", "1", "priority", "1", "protocol", "udp", "type", "host"))
	var tr Transport
	if err := tr.Parse(el); err != nil || len(tr.Candidates) != 1 {
		t.Errorf("%+v, %v", tr, err)
	}
}

func TestCodecTables(t *testing.T) {
	names := func(d Description) (out []string) {
		for _, p := range d.Payloads {
			out = append(out, p.Name)
		}
		return out
	}
	if got := strings.Join(names(VideoDescription(Can{})), " "); got != "AV1 VP8 H264 VP9" {
		t.Errorf("without RTX: %s", got)
	}
	if got := strings.Join(names(AudioDescription(Can{RED: true})), " "); got != "red opus telephone-event" {
		t.Errorf("with RED: %s", got)
	}
	for _, p := range VideoDescription(Can{RTX: true, TCC: true}).Payloads {
		tcc := slices.Contains(p.Feedback, Feedback{"transport-cc", ""})
		if tcc != (p.Name != "rtx") {
			t.Errorf("%s %d: transport-cc %v", p.Name, p.ID, tcc)
		}
	}
}

// FuzzParse holds: nothing panics, the ledger never takes what breaks its rules, and what it took survives both encodings.
func FuzzParse(f *testing.F) {
	xml := func(el *stanza.Element) string { return string(el.AppendXML(nil, "")) }
	f.Add(xml(SourceChange("source-add", "s", "i", []Owned{{"me", simulcast()}}, false)))
	f.Add(xml(SourceChange("source-add", "s", "i", []Owned{{"me", simulcast()}}, true)))
	f.Add(xml(Terminate("s", "i", "success", "bye")))
	f.Add(xml(TransportInfo("s", "i", Transport{Ufrag: "u", Pwd: "p", Generation: 1})))
	f.Add(`<jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='1'><bridge-session xmlns='http://jitsi.org/protocol/focus' id='x' restart='true'/></jingle>`)
	f.Fuzz(func(t *testing.T, in string) {
		el, err := stanza.ParseElement([]byte(in))
		if err != nil {
			return
		}
		m, err := Parse(el)
		if err != nil {
			return
		}
		l := NewLedger()
		l.Reserve(4)
		added, err := l.Add("ab12cd34", m.Sources)
		if err != nil {
			return
		}
		for _, s := range added.Sources {
			if s.SSRC == 0 || s.SSRC == 4 || l.ssrcs[s.SSRC] != "ab12cd34" {
				t.Fatalf("took %+v", s)
			}
		}
		if len(added.Sources) > MaxSources || len(added.Groups) > maxGroups {
			t.Fatal("took too much")
		}
		again, err := Parse(SourceChange("source-add", "s", "i", []Owned{{"ab12cd34", added}}, false))
		if err != nil || !added.Minus(again.Sources).Empty() {
			t.Fatalf("lost in XML: %+v, %v", added.Minus(again.Sources), err)
		}
		added.StripSimulcast()
	})
}

func FuzzJSON(f *testing.F) {
	f.Add(appendJSON(nil, []Owned{{"me", simulcast()}}))
	f.Add([]byte(`{"sources":{"a":[[{"s":4294967295}],[["f",1,2]],[],[]]}}`))
	f.Add([]byte(`{"sources":{"a":[[{"s":4294967296}],[["x",1.5]]]}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		list, err := parseJSON(in)
		if err != nil {
			return
		}
		out := appendJSON(nil, list)
		if !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
	})
}
