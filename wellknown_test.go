package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestWellKnown: what a client that knows the domain alone finds, each at the place that it says, and usable from any web page.
func TestWellKnown(t *testing.T) {
	h := openHouse(t, "")
	c, client := h.cfg, h.client
	base := fmt.Sprintf("https://127.0.0.1:%d", c.HTTP.Port)
	get := func(path string) []byte {
		t.Helper()
		r, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK || r.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Fatalf("%s: %s %v %v", path, r.Status, r.Header, err)
		}
		return b
	}
	var x struct {
		XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
		Links   []link   `xml:"Link"`
	}
	if err := xml.Unmarshal(get("/.well-known/host-meta"), &x); err != nil {
		t.Fatal(err)
	}
	var j struct{ Links []link }
	if err := json.Unmarshal(get("/.well-known/host-meta.json"), &j); err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(c.HTTP.Port)
	want := fmt.Sprint([]link{
		{"urn:xmpp:alt-connections:websocket", "wss://localhost:" + port + "/xmpp-websocket"},
		{"urn:xmpp:alt-connections:xbosh", "https://localhost:" + port + "/http-bind"},
	})
	if fmt.Sprint(x.Links) != want || fmt.Sprint(j.Links) != want {
		t.Errorf("%v and %v, want %s", x.Links, j.Links, want)
	}
	if doc := get("/doap.xml"); !bytes.Contains(doc, []byte("xep-0156")) {
		t.Errorf("%s", doc)
	}
	r, err := client.Post(base+"/http-bind", "text/xml", strings.NewReader("<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='localhost' wait='5' hold='1'/>"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || !bytes.Contains(b, []byte("ANONYMOUS")) {
		t.Errorf("%s %v", b, err)
	}
}
