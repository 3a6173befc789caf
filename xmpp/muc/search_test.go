package muc

import (
	"math"
	"strconv"
	"testing"

	"konzil/xmpp/stanza"
)

// FuzzSearchPage: no page that somebody asks for breaks the search or is longer than the largest (XEP-0059 §2).
func FuzzSearchPage(f *testing.F) {
	for _, s := range [][2]string{{"10", ""}, {"0", "1"}, {"-1", "0"}, {"", "-1"}, {"1", strconv.Itoa(math.MaxInt)}, {strconv.Itoa(math.MaxInt), "5"}, {"x", "9223372036854775808"}} {
		f.Add(s[0], s[1])
	}
	found := make([]channel, maxSearchPage+20)
	f.Fuzz(func(t *testing.T, max, after string) {
		set := stanza.NewElement(nsRSM, "set").Add(stanza.TextElement(nsRSM, "max", max), stanza.TextElement(nsRSM, "after", after))
		ask := stanza.NewIQ("get", "1", stanza.MustJID("a@b/c"), stanza.MustJID("rooms.b"), stanza.NewElement(nsSearch, "search").Add(set))
		got := new(Service).searchPage(ask, found)
		if n := len(got.Child(nsSearch, "result").ChildrenNamed(nsSearch, "item")); n > maxSearchPage {
			t.Fatalf("%d items", n)
		}
	})
}
