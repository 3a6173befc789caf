package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSpecs: each row of docs/specs.md is cited in the code, so that the list cannot promise what nobody wrote.
func TestSpecs(t *testing.T) {
	doc, err := os.ReadFile("docs/specs.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ((?:RFC \d+)|(?:XEP-\d{4})) \|`).FindAllStringSubmatch(string(doc), -1)
	if len(rows) < 40 {
		t.Fatalf("%d rows", len(rows))
	}
	var code strings.Builder
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		code.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if !strings.Contains(code.String(), r[1]) {
			t.Errorf("%s is in docs/specs.md, and nowhere in the code", r[1])
		}
	}
}
