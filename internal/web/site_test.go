package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// build is a folder like a jitsi-meet build.
func build(t *testing.T, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"index.html":                  `<head><!--#include virtual="base.html" --><!--#include virtual="none.html" --><script><!--#include virtual="/config.js" --></script></head>`,
		"base.html":                   `<base href="/" />`,
		"config.js":                   "var subdir = '<!--# echo var=\"subdir\" default=\"\" -->';\nvar config = { hosts: { domain: 'jitsi-meet.example.com' }, p2p: { enabled: false, codecPreferenceOrder: ['AV1'] } };",
		"manifest.json":               `{}`,
		"libs/app.bundle.min.js":      strings.Repeat("console.log('app');\n", 200),
		"libs/lib-jitsi-meet.min.js":  "lib",
		"libs/external_api.min.js":    "api",
		"libs/rnnoise.wasm":           "wasm",
		"static/close.html":           "closed",
		".git/config":                 "secret",
		"static/deep/er/settings.txt": "deep",
	}
	for k, v := range more {
		files[k] = v
	}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func site(t *testing.T, extra string, cfg Config) *Site {
	t.Helper()
	s, err := OpenSite(build(t, nil), extra, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSitePaths(t *testing.T) {
	s := site(t, "", testConfig)
	if err := os.Symlink("/etc/passwd", filepath.Join(s.root.Name(), "static", "out")); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]struct {
		status int
		part   string
	}{
		"/":                              {200, `<base href="/" />`},
		"/standup":                       {200, `<base href="/" />`},
		"/b%C3%BCro":                     {200, `<base href="/" />`},
		"/school/standup":                {200, `<base href="/" />`},
		"/school/":                       {200, `<base href="/" />`},
		"/manifest.json":                 {200, "{}"},
		"/school/manifest.json":          {200, "{}"},
		"/external_api.js":               {200, "api"},
		"/school/external_api.js":        {200, "api"},
		"/libs/rnnoise.wasm":             {200, "wasm"},
		"/school/libs/rnnoise.wasm":      {200, "wasm"},
		"/static/close.html":             {200, "closed"},
		"/static/deep/er/settings.txt":   {200, "deep"},
		"/libs/none.js":                  {404, ""},
		"/static":                        {200, ""}, // a room may have any name
		"/static/deep":                   {404, ""},
		"/static/out":                    {404, ""}, // a link out of the build
		"/.git/config":                   {404, ""},
		"/school/.git/config":            {404, ""},
		"/a/b/c":                         {404, ""},
		"/%3Cscript%3E/standup":          {404, ""},
		"/@!/standup":                    {404, ""}, // nothing of the tenant is left
		"/a%27b/standup":                 {404, ""},
		"/a%5Cb/standup":                 {404, ""},
		"/a%60b/standup":                 {404, ""},
		"/static/..%2f..%2fetc%2fpasswd": {404, ""},
	} {
		r := get(t, s, target, nil)
		if got := body(t, r); r.StatusCode != want.status || !strings.Contains(got, want.part) || strings.Contains(got, "root:") {
			t.Errorf("%s: %d %q, want %d with %q", target, r.StatusCode, got, want.status, want.part)
		}
	}
	r := get(t, s, "/standup", func(r *http.Request) { r.Method = "POST" })
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
}

func TestSiteTenant(t *testing.T) {
	s := site(t, "", testConfig)
	var got []string
	s.HandleTenant("xmpp-websocket", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RawQuery)
	}))
	get(t, s, "/school/xmpp-websocket?room=a&prefix=forged", nil)
	get(t, s, "/school/xmpp-websocket", func(r *http.Request) { r.Method = "POST" })
	if len(got) != 2 || got[0] != "GET prefix=school&room=a" || got[1] != "POST prefix=school" {
		t.Errorf("%q", got)
	}
	if r := get(t, s, "/%3Cb%3E/xmpp-websocket", nil); r.StatusCode != 404 {
		t.Errorf("a bad tenant: %d", r.StatusCode)
	}
}

