package signaling

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// TestHostileClient: one member of a meeting of three sends what no client should, as stanzas and on its data channel. It gets the errors that
// are due, and the two others see, hear and reach each other all the time.
func TestHostileClient(t *testing.T) {
	w := realWorld(t)
	a, b, m := newPeer(t, w.client("aaaaaaaa", webFeatures)), newPeer(t, w.client("bbbbbbbb", jsonFeatures)), newPeer(t, w.client("mmmmmmmm", jsonFeatures))
	a.request()
	for _, p := range []*peer{a, b, m} { // b and m know each source of those before them from their offers
		p.send(stanza.NewPresence("", p.real, stanza.MustJID(testRoom+"/"+p.nick), stanza.NewElement(nsMUC, "x")))
		if p == b {
			a.negotiate(t)
		}
		if p != a {
			p.tellCaps()
			p.negotiate(t)
		} else {
			a.tellCaps()
		}
	}
	for _, p := range []*peer{a, b, m} {
		select {
		case <-p.opened:
		case <-time.After(15 * time.Second):
			t.Fatalf("%s: no bridge channel", p.nick)
		}
	}
	defer a.play()()
	defer b.play()()
	check(t, b.dc.SendText(`{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"defaultConstraints":{"maxHeight":720}}`))
	goesOn := func(after string) {
		t.Helper()
		audio, video := b.received(a.ssrc(0)), b.received(a.ssrc(1))
		await.True(t, "media of a at b after "+after, func() bool { return b.received(a.ssrc(0)) > audio+5 && b.received(a.ssrc(1)) > video+5 })
	}
	goesOn("the start")
	taken := []uint32{a.ssrc(0), a.ssrc(1)}
	m.hostileSources(t, taken, goesOn)
	m.hostileChannel(t, a, b, goesOn)
	m.hostileRestarts(t, goesOn)
	if a.find(isJingle("session-terminate")) != nil || b.find(isJingle("session-terminate")) != nil {
		t.Error("others lost their sessions")
	}
	for st := b.find(isJingle("source-remove")); st != nil; st = b.find(isJingle("source-remove")) {
		if s := st.String(); !strings.Contains(s, "mmmmmmmm") || strings.Contains(s, "aaaaaaaa") {
			t.Errorf("others' sources were removed: %s", s)
		}
	}
}

// tellCaps answers the focus' question what c can do.
func (c *client) tellCaps() {
	c.w.t.Helper()
	q := c.take("disco#info", func(st *stanza.Stanza) bool { return st.Type == "get" && st.Has(nsDiscoInfo, "query") })
	c.send(q.Result(c.disco()))
}

// hostileSources signals sources that are others', too many, or no sources at all.
func (p *peer) hostileSources(t *testing.T, taken []uint32, goesOn func(string)) {
	t.Helper()
	var many jingle.SourceSet
	for i := range uint32(jingle.MaxSources) {
		many.Sources = append(many.Sources, jingle.Source{SSRC: 5000 + i, Media: jingle.Audio, Name: fmt.Sprintf("%s-a%d", p.nick, i+1), MSID: fmt.Sprintf("m%d t", i)})
	}
	one := func(ssrc uint32, name string) []*stanza.Element {
		return sourceContents(p.nick, jingle.SourceSet{Sources: []jingle.Source{{SSRC: ssrc, Media: jingle.Audio, Name: name, MSID: "x y"}}})
	}
	text := func(s string) []*stanza.Element {
		return []*stanza.Element{stanza.TextElement(jingle.NSJitmeet, "json-message", s)}
	}
	for what, c := range map[string]struct {
		contents []*stanza.Element
		want     string // condition of the error, "": none
	}{
		"another's SSRC":         {one(taken[0], p.nick+"-a1"), "bad-request"},
		"another's name":         {one(7001, "aaaaaaaa-a1"), "bad-request"},
		"more than the limit":    {sourceContents(p.nick, many), "bad-request"},
		"another's, as JSON":     {text(`{"sources":{"aaaaaaaa":[[],[],[{"s":7002,"n":"aaaaaaaa-a1"}]]}}`), "bad-request"},
		"no JSON":                {text(`{"sources":{`), "bad-request"},
		"JSON of another shape":  {text(`{"sources":[1,2]}`), "bad-request"},
		"an SSRC of 64 bits":     {text(`{"sources":{"mmmmmmmm":[[],[],[{"s":18446744073709551615,"n":"mmmmmmmm-a1"}]]}}`), "bad-request"},
		"a doubled key":          {text(`{"sources":{"mmmmmmmm":[[],[],[{"s":7003,"n":"mmmmmmmm-a1"}]],"mmmmmmmm":[[],[],[{"s":` + fmt.Sprint(taken[0]) + `,"n":"mmmmmmmm-a1"}]]}}`), "bad-request"},
		"JSON deeper than sense": {text(`{"sources":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`), "bad-request"},
	} {
		r := p.jingle("source-add", c.contents...)
		if got := stanzaError(r).Condition; r.Type != "error" || got != c.want {
			t.Errorf("%s: %s %q, want %q", what, r.Type, got, c.want)
		}
	}
	// removing what is another's is answered as removing what is not there: with success, which does nothing
	if r := p.jingle("source-remove", one(taken[0], "aaaaaaaa-a0")...); r.Type != "result" {
		t.Errorf("source-remove: %s", r)
	}
	goesOn("bad sources")
}

