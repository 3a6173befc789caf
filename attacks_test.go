package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestAttacks: each class of docs/attacks.md has tests, and they are there.
func TestAttacks(t *testing.T) {
	const classes, ofJitsi = 23, 10
	page, err := os.ReadFile("docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	table, fuzzers, _ := strings.Cut(string(page), "## Fuzzers")
	xmpp, jitsi, _ := strings.Cut(table, "## Jitsi")
	if n := checkTests(t, xmpp, 4); n != classes {
		t.Errorf("%d classes, want %d", n, classes)
	}
	if n := checkTests(t, jitsi, 3); n != ofJitsi {
		t.Errorf("%d classes of Jitsi, want %d", n, ofJitsi)
	}
	if n := checkTests(t, fuzzers, 2); n == 0 {
		t.Error("no fuzzers")
	}
}

var cited = regexp.MustCompile("`([^`#]+)(?:#([A-Za-z0-9_]+))?`")

// checkTests looks for the tests that the last of the columns names, and counts the rows.
func checkTests(t *testing.T, table string, columns int) (rows int) {
	t.Helper()
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != columns || strings.HasPrefix(cells[0], "---") {
			continue
		}
		if last := strings.TrimSpace(cells[columns-1]); last == "Tests" || last == "Fuzzers" {
			continue
		}
		rows++
		tests := cited.FindAllStringSubmatch(cells[columns-1], -1)
		if len(tests) == 0 {
			t.Errorf("%s: no test", strings.TrimSpace(cells[0]))
		}
		for _, m := range tests {
			text, err := os.ReadFile(m[1])
			switch {
			case err != nil:
				t.Error(err)
			case strings.HasSuffix(m[1], ".play") != (m[2] == ""):
				t.Errorf("%s: %s is no test", cells[0], m[0])
			case m[2] != "" && !strings.Contains(string(text), "\nfunc "+m[2]+"("):
				t.Errorf("%s: no %s in %s", cells[0], m[2], m[1])
			}
		}
	}
	return rows
}
