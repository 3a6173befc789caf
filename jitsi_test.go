package main

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// jitsiBlock is one part of docs/jitsi.yaml.
type jitsiBlock struct {
	Block, Title string
	Rows         []jitsiRow
}

type jitsiRow struct {
	Feature, Need, Status, Note string
	Tests                       []string
}

// level is must, should or nice: the first word of the need.
func (r jitsiRow) level() string {
	return strings.TrimRight(strings.Fields(r.Need + " -")[0], ",;")
}

// TestJitsi: docs/jitsi.md is docs/jitsi.yaml as a table, and what it calls done is shown by tests that exist. UPDATE=1 writes it.
func TestJitsi(t *testing.T) {
	b, err := os.ReadFile("docs/jitsi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []jitsiBlock
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(&blocks); err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	seen := map[string]bool{}
	for _, block := range blocks {
		for _, r := range block.Rows {
			if seen[r.Feature] {
				t.Errorf("%s is there twice", r.Feature)
			}
			seen[r.Feature] = true
			if !slices.Contains([]string{"must", "should", "nice"}, r.level()) {
				t.Errorf("%s: need is must, should or nice, not %q", r.Feature, r.Need)
			}
			switch {
			case r.Status == "no":
			case r.Status != "done" && r.Status != "partly":
				t.Errorf("%s: status is done, partly or no, not %q", r.Feature, r.Status)
			case len(r.Tests) == 0:
				t.Errorf("%s: nothing shows that it is done", r.Feature)
			case r.Status == "partly" && r.Note == "":
				t.Errorf("%s: the note does not say what is missing", r.Feature)
			}
			for _, name := range r.Tests {
				if !tests[name] && !(strings.Contains(name, "/") && exists(name)) {
					t.Errorf("%s: there is no test %s", r.Feature, name)
				}
			}
		}
	}
	if len(seen) < 100 {
		t.Fatalf("%d rows", len(seen))
	}
	const file = "docs/jitsi.md"
	doc := jitsiDoc(blocks)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old, err := os.ReadFile(file); err != nil || string(old) != doc {
		t.Errorf("%s is stale: UPDATE=1 go test -run TestJitsi .", file)
	}
}

// testNames are the tests there are, as Test and as package.Test.
func testNames(t *testing.T) map[string]bool {
	out := map[string]bool{}
	for name, file := range readSource(t).files {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		dir := path.Base(path.Dir(name))
		for _, d := range file.Decls {
			if f := funcName(d); strings.HasPrefix(f, "Test") || strings.HasPrefix(f, "Fuzz") {
				out[f], out[dir+"."+f] = true, true
			}
		}
	}
	return out
}

func jitsiDoc(blocks []jitsiBlock) string {
	var tables, sums strings.Builder
	total := map[string]map[string]int{}
	for _, block := range blocks {
		fmt.Fprintf(&tables, "\n## %s. %s\n\n| feature | need | works | shown by |\n|---|---|---|---|\n", block.Block, block.Title)
		for _, r := range block.Rows {
			if total[r.level()] == nil {
				total[r.level()] = map[string]int{}
			}
			total[r.level()][r.Status]++
			works := map[string]string{"done": "yes", "partly": "partly", "no": "no"}[r.Status]
			if r.Note != "" {
				works += ": " + r.Note
			}
			fmt.Fprintf(&tables, "| %s | %s | %s | %s |\n", r.Feature, r.Need, works, strings.Join(r.Tests, ", "))
		}
	}
	for _, level := range []string{"must", "should", "nice"} {
		n := total[level]
		fmt.Fprintf(&sums, "| %s | %d | %d | %d |\n", level, n["done"], n["partly"], n["no"])
	}
	return "# What works of Jitsi\n\nEvery feature that the stock stack (prosody plugins, jicofo, JVB, coturn, nginx, Jibri, Jigasi) gives a client, in blocks, and the tests that show it here.\n" +
		"*must*: without it two stock clients cannot meet; *should*: expected in a normal meeting.\nMade from docs/jitsi.yaml by `UPDATE=1 go test -run TestJitsi .`, which also checks that the tests exist.\n\n" +
		"| need | done | partly | no |\n|---|---|---|---|\n" + sums.String() + tables.String()
}

// funcName is the name of a function that is no method.
func funcName(d ast.Decl) string {
	if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
		return f.Name.Name
	}
	return ""
}
