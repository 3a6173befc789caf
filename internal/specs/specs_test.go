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
		if s.XEP() != "" && found["https://xmpp.org/extensions/xep-"+s.XEP()+".html"] != s.Version+s.Status {
			t.Errorf("%s is not in the document", s.ID)
		}
	}
	if _, ok := found["https://www.rfc-editor.org/info/rfc6120"]; !ok || doc.Project.Name != "Konzil" {
		t.Errorf("%s", text)
	}
}
