package upload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/internal/random"
	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		uploadForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

func config(dir string) Config {
	return Config{
		Domain: "upload.example.org", URL: "https://example.org/upload/", Dir: filepath.Join(dir, "uploads"), Secret: []byte("0123456789abcdef"),
		MaxFile: 1000, Quota: 2500, Keep: time.Hour,
		May: func(who stanza.JID) bool { return who.Domain() == "example.org" },
	}
}

// answers collects what the service routes.
type answers struct {
	mu   sync.Mutex // guards list
	list []*stanza.Stanza
}

func (a *answers) Route(st *stanza.Stanza) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, st)
}

// world is a service with its HTTP side.
type world struct {
	*Service
	t    testing.TB
	out  *answers
	http *httptest.Server
	now  time.Time
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	dir := t.TempDir()
	db := storetest.Open(t)
	w := &world{t: t, out: &answers{}, now: time.Unix(1_800_000_000, 0)}
	c := config(dir)
	c.now = func() time.Time { return w.now }
	if change != nil {
		change(&c)
	}
	var err error
	if w.Service, err = New(c, w.out, db, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/upload/{id}/{name}", w.Handler())
	w.http = httptest.NewServer(mux)
	t.Cleanup(w.http.Close)
	return w
}

// ask requests a slot and gives the URLs, or the error.
func (w *world) ask(name string, size int, typ string, more ...*stanza.Element) (put, get string, bad *stanza.Element) {
	w.t.Helper()
	req := stanza.NewElement(nsUpload, "request", "filename", name, "size", fmt.Sprint(size), "content-type", typ).Add(more...)
	w.HandleStanza(stanza.NewIQ("get", "1", stanza.MustJID("romeo@example.org/orchard"), w.JID, req))
	a := w.out.list[len(w.out.list)-1]
	if a.Type == "error" {
		return "", "", a.Child(stanza.NSClient, "error")
	}
	slot := a.Child(nsUpload, "slot")
	local := func(u string) string { return strings.Replace(u, "https://example.org", w.http.URL, 1) }
	return local(slot.Child(nsUpload, "put").Attr("url")), local(slot.Child(nsUpload, "get").Attr("url")), nil
}

// do is one request; body nil is none.
func (w *world) do(method, u string, body io.Reader, headers ...string) (code int, h http.Header, text string) {
	w.t.Helper()
	r, err := http.NewRequest(method, u, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.http.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func (w *world) want(what string, got, want int) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: %d, want %d", what, got, want)
	}
}

func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		dir := t.TempDir()
		db := storetest.Open(t)
		return play.NewLive(t, func(s *xmpp.Server) {
			u, err := New(config(dir), s, db, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			s.Mount("upload.example.org", u)
		}, nil)
	})
}

func TestPutAndGet(t *testing.T) {
	w := newWorld(t, nil)
	put, get, _ := w.ask("a b.png", 10, "image/png")
	code, _, _ := w.do("GET", get, nil)
	w.want("get before put", code, 404)
	code, h, _ := w.do("PUT", put, strings.NewReader("0123456789"), "Content-Type", "image/png", "Origin", "https://chat.example")
	w.want("put", code, 201)
	if h.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("web clients may not upload")
	}
	code, h, body := w.do("GET", get, nil)
	w.want("get", code, 200)
	for name, want := range map[string]string{
		"Content-Type": "image/png", "Content-Length": "10", "X-Content-Type-Options": "nosniff", "Content-Disposition": `inline; filename="a b.png"`,
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox", "Access-Control-Allow-Origin": "*", "Accept-Ranges": "bytes",
		"Cache-Control": "private, immutable, max-age=3600",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	if body != "0123456789" {
		t.Error(body)
	}
	code, h, body = w.do("HEAD", get, nil)
	w.want("head", code, 200)
	if h.Get("Content-Length") != "10" || body != "" {
		t.Error("HEAD:", h, body)
	}
	code, h, body = w.do("GET", get, nil, "Range", "bytes=2-4")
	w.want("range", code, 206)
	if body != "234" || h.Get("Content-Range") != "bytes 2-4/10" {
		t.Error(body, h.Get("Content-Range"))
	}
	code, _, _ = w.do("GET", get, nil, "Range", "bytes=10-")
	w.want("range beyond", code, 416)
	code, _, _ = w.do("GET", get, nil, "If-None-Match", h.Get("ETag"))
	w.want("known", code, 304)
	code, _, _ = w.do("PUT", put, strings.NewReader("9876543210"), "Content-Type", "image/png")
	w.want("put twice", code, 409)
	code, h, _ = w.do("OPTIONS", put, nil, "Origin", "https://chat.example", "Access-Control-Request-Method", "PUT")
	w.want("preflight", code, 204)
	if !strings.Contains(h.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Error(h)
	}
	code, _, _ = w.do("POST", put, strings.NewReader("x"))
	w.want("post", code, 405)
	code, _, _ = w.do("DELETE", get, nil)
	w.want("delete", code, 405)
	code, _, _ = w.do("GET", strings.Replace(get, "png", "exe", 1), nil)
	w.want("another name", code, 404)
}

