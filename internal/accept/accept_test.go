package accept

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flaky fails once before each connection.
type flaky struct {
	net.Listener
	n int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.n++; f.n%2 == 1 {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

// TestLoop: an error that passes ends nothing; a closed listener ends it, with an error unless that was meant.
func TestLoop(t *testing.T) {
	for _, meant := range []bool{true, false} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var closing atomic.Bool
		got, ended := make(chan net.Conn, 1), make(chan error, 1)
		go func() {
			ended <- Loop(&flaky{Listener: ln}, slog.New(slog.DiscardHandler), closing.Load, func(c net.Conn) { got <- c })
		}()
		for range 2 {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = (<-got).Close()
			_ = c.Close()
		}
		closing.Store(meant)
		_ = ln.Close()
		if err := <-ended; (err == nil) != meant {
			t.Errorf("closing %v: %v", meant, err)
		}
	}
}

func TestPeer(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::", "[fe80::1%eth0]:5": "fe80::", "pipe": "pipe",
	} {
		if got := Peer(named(addr)); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

type named string

func (named) Network() string  { return "test" }
func (n named) String() string { return string(n) }
