package httpd

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestSharedPort: on one port, STUN by ALPN or by its first byte goes to the other server, whole, and HTTP stays what it was.
func TestSharedPort(t *testing.T) {
	got := make(chan []byte, 4)
	c := DefaultConfig()
	c.HeaderTimeout = time.Second
	c.STUN = func(c net.Conn) {
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 20)
		_, _ = io.ReadFull(c, b)
		got <- b
	}
	s, client, _ := start(t, c, func(s *Server) {
		s.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS == nil || r.TLS.Version == 0 {
				t.Error("the handler does not know that this is TLS")
			}
			_, _ = io.WriteString(w, r.Proto)
		}))
	})
	pool := client.Transport.(*http.Transport).TLSClientConfig.RootCAs
	addr := s.Addrs()[0].String()
	request := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, "twelve bytes"...)
	for _, protos := range [][]string{{"stun.turn"}, {"stun.nat-discovery"}, nil} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: protos})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if b := <-got; !bytes.Equal(b, request) {
			t.Errorf("%v: %x", protos, b)
		}
		conn.Close()
	}
	for want, protos := range map[string][]string{"HTTP/2.0": {"h2", "http/1.1"}, "HTTP/1.1": {"http/1.1"}} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: protos}, ForceAttemptHTTP2: want == "HTTP/2.0"}
		res, err := (&http.Client{Transport: tr}).Get("https://" + addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		tr.CloseIdleConnections()
		if string(b) != want {
			t.Errorf("%q, want %q", b, want)
		}
	}
	// HTTP of a client that names no protocol, and one that says nothing.
	plain, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_, _ = io.WriteString(plain, "GET / HTTP/1.0\r\n\r\n")
	if b, _ := io.ReadAll(plain); !bytes.Contains(b, []byte("HTTP/1.0 200")) {
		t.Errorf("%s", b)
	}
	silent, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_ = silent.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := silent.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a silent connection: %v", err)
	}
	mute, err := net.Dial("tcp", addr) // not even a handshake
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	_ = mute.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := mute.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("a connection without a handshake: %v", err)
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}
