package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// What the documentation says exists, and the habits that a machine can look after are kept.

// source is the tree as the tests below see it: parsed files by path, packages by folder.
type source struct {
	fset     *token.FileSet
	files    map[string]*ast.File
	packages map[string]*pkg
}

// pkg is one folder's package without its tests.
type pkg struct {
	doc    string
	names  map[string]bool            // everything declared: "Type", "func", "method", "Type.method", "Type.field"
	types  map[string]bool            // types alone
	byFile map[string]map[string]bool // file name → functions and methods (by bare name) in it, tests included
}

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{token.NewFileSet(), map[string]*ast.File{}, map[string]*pkg{}}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "data", "artifacts"}, d.Name())) {
			if err == nil {
				err = filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		name = filepath.ToSlash(name)
		f, err := parser.ParseFile(s.fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		s.files[name] = f
		s.add(name, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.files) < 100 {
		t.Fatalf("only %d files found: the walk is broken", len(s.files))
	}
	return s
}

func (s *source) add(name string, f *ast.File) {
	p := s.packages[path.Dir(name)]
	if p == nil {
		p = &pkg{names: map[string]bool{}, types: map[string]bool{}, byFile: map[string]map[string]bool{}}
		s.packages[path.Dir(name)] = p
	}
	inFile := map[string]bool{}
	p.byFile[path.Base(name)] = inFile
	if f.Doc != nil && !strings.HasSuffix(name, "_test.go") {
		p.doc += f.Doc.Text()
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			inFile[d.Name.Name] = true
			p.names[d.Name.Name] = true
			if d.Recv != nil {
				p.names[receiver(d)+"."+d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, sp := range d.Specs {
				switch sp := sp.(type) {
				case *ast.TypeSpec:
					p.types[sp.Name.Name], p.names[sp.Name.Name] = true, true
					for _, m := range members(sp.Type) {
						p.names[m], p.names[sp.Name.Name+"."+m] = true, true
					}
				case *ast.ValueSpec:
					for _, n := range sp.Names {
						p.names[n.Name] = true
					}
				}
			}
		}
	}
}

// isTest tells whether name is a test, or support that only tests use.
func isTest(name string) bool {
	return strings.HasSuffix(name, "_test.go") || slices.Contains([]string{"xmpp/play", "xmpp/internal/stage", "sfu/dd/ddtest"}, path.Dir(name))
}

// receiver is the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// members are the fields of a struct or the methods of an interface.
func members(typ ast.Expr) (names []string) {
	var list *ast.FieldList
	switch x := typ.(type) {
	case *ast.StructType:
		list = x.Fields
	case *ast.InterfaceType:
		list = x.Methods
	default:
		return nil
	}
	for _, f := range list.List {
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

var (
	fileName   = regexp.MustCompile(`\b[\w/]+\.(?:go|js|py)\b`)
	dottedName = regexp.MustCompile(`\b([A-Za-z]\w*)\.([A-Za-z]\w*)\b`)
	camelName  = regexp.MustCompile(`\b[a-z]+[A-Z]\w*\b|\bTest[A-Z]\w*\b`)
	nameInFile = regexp.MustCompile(`\b(?:\w+\.)?(\w+) \((\w+\.go)[);,]`) // "shard.demux (demux.go, ..."
	fileThen   = regexp.MustCompile(`\b(\w+\.go) (\w+)\b`)                // "session.go received"
)

// foreignNames are names in package comments that look like ours and are a protocol's, or wait for that room's next change.
var foreignNames = []string{"colibriClass"}

// TestPackageDocs: each package says what it is, and the files, functions, methods and types that its path names exist, where it says so.
func TestPackageDocs(t *testing.T) {
	s := readSource(t)
	for dir, p := range s.packages {
		if p.doc == "" {
			t.Errorf("%s has no package comment", dir)
		}
		for _, f := range fileName.FindAllString(p.doc, -1) {
			room, _, _ := strings.Cut(dir, "/")
			there := slices.ContainsFunc([]string{dir, dir + "/testdata", room, "."}, func(in string) bool { return exists(path.Join(in, f)) })
			if !there && !slices.Contains(foreignNames, path.Join(dir, f)) {
				t.Errorf("%s: its comment names %s, which is not there", dir, f)
			}
		}
		misplaced := func(name, file string) {
			if in, ok := p.byFile[file]; ok && !in[name] && p.hasFunc(name) {
				t.Errorf("%s: its comment says that %s is in %s", dir, name, file)
			}
		}
		for _, m := range nameInFile.FindAllStringSubmatch(p.doc, -1) {
			misplaced(m[1], m[2])
		}
		for _, m := range fileThen.FindAllStringSubmatch(p.doc, -1) {
			misplaced(m[2], m[1])
		}
		doc := fileName.ReplaceAllString(p.doc, "")
		for _, m := range dottedName.FindAllStringSubmatch(doc, -1) {
			if known, ok := s.resolve(p, m[1], m[2]); known && !ok {
				t.Errorf("%s: its comment names %s, which is not there", dir, m[0])
			}
		}
		for _, name := range camelName.FindAllString(dottedName.ReplaceAllString(doc, ""), -1) {
			if !p.names[name] && !slices.Contains(foreignNames, name) {
				t.Errorf("%s: its comment names %s, which is not there", dir, name)
			}
		}
	}
}

func (p *pkg) hasFunc(name string) bool {
	for _, in := range p.byFile {
		if in[name] {
			return true
		}
	}
	return false
}

// resolve looks for a.b: a type of this package with its method or field, or a package of the tree with something exported. It is not
// known when a is neither.
func (s *source) resolve(p *pkg, a, b string) (known, ok bool) {
	if p.types[a] {
		return true, p.names[a+"."+b]
	}
	for d, q := range s.packages {
		if path.Base(d) == a {
			known, ok = true, ok || q.names[b]
		}
	}
	return known, ok
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// TestMapOfMain: the files of package main, which has the most, are all on the map in its comment.
func TestMapOfMain(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	main := readSource(t).packages["."].doc
	for _, f := range files {
		if f != "doc.go" && !isTest(f) && !regexp.MustCompile(`\b`+regexp.QuoteMeta(f)+`\b`).MatchString(main) {
			t.Errorf("doc.go does not say what %s is for", f)
		}
	}
}

// TestLinks: what README and docs/ point at exists, README maps each room, and each page of docs/ can be found from README.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)\)|\b(docs/\w+\.md)\b|` + "`(\\w+/|\\w+\\.go)`")
	for _, page := range append(pages, "README.md") {
		text := read(t, page)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			name := m[1] + m[2] + m[3]
			inRoom, _ := filepath.Glob(path.Join("*", name))
			if !exists(name) && !exists(path.Join(path.Dir(page), name)) && len(inRoom) == 0 {
				t.Errorf("%s points at %s, which is not there", page, name)
			}
		}
	}
	readme := read(t, "README.md")
	for _, page := range pages {
		if !strings.Contains(readme, "("+filepath.ToSlash(page)+")") {
			t.Errorf("README.md does not link to %s", page)
		}
	}
	for _, d := range rooms(t) {
		if !strings.Contains(readme, "| `"+d+"/` |") {
			t.Errorf("README.md's map lacks %s/", d)
		}
	}
}

// TestHeadings: a heading has an empty line before and behind it, and docs/decisions.md begins with a list of its decisions by room. UPDATE=1 writes that.
func TestHeadings(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	heading := regexp.MustCompile(`^#{1,3} `)
	for _, page := range append(pages, "README.md", "CHANGELOG.md", "bench/README.md") {
		code := false
		lines := strings.Split(read(t, page), "\n")
		for i, l := range lines {
			if strings.HasPrefix(l, "```") {
				code = !code
			}
			if !code && heading.MatchString(l) && (i > 0 && lines[i-1] != "" || i+1 < len(lines) && lines[i+1] != "") {
				t.Errorf("%s:%d: a heading without empty lines around it", page, i+1)
			}
		}
	}

	const file = "docs/decisions.md"
	text := read(t, file)
	var list strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^##(#?) (.*)$`).FindAllStringSubmatch(text, -1) {
		indent := strings.Repeat("  ", len(m[1]))
		fmt.Fprintf(&list, "%s- [%s](#%s)\n", indent, m[2], anchor(m[2]))
	}
	had := regexp.MustCompile(`(?m)(^ *- \[.*\n)+`).FindStringIndex(text)
	first := strings.Index(text, "\n## ")
	if had == nil || first < had[1] {
		t.Fatalf("%s has no list of its decisions before the first of them", file)
	}
	want := text[:had[0]] + list.String() + text[had[1]:]
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != text {
		t.Errorf("the list in %s is stale: UPDATE=1 go test -run TestHeadings . (a decision is ### below its room, ##)", file)
	}
}

// anchor is how a web page calls a heading of Markdown.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// rooms are the folders at the top.
func rooms(t *testing.T) (dirs []string) {
	list, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(list, "docs/x", "internal/x") {
		dirs = append(dirs, filepath.ToSlash(filepath.Dir(f)))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDependencies: each module that go.mod requires directly has its reason in docs/dependencies.md, and nothing else has.
func TestDependencies(t *testing.T) {
	direct, _, _ := strings.Cut(read(t, "go.mod")[strings.Index(read(t, "go.mod"), "require ("):], "\n)")
	want := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(direct, -1) {
		want[m[1]] = true
	}
	if len(want) < 10 {
		t.Fatalf("only %d modules found in go.mod", len(want))
	}
	for mod := range doors(t) {
		if !want[mod] {
			t.Errorf("docs/dependencies.md has %s, go.mod has not", mod)
		}
		delete(want, mod)
	}
	for mod := range want {
		t.Errorf("docs/dependencies.md has no reason for %s", mod)
	}
}

// TestHabits looks for what reviewers should not have to.
func TestHabits(t *testing.T) {
	s := readSource(t)
	for name, f := range s.files {
		pure := slices.Contains(purePackages, path.Dir(name))
		complain := func(n ast.Node, what string) { t.Errorf("%s: %s", s.fset.Position(n.Pos()), what) }
		if !isTest(name) {
			for _, group := range f.Comments {
				if marker.MatchString(group.Text()) {
					complain(group, "unfinished work belongs into an issue")
				}
			}
		}
		for _, d := range f.Decls {
			simulated := usesSynctest(d)
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Field:
					if !isTest(name) && isMutex(n.Type) && n.Comment == nil && n.Doc == nil {
						complain(n, "say what this lock guards")
					}
				case *ast.GoStmt:
					if !isTest(name) && pure {
						complain(n, "a pure package has no goroutine")
					}
				case *ast.CallExpr:
					if !isTest(name) && pure && isCall(n, "time", "Now") {
						complain(n, "a pure package has no clock")
					}
					if isTest(name) && isCall(n, "time", "Sleep") && !simulated {
						complain(n, "a test that sleeps is slow or fails by chance: wait for what must happen")
					}
					if !isTest(name) && unnamedQueue(n) {
						complain(n, "name the size of this queue, with its reason")
					}
				}
				return true
			})
		}
	}
}

var marker = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func isMutex(typ ast.Expr) bool {
	sel, ok := typ.(*ast.SelectorExpr)
	return ok && (sel.Sel.Name == "Mutex" || sel.Sel.Name == "RWMutex")
}

func isCall(c *ast.CallExpr, pkg, name string) bool {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// unnamedQueue tells whether c makes a channel with a number above 1 for its size.
func unnamedQueue(c *ast.CallExpr) bool {
	fun, ok := c.Fun.(*ast.Ident)
	if !ok || fun.Name != "make" || len(c.Args) != 2 {
		return false
	}
	_, isChan := c.Args[0].(*ast.ChanType)
	size, isNumber := c.Args[1].(*ast.BasicLit)
	return isChan && isNumber && size.Value != "0" && size.Value != "1"
}

// bubbles are the functions of tests that run theirs in a synctest bubble, where time is simulated.
var bubbles = []string{"inWorld", "inBench"}

func usesSynctest(d ast.Decl) (yes bool) {
	ast.Inspect(d, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			fun, _ := c.Fun.(*ast.Ident)
			yes = yes || isCall(c, "synctest", "Test") || fun != nil && slices.Contains(bubbles, fun.Name)
		}
		return !yes
	})
	return yes
}

// parsers are the packages that read bytes of strangers, so each of them is fuzzed; package main does for the features that only see parsed stanzas.
var parsers = []string{
	".",
	"sfu", "sfu/rtp", "sfu/codec", "sfu/dd", "sfu/red", "sfu/twcc", "sfu/bwe", "sfu/rewrite", "sfu/ice", "sfu/seal", "sfu/translator",
	"turn",
	"signaling", "signaling/jingle", "signaling/bridgechan", "signaling/colibri", "signaling/colibri1", "signaling/rest",
	"xmpp", "xmpp/stanza", "xmpp/sasl", "xmpp/muc", "xmpp/mam", "xmpp/pubsub", "xmpp/metadata", "xmpp/polls", "xmpp/filesharing", "xmpp/upload", "xmpp/bytestreams",
	"xmpp/portable",
	"internal/auth", "internal/conf", "internal/token", "internal/ws", "internal/archive", "internal/ledger", "internal/packed",
	"bench/meet", "bench/rtc", "bench/sfuload", "bench/sfuload/galene", "bench/sfuload/janus", "bench/sfuload/jvb", "bench/sfuload/livekit", "bench/turnload", "bench/xmppload",
}

func TestParsersAreFuzzed(t *testing.T) {
	s := readSource(t)
	for _, dir := range parsers {
		p := s.packages[dir]
		if p == nil {
			t.Errorf("%s is not there", dir)
			continue
		}
		fuzzed := false
		for name, in := range p.byFile {
			for f := range in {
				fuzzed = fuzzed || isTest(name) && strings.HasPrefix(f, "Fuzz")
			}
		}
		if !fuzzed {
			t.Errorf("%s reads bytes of strangers and has no Fuzz function", dir)
		}
	}
}

// TestLeakChecks: a package that starts goroutines has tests that fail when one is left behind.
func TestLeakChecks(t *testing.T) {
	s := readSource(t)
	starts, checks := map[string]bool{}, map[string]bool{}
	for name, f := range s.files {
		dir := path.Dir(name)
		for _, im := range f.Imports {
			checks[dir] = checks[dir] || isTest(name) && im.Path.Value == `"go.uber.org/goleak"`
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				starts[dir] = starts[dir] || !isTest(name)
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr) // WaitGroup.Go
				starts[dir] = starts[dir] || ok && sel.Sel.Name == "Go" && !isTest(name)
			}
			return true
		})
	}
	for dir := range starts {
		if starts[dir] && !checks[dir] {
			t.Errorf("%s starts goroutines, and no test of it uses goleak", dir)
		}
	}
}
