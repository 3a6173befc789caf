// Package play runs protocol plays: tests written in the language of the protocol, as text files that people who know XMPP and no Go can
// read and write. Only tests use it.
//
// A play is a list of lines. A line in the first column says what happens, indented lines below it are the XML it is about:
//
//	# a comment
//	who romeo romeo@example.org/orchard    a client, and its address
//	romeo sends                            the stanza, written as the client writes it
//	  <presence to='...'/>
//	romeo gets                             the next stanza that it has got has to match
//	  <presence from='...' type='{any}'>...</presence>
//	romeo gets nothing                     all that it got was asked for
//	romeo forgets                          what it has got so far does not matter
//	anything else                          a command to the World
//
// In a match, attributes that are not written do not matter, and one written as '{none}' must be absent. {any} stands for any value;
// another {name} takes the value the first time, and stands for it from then on, also in what is sent. Children must be the same in the
// same order; an element <etc/> stands for any number of further ones.
package play

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"konzil/xmpp/stanza"
)

// World is where a play takes place.
type World interface {
	// Enter makes a client.
	Enter(name, jid string) error
	// Send gives the server a stanza of the client's.
	Send(name string, st *stanza.Stanza) error
	// Receive takes the next stanza the client has got, waiting for it as long as makes sense; nil if there is none.
	Receive(name string) *stanza.Stanza
	// Pending takes all that the client has got and will get of what was done so far.
	Pending(name string) []*stanza.Stanza
	// Command does what only this world knows.
	Command(words []string) error
}

// Run performs every file that glob finds, each as a subtest in a world of its own.
func Run(t *testing.T, glob string, world func(t *testing.T) World) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no plays at %s (%v)", glob, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".play"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			perform(t, f, string(text), world(t))
		})
	}
}

type scene struct {
	line int
	head string
	xml  string
}

func scenes(text string) []scene {
	var out []scene
	for i, l := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(l)
		switch {
		case trimmed == "" || strings.HasPrefix(l, "#"):
		case l[0] == ' ' || l[0] == '\t':
			if len(out) > 0 {
				out[len(out)-1].xml += trimmed + "\n"
			}
		default:
			out = append(out, scene{line: i + 1, head: trimmed})
		}
	}
	return out
}

func perform(t *testing.T, file, text string, w World) {
	t.Helper()
	vars := map[string]string{}
	names := []string{}
	for _, sc := range scenes(text) {
		if err := act(w, sc, vars, &names); err != nil {
			t.Fatalf("%s:%d: %s: %v", file, sc.line, sc.head, err)
		}
	}
	for _, n := range names {
		if rest := w.Pending(n); len(rest) > 0 {
			t.Errorf("%s: at the end %s has got more: %v", file, n, rest)
		}
	}
}

func act(w World, sc scene, vars map[string]string, names *[]string) error {
	words := strings.Fields(sc.head)
	switch {
	case len(words) == 3 && words[0] == "who":
		*names = append(*names, words[1])
		return w.Enter(words[1], substitute(words[2], vars))
	case len(words) == 2 && words[1] == "sends":
		st, err := stanza.Parse([]byte(strings.TrimSpace(substitute(sc.xml, vars))))
		if err != nil {
			return err
		}
		return w.Send(words[0], st)
	case len(words) == 2 && words[1] == "gets":
		return gets(w, words[0], sc.xml, vars)
	case len(words) == 3 && words[1] == "gets" && words[2] == "nothing":
		if rest := w.Pending(words[0]); len(rest) > 0 {
			return fmt.Errorf("it got %v", rest)
		}
		return nil
	case len(words) == 2 && words[1] == "forgets":
		w.Pending(words[0])
		return nil
	default:
		for i := range words {
			words[i] = substitute(words[i], vars)
		}
		return w.Command(words)
	}
}

