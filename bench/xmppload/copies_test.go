package xmppload

import (
	"fmt"
	"testing"
)

// A copy is known by all of its bytes and by whom it is to, and only when it is the one that must come next.
func TestCopies(t *testing.T) {
	var c copies
	stanza := func(to string, number int) []byte {
		return fmt.Appendf(nil, "<message from='room/n0' to='%s' id='x%d'><body>text %d</body></message>", to, number, number)
	}
	if c.get(0) != nil || c.get(0).length([]byte("<message/>"), "") != 0 {
		t.Error("a message before the first")
	}
	const all = 2*copiesKept + 3
	for i := range all {
		el := elemOf(stanza("first@x/a", i))
		if next := c.keep(0, uint32(i), &el); next != uint32(i)+1 {
			t.Fatal(i, next)
		}
		if next := c.keep(0, uint32(i), &el); next != uint32(i)+1 {
			t.Fatal("kept twice", i, next)
		}
	}
	if none := elemOf([]byte("<message id='y'/>")); c.keep(0, all, &none) != all {
		t.Error("kept without an address")
	}
	for _, place := range []uint32{all, all + 1, all - copiesKept - 1} {
		if c.get(place) != nil {
			t.Error(place)
		}
	}
	m := c.get(all - copiesKept)
	right := stanza("second@example.org/b", all-copiesKept)
	if n := m.length(append(right[:len(right):len(right)], "<message"...), "second@example.org/b"); n != len(right) {
		t.Error(n)
	}
	for i := range right {
		wrong := append([]byte(nil), right...)
		wrong[i] ^= 1
		if m.length(wrong, "second@example.org/b") != 0 {
			t.Errorf("taken with byte %d changed", i)
		}
	}
	if m.length(right[:len(right)-1], "second@example.org/b") != 0 || m.length(right, "third@example.org/c") != 0 {
		t.Error("taken cut short, or by another")
	}
}

// What a scenario knows is not taken apart, wherever it stands.
func TestScannerKnown(t *testing.T) {
	var s scanner
	var known, apart int
	whole := []byte(" <known a='1'/><other><b/></other><known a='1'/>\n<known a='2'/>")
	for i := 0; i < len(whole); i += 5 {
		if err := s.feed(whole[i:min(i+5, len(whole))], func(b []byte) int {
			const is = "<known a='1'/>"
			if len(b) >= len(is) && string(b[:len(is)]) == is {
				known++
				return len(is)
			}
			return 0
		}, func([]byte) { apart++ }); err != nil {
			t.Fatal(err)
		}
	}
	if known != 2 || apart != 2 {
		t.Error(known, apart)
	}
}
