package xmpp

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
)

const python = "/usr/bin/python3"

// slix is a real slixmpp client in a process of its own.
type slix struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

func startSlix(t *testing.T, addr, user, password string) *slix {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import slixmpp").CombinedOutput(); err != nil {
		t.Skipf("python3-slixmpp is not installed for %s: %s", python, out)
	}
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, python, "testdata/slix_client.py", host, port, user+"@x.test", password)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &slix{t: t, in: in, lines: make(chan string, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			s.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-done
		_ = cmd.Wait()
		cancel()
	})
	return s
}

func (s *slix) send(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// until reads lines to the first with that prefix, and gives all.
func (s *slix) until(prefix string) (seen []string) {
	s.t.Helper()
	for {
		select {
		case l, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("slixmpp ended; saw %q, waiting for %q", seen, prefix)
			}
			if seen = append(seen, l); strings.HasPrefix(l, prefix) {
				return seen
			}
		case <-time.After(20 * time.Second):
			s.t.Fatalf("saw %q, waiting for %q", seen, prefix)
		}
	}
}

func TestSlixmpp(t *testing.T) {
	r := newRig(t, nil)
	s := startSlix(t, r.tcp, "alice", "secret-a")
	seen := s.until("START alice@x.test/")
	auth := strings.Join(seen, " ")
	if !strings.Contains(auth, "AUTH SCRAM-") {
		t.Errorf("logged in otherwise than with SCRAM: %s", auth)
	}
	t.Log(auth)
	if !strings.Contains(auth, "SM") {
		s.until("SM")
	}
	bob := r.user("bob", "b")
	await.True(t, "alice is available", func() bool { x := r.s.Sessions(bob.jid)[0]; return x != nil && aliceAvailable(r.s) })
	s.send("bob@x.test hello")
	bob.expect("<body>hello</body>", "from='alice@x.test/")
	// broken streams: what is sent meanwhile arrives once, in order
	const rounds, each = 3, 20
	for n := range rounds {
		s.send("BREAK")
		for k := range each {
			bob.send("<message to='alice@x.test' type='chat' id='m%d-%d'><body>m%d-%d</body></message>", n, k, n, k)
		}
		var got []string
		for len(got) < each+1 {
			switch l := s.until("")[0]; {
			case strings.HasPrefix(l, "MSG bob@x.test/b "):
				got = append(got, strings.TrimPrefix(l, "MSG bob@x.test/b "))
			case l == "RESUMED":
				got = append(got, l)
			case strings.HasPrefix(l, "START"):
				t.Fatal("bound anew instead of resumed")
			}
		}
		k, resumed := 0, 0
		for _, g := range got {
			if g == "RESUMED" {
				resumed++
				continue
			}
			if g != fmt.Sprintf("m%d-%d", n, k) {
				t.Fatalf("round %d: got %q at %d: %q", n, g, k, got)
			}
			k++
		}
		if k != each || resumed != 1 {
			t.Fatalf("round %d: %d messages, %d resumptions", n, k, resumed)
		}
	}
	s.send("QUIT")
}

func aliceAvailable(s *Server) bool {
	for _, x := range s.Sessions(mustBare("alice@x.test")) {
		if x.Presence() != nil {
			return true
		}
	}
	return false
}

func TestSlixmppWrongPassword(t *testing.T) {
	r := newRig(t, nil)
	s := startSlix(t, r.tcp, "alice", "wrong")
	s.until("FAILED")
	if n := len(r.s.Sessions(mustBare("alice@x.test"))); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// On TLS 1.2 slixmpp's tls-unique is what we offer too, so -PLUS works.
func TestSlixmppChannelBinding(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.TLS = c.TLS.Clone()
		c.TLS.MaxVersion = tls.VersionTLS12
	})
	s := startSlix(t, r.tcp, "alice", "secret-a")
	if seen := strings.Join(s.until("START"), " "); !strings.Contains(seen, "AUTH SCRAM-SHA-256-PLUS") || strings.Contains(seen, "FAILED") {
		t.Errorf("got in otherwise: %s", seen)
	}
	s.send("QUIT")
}
