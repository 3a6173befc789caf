package clients

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestSlixmppUpload: a stock client finds the service, uploads a file and gets a URL that anybody can fetch it from (XEP-0363).
func TestSlixmppUpload(t *testing.T) {
	needSlixmpp(t)
	const aiohttp = "/usr/lib/python3/dist-packages/aiohttp"
	if _, err := os.Stat(aiohttp); err != nil {
		t.Skipf("Debian package python3-aiohttp is not installed (%s is missing): run `make deps` as root", aiohttp)
	}
	o := options("grace")
	o.Files = true
	grace := online(t, o)
	var url string
	const text = "what the file holds"
	if err := json.Unmarshal(grace.do(map[string]any{"cmd": "upload", "name": "zwei Wörter.txt", "data": text}), &url); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(url, "/zwei%20W%C3%B6rter.txt") {
		t.Error(url)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: shared.roots(t).RootCAs}}}
	defer client.CloseIdleConnections()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != text || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%s %q %v %v", r.Status, b, r.Header, err)
	}
}

// TestSlixmppProxy: two stock clients move bytes through the proxy that they have found in disco (XEP-0065).
func TestSlixmppProxy(t *testing.T) {
	needSlixmpp(t)
	a, b := options("grace"), options("heidi")
	a.Files, b.Files = true, true
	grace, heidi := online(t, a), online(t, b)
	to := heidi.seen[heidi.find(0, "be online", func(e event) bool { return e.Event == "online" })].JID
	grace.do(map[string]any{"cmd": "stream", "to": to, "data": "bytes of a file"})
	heidi.any("get the bytes", func(e event) bool { return e.Event == "data" && e.Body == "bytes of a file" })
}
