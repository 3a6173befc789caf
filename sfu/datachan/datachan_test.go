package datachan

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/sctp"
	"go.uber.org/goleak"

	"konzil/sfu/keying"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAssociate: an association comes about whoever begins: we, both (RFC 9260 §5.2.1), or a peer that heard nothing of us for a long time.
func TestAssociate(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	begin := func(c net.Conn) (*sctp.Association, error) {
		return sctp.ClientWithOptions(sctp.WithNetConn(c), sctp.WithLoggerFactory(keying.Logs{Log: log}))
	}
	for name, peer := range map[string]func(c net.Conn) (*sctp.Association, error){
		"the peer waits": func(c net.Conn) (*sctp.Association, error) {
			return sctp.ServerWithOptions(sctp.WithNetConn(c), sctp.WithLoggerFactory(keying.Logs{Log: log}))
		},
		"both begin": begin,
		"the peer begins late": func(c net.Conn) (*sctp.Association, error) {
			_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			_, _ = io.Copy(io.Discard, c)
			_ = c.SetReadDeadline(time.Time{})
			return begin(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer ours.Close()
				defer theirs.Close()
				cfg := Config{MaxMessage: 64 << 10, Log: log}
				done := make(chan struct{})
				go func() {
					defer close(done)
					a, err := peer(theirs)
					if err != nil {
						t.Error(err)
						return
					}
					s, err := a.OpenStream(1, sctp.PayloadTypeWebRTCString)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := s.Write([]byte("hello")); err != nil {
						t.Error(err)
					}
				}()
				a, lent, err := cfg.associate(ours)
				if err != nil {
					t.Fatal(err)
				}
				s, err := a.AcceptStream()
				if err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 100)
				if n, err := s.Read(buf); err != nil || string(buf[:n]) != "hello" {
					t.Errorf("%q %v", buf[:n], err)
				}
				<-done
				_ = a.Close()
				lent.giveBack()
				if _, err := lent.Read(buf); err != net.ErrClosed {
					t.Errorf("read after it was given back: %v", err)
				}
			})
		})
	}
}
