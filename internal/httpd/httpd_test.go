package httpd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/internal/certs"
	"konzil/internal/oops"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	quiet    = slog.New(slog.DiscardHandler)
	loopback = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
)

// start gives a server with a certificate and a client that trusts it.
func start(t *testing.T, cfg Config, prepare func(*Server)) (*Server, *http.Client, string) {
	t.Helper()
	source, err := certs.LoadOrCreate(t.TempDir(), nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.TLS = loopback, source.Config()
	s, err := New(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(s)
	}
	s.Start()
	roots := x509.NewCertPool()
	roots.AddCert(source.Leaf())
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	t.Cleanup(func() {
		c.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s, c, "https://" + s.Addrs()[0].String()
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

func hello(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }

func TestServe(t *testing.T) {
	_, c, url := start(t, DefaultConfig(), func(s *Server) { s.Handle("/hello", http.HandlerFunc(hello)) })
	r, body := get(t, c, url+"/hello")
	if body != "HTTP/2.0" || r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Strict-Transport-Security") == "" ||
		r.Header.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" {
		t.Errorf("%s %v", body, r.Header)
	}
	if r, _ := get(t, c, url+"/other"); r.StatusCode != 404 {
		t.Error(r.Status)
	}
	req, _ := http.NewRequest("GET", url+"/hello", nil)
	req.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	if r, err := c.Do(req); err == nil {
		r.Body.Close()
		if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Error(r.Status)
		}
	}
}

func TestWebSocketOverTLS(t *testing.T) {
	_, c, url := start(t, DefaultConfig(), func(s *Server) {
		s.Handle("/ws", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
			if err != nil {
				return
			}
			kind, msg, err := ws.Read(r.Context())
			if err == nil {
				ws.Write(r.Context(), kind, msg)
			}
			ws.Close(websocket.StatusNormalClosure, "")
		}))
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	t1 := c.Transport.(*http.Transport).Clone()
	t1.TLSClientConfig.NextProtos = []string{"http/1.1"}
	t1.ForceAttemptHTTP2 = false
	ws, _, err := websocket.Dial(ctx, "wss"+strings.TrimPrefix(url, "https")+"/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: t1}, Subprotocols: []string{"xmpp"}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte("<open/>")); err != nil {
		t.Fatal(err)
	}
	if _, msg, err := ws.Read(ctx); err != nil || string(msg) != "<open/>" || ws.Subprotocol() != "xmpp" {
		t.Errorf("%q %q %v", msg, ws.Subprotocol(), err)
	}
	t1.CloseIdleConnections()
}

func TestHealthAndMetrics(t *testing.T) {
	var broken error
	s, c, url := start(t, DefaultConfig(), func(s *Server) {
		s.AddCheck("sfu", func(context.Context) error { return broken })
		s.AddCheck("store", func(context.Context) error { return nil })
		s.AddMetrics("sfu", func() map[string]uint64 {
			return map[string]uint64{"packets in": 7, "endpoints_now": 3, "rooms": 4, "x_total": 1, "x": 2}
		}, "rooms")
	})
	if r, body := get(t, c, url+"/health/live"); r.StatusCode != 200 || body != "ok\n" {
		t.Error(r.Status, body)
	}
	if r, body := get(t, c, url+"/health"); r.StatusCode != 200 || body != "ok\nsfu: ok\nstore: ok\n" {
		t.Error(r.Status, body)
	}
	broken = errors.New("no\nsocket")
	if r, body := get(t, c, url+"/health/ready"); r.StatusCode != 503 || body != "sfu: no socket\nstore: ok\n" {
		t.Error(r.Status, body)
	}
	_, body := get(t, c, url+"/metrics")
	for _, want := range []string{"# TYPE konzil_sfu_packets_in_total counter\nkonzil_sfu_packets_in_total 7\n", "# TYPE konzil_sfu_endpoints_now gauge\nkonzil_sfu_endpoints_now 3\n", "# TYPE konzil_sfu_rooms gauge\nkonzil_sfu_rooms 4\n", "konzil_httpd_requests_total", "go_goroutines", "konzil_sfu_x_total"} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in\n%s", want, body)
		}
	}
	s.status.stopping.Store(true)
	if r, body := get(t, c, url+"/health/ready"); r.StatusCode != 503 || !strings.HasPrefix(body, "stopping\n") {
		t.Error(r.Status, body)
	}
}

