package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Site is a build of jitsi-meet, the stock web client, in a folder. It is served as the stock web server does it:
//
//	/                        index.html, put together from its includes
//	/<room>                  the same
//	/<tenant>/<room>         the same, with config.js for the tenant
//	/config.js               the build's own, then what this server is, then the operator's lines
//	/external_api.js         libs/external_api.min.js, which other pages embed meetings with
//	/libs, /css, /static...  files; under /<tenant>/ too
//	/<tenant>/<name>         what HandleTenant knows: the WebSocket, BOSH, conference requests
//
// All else is 404. Files are read when they are asked for: a new build needs no restart.
type Site struct {
	root   *os.Root
	extra  string // file with the operator's JavaScript; "": none
	cfg    Config
	tenant map[string]http.Handler // by path below /<tenant>/
	packed packed
}

// siteFolders of a build hold files alone: nothing in them is a room.
var siteFolders = []string{"libs", "css", "static", "images", "fonts", "lang", "sounds"}

// goodTenant is what may stand before the room in a path, and so within quotes in config.js and attributes: what the stock nginx configuration
// takes ([^/?&:'"]+), without what HTML and JavaScript could take amiss.
var goodTenant = regexp.MustCompile("^[^\\pC\\s/?&:'\"`<>\\\\]{1,64}$")

// OpenSite opens the build in a folder; extra is a file whose lines are appended to config.js, "" for none. Errors are for the operator.
func OpenSite(folder, extra string, cfg Config) (*Site, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("%w: name the folder of a jitsi-meet build", err)
	}
	s := &Site{root: root, extra: extra, cfg: cfg}
	for _, need := range []string{"index.html", "libs/app.bundle.min.js", "libs/lib-jitsi-meet.min.js"} {
		if _, err := root.Stat(need); err != nil {
			root.Close()
			return nil, fmt.Errorf("%s has no %s: name the folder of a whole jitsi-meet build", folder, need)
		}
	}
	if extra != "" {
		if _, err := os.ReadFile(extra); err != nil {
			root.Close()
			return nil, fmt.Errorf("%w: name a readable file, or none", err)
		}
	}
	return s, nil
}

// HandleTenant serves name below the path of any tenant too: /<tenant>/<name> comes to h as if the tenant were the argument prefix, as the
// stock web server does it. It comes before the first request.
func (s *Site) HandleTenant(name string, h http.Handler) {
	if s.tenant == nil {
		s.tenant = map[string]http.Handler{}
	}
	s.tenant[name] = h
}

// PassTenant hands a request over to a handler of all tenants.
func PassTenant(w http.ResponseWriter, r *http.Request, tenant string, h http.Handler) {
	r = r.Clone(r.Context())
	q := r.URL.Query()
	q.Set("prefix", tenant)
	r.URL.RawQuery = q.Encode()
	h.ServeHTTP(w, r)
}

// Close ends the use of the folder.
func (s *Site) Close() error { return s.root.Close() }

// ServeHTTP finds out whether a path is a file, a room or a tenant's.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	// The build has inline scripts and may get its files from elsewhere (base.html), and other sites embed it: no policy of where things come from, or of
	// who shows the page, fits all of them.
	h.Set("Content-Security-Policy", "object-src 'none'")
	names := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, ".") }) {
		http.NotFound(w, r) // .well-known and the like are no rooms
		return
	}
	tenant := ""
	if len(names) > 1 && !slices.Contains(siteFolders, names[0]) {
		tenant, names = names[0], names[1:]
		if !goodTenant.MatchString(tenant) || tenantLabel(tenant) == "" {
			http.NotFound(w, r)
			return
		}
	}
	name := strings.Join(names, "/")
	if h := s.tenant[name]; h != nil && tenant != "" {
		PassTenant(w, r, tenant, h)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	switch {
	case name == "config.js":
		writeScript(w, s.configJS(r, tenant))
	case name == "external_api.js":
		s.file(w, r, "libs/external_api.min.js")
	case name == "" || name == "index.html":
		s.index(w, r, tenant)
	case s.isFile(name):
		s.file(w, r, name)
	case len(names) == 1:
		s.index(w, r, tenant)
	default:
		http.NotFound(w, r)
	}
}

func (s *Site) isFile(name string) bool {
	i, err := s.root.Stat(name)
	return err == nil && i.Mode().IsRegular()
}

// index sends the page of a room, or the welcome page.
func (s *Site) index(w http.ResponseWriter, r *http.Request, tenant string) {
	text := expand(s.text("index.html"), siteVars(tenant), func(name string) string {
		if name == "config.js" {
			return s.configJS(r, tenant)
		}
		return s.text(name)
	})
	h := w.Header()
	h.Set("Content-Type", contentTypes[".html"])
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

// siteVars are the variables that a build's files echo.
func siteVars(tenant string) map[string]string {
	if tenant == "" {
		return nil
	}
	return map[string]string{"subdomain": tenant + ".", "subdir": tenant + "/"}
}

// configJS is config.js: the build's own, then what this server is, then the operator's lines, which win.
func (s *Site) configJS(r *http.Request, tenant string) string {
	own := s.text("config.js")
	if own == "" {
		own = "var config = {};"
	}
	var b strings.Builder
	b.WriteString(expand(own, siteVars(tenant), s.text))
	server, err := json.MarshalIndent(s.cfg.client(r, tenant), "", "  ")
	if err != nil {
		return b.String()
	}
	b.WriteString("\n\n// what this server is\nfor (const [name, value] of Object.entries(" + string(server) + ")) {\n" +
		"  const plain = typeof value === 'object' && !Array.isArray(value) && name !== 'hosts';\n" +
		"  config[name] = plain ? Object.assign({}, config[name], value) : value;\n}\n")
	if s.extra != "" {
		if lines, err := os.ReadFile(s.extra); err == nil {
			b.WriteString("\n// the operator's\n")
			b.Write(lines)
			b.WriteString("\n")
		}
	}
	return b.String()
}

// text is a small file of the build, "" if there is none.
func (s *Site) text(name string) string {
	f, err := s.root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, packLimit))
	if err != nil {
		return ""
	}
	return string(b)
}

// packedTypes are worth compressing; pictures, sounds and fonts are compressed already.
var packedTypes = []string{".js", ".css", ".html", ".json", ".svg", ".wasm", ".txt"}

func (s *Site) file(w http.ResponseWriter, r *http.Request, name string) {
	f, err := s.root.Open(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", siteType(name))
	h.Set("Access-Control-Allow-Origin", "*") // fonts and scripts are embedded by other hosts, and none is secret
	if r.URL.Query().Has("v") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable") // the build counts ?v= up
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	if slices.Contains(packedTypes, path.Ext(name)) && info.Size() >= packFrom && info.Size() <= packLimit {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && r.Header.Get("Range") == "" {
			if body := s.packed.get(name, info.ModTime(), func() (io.ReadCloser, error) { return s.root.Open(name) }); body != nil {
				h.Set("Content-Encoding", "gzip")
				http.ServeContent(w, r, "", info.ModTime(), bytes.NewReader(body))
				return
			}
		}
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// siteType is the content type of a file; types of the system's table that matter to browsers are fixed.
func siteType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".wasm":
		return "application/wasm"
	case ".json", ".map":
		return "application/json"
	default:
		if t, ok := contentTypes[ext]; ok {
			return t
		}
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
		return "application/octet-stream"
	}
}
