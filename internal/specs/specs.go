// Package specs is the list of specifications that Konzil implements: one YAML file, whose head tells how rows are added. All reads it; Markdown
// makes the page of docs/ of it, DOAP a description for machines (XEP-0453).
package specs

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed specs.yaml
var file []byte

// The values of Spec.Status (XEP-0453 §3): whether all, a part or nothing of it is there, and what is left out on purpose.
const (
	Complete = "complete"
	Partial  = "partial"
	Planned  = "planned"
	WontFix  = "wontfix"
)

// Spec is a row: a specification and how far it is implemented.
type Spec struct {
	ID      string `yaml:"spec"`    // RFC 1234 or XEP-0123
	Version string `yaml:"version"` // of a XEP
	Status  string `yaml:"status"`
	Code    string `yaml:"code"` // files and folders, see Places
	Test    string `yaml:"test"` // plays, and test files with #Function, see Tests
	Note    string `yaml:"note"`
}

// xep is the number with four digits, "" for an RFC.
func (s Spec) xep() string {
	n, ok := strings.CutPrefix(s.ID, "XEP-")
	if !ok {
		return ""
	}
	return n
}

// Places are the files and folders that implement it.
func (s Spec) Places() []string { return split(s.Code) }

// Tests are its plays, and its test functions as file#Function.
func (s Spec) Tests() []string { return split(s.Test) }

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// All are the rows, RFCs first, by number.
func All() ([]Spec, error) { return parse(file) }

func parse(text []byte) ([]Spec, error) {
	var all []Spec
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("specs.yaml: %w", err)
	}
	for i, s := range all {
		var n int
		format := "RFC %d"
		if s.xep() != "" {
			format = "XEP-%04d"
		}
		if _, err := fmt.Sscanf(s.ID, strings.Replace(format, "04", "", 1), &n); err != nil || fmt.Sprintf(format, n) != s.ID {
			return nil, fmt.Errorf("specs.yaml: %q is neither RFC 1234 nor XEP-0123", s.ID)
		}
		switch {
		case i > 0 && order(all[i-1], s) >= 0:
			return nil, fmt.Errorf("specs.yaml: %s stands before %s", all[i-1].ID, s.ID)
		case !slices.Contains([]string{Complete, Partial, Planned, WontFix}, s.Status):
			return nil, fmt.Errorf("specs.yaml: %s has no status %q", s.ID, s.Status)
		case s.xep() != "" && s.Version == "":
			return nil, fmt.Errorf("specs.yaml: %s has no version", s.ID)
		}
	}
	return all, nil
}

// order compares numbers, RFCs before XEPs; RFC numbers have four or five digits.
func order(a, b Spec) int {
	if (a.xep() == "") != (b.xep() == "") {
		return strings.Compare(a.ID, b.ID)
	}
	if len(a.ID) != len(b.ID) {
		return len(a.ID) - len(b.ID)
	}
	return strings.Compare(a.ID, b.ID)
}

// Markdown is docs/specs.md.
func Markdown(all []Spec) string {
	var b strings.Builder
	b.WriteString(`# Specifications

What is implemented, how far, where, and which test shows it. Made of internal/specs/specs.yaml, whose head tells how rows are added:
` + "`UPDATE=1 go test -run TestSpecs .`" + ` writes this page. The same list for machines (DOAP) is at /doap.xml of a running server, and ` + "`konzil doap`" + ` prints it.
Code cites specifications in one form (` + "`RFC 8656 §11.3`, `XEP-0045 §7.2`" + `), so that ` + "`grep -rn 'XEP-0198'`" + ` finds the places. "wontfix" is left out on purpose.

| specification | version | status | code | test | notes |
|---|---|---|---|---|---|
`)
	for _, s := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", s.ID, s.Version, s.Status, s.Code, strings.ReplaceAll(s.Test, "#", " "), s.Note)
	}
	return b.String()
}

// DOAP describes the project to machines (XEP-0453), in the form that xmpp.org's list of software reads.
func DOAP(all []Spec) ([]byte, error) {
	type resource struct {
		URL string `xml:"rdf:resource,attr"`
	}
	type supported struct {
		XEP     resource `xml:"xmpp:xep"`
		Status  string   `xml:"xmpp:status"`
		Version string   `xml:"xmpp:version"`
		Note    string   `xml:"xmpp:note,omitempty"`
	}
	type implements struct {
		URL string     `xml:"rdf:resource,attr,omitempty"`
		XEP *supported `xml:"xmpp:SupportedXep"`
	}
	type project struct {
		Name       string       `xml:"name"`
		Short      string       `xml:"shortdesc"`
		Language   string       `xml:"programming-language"`
		OS         string       `xml:"os"`
		Category   []resource   `xml:"category"`
		Implements []implements `xml:"implements"`
	}
	doc := struct {
		XMLName xml.Name `xml:"rdf:RDF"`
		RDF     string   `xml:"xmlns:rdf,attr"`
		NS      string   `xml:"xmlns,attr"`
		XMPP    string   `xml:"xmlns:xmpp,attr"`
		Project project  `xml:"Project"`
	}{
		RDF: "http://www.w3.org/1999/02/22-rdf-syntax-ns#", NS: "http://usefulinc.com/ns/doap#", XMPP: "https://linkmauve.fr/ns/xmpp-doap#",
		Project: project{
			Name: "Konzil", Short: "XMPP server, video meetings and TURN server in one program", Language: "Go", OS: "Linux",
			Category: []resource{{"https://linkmauve.fr/ns/xmpp-doap#category-server"}},
		},
	}
	for _, s := range all {
		if s.xep() == "" {
			if s.Status != Planned && s.Status != WontFix { // a bare RFC has no place for a status
				number := strings.ToLower(strings.ReplaceAll(s.ID, " ", ""))
				doc.Project.Implements = append(doc.Project.Implements, implements{URL: "https://www.rfc-editor.org/info/" + number})
			}
			continue
		}
		doc.Project.Implements = append(doc.Project.Implements, implements{XEP: &supported{
			XEP: resource{"https://xmpp.org/extensions/xep-" + s.xep() + ".html"}, Status: s.Status, Version: s.Version, Note: s.Note,
		}})
	}
	out, err := xml.MarshalIndent(doc, "", "  ")
	return append([]byte(xml.Header), append(out, '\n')...), err
}
