package sfu

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/sctp"

	"konzil/sfu/keying"
)

const (
	// channelLabel and channelProtocol name the bridge channel that clients open (jitsi-wire 5.1).
	channelLabel    = "JVB data channel"
	channelProtocol = "http://jitsi.org/protocols/colibri"
	// channelBuffered is how many bytes SCTP may hold for a peer before the writer waits.
	channelBuffered = 1 << 20
	// maxReassembly bounds the fragments SCTP keeps for incomplete messages.
	maxReassembly = 4096
	// channelBuffer is the first size of an endpoint's read buffer, in bytes: room for usual messages. It grows on demand.
	channelBuffer = 8192
	// channelPoll is how often a writer that waits for SCTP looks again.
	channelPoll = 20 * time.Millisecond
)

// runChannel serves one SCTP association over conn, on port 5000, and one data channel in it, which the peer, or with EndpointConfig.ChannelClient
// we, open by DCEP (RFC 8832). It returns when the association ends. The caller's goroutine reads; a second one writes.
func (e *Endpoint) runChannel(ctx context.Context, conn net.Conn) {
	assoc, lent, err := e.associate(conn)
	defer lent.giveBack()
	if err != nil {
		e.log.Debug("sctp ended", "err", err)
		return
	}
	defer func() { _ = assoc.Close() }()
	if e.cfg.ChannelClient {
		dc, err := datachannel.Dial(assoc, 0, &datachannel.Config{Label: channelLabel, Protocol: channelProtocol, LoggerFactory: keying.Logs{Log: e.log}})
		if err != nil {
			e.log.Debug("data channel not opened", "err", err)
			return
		}
		e.serveChannel(ctx, dc)
		return
	}
	for ctx.Err() == nil {
		dc, err := datachannel.Accept(assoc, &datachannel.Config{LoggerFactory: keying.Logs{Log: e.log}})
		if err != nil {
			if ctx.Err() == nil && assocAlive(assoc) {
				continue // a malformed open on one stream is no reason to end the association
			}
			return
		}
		if dc.Config.Label != channelLabel && dc.Config.Protocol != channelProtocol {
			e.log.Debug("foreign data channel closed", "label", dc.Config.Label)
			_ = dc.Close()
			continue
		}
		e.serveChannel(ctx, dc)
	}
}

// associate opens the association, as browsers do on both sides (RFC 8831 §6.2): some peers wait for that, and when both do it, both INITs make the
// same association (RFC 9260 §5.2.1). A peer that has not answered for minutes may still begin itself.
func (e *Endpoint) associate(conn net.Conn) (*sctp.Association, *lentConn, error) {
	lent := &lentConn{Conn: conn}
	begin, _ := e.sctpOptions(lent)
	assoc, err := sctp.ClientWithOptions(begin...)
	if !errors.Is(err, sctp.ErrHandshakeInitAck) {
		return assoc, lent, err
	}
	e.log.Debug("nobody answers over sctp, waiting")
	lent.giveBack()
	lent = &lentConn{Conn: conn}
	_, wait := e.sctpOptions(lent)
	assoc, err = sctp.ServerWithOptions(wait...)
	return assoc, lent, err
}

// sctpOptions are those of who begins and of who waits: the same, of two types.
func (e *Endpoint) sctpOptions(conn net.Conn) (begin []sctp.ClientOption, wait []sctp.ServerOption) {
	for _, o := range []sctp.AssociationOption{
		sctp.WithNetConn(conn),
		sctp.WithMaxMessageSize(uint32(e.conf.s.cfg.MaxMessage)),
		sctp.WithMaxReassemblyQueueEntries(maxReassembly),
		sctp.WithLoggerFactory(keying.Logs{Log: e.log}),
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

// assocAlive tells a broken stream from an ended association.
func assocAlive(a *sctp.Association) bool {
	_, ok := a.Metadata()
	return ok
}

// serveChannel passes messages both ways until the channel closes.
func (e *Endpoint) serveChannel(ctx context.Context, dc *datachannel.DataChannel) {
	quit := make(chan struct{})
	done := make(chan struct{})
	out := make(chan []byte, e.conf.s.cfg.SendQueue)
	go func() {
		defer close(done)
		e.writeChannel(dc, out, quit)
	}()
	e.outbox.Store(&out)
	e.channel(true)
	buf := make([]byte, min(channelBuffer, e.conf.s.cfg.MaxMessage))
	for {
		n, text, err := dc.ReadDataChannel(buf)
		if errors.Is(err, io.ErrShortBuffer) && len(buf) < e.conf.s.cfg.MaxMessage {
			buf = make([]byte, min(2*len(buf), e.conf.s.cfg.MaxMessage)) // the message is still there
			continue
		}
		if err != nil {
			break
		}
		if !text || n == 0 {
			continue // the bridge channel speaks UTF-8 text (PPID 51)
		}
		e.sh.count.inc(cChannelIn)
		msg := make([]byte, n)
		copy(msg, buf)
		if !e.conf.post(ctx, func() { e.message(msg) }) {
			break
		}
	}
	e.outbox.Store(nil)
	close(quit)
	_ = dc.Close()
	<-done
	e.channel(false)
}

// writeChannel sends the queued messages. A peer that does not read lets the queue fill; SendMessage then refuses.
func (e *Endpoint) writeChannel(dc *datachannel.DataChannel, out <-chan []byte, quit <-chan struct{}) {
	for {
		select {
		case <-quit:
			return
		case msg := <-out:
			for dc.BufferedAmount() > channelBuffered {
				select {
				case <-quit:
					return
				case <-time.After(channelPoll):
				}
			}
			if _, err := dc.WriteDataChannel(msg, true); err != nil {
				e.log.Debug("channel write failed", "err", err)
				return
			}
			e.sh.count.inc(cChannelOut)
		}
	}
}