func gets(w World, name, xml string, vars map[string]string) error {
	got := w.Receive(name)
	if got == nil {
		return fmt.Errorf("it got nothing")
	}
	want, err := element(xml)
	if err != nil {
		return fmt.Errorf("bad pattern: %w", err)
	}
	have, err := element(got.String())
	if err != nil {
		return fmt.Errorf("what it got cannot be read: %w", err)
	}
	if err := match(want, have, vars); err != nil {
		return fmt.Errorf("%w\n got: %s", err, got)
	}
	return nil
}

// element reads a stanza as plain element.
func element(xml string) (*stanza.Element, error) {
	e, err := stanza.ParseElement([]byte("<stream xmlns='jabber:client'>" + strings.TrimSpace(xml) + "</stream>"))
	if err != nil {
		return nil, err
	}
	kids := e.Children()
	if len(kids) != 1 {
		return nil, fmt.Errorf("there are %d elements instead of one", len(kids))
	}
	return kids[0], nil
}

var placeholder = regexp.MustCompile(`\{[a-z][a-z0-9]*\}`)

func substitute(s string, vars map[string]string) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string {
		if v, ok := vars[p]; ok {
			return string(stanza.AppendText(nil, v))
		}
		return p
	})
}

// value matches an attribute or text with its pattern.
func value(want, have string, vars map[string]string) bool {
	if loc := placeholder.FindStringIndex(want); loc != nil && want[loc[0]:loc[1]] != "{none}" {
		name, before, after := want[loc[0]:loc[1]], want[:loc[0]], want[loc[1]:]
		if !strings.HasPrefix(have, before) || !strings.HasSuffix(have, after) || len(have) < len(before)+len(after) {
			return false
		}
		mid := have[len(before) : len(have)-len(after)]
		if known, ok := vars[name]; ok {
			return known == mid
		}
		if name != "{any}" {
			vars[name] = mid
		}
		return mid != ""
	}
	return want == have
}

func match(want, have *stanza.Element, vars map[string]string) error {
	if want.Name != have.Name {
		return fmt.Errorf("want <%s xmlns='%s'>, have <%s xmlns='%s'>", want.Local, want.Space, have.Local, have.Space)
	}
	for _, a := range want.Attrs {
		v, ok := attr(have, a)
		switch {
		case a.Value == "{none}" && !ok:
		case a.Value == "{none}" || !ok || !value(a.Value, v, vars):
			return fmt.Errorf("<%s> wants %s='%s', has '%s'", want.Local, a.Local, a.Value, v)
		}
	}
	wk, hk := want.Children(), have.Children()
	if t, h := strings.TrimSpace(want.Text()), strings.TrimSpace(have.Text()); !value(t, h, vars) {
		return fmt.Errorf("<%s> wants text %q, has %q", want.Local, t, h)
	}
	for i, w := range wk {
		if w.Local == "etc" {
			return rest(wk[i+1:], hk[i:], want.Local, vars)
		}
		if i >= len(hk) {
			return fmt.Errorf("<%s> lacks <%s>", want.Local, w.Local)
		}
		if err := match(w, hk[i], vars); err != nil {
			return fmt.Errorf("in <%s>: %w", want.Local, err)
		}
	}
	if len(hk) > len(wk) {
		return fmt.Errorf("<%s> has <%s> too", want.Local, hk[len(wk)].Local)
	}
	return nil
}

// rest matches what follows an <etc/>: each pattern somewhere further on, in order.
func rest(want, have []*stanza.Element, where string, vars map[string]string) error {
	for _, w := range want {
		if w.Local == "etc" {
			continue
		}
		found := false
		for len(have) > 0 && !found {
			found = match(w, have[0], vars) == nil
			have = have[1:]
		}
		if !found {
			return fmt.Errorf("<%s> lacks a matching <%s>", where, w.Local)
		}
	}
	return nil
}

func attr(e *stanza.Element, want stanza.Attr) (string, bool) {
	for _, a := range e.Attrs {
		if a.Local == want.Local && a.Space == want.Space {
			return a.Value, true
		}
	}
	return "", false
}
