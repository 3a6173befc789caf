// Package datachan carries text between a bridge and a client over one data channel (RFC 8831) of an SCTP association on DTLS (RFC 8261): the
// channel that Jitsi's clients have to their bridge (jitsi-wire 5.1).
//
// Serve runs on the transport's goroutine after the handshake: it opens the association (so may the peer), accepts or opens the channel by DCEP
// (RFC 8832), and reads; a second goroutine writes what is queued.
package datachan

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/sctp"

	"konzil/sfu/keying"
)

const (
	// label and protocol name the channel that we open, as Jitsi's clients do theirs.
	label    = "JVB data channel"
	protocol = "http://jitsi.org/protocols/colibri"
	// buffered is how many bytes SCTP may hold for a peer before the writer waits.
	buffered = 1 << 20
	// maxReassembly bounds the fragments SCTP keeps for incomplete messages.
	maxReassembly = 4096
	// readBuffer is the first size of a channel's read buffer, in bytes: room for usual messages. It grows on demand.
	readBuffer = 8192
	// poll is how often a writer that waits for SCTP looks again.
	poll = 20 * time.Millisecond
)

// Config is how a channel is served. Its functions are called on Serve's goroutine, Sent on the writer's.
type Config struct {
	Client     bool // we open the channel; else the peer does
	MaxMessage int  // bytes
	Queue      int  // messages that wait for the peer
	Log        *slog.Logger

	Opened  func(out chan<- []byte) // takes the queue: who finds it full knows that the peer does not read
	Message func(msg []byte) bool   // false: nobody listens any more
	Sent    func()                  // a message has gone; nil: nobody counts
	Closed  func()
}

// Serve serves one association over conn on port 5000. It returns when the association ends; conn stays open, for others to read.
func Serve(ctx context.Context, conn net.Conn, cfg Config) {
	assoc, lent, err := cfg.associate(conn)
	defer lent.giveBack()
	if err != nil {
		cfg.Log.Debug("sctp ended", "err", err)
		return
	}
	defer func() { _ = assoc.Close() }()
	if cfg.Client {
		dc, err := datachannel.Dial(assoc, 0, &datachannel.Config{Label: label, Protocol: protocol, LoggerFactory: keying.Logs{Log: cfg.Log}})
		if err != nil {
			cfg.Log.Debug("data channel not opened", "err", err)
			return
		}
		cfg.serve(dc)
		return
	}
	for ctx.Err() == nil {
		dc, err := datachannel.Accept(assoc, &datachannel.Config{LoggerFactory: keying.Logs{Log: cfg.Log}})
		if err != nil {
			if ctx.Err() == nil && alive(assoc) {
				continue // a malformed open on one stream is no reason to end the association
			}
			return
		}
		cfg.serve(dc) // whatever its name: JVB does not look at it either
	}
}

// associate opens the association, as browsers do on both sides (RFC 8831 §6.2): some peers wait for that, and when both do it, both INITs make the
// same association (RFC 9260 §5.2.1). A peer that has not answered for minutes may still begin itself.
func (cfg *Config) associate(conn net.Conn) (*sctp.Association, *lentConn, error) {
	lent := &lentConn{Conn: conn}
	begin, _ := cfg.options(lent)
	assoc, err := sctp.ClientWithOptions(begin...)
	if !errors.Is(err, sctp.ErrHandshakeInitAck) {
		return assoc, lent, err
	}
	cfg.Log.Debug("nobody answers over sctp, waiting")
	lent.giveBack()
	lent = &lentConn{Conn: conn}
	_, wait := cfg.options(lent)
	assoc, err = sctp.ServerWithOptions(wait...)
	return assoc, lent, err
}

// options are those of who begins and of who waits: the same, of two types.
func (cfg *Config) options(conn net.Conn) (begin []sctp.ClientOption, wait []sctp.ServerOption) {
	for _, o := range []sctp.AssociationOption{
		sctp.WithNetConn(conn),
		sctp.WithMaxMessageSize(uint32(cfg.MaxMessage)),
		sctp.WithMaxReassemblyQueueEntries(maxReassembly),
		sctp.WithLoggerFactory(keying.Logs{Log: cfg.Log}),
	} {
		begin, wait = append(begin, o), append(wait, o)
	}
	return begin, wait
}

// lentConn lends DTLS to SCTP: an association that fails ends its reads, but not the connection, for the media keys and
// the peer's close_notify hang on that.
type lentConn struct {
	net.Conn
	closed  atomic.Bool
	reading sync.Mutex // held during a read
}

// Read fails once the connection was given back.
func (l *lentConn) Read(b []byte) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.closed.Load() {
		return 0, net.ErrClosed
	}
	return l.Conn.Read(b)
}

// Close ends a read under way, and allows no other.
func (l *lentConn) Close() error {
	l.closed.Store(true)
	return l.SetReadDeadline(time.Now())
}

// giveBack is Close, after which others may read.
func (l *lentConn) giveBack() {
	_ = l.Close()
	l.reading.Lock()
	defer l.reading.Unlock()
	_ = l.SetReadDeadline(time.Time{})
}

// alive tells a broken stream from an ended association.
func alive(a *sctp.Association) bool {
	_, ok := a.Metadata()
	return ok
}

// serve passes messages both ways until the channel closes.
func (cfg *Config) serve(dc *datachannel.DataChannel) {
	quit := make(chan struct{})
	done := make(chan struct{})
	out := make(chan []byte, cfg.Queue)
	go func() {
		defer close(done)
		cfg.write(dc, out, quit)
	}()
	cfg.Opened(out)
	cfg.read(dc)
	close(quit)
	_ = dc.Close()
	<-done
	cfg.Closed()
}

// read takes messages until the channel closes, or nobody listens.
func (cfg *Config) read(dc *datachannel.DataChannel) {
	buf := make([]byte, min(readBuffer, cfg.MaxMessage))
	for {
		n, text, err := dc.ReadDataChannel(buf)
		if errors.Is(err, io.ErrShortBuffer) && len(buf) < cfg.MaxMessage {
			buf = make([]byte, min(2*len(buf), cfg.MaxMessage)) // the message is still there
			continue
		}
		if err != nil {
			return
		}
		if !text || n == 0 {
			continue // the bridge channel speaks UTF-8 text (PPID 51)
		}
		msg := make([]byte, n)
		copy(msg, buf)
		if !cfg.Message(msg) {
			return
		}
	}
}

// write sends the queued messages. A peer that does not read lets the queue fill.
func (cfg *Config) write(dc *datachannel.DataChannel, out <-chan []byte, quit <-chan struct{}) {
	for {
		select {
		case <-quit:
			return
		case msg := <-out:
			for dc.BufferedAmount() > buffered {
				select {
				case <-quit:
					return
				case <-time.After(poll):
				}
			}
			if _, err := dc.WriteDataChannel(msg, true); err != nil {
				cfg.Log.Debug("channel write failed", "err", err)
				return
			}
			if cfg.Sent != nil {
				cfg.Sent()
			}
		}
	}
}
