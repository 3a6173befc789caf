package sfu

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"konzil/sfu/keying"
)

// Parking. After the handshake DTLS has nothing to do but to notice the peer's close_notify, for which a connection of pion/dtls keeps four
// goroutines and a buffer, some 40 KB. So the connection of an endpoint without SCTP is put away:
//
//  1. attend (the transport's goroutine) reads until nothing has come for parkSoon, and the peer has proved with SRTCP that it has the keys: then
//     it does not repeat its last flight any more. Of hundreds that join at once few are then there at a time;
//  2. park silences the connection's pipe and only then takes its state, so that no record number is used twice; the connection ends;
//  3. pushDTLS (demux) makes a connection of the state again when a record comes, which gets it; it is parked again later;
//  4. close makes one, too, to say close_notify.
const (
	// parkSoon is the first wait after a handshake; it doubles up to parkAfter.
	parkSoon = 200 * time.Millisecond
	// parkAfter is also the least time between two awakenings: records that cannot be opened, from an address that has proved to know the
	// ICE password, do not keep us busy.
	parkAfter = 2 * time.Second
	// resumeTimeout bounds what only takes memory and goroutines.
	resumeTimeout = time.Second
)

// dtlsSide is the DTLS of one transport: a connection, or what one can be made of again.
type dtlsSide struct {
	mu     sync.Mutex     // guards all below
	pipe   *keying.Pipe   // of the connection, also before the handshake; nil: it is parked
	parked *keying.Parked // nil: it is not
	closed bool
}

// pushDTLS gives one record to the connection; false when there is no room for it.
func (t *transport) pushDTLS(b []byte) bool {
	d := &t.dtls
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pipe == nil {
		if d.parked == nil || d.closed {
			return false
		}
		t.s.count.inc(cDTLSWoken)
		pipe, st := keying.NewPipe(t.writeDTLS), d.parked
		d.pipe, d.parked = pipe, nil
		t.wg.Go(func() { t.unpark(st, pipe) })
	}
	return d.pipe.Push(b)
}

// unpark serves a connection that was parked until it is again or ends.
func (t *transport) unpark(st *keying.Parked, pipe *keying.Pipe) {
	conn, err := t.resume(st, pipe)
	if err != nil {
		t.log.Info("dtls not resumed", "err", err)
		t.ep.report(TransportClosed)
		return
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(t.ctx, func() { _ = conn.Close() })
	defer stop()
	t.attend(conn, pipe, t.s.park)
}

// resume makes a connection of what was parked.
func (t *transport) resume(st *keying.Parked, pipe *keying.Pipe) (*keying.Conn, error) {
	cfg := t.keying(false, nil)
	cfg.Timeout = resumeTimeout
	return st.Resume(pipe, cfg)
}

// attend reads the connection, on which nothing is expected, until it ends, which ends the transport, or is parked, when nothing has come for a while.
func (t *transport) attend(conn *keying.Conn, pipe *keying.Pipe, while time.Duration) {
	buf := make([]byte, 2048)
	for {
		if !t.ep.cfg.DataChannel {
			_ = conn.SetReadDeadline(time.Now().Add(while))
			while = min(2*while, t.s.park)
		}
		_, err := conn.Read(buf)
		var idle net.Error
		switch {
		case err == nil:
		case errors.As(err, &idle) && idle.Timeout() && t.ctx.Err() == nil:
			if t.park(conn, pipe) {
				return
			}
		default:
			if t.ctx.Err() == nil {
				t.ep.report(TransportClosed)
			}
			return
		}
	}
}

// park puts the connection away; the caller closes it. false: it must be kept for now.
func (t *transport) park(conn *keying.Conn, pipe *keying.Pipe) bool {
	t.sh.mu.Lock()
	proved := t.ep.m.proved
	t.sh.mu.Unlock()
	d := &t.dtls
	d.mu.Lock()
	defer d.mu.Unlock()
	if !proved || d.closed {
		return false
	}
	st, ok := keying.Park(conn, pipe)
	if ok {
		d.pipe, d.parked = nil, st
	}
	return ok
}

// endDTLS lets nothing begin any more, and says goodbye for a connection that is parked.
func (t *transport) endDTLS() {
	d := &t.dtls
	d.mu.Lock()
	st := d.parked
	d.closed, d.parked = true, nil
	d.mu.Unlock()
	if st == nil {
		return
	}
	pipe := keying.NewPipe(t.writeDTLS)
	if conn, err := t.resume(st, pipe); err == nil {
		_ = conn.Close()
	}
	_ = pipe.Close()
}
