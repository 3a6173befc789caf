package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The import table of docs/architecture.md as a test: which room may know which.

// rule says that files under dir (tests excepted) may not import any of forbidden, unless it is also in except.
type rule struct {
	dir       string
	forbidden []string
	except    []string
	why       string
}

var importRules = []rule{
	{"sfu", []string{"konzil/", "encoding/xml", "encoding/json", "net/http"}, []string{"konzil/sfu", "konzil/internal/udpio"}, "media knows no other room, no text format, no web"},
	{"turn", []string{"konzil/"}, []string{"konzil/turn", "konzil/internal/udpio"}, "the in-memory relay is handed over by main as an interface"},
	{"xmpp", []string{"konzil/sfu", "konzil/signaling", "konzil/turn", "konzil/bench"}, nil, "messaging knows no media"},
	{"signaling", []string{"konzil/turn", "konzil/bench", "konzil/internal/store", "konzil/internal/httpd"}, nil, "the focus keeps nothing and serves no port"},
	{"internal", []string{"konzil/sfu", "konzil/turn", "konzil/signaling", "konzil/xmpp", "konzil/bench"}, nil, "plumbing is known by the rooms, never the reverse"},
	{"bench", []string{"konzil/"}, []string{"konzil/bench"}, "a benchmark that shares code with the server can cheat"},
}

// purePackages have no goroutine, lock, clock or log: time is passed in.
var purePackages = []string{
	"sfu/rtp", "sfu/codec", "sfu/dd", "sfu/rewrite", "sfu/history", "sfu/nack", "sfu/twcc", "sfu/bwe", "sfu/linksim", "sfu/pace", "sfu/fec", "sfu/red", "sfu/alloc", "sfu/speaker",
	"sfu/slots", "sfu/ice", "sfu/seal", "sfu/prefetch",
	"signaling/jingle", "signaling/bridgechan",
}

// clocks are what of package time tells or waits for the time.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

// doors reads docs/dependencies.md: outside modules, and the folders that alone may import them (tests excepted).
func doors(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\S+\.\S+/[^|]+) \| [^|]+ \| ([^|]+) \|$`).FindAllStringSubmatch(string(text), -1) {
		for mod := range strings.SplitSeq(row[1], ", ") {
			table[mod] = strings.Split(row[2], ", ")
		}
	}
	return table
}

// module is the longest module of table that imp lies in, "" for none.
func module(table map[string][]string, imp string) (mod string) {
	for m := range table {
		if under(imp, m) && len(m) > len(mod) {
			mod = m
		}
	}
	return mod
}

func TestImportTable(t *testing.T) {
	table := doors(t)
	eachFile(t, func(path string, imports []string) {
		dir := filepath.ToSlash(filepath.Dir(path))
		for _, imp := range imports {
			if imp == "konzil" {
				t.Errorf("%s imports main: nothing does", path)
			}
			if strings.HasPrefix(imp, "konzil/signaling") && dir != "." && !strings.HasPrefix(dir, "signaling") {
				t.Errorf("%s imports %s: only main imports signaling", path, imp)
			}
			for _, r := range importRules {
				if under(dir, r.dir) && hasPrefix(r.forbidden, imp) && !hasPrefix(r.except, imp) {
					t.Errorf("%s imports %s: %s", path, imp, r.why)
				}
			}
			if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") { // an outside module
				mod := module(table, imp)
				if !slices.ContainsFunc(table[mod], func(d string) bool { return under(dir, d) }) {
					t.Errorf("%s imports %s: docs/dependencies.md lets in %v", path, imp, table[mod])
				}
			}
			if dir == "xmpp" && strings.HasPrefix(imp, "konzil/xmpp/") && !slices.Contains([]string{"konzil/xmpp/stanza", "konzil/xmpp/sasl"}, imp) {
				t.Errorf("%s imports %s: features hook in, the core does not know them", path, imp)
			}
			if f := feature(dir); f != "" && !isTest(path) && strings.HasPrefix(imp, "konzil/xmpp/") && feature(imp[len("konzil/"):]) != "" && feature(imp[len("konzil/"):]) != f {
				t.Errorf("%s imports %s: features never import each other", path, imp)
			}
		}
	})
}

func TestPurePackages(t *testing.T) {
	eachFile(t, func(path string, imports []string) {
		dir := filepath.ToSlash(filepath.Dir(path))
		if !slices.Contains(purePackages, dir) {
			return
		}
		for _, imp := range imports {
			if slices.Contains([]string{"sync", "sync/atomic", "log", "log/slog", "net", "os", "context"}, imp) {
				t.Errorf("%s imports %s: %s is a pure package", path, imp, dir)
			}
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: %s is a pure package", path, dir)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
					t.Errorf("%s calls time.%s: %s is a pure package", path, n.Sel.Name, dir)
				}
			}
			return true
		})
	})
}

// feature is the xmpp feature package that dir lies in, "" for the core and its helpers.
func feature(dir string) string {
	rest, ok := strings.CutPrefix(dir, "xmpp/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	if name == "stanza" || name == "sasl" || name == "jitsi" { // what features share
		return ""
	}
	return name
}

func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func hasPrefix(list []string, imp string) bool {
	return slices.ContainsFunc(list, func(p string) bool { return under(imp, strings.TrimSuffix(p, "/")) })
}

// eachFile parses the imports of every Go file that is no test.
func eachFile(t *testing.T, f func(path string, imports []string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "data" || d.Name() == "artifacts") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, im := range file.Imports {
			p, _ := strconv.Unquote(im.Path.Value)
			imports = append(imports, p)
		}
		n++
		f(path, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 10 {
		t.Fatalf("only %d files found: the walk is broken", n)
	}
}
