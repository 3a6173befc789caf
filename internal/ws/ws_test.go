package ws

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 100_000

// sockets makes what it accepts Sockets, as internal/httpd does.
type sockets struct{ net.Listener }

func (l sockets) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NewSocket(c), nil
}

// serve starts a server that gives its connections to f, each on a goroutine of its own.
func serve(t *testing.T, secure, patient bool, f func(*Conn)) *httptest.Server {
	t.Helper()
	running := make(chan struct{}, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mine", "yes")
		c, err := Upgrade(w, r, "xmpp", 10*time.Second)
		if err != nil {
			return
		}
		if (c.sock != nil) != patient {
			t.Errorf("patient: %v, want %v", c.sock != nil, patient)
		}
		running <- struct{}{}
		go func() {
			defer func() { <-running }()
			defer c.Close()
			f(c)
		}()
	}))
	if patient {
		s.Listener = sockets{s.Listener}
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.Close()
		for range cap(running) { // all have ended
			running <- struct{}{}
		}
	})
	return s
}

func dial(t *testing.T, s *httptest.Server, sub ...string) *websocket.Conn {
	t.Helper()
	c, r, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1), &websocket.DialOptions{HTTPClient: s.Client(), Subprotocols: sub})
	if err != nil {
		t.Fatal(err)
	}
	if r.Header.Get("X-Mine") != "yes" {
		t.Error("headers that were set are not in the answer")
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

func echo(c *Conn) {
	for {
		kind, msg, err := c.Next(limit)
		if err != nil {
			return
		}
		if c.Write(AppendFrame(AppendFrame(nil, kind, msg), Text, []byte("next"))) != nil {
			return
		}
	}
}

func TestEcho(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, patient := range []bool{false, true} {
			t.Run(fmt.Sprintf("tls=%v patient=%v", secure, patient), func(t *testing.T) {
				c := dial(t, serve(t, secure, patient, echo), "other", "xmpp")
				if c.Subprotocol() != "xmpp" {
					t.Error(c.Subprotocol())
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				for _, n := range []int{0, 1, 125, 126, 4096, 65535, 65536, limit} {
					want := bytes.Repeat([]byte("é"), n/2)
					if err := c.Write(ctx, websocket.MessageText, want); err != nil {
						t.Fatal(err)
					}
					for _, want := range [][]byte{want, []byte("next")} {
						if typ, got, err := c.Read(ctx); err != nil || typ != websocket.MessageText || !bytes.Equal(got, want) {
							t.Fatalf("%d: %v %d bytes %v", n, typ, len(got), err)
						}
					}
				}
				w, _ := c.Writer(ctx, websocket.MessageBinary) // in fragments
				io.WriteString(w, "frag")
				io.WriteString(w, "ments")
				w.Close()
				if typ, got, err := c.Read(ctx); err != nil || typ != websocket.MessageBinary || string(got) != "fragments" {
					t.Fatalf("%v %q %v", typ, got, err)
				}
				if _, _, err := c.Read(ctx); err != nil { // "next"
					t.Fatal(err)
				}
				go c.Read(ctx) // a pong is seen by a reader
				if err := c.Ping(ctx); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestClientCloses: the close frame is answered with the client's code.
func TestClientCloses(t *testing.T) {
	ended := make(chan error, 1)
	c := dial(t, serve(t, true, true, func(c *Conn) {
		_, _, err := c.Next(limit)
		ended <- err
	}))
	if c.Subprotocol() != "" {
		t.Error(c.Subprotocol())
	}
	if err := c.Close(4000, "enough"); err != nil {
		t.Error(err)
	}
	var ce *CloseError
	if err := <-ended; !errors.As(err, &ce) || ce.Code != 4000 || ce.Text != "enough" || !ce.Sent {
		t.Error(err)
	}
}

// TestServerCloses: the reader lingers for the client's answer, and nothing is written after the close frame.
func TestServerCloses(t *testing.T) {
	c := dial(t, serve(t, true, true, func(c *Conn) {
		if err := c.SendClose(StatusPolicy, "go"); err != nil {
			t.Error(err)
		}
		if err := c.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Error("written after the close frame:", err)
		}
		c.Linger(10 * time.Second)
	}))
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != StatusPolicy {
		t.Error(err)
	}
}

func TestTooLong(t *testing.T) {
	ended := make(chan error, 1)
	c := dial(t, serve(t, true, true, func(c *Conn) {
		kind, msg, err := c.Next(10)
		if kind != Text || string(msg) != "01234567890" {
			t.Errorf("%d %q", kind, msg)
		}
		ended <- err
	}))
	if err := c.Write(t.Context(), websocket.MessageText, []byte("012345678901234")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
}

// TestDeadline: a timeout is no end.
func TestDeadline(t *testing.T) {
	past := make(chan struct{})
	c := dial(t, serve(t, true, true, func(c *Conn) {
		c.SetReadDeadline(time.Now())
		if _, _, err := c.Next(limit); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		c.SetReadDeadline(time.Time{})
		close(past)
		echo(c)
	}))
	<-past
	if err := c.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(t.Context()); err != nil || string(got) != "x" {
		t.Error(string(got), err)
	}
}

// TestEarly: frames in the same segment as the handshake are not lost.
func TestEarly(t *testing.T) {
	s := serve(t, false, true, echo)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", masked(0x81, "early"))
	br := bufio.NewReader(c)
	r, err := http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455 §1.3
		t.Fatal(r, err)
	}
	got := make([]byte, 2+5)
	if _, err := io.ReadFull(br, got); err != nil || string(got) != "\x81\x05early" {
		t.Errorf("%q %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	s := serve(t, false, true, echo)
	good := map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	for _, tc := range []struct {
		method, header, value string
		want                  int
	}{
		{"POST", "", "", 405}, {"GET", "Connection", "close", 426}, {"GET", "Upgrade", "h2c", 426}, {"GET", "Sec-WebSocket-Version", "8", 426},
		{"GET", "Sec-WebSocket-Key", "", 400},
	} {
		r, _ := http.NewRequestWithContext(t.Context(), tc.method, s.URL, nil)
		for k, v := range good {
			r.Header.Set(k, v)
		}
		if tc.header != "" {
			r.Header.Set(tc.header, tc.value)
		}
		got, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != tc.want {
			t.Errorf("%v: %s", tc, got.Status)
		}
	}
}

// masked is a client's frame with the first byte b.
func masked(b byte, payload string) string {
	out := []byte{b, 0x80 | byte(len(payload)), 1, 2, 3, 4}
	for i := range len(payload) {
		out = append(out, payload[i]^byte(1+i&3))
	}
	return string(out)
}

// pipe is a Conn over bytes that have come already; what it writes is kept.
type pipe struct {
	net.Conn
	in   *strings.Reader
	step int
	out  bytes.Buffer
}

func (p *pipe) Read(b []byte) (int, error)       { return p.in.Read(b[:min(len(b), p.step)]) }
func (p *pipe) Write(b []byte) (int, error)      { return p.out.Write(b) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// read gives all messages of a client's bytes that come in pieces of step bytes, what ended them, and what was answered.
func read(in string, step, limit int) (msgs []string, answer string, err error) {
	p := &pipe{in: strings.NewReader(in), step: step}
	c := newConn(p, "", time.Second)
	for {
		kind, msg, err := c.Next(limit)
		if err != nil {
			return msgs, p.out.String(), err
		}
		msgs = append(msgs, fmt.Sprintf("%d%s", kind, msg))
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 125)
	for _, tc := range []struct {
		name, in string
		want     string
		answer   string
		code     int // 0: the end of the input
	}{
		{"two", masked(0x81, "a") + masked(0x82, "b"), "[1a 2b]", "", 0},
		{"a ping between fragments", masked(0x01, "a") + masked(0x89, "p") + masked(0x00, "b") + masked(0x80, "c"), "[1abc]", "\x8a\x01p", 0},
		{"empty", masked(0x81, "") + masked(0x01, "") + masked(0x80, ""), "[1 1]", "", 0},
		{"pong", masked(0x8a, "x") + masked(0x81, "a"), "[1a]", "", 0},
		{"close", masked(0x88, "\x03\xe8bye"), "[]", "\x88\x02\x03\xe8", 1000},
		{"close without code", masked(0x88, ""), "[]", "\x88\x00", 1005},
		{"close of one byte", masked(0x88, "x"), "[]", "", 1002},
		{"no mask", "\x81\x01a", "[]", "", 1002},
		{"reserved bit", masked(0xc1, "a"), "[]", "", 1002},
		{"opcode 3", masked(0x83, "a"), "[]", "", 1002},
		{"opcode 11", masked(0x8b, "a"), "[]", "", 1002},
		{"ping in fragments", masked(0x09, "a"), "[]", "", 1002},
		{"long ping", "\x89\xfe\x00\x7e\x01\x02\x03\x04" + long, "[]", "", 1002},
		{"continuation of nothing", masked(0x80, "a"), "[]", "", 1002},
		{"message in a message", masked(0x01, "a") + masked(0x81, "b"), "[]", "", 1002},
		{"length of 64 bits", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", "[]", "", 1002},
		{"huge and never comes", "\x82\xff\x00\x00\x00\xff\xff\xff\xff\xff\x01\x02\x03\x04", "[]", "", 0},
	} {
		for _, step := range []int{1, 3, 4096} {
			msgs, answer, err := read(tc.in, step, limit)
			var ce *CloseError
			if got := fmt.Sprint(msgs); got != tc.want || tc.answer != "" && answer != tc.answer {
				t.Errorf("%s, %d: %s, answer %q", tc.name, step, got, answer)
			}
			switch {
			case tc.code == 0:
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", tc.name, err)
				}
			case !errors.As(err, &ce) || ce.Code != tc.code:
				t.Errorf("%s: %v", tc.name, err)
			case !strings.HasPrefix(answer, "\x88"):
				t.Errorf("%s: answered %q", tc.name, answer)
			}
		}
	}
}

// FuzzFrames: how the bytes are cut must not matter, and what is answered is whole frames.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(masked(0x01, "a") + masked(0x89, "p") + masked(0x80, "c") + masked(0x88, "\x03\xe8")))
	f.Add([]byte("\x81\xfe\x00\x80\x01\x02\x03\x04abc"))
	f.Add([]byte("\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01\x01\x02\x03\x04z" + masked(0x82, "tail")))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, answer, errA := read(string(in), 4096, 64)
		b, _, errB := read(string(in), 1, 64)
		if fmt.Sprint(a, errA) != fmt.Sprint(b, errB) {
			t.Fatalf("%q %v, %q %v", a, errA, b, errB)
		}
		for _, m := range a {
			if len(m) > 65 {
				t.Fatal("a message over the limit")
			}
		}
		for rest := answer; rest != ""; {
			if len(rest) < 2 || rest[1] > 125 || len(rest) < 2+int(rest[1]) {
				t.Fatalf("answer %q", answer)
			}
			rest = rest[2+int(rest[1]):]
		}
	})
}

// TestSilentConnIsSmall: what waits holds no buffer.
func TestSilentConnIsSmall(t *testing.T) {
	waiting := make(chan *Conn, 1)
	c := dial(t, serve(t, true, true, func(c *Conn) {
		for {
			_, _, err := c.Read(limit)
			if err == ErrAgain {
				waiting <- c
				err = c.Wait()
			}
			if err != nil {
				return
			}
		}
	}))
	for range 2 {
		s := <-waiting
		sock := s.conn.(*tls.Conn).NetConn().(*Socket)
		if s.held != nil || s.p.msg != nil || s.p.ctl != nil || sock.held != nil {
			t.Error("a buffer is held")
		}
		if err := c.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	<-waiting
}

// TestLongAfterAWrite: what is answered has its own time to be written, however long ago the last write was.
func TestLongAfterAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Minute
		server, client := net.Pipe()
		defer client.Close()
		c := newConn(server, "", timeout)
		ended := make(chan error, 1)
		go func() {
			defer server.Close()
			if err := c.Write(AppendFrame(nil, Text, []byte("x"))); err != nil {
				ended <- err
				return
			}
			_, _, err := c.Next(limit)
			ended <- err
		}()
		got := func(want string) {
			t.Helper()
			b := make([]byte, len(want))
			if _, err := io.ReadFull(client, b); err != nil || string(b) != want {
				t.Errorf("got %q, %v, want %q", b, err, want)
			}
		}
		got("\x81\x01x")
		time.Sleep(2 * timeout)
		if _, err := io.WriteString(client, masked(0x89, "hi")); err != nil {
			t.Fatal(err)
		}
		got("\x8a\x02hi")
		time.Sleep(2 * timeout) // TLS writes by itself, too: it finds no deadline of old
		go func() { _, _ = server.Write([]byte("y")) }()
		got("y")
		client.Close()
		if err := <-ended; err != io.EOF {
			t.Error(err)
		}
		// Who takes nothing is given up in that time.
		server, client = net.Pipe()
		defer client.Close()
		defer server.Close()
		began := time.Now()
		if err := newConn(server, "", timeout).Ping(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != timeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
