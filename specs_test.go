package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"konzil/internal/specs"
)

// TestSpecs: docs/specs.md is the list of internal/specs, and the list promises nothing that nobody wrote: code and tests are there, and cite
// what they are listed for. UPDATE=1 writes the page.
func TestSpecs(t *testing.T) {
	all, err := specs.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		for _, place := range s.Places() {
			if !cites(t, place, s.ID) {
				t.Errorf("%s is not cited in %s", s.ID, place)
			}
		}
		for _, test := range s.Tests() {
			file, function, _ := strings.Cut(test, "#")
			text, err := os.ReadFile(file)
			switch {
			case err != nil:
				t.Errorf("%s: %v", s.ID, err)
			case strings.HasSuffix(file, ".go") && (function == "" || !strings.Contains(string(text), "\nfunc "+function+"(")):
				t.Errorf("%s: no function %q in %s", s.ID, function, file)
			case s.Code == "" && !strings.Contains(string(text), s.ID):
				t.Errorf("%s is not cited in %s", s.ID, file)
			}
		}
		if written := s.Status == specs.Complete || s.Status == specs.Partial; written && s.Test == "" {
			t.Errorf("%s has no test", s.ID)
		}
		if s.Status != specs.Complete && s.Note == "" {
			t.Errorf("%s is %s: its note has to say what is missing, or why", s.ID, s.Status)
		}
	}
	const page = "docs/specs.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(specs.Markdown(all)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(page); err != nil || string(old) != specs.Markdown(all) {
		t.Errorf("%s is stale: UPDATE=1 go test -run TestSpecs . (%v)", page, err)
	}
}

// cites tells whether a file, or a Go file of a folder, tests excepted, names id.
func cites(t *testing.T, place, id string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path != place && (!strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go")) {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || strings.Contains(string(b), id)
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", id, err)
	}
	return found
}