// TestPutRefused: what is not what the slot was for leaves nothing.
func TestPutRefused(t *testing.T) {
	w := newWorld(t, nil)
	put, get, _ := w.ask("a.txt", 10, "text/plain")
	ten := func() io.Reader { return strings.NewReader("0123456789") }
	for _, c := range []struct {
		what, url string
		body      io.Reader
		code      int
		headers   []string
	}{
		{"longer", put, strings.NewReader("0123456789a"), 413, nil},
		{"shorter", put, strings.NewReader("012345678"), 400, nil},
		{"unknown length", put, io.MultiReader(ten()), 411, nil},
		{"other type", put, ten(), 415, []string{"Content-Type", "text/html"}},
		{"packed", put, ten(), 415, []string{"Content-Encoding", "gzip"}},
		{"a part", put, ten(), 400, []string{"Content-Range", "bytes 0-9/10"}},
		{"no ticket", get, ten(), 403, nil},
		{"empty ticket", get + "?ticket=", ten(), 403, nil},
		{"other ticket", put[:len(put)-3] + "AAA", ten(), 403, nil},
		{"other name", strings.Replace(put, "a.txt", "b.txt", 1), ten(), 403, nil},
		{"other id", strings.Replace(put, "/upload/"+put[len(w.http.URL)+8:][:32], "/upload/"+random.ID(), 1), ten(), 403, nil},
	} {
		code, _, _ := w.do("PUT", c.url, c.body, c.headers...)
		w.want(c.what, code, c.code)
	}
	w.now = w.now.Add(slotLife + time.Second)
	code, _, _ := w.do("PUT", put, ten())
	w.want("too late", code, 403)
	code, _, _ = w.do("GET", get, nil)
	w.want("get", code, 404)
	if n := w.Counters()["uploads_failed_total"]; n != 12 {
		t.Errorf("%d failed", n)
	}
	files, err := filepath.Glob(filepath.Join(w.cfg.Dir, "*", "*"))
	if err != nil || len(files) != 0 {
		t.Error(files, err)
	}
}

