package specs

import (
	"encoding/xml"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`[{spec: RFC 1, status: complete}, {spec: RFC 22, status: partial}, {spec: RFC 3, status: planned}]`:                              "RFC 22 stands before RFC 3",
		`[{spec: XEP-0001, version: "1", status: complete}, {spec: RFC 22, status: partial}]`:                                             "XEP-0001 stands before RFC 22",
		`[{spec: XEP-0001, version: "1", status: complete}, {spec: XEP-0001, version: "1", status: complete}]`:                            "stands before",
		`[{spec: XEP-1, version: "1", status: complete}]`:                                                                                 "neither",
		`[{spec: XEP-0001, status: complete}]`:                                                                                            "no version",
		`[{spec: XEP-0001, version: "1", status: yes}]`:                                                                                   "no status",
		`[{spec: XEP-0001, version: "1", status: complete, where: here}]`:                                                                 "where",
		`[{spec: RFC 3, status: planned}, {spec: RFC 22, status: partial}, {spec: XEP-0001, version: "1", status: wontfix, note: "why"}]`: "",
	} {
		_, err := parse([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestDOAP: each XEP stands in it with its version, and a reader finds them by the names of XEP-0453.
func TestDOAP(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	text, err := DOAP(all)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		XMLName xml.Name `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# RDF"`
		Project struct {
			Name       string `xml:"name"`
			Implements []struct {
				URL string `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# resource,attr"`
				XEP struct {
					XEP struct {
						URL string `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# resource,attr"`
					} `xml:"https://linkmauve.fr/ns/xmpp-doap# xep"`
					Version string `xml:"https://linkmauve.fr/ns/xmpp-doap# version"`
					Status  string `xml:"https://linkmauve.fr/ns/xmpp-doap# status"`
				} `xml:"https://linkmauve.fr/ns/xmpp-doap# SupportedXep"`
			} `xml:"implements"`
		} `xml:"http://usefulinc.com/ns/doap# Project"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, i := range doc.Project.Implements {
		found[i.URL+i.XEP.XEP.URL] = i.XEP.Version + i.XEP.Status
	}
	for _, s := range all {
		if s.xep() != "" && found["https://xmpp.org/extensions/xep-"+s.xep()+".html"] != s.Version+s.Status {
			t.Errorf("%s is not in the document", s.ID)
		}
	}
	if _, ok := found["https://www.rfc-editor.org/info/rfc6120"]; !ok || doc.Project.Name != "Konzil" {
		t.Errorf("%s", text)
	}
}

// TestComplianceSuite: what XEP-0479 asks of an Advanced Server, category by category, is complete.
func TestComplianceSuite(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for _, s := range all {
		status[s.ID] = s.Status
	}
	for category, specs := range map[string][]string{
		"Core": {"RFC 6120", "RFC 7590", "XEP-0030", "XEP-0114", "XEP-0368", "XEP-0115", "XEP-0163"},
		"Web":  {"RFC 7395", "XEP-0206", "XEP-0124", "XEP-0156"},
		"IM": {"RFC 6121", "XEP-0054", "XEP-0280", "XEP-0045", "XEP-0249", "XEP-0363", "XEP-0398", "XEP-0153", "XEP-0191", "XEP-0048", "XEP-0313", "XEP-0402", "XEP-0410",
			"XEP-0223", "XEP-0049", "XEP-0198"},
		"Mobile":      {"XEP-0198", "XEP-0352", "XEP-0357"},
		"A/V Calling": {"XEP-0215"},
	} {
		for _, spec := range specs {
			if status[spec] != "complete" {
				t.Errorf("%s: %s is %q", category, spec, status[spec])
			}
		}
	}
}
