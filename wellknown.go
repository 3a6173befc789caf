package main

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
)

// link is how clients reach us besides TCP (XEP-0156 §3).
type link struct {
	Rel  string `json:"rel" xml:"rel,attr"`
	Href string `json:"href" xml:"href,attr"`
}

func (s *server) links() []link {
	return []link{
		{"urn:xmpp:alt-connections:websocket", s.webSocketURL("xmpp-websocket")},
		{"urn:xmpp:alt-connections:xbosh", s.cfg.publicURL() + "http-bind"},
	}
}

// openWellKnown serves what clients look up by the domain's name alone: /.well-known/host-meta as XML and as JSON (XEP-0156, RFC 6415), and what the program can do
// (/doap.xml). Web clients of other origins read it, too.
func (s *server) openWellKnown() error {
	type xrd struct {
		XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD" json:"-"`
		Links   []link   `xml:"Link" json:"links"`
	}
	meta := xrd{Links: s.links()}
	asXML, err := xml.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	asJSON, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	doc, err := doap()
	if err != nil {
		return err
	}
	for _, page := range []struct {
		path, kind string
		text       []byte
	}{
		{"/.well-known/host-meta", "application/xrd+xml; charset=utf-8", append([]byte(xml.Header), asXML...)},
		{"/.well-known/host-meta.json", "application/json", asJSON},
		{"/doap.xml", "application/rdf+xml; charset=utf-8", doc},
	} {
		s.http.Handle("GET "+page.path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Content-Type", page.kind)
			_, _ = w.Write(page.text) // whoever asked is gone
		}))
	}
	return nil
}