// TestTraversal: nothing but files of the service is ever named by a URL.
func TestTraversal(t *testing.T) {
	w := newWorld(t, nil)
	if err := os.WriteFile(filepath.Join(w.cfg.Dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{
		"/upload/../secret", "/upload/..%2fsecret/x", "/upload/%2e%2e%2fsecret/x", "/upload/%252e%252e/secret", "/upload/x%00/secret", "/upload/../../konzil.db",
		"/upload/" + strings.Repeat("a", 32) + "/..%2f..%2fsecret", "/upload//etc/passwd", "/upload/" + strings.Repeat("A", 32) + "/secret", "/upload/incoming/x",
	} {
		u, err := url.Parse(w.http.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.Opaque = "//" + u.Host + p // as it is, not cleaned by the client
		r := &http.Request{Method: "GET", URL: u, Header: http.Header{}, Host: u.Host}
		resp, err := w.http.Client().Transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 200 || strings.Contains(string(b), "secret") && !strings.Contains(resp.Header.Get("Location"), "secret") {
			t.Errorf("%s: %s %q", p, resp.Status, b)
		}
	}
}

// TestActiveContent: what a browser would run comes as bytes to be saved.
func TestActiveContent(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quota = 0 })
	for typ, want := range map[string]string{
		"text/html": "application/octet-stream", "image/svg+xml": "application/octet-stream", "Text/HTML; charset=utf-8": "application/octet-stream", "application/xhtml+xml": "application/octet-stream",
		"text/xml": "application/octet-stream", "application/javascript": "application/octet-stream", "text/vbscript": "application/octet-stream",
		"": "application/octet-stream", "application/pdf": "application/pdf", "text/plain": "text/plain; charset=utf-8", "video/mp4": "video/mp4",
	} {
		put, get, bad := w.ask("x", 1, typ)
		if bad != nil {
			t.Fatal(bad)
		}
		code, _, _ := w.do("PUT", put, strings.NewReader("x"))
		w.want(typ, code, 201)
		_, h, _ := w.do("GET", get, nil)
		show := strings.HasPrefix(want, "text/plain") || strings.HasPrefix(want, "video/")
		if h.Get("Content-Type") != want || strings.HasPrefix(h.Get("Content-Disposition"), "inline") != show {
			t.Errorf("%s: %s, %s", typ, h.Get("Content-Type"), h.Get("Content-Disposition"))
		}
	}
}

func TestQuotaAndExpiry(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxTotal = 4000 })
	data := strings.Repeat("x", 1000)
	var urls []string
	for range 2 {
		put, get, _ := w.ask("a", 1000, "")
		code, _, _ := w.do("PUT", put, strings.NewReader(data))
		w.want("put", code, 201)
		urls = append(urls, get)
	}
	_, _, bad := w.ask("a", 501, "")
	if bad == nil || bad.Attr("type") != "wait" || bad.Child(nsUpload, "retry").Attr("stamp") != "2027-01-15T09:00:00Z" {
		t.Fatalf("beyond the quota: %v", bad)
	}
	// Two slots that fit alone and not together: the second upload is refused, before it is read.
	one, _, _ := w.ask("a", 400, "")
	two, _, _ := w.ask("a", 400, "")
	code, _, _ := w.do("PUT", one, strings.NewReader(data[:400]))
	w.want("first", code, 201)
	code, _, _ = w.do("PUT", two, strings.NewReader(data[:400]))
	w.want("second", code, 507)
	// Ephemeral files go after a day, those of a profile stay.
	put, profile, _ := w.ask("a", 50, "", stanza.NewElement(nsPurpose, "profile"))
	code, _, _ = w.do("PUT", put, strings.NewReader(data[:50]))
	w.want("profile", code, 201)
	w.now = w.now.Add(2 * time.Hour)
	code, _, _ = w.do("GET", urls[0], nil)
	w.want("expired, not swept", code, 404)
	w.sweep(context.Background())
	if c := w.Counters(); c["files_now"] != 1 || c["bytes_now"] != 50 || c["removed_total"] != 3 {
		t.Error(c)
	}
	code, _, _ = w.do("GET", profile, nil)
	w.want("profile later", code, 200)
	if err := w.Forget(context.Background(), stanza.MustJID("romeo@example.org")); err != nil {
		t.Fatal(err)
	}
	code, _, _ = w.do("GET", profile, nil)
	w.want("of a deleted account", code, 404)
	left, err := filepath.Glob(filepath.Join(w.cfg.Dir, "??", "*"))
	if err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