// hostileChannel sends nonsense, forged senders, and constraints for what is not there or not the client's.
func (p *peer) hostileChannel(t *testing.T, a, b *peer, goesOn func(string)) {
	t.Helper()
	var crowd strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&crowd, `,"%08x-v0":{"maxHeight":2160,"maxFrameRate":1e308}`, i)
	}
	for _, text := range []string{
		"", "null", "[]", "{", `{"colibriClass":{}}`, `{"colibriClass":"NoSuchClass"}`, `{"colibriClass":"EndpointMessage","to":7,"msgPayload":{}}`,
		`{"colibriClass":"EndpointMessage","to":"zzzzzzzz","msgPayload":{"for":"nobody"}}`,
		`{"colibriClass":"ReceiverVideoConstraints","lastN":-99999,"constraints":{"aaaaaaaa-v0":{"maxHeight":-5},"nobody-v9":{"maxHeight":720}` + crowd.String() + `}}`,
		`{"colibriClass":"ReceiverVideoConstraints","onStageSources":["mmmmmmmm-v0","zzzzzzzz-v0"],"selectedEndpoints":["","mmmmmmmm"],"defaultConstraints":{"maxHeight":1e300}}`,
		`{"colibriClass":"ReceiverAudioSubscription","mode":"Include","list":["zzzzzzzz-a0","aaaaaaaa-v0"]}`,
		`{"colibriClass":"SourceVideoTypeMessage","sourceName":"aaaaaaaa-v0","videoType":"none"}`,
		`{"colibriClass":"SenderSourceConstraints","sourceName":"aaaaaaaa-v0","maxHeight":0}`,
		`{"colibriClass":"ForwardedSources","forwardedSources":[]}`,
		`{"colibriClass":"EndpointStats","from":"aaaaaaaa","bitrate":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
	} {
		check(t, p.dc.SendText(text))
	}
	check(t, p.dc.Send([]byte{0, 1, 2, 0xff}))
	// of doubled keys the last counts, for the bridge and for who gets the message; the sender is the true one
	check(t, p.dc.SendText(`{"colibriClass":"ClientHello","colibriClass":"EndpointMessage","from":"aaaaaaaa","to":"aaaaaaaa","to":"bbbbbbbb","msgPayload":{"n":1},"msgPayload":{"n":2},"from":"aaaaaaaa"}`))
	isLast := func(m map[string]any) bool {
		return m["from"] == p.nick && fmt.Sprint(m["msgPayload"]) == "map[n:2]"
	}
	await.True(t, "the message of the last keys at b", func() bool { return b.told("EndpointMessage", isLast) })
	if a.told("EndpointMessage", isLast) {
		t.Error("a got b's message")
	}
	for _, x := range []*peer{a, b} {
		for _, class := range []string{"EndpointMessage", "EndpointStats"} {
			if x.told(class, func(m map[string]any) bool { return m["from"] == "aaaaaaaa" }) {
				t.Errorf("%s was told in the name of a", x.nick)
			}
		}
	}
	goesOn("nonsense on the channel")
}

// hostileRestarts asks for new sessions and new ICE credentials all the time.
func (p *peer) hostileRestarts(t *testing.T, goesOn func(string)) {
	t.Helper()
	ice := stanza.NewElement(jingle.NSFocus, "bridge-session", "id", p.alloc, "ice-restart", "true")
	if r := p.jingle("session-info", ice); r.Type != "result" {
		t.Errorf("the first ICE restart: %s", r)
	}
	for range 50 {
		if got := stanzaError(p.jingle("session-info", ice)).Condition; got != "resource-constraint" {
			t.Fatalf("an ICE restart too many: %q", got)
		}
	}
	if r := p.jingle("session-terminate", terminateRestart(p.alloc)...); r.Type != "result" {
		t.Errorf("the first restart: %s", r)
	}
	p.offer()
	for range 50 {
		if got := stanzaError(p.jingle("session-terminate", terminateRestart(p.alloc)...)).Condition; got != "resource-constraint" {
			t.Fatalf("a restart too many: %q", got)
		}
	}
	goesOn("floods of restarts")
}