func TestStatusIsForLoopback(t *testing.T) {
	s, err := New(Config{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s.HandlePrivate("GET /debug/x", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, tc := range []struct {
		remote, header string
		want           int
	}{
		{"127.0.0.1:5", "", 200}, {"[::1]:5", "", 200}, {"[::ffff:127.0.0.1]:5", "", 200},
		{"192.0.2.1:5", "", 404}, {"10.0.0.1:5", "", 404}, {"", "", 404}, {"127.0.0.1:5", "X-Forwarded-For", 404}, {"127.0.0.1:5", "Forwarded", 404},
	} {
		for _, path := range []string{"/health", "/health/live", "/metrics", "/debug/x"} {
			r := httptest.NewRequest("GET", path, nil)
			r.RemoteAddr = tc.remote
			if tc.header != "" {
				r.Header.Set(tc.header, "for=192.0.2.1")
			}
			w := httptest.NewRecorder()
			s.serve(w, r)
			if w.Code != tc.want {
				t.Errorf("%s from %q %s: %d, want %d", path, tc.remote, tc.header, w.Code, tc.want)
			}
		}
	}
}

// TestPrivateFromOtherSites: a browser says where a request comes from, and programs do not; another site's page orders nothing.
func TestPrivateFromOtherSites(t *testing.T) {
	s, err := New(Config{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s.HandlePrivate("POST /debug/x", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for site, want := range map[string]int{"": 200, "same-origin": 200, "none": 200, "cross-site": 403, "same-site": 403} {
		r := httptest.NewRequest("POST", "/debug/x", nil)
		r.RemoteAddr = "127.0.0.1:5"
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		w := httptest.NewRecorder()
		s.serve(w, r)
		if w.Code != want {
			t.Errorf("from %q: %d, want %d", site, w.Code, want)
		}
	}
}

func TestAdminListener(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Admin = loopback
	s, c, url := start(t, cfg, nil)
	if r, _ := get(t, c, url+"/metrics"); r.StatusCode != 404 {
		t.Error("the public listener shows metrics:", r.Status)
	}
	if r, body := get(t, c, "http://"+s.AdminAddrs()[0].String()+"/health"); r.StatusCode != 200 || body != "ok\n" {
		t.Error(r.Status, body)
	}
}

func TestConnectionLimit(t *testing.T) {
	cfg := DefaultConfig()
	cfg.PerAddress = 2
	s, c, url := start(t, cfg, func(s *Server) { s.Handle("/", http.HandlerFunc(hello)) })
	var held []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	if _, err := c.Get(url); err == nil {
		t.Error("a third connection was served")
	}
	if n := s.stats()["connections_refused"]; n == 0 {
		t.Error("it was not counted")
	}
	for _, h := range held {
		h.Close()
	}
	await.True(t, "a place is given free", func() bool {
		r, err := c.Get(url)
		if err == nil {
			r.Body.Close()
		}
		return err == nil
	})
}

// TestSlowClients: who stands still in the handshake or in the headers is put out in time, also where the port is shared with TURN.
func TestSlowClients(t *testing.T) {
	for name, stun := range map[string]func(net.Conn){"alone": nil, "with TURN": func(c net.Conn) { c.Close() }} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.HeaderTimeout, cfg.STUN = 300*time.Millisecond, stun
			s, _, _ := start(t, cfg, func(s *Server) { s.Handle("/", http.HandlerFunc(hello)) })
			addr := s.Addrs()[0].String()
			for what, begin := range map[string]func() (net.Conn, error){
				"nothing":     func() (net.Conn, error) { return net.Dial("tcp", addr) },
				"a handshake": func() (net.Conn, error) { return partly(net.Dial("tcp", addr))("\x16\x03\x01\x02\x00\x01") },
				"headers": func() (net.Conn, error) {
					return partly(tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}))("GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
				},
			} {
				c, err := begin()
				for range 20 { // on a busy machine a handshake may take longer than the server waits
					if err == nil {
						break
					}
					c, err = begin()
				}
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: the connection stays open", what)
				}
				_ = c.Close()
			}
		})
	}
}

// partly gives a connection on which something was sent.
func partly[C net.Conn](c C, err error) func(string) (net.Conn, error) {
	return func(text string) (net.Conn, error) {
		if err == nil {
			_, err = io.WriteString(c, text)
		}
		return c, err
	}
}

func TestPanicIsContained(t *testing.T) {
	s, c, url := start(t, DefaultConfig(), func(s *Server) {
		s.Handle("/panic", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
		s.Handle("/", http.HandlerFunc(hello))
	})
	if r, err := c.Get(url + "/panic"); err == nil {
		r.Body.Close()
		t.Error(r.Status)
	}
	if r, _ := get(t, c, url+"/"); r.StatusCode != 200 || s.stats()["handler_panics"] != 1 {
		t.Error(r.Status, s.stats())
	}
}

func TestShutdownWaitsForRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, c, url := start(t, DefaultConfig(), func(s *Server) {
		s.Handle("/slow", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			io.WriteString(w, "done")
		}))
	})
	body := make(chan string, 1)
	go func() {
		r, err := c.Get(url + "/slow")
		if err != nil {
			body <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		body <- string(b)
	}()
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	await.True(t, "Shutdown accepts nothing", func() bool {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-body; got != "done" {
		t.Error(got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{loopback[0], netip.MustParseAddrPort(l.Addr().String())}
	_, err = New(cfg, quiet)
	want := "httpd: " + l.Addr().String() + " is in use by another program: stop it or set http.listen"
	if _, ok := oops.Is(err); !ok || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLimitBody(t *testing.T) {
	_, c, url := start(t, DefaultConfig(), func(s *Server) {
		s.Handle("POST /body", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			LimitBody(w, r, 10, 5*time.Second)
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		}))
	})
	for n, want := range map[int]int{10: 200, 11: 413} {
		r, err := c.Post(url+"/body", "text/plain", strings.NewReader(strings.Repeat("x", n)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%d bytes: %s", n, r.Status)
		}
	}
}