// TestOrphans: files without a row go, but not at once.
func TestOrphans(t *testing.T) {
	w := newWorld(t, nil)
	name := w.place(random.ID())
	if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.now = time.Now()
	w.sweep(context.Background())
	if _, err := os.Stat(name); err != nil {
		t.Error("a young file:", err)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.sweep(context.Background())
	if _, err := os.Stat(name); err == nil {
		t.Error("an old file without a row is still there")
	}
}

// TestBroken: a client that goes away in the middle leaves nothing, and may begin again.
func TestBroken(t *testing.T) {
	w := newWorld(t, nil)
	put, get, _ := w.ask("a", 10, "")
	ctx, cancel := context.WithCancel(context.Background())
	pr, pw := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, "PUT", put, pr)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 10
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := w.http.Client().Do(r); err == nil {
			resp.Body.Close()
		}
	}()
	if _, err := pw.Write([]byte("0123")); err != nil {
		t.Fatal(err)
	}
	await.True(t, "ten uploads are under way", func() bool { return w.underWay("romeo@example.org") == 10 })
	code, _, _ := w.do("PUT", put, strings.NewReader("0123456789"))
	w.want("the same at the same time", code, 429)
	cancel()
	pw.Close()
	<-done
	await.True(t, "none is under way", func() bool { return w.underWay("romeo@example.org") == 0 })
	code, _, _ = w.do("PUT", put, strings.NewReader("0123456789"))
	w.want("again", code, 201)
	_, _, body := w.do("GET", get, nil)
	if body != "0123456789" {
		t.Error(body)
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "a.txt", "../../etc/passwd": "passwd", `C:\x\y.doc`: "y.doc", "": "", "..": "", "/": "", "a\r\nb\x00": "ab", "\u202egnp.exe": "gnp.exe", "très": "très", "\xff": "",
		strings.Repeat("é", 200) + ".jpeg": strings.Repeat("é", 97) + ".jpeg",
	} {
		if got := cleanName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzTicket: nothing but what was signed is taken, and names stay harmless.
func FuzzTicket(f *testing.F) {
	secret := []byte("0123456789abcdef")
	good := ticket{id: strings.Repeat("a", 32), name: "x", typ: "text/plain", owner: "a@b", size: 5, purpose: 'm', until: 9}
	f.Add(good.id, good.name, good.sign(secret))
	f.Add("", "", ".")
	f.Add(good.id, "../x", "AAAA.AAAA")
	f.Fuzz(func(t *testing.T, id, name, signed string) {
		got, err := readTicket(secret, id, name, signed)
		if err == nil && got.sign(secret) != signed {
			t.Errorf("%+v", got)
		}
		clean := cleanName(name)
		if strings.ContainsAny(clean, "/\\\r\n\x00") || len(clean) > maxName || clean == ".." {
			t.Errorf("%q", clean)
		}
		if u, err := url.Parse("https://x/" + id + "/" + url.PathEscape(clean)); err == nil && bytes.ContainsAny([]byte(u.EscapedPath()), "\r\n ") {
			t.Errorf("%q", u)
		}
	})
}

// FuzzHTTP: no request, with whatever headers, breaks the service, stores or shows a file of somebody else.
func FuzzHTTP(f *testing.F) {
	w := newWorld(f, nil)
	put, get, bad := w.ask("a.txt", 5, "text/plain")
	if bad != nil {
		f.Fatal(bad)
	}
	if code, _, _ := w.do("PUT", put, strings.NewReader("hello")); code != http.StatusCreated {
		f.Fatal(code)
	}
	own, err := url.Parse(get)
	if err != nil {
		f.Fatal(err)
	}
	h := http.NewServeMux()
	h.Handle("/upload/{id}/{name}", w.Handler())
	f.Add("GET", own.Path, "", "bytes=0-1", "", []byte(nil))
	f.Add("GET", own.Path, "", "bytes=-9,3-,99-100,1-0", "gzip", []byte(nil))
	f.Add("HEAD", own.Path, "ticket=x", "bytes=", "", []byte(nil))
	f.Add("PUT", own.Path, "ticket=AAAA.AAAA", "", "text/html", []byte("hello"))
	f.Add("PUT", strings.TrimPrefix(put, w.http.URL), "", "", "text/plain", []byte("hello"))
	f.Add("OPTIONS", "/upload/%2e%2e/x", "", "", "", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path, query, span, typ string, body []byte) {
		r := httptest.NewRequest("GET", "http://example.org/", bytes.NewReader(body))
		r.Method, r.URL = method, &url.URL{Scheme: "http", Host: "example.org", Path: path, RawQuery: query}
		r.Header.Set("Range", span)
		r.Header.Set("Content-Type", typ)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		switch got := answer.Result(); {
		case got.StatusCode >= 500, got.StatusCode == http.StatusCreated:
			t.Errorf("%s %q: %s", method, r.URL, got.Status)
		case path != own.Path && strings.Contains(answer.Body.String(), "hello") && !strings.Contains(path+query, "hello"):
			t.Errorf("%s %q shows the file", method, r.URL)
		}
	})
}