func TestSiteConfig(t *testing.T) {
	extra := filepath.Join(t.TempDir(), "site.js")
	if err := os.WriteFile(extra, []byte("config.subject = 'ours';"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig
	cfg.BOSH, cfg.Tenants = true, true
	s := site(t, extra, cfg)
	for target, want := range map[string][]string{
		"/config.js":            {`"websocket": "wss://meet.example.org/xmpp-websocket"`, `"muc": "conference.example.org"`, `"bosh": "https://meet.example.org/http-bind"`, "var subdir = '';", "config.subject = 'ours';"},
		"/Big.School/config.js": {`"websocket": "wss://meet.example.org/Big.School/xmpp-websocket"`, `"muc": "conference.big_school.example.org"`, "var subdir = 'Big.School/';"},
		"/school/standup":       {`"muc": "conference.school.example.org"`, "config.subject = 'ours';"},
		// what jitsi-meet's own test of URLs asks for (misc/urlNormalisation)
		"/tenant@example.com/config.js": {`"muc": "conference.tenantexample_com.example.org"`, "xmpp-websocket"},
		"/%D0%9E%D0%B1/config.js":       {`"muc": "conference.%d0%be%d0%b1.example.org"`, `"websocket": "wss://meet.example.org/%D0%9E%D0%B1/xmpp-websocket"`},
		"/a~b/config.js":                {`"muc": "conference.a%7eb.example.org"`},
	} {
		r := get(t, s, target, func(r *http.Request) { r.Host = "meet.example.org"; r.Header.Set("X-Forwarded-Proto", "https") })
		if csp := r.Header.Get("Content-Security-Policy"); csp != "object-src 'none'" || r.Header.Get("X-Frame-Options") != "" { // other sites embed it
			t.Errorf("%s: content policy %q", target, csp)
		}
		got := body(t, r)
		at := 0
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s lacks %s:\n%s", target, w, got)
			}
		}
		// the build's own first, then the server, then the operator
		for _, w := range []string{"jitsi-meet.example.com", "what this server is", "config.subject"} {
			i := strings.Index(got, w)
			if i < at {
				t.Errorf("%s: %q stands at %d, before %d", target, w, i, at)
			}
			at = i
		}
	}
}

func TestSiteCompression(t *testing.T) {
	s := site(t, "", testConfig)
	ask := func(encoding string) *http.Response {
		return get(t, s, "/libs/app.bundle.min.js?v=1", func(r *http.Request) { r.Header.Set("Accept-Encoding", encoding) })
	}
	plain := body(t, ask(""))
	for range 2 { // compressed, then from memory
		r := ask("gzip, br")
		z, err := gzip.NewReader(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Vary") != "Accept-Encoding" {
			t.Fatalf("%v %v", err, r.Header)
		}
		if got, err := io.ReadAll(z); err != nil || string(got) != plain {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("cache control %q", r.Header.Get("Cache-Control"))
		}
	}
	name := filepath.Join(s.root.Name(), "libs", "app.bundle.min.js")
	if err := os.WriteFile(name, []byte(strings.Repeat("new();\n", 500)), 0o644); err != nil {
		t.Fatal(err)
	}
	future := stat(t, name).ModTime().Add(1e9)
	if err := os.Chtimes(name, future, future); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(ask("gzip").Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(z); !strings.HasPrefix(string(got), "new();") {
		t.Errorf("an old file is served after it changed: %.20q", got)
	}
}

func stat(t *testing.T, name string) os.FileInfo {
	i, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestSiteErrors(t *testing.T) {
	if _, err := OpenSite(filepath.Join(t.TempDir(), "none"), "", testConfig); err == nil {
		t.Error("a folder that is not there was taken")
	}
	if _, err := OpenSite(t.TempDir(), "", testConfig); err == nil || !strings.Contains(err.Error(), "index.html") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := OpenSite(build(t, nil), "/none/extra.js", testConfig); err == nil {
		t.Error("an operator's file that is not there was taken")
	}
}

func TestExpand(t *testing.T) {
	files := map[string]string{"a": `A<!--#include virtual="b" -->`, "b": `B<!--# echo var="x" default="none" -->`, "loop": `.<!--#include virtual="loop" -->`}
	read := func(n string) string { return files[n] }
	for in, want := range map[string]string{
		`<!--#include virtual="a" -->!`:            "AB1!",
		`<!--#include virtual="../../a"-->`:        "AB1",
		`<!--#include virtual="none" -->`:          "",
		`<!--#include virtual="loop" -->`:          "....",
		`<!--# echo var="y" default="" --><b>`:     "<b>",
		`<!--# echo var="y" default="d" -->`:       "d",
		`<!-- a comment --><!--#exec cmd="ls" -->`: `<!-- a comment --><!--#exec cmd="ls" -->`,
	} {
		if got := expand(in, map[string]string{"x": "1"}, read); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
