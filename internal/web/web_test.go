package web

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testConfig = Config{Domain: "example.org", GuestDomain: "guest.example.org", MUC: "conference.example.org", Focus: "focus.example.org", SSRCRewriting: true}

func get(t *testing.T, h http.Handler, target string, edit func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest("GET", target, nil)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestPaths(t *testing.T) {
	h := Handler(testConfig)
	for target, want := range map[string]struct {
		status int
		ct     string
	}{
		"/":                     {200, "text/html; charset=utf-8"},
		"/standup":              {200, "text/html; charset=utf-8"},
		"/b%C3%BCro":            {200, "text/html; charset=utf-8"},
		"/static/app.js":        {200, "text/javascript; charset=utf-8"},
		"/static/style.css":     {200, "text/css; charset=utf-8"},
		"/static/icon.svg":      {200, "image/svg+xml"},
		"/config.js":            {200, "text/javascript; charset=utf-8"},
		"/static/none.js":       {404, ""},
		"/static/../web.go":     {307, ""}, // the mux cleans the path; nothing outside of static is in the binary
		"/two/segments":         {404, "text/html; charset=utf-8"},
		"/static/proto/":        {404, ""}, // no listing
		"/static/proto/sdp.js?": {200, "text/javascript; charset=utf-8"},
	} {
		r := get(t, h, target, nil)
		if r.StatusCode != want.status && !(want.status == 307 && r.StatusCode/100 == 3) {
			t.Errorf("%s: status %d, want %d", target, r.StatusCode, want.status)
		}
		if want.ct != "" && r.Header.Get("Content-Type") != want.ct {
			t.Errorf("%s: type %q, want %q", target, r.Header.Get("Content-Type"), want.ct)
		}
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: content policy %q", target, csp)
		}
	}
}

func TestETag(t *testing.T) {
	h := Handler(testConfig)
	tag := get(t, h, "/static/app.js", nil).Header.Get("ETag")
	r := get(t, h, "/static/app.js", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
	if tag == "" || r.StatusCode != http.StatusNotModified {
		t.Fatalf("tag %q: status %d, want 304", tag, r.StatusCode)
	}
}

func TestConfigJS(t *testing.T) {
	h := Handler(testConfig)
	for _, c := range []struct {
		host, proto, want string
		tls               bool
	}{
		{"meet.example.org", "", "wss://meet.example.org/xmpp-websocket", true},
		{"127.0.0.1:8443", "", "wss://127.0.0.1:8443/xmpp-websocket", true},
		{"[::1]:8443", "", "wss://[::1]:8443/xmpp-websocket", true},
		{"meet.example.org", "https", "wss://meet.example.org/xmpp-websocket", false},
		{"localhost:8080", "", "ws://localhost:8080/xmpp-websocket", false},
		{`evil"};alert(1)//`, "", "wss://example.org/xmpp-websocket", true},
		{"a b", "", "wss://example.org/xmpp-websocket", true},
		{"", "", "wss://example.org/xmpp-websocket", true},
	} {
		r := get(t, h, "/config.js", func(r *http.Request) {
			r.Host = c.host
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if c.proto != "" {
				r.Header.Set("X-Forwarded-Proto", c.proto)
			}
		})
		body, _ := io.ReadAll(r.Body)
		text, ok := strings.CutPrefix(string(body), "var config = ")
		var got clientConfig
		if err := json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimSpace(text), ";")), &got); !ok || err != nil {
			t.Fatalf("host %q: no config: %v\n%s", c.host, err, body)
		}
		if got.WebSocket != c.want {
			t.Errorf("host %q: websocket %q, want %q", c.host, got.WebSocket, c.want)
		}
		if got.Hosts.AnonymousDomain != "guest.example.org" || !got.Flags["ssrcRewritingEnabled"] {
			t.Errorf("host %q: %+v", c.host, got)
		}
	}
}

// TestModules finds imports of files that do not exist, external addresses, and HTML made of strings: mistakes that a page without
// build step would show only in a browser.
func TestModules(t *testing.T) {
	imports := regexp.MustCompile(`(?m)from '(\.[^']+)';`)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|(?:src|href)="https?://`)
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range imports.FindAllStringSubmatch(string(body), -1) {
			if _, err := fs.Stat(static, path.Join(path.Dir(name), m[1])); err != nil {
				t.Errorf("%s imports %s: %v", name, m[1], err)
			}
		}
		if m := forbidden.Find(body); m != nil {
			t.Errorf("%s has %q", name, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestUsedTexts finds texts that are used and not written; test/i18n.test.js compares the languages.
func TestUsedTexts(t *testing.T) {
	table, err := static.ReadFile("static/texts/en.js")
	if err != nil {
		t.Fatal(err)
	}
	use := regexp.MustCompile(`(?:\bt\(|t: |label: |placeholder: |setText\([^,]+, )'([a-z]+\.[A-Za-z.]+)'`)
	fs.WalkDir(static, "static/ui", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, _ := static.ReadFile(name)
		for _, m := range use.FindAllStringSubmatch(string(body), -1) {
			if !strings.Contains(string(table), "'"+m[1]+"':") {
				t.Errorf("%s: text %s does not exist", name, m[1])
			}
		}
		return nil
	})
}

// TestJavaScript runs the unit tests of the pure modules in test/ with Node's own test runner.
func TestJavaScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: the unit tests of the page's modules did not run (the end-to-end tests still cover them)")
	}
	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", "test/")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node --test: %v\n%s", err, out)
	}
	if !regexp.MustCompile(`(?m)^# pass [1-9]`).Match(out) {
		t.Fatalf("no test ran:\n%s", out)
	}
}
