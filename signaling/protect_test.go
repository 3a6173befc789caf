package signaling

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

// TestRepairPackets: who understands FlexFEC is offered it and told under which SSRC it comes, the same as the bridge; others learn nothing of it.
func TestRepairPackets(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		w.focus.fec = true
		a, b := meet(w, append(slices.Clone(jsonFeatures), featFEC), jsonFeatures)
		e := w.bridge.last(b.nick, func(e colibri.Endpoint) bool { return e.Sources != nil })
		i := slices.IndexFunc(e.Sources.Groups, func(g jingle.Group) bool { return g.Semantics == jingle.FECFR })
		if i < 0 {
			t.Fatalf("the bridge was told %+v", e.Sources)
		}
		g := e.Sources.Groups[i].SSRCs
		if len(g) != 2 || g[0] != 201 || !e.Sources.Has(g[1]) || g[1] != w.focus.byID[meetingOf(w)].repairSSRC(201) {
			t.Fatalf("FEC-FR group %v in %+v", g, e.Sources)
		}
		told := func(c *client) string {
			text := ""
			for st := c.find(isJingle("source-add")); st != nil; st = c.find(isJingle("source-add")) {
				text += st.Child(jingle.NS, "jingle").Child(jingle.NSJitmeet, "json-message").Text()
			}
			return text
		}
		if got := told(a); !strings.Contains(got, fmt.Sprintf(`["FEC-FR",201,%d]`, g[1])) || !strings.Contains(got, fmt.Sprintf(`{"s":%d,"n":"%s-v0"`, g[1], b.nick)) {
			t.Errorf("a was told %s", got)
		}
		if got := told(b); strings.Contains(got, "FEC-FR") {
			t.Errorf("b was told %s", got)
		}
		has := func(c *client) bool {
			m := w.bridge.last(c.nick, func(e colibri.Endpoint) bool { return e.Create }).Media
			return slices.ContainsFunc(m, func(d jingle.Description) bool {
				return slices.ContainsFunc(d.Payloads, func(p jingle.PayloadType) bool { return p.Name == "flexfec-03" })
			})
		}
		if !has(a) || has(b) {
			t.Errorf("offered to a: %v, to b: %v", has(a), has(b))
		}
	})
}

func meetingOf(w *world) string {
	for id := range w.focus.byID {
		return id
	}
	return ""
}
