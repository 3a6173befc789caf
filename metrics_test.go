package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMetricsDocs: docs/metrics.md has exactly the metrics that a server with everything switched on shows, each with its type and a
// line of meaning. UPDATE=1 brings names and types up to date; meanings are written by hand.
func TestMetricsDocs(t *testing.T) {
	live := liveMetrics(t)
	const file = "docs/metrics.md"
	old, err := os.ReadFile(file)
	if err != nil && os.Getenv("UPDATE") == "" {
		t.Fatal(err)
	}
	meaning := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (konzil_\w+) \| \w+ \| (.+) \|$`).FindAllStringSubmatch(string(old), -1) {
		meaning[row[1]] = row[2]
	}
	var doc strings.Builder
	doc.WriteString("# Metrics\n\n`/metrics`, on the HTTPS port for clients of the machine itself or at `http.admin`, shows these in Prometheus' text format, beside the Go runtime's (`go_`) and the process's (`process_`).\n" +
		"All count since the start, gauges excepted. A test compares this list with a running server's.\n")
	part := ""
	for _, name := range slices.Sorted(maps.Keys(live)) {
		if p := strings.Split(name, "_")[1]; p != part {
			part = p
			fmt.Fprintf(&doc, "\n## %s\n\n| metric | type | meaning |\n|---|---|---|\n", part)
		}
		if meaning[name] == "" {
			t.Errorf("%s has no meaning in %s", name, file)
		}
		fmt.Fprintf(&doc, "| %s | %s | %s |\n", name, live[name], meaning[name])
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if doc.String() != string(old) {
		t.Errorf("%s is stale: UPDATE=1 go test -run TestMetricsDocs . and write the meanings", file)
	}
}

// liveMetrics are the types of konzil's metrics, by name, as a running server shows them.
func liveMetrics(t *testing.T) map[string]string {
	// A directory is configured, so that its numbers show; it is only asked when somebody logs in.
	file := settings(t, "auth: {ldap: {urls: ['ldap://127.0.0.1:9'], base_dn: 'dc=example', starttls: false}}\ntokens: {secret: sixteen-bytes-or-more, issuers: [site]}\nwebhook: {url: 'http://127.0.0.1:9/', secret: sixteen-bytes-or-more}\nbridge: {accounts: [jvb], join: [{server: '127.0.0.1:9', account: jvb@localhost, password: x, room: jvbbrewery@internal.localhost}], rest: admin}\nmeetings: {visitors: 100}\n")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("log: {"), []byte("log: {file: "+filepath.Join(t.TempDir(), "konzil.log")+", "), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	h := startHouse(t, file)
	c, client := h.cfg, h.client
	r, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/metrics", c.HTTP.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r.Status, err)
	}
	types := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (konzil_\w+) (\w+)$`).FindAllStringSubmatch(string(body), -1) {
		types[m[1]] = m[2]
	}
	return types
}
