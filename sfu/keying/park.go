package keying

import (
	"context"
	"fmt"

	"github.com/pion/dtls/v3"
)

// Conn is the connection of a handshake.
type Conn = dtls.Conn

// Parked is a connection that was put away: some hundred bytes instead of goroutines and buffers. It serves once.
type Parked struct{ state dtls.State }

// Park puts a connection away of which nothing is expected. The caller closes it; what it says then does not reach the peer any more, so
// that no record number is used twice. false: it must be kept, because records wait, or it has no state to be kept.
func Park(conn *Conn, pipe *Pipe) (*Parked, bool) {
	if len(pipe.in) > 0 {
		return nil, false
	}
	pipe.mute.Store(true)
	p := &Parked{}
	var ok bool
	if p.state, ok = conn.ConnectionState(); !ok {
		pipe.mute.Store(false)
		return nil, false
	}
	return p, true
}

// Resume makes a connection of it again, over another pipe. Only identity, log and timeout of cfg matter.
func (p *Parked) Resume(pipe *Pipe, cfg Config) (*Conn, error) {
	conn, err := dtls.ResumeWithOptions(&p.state, pipe, pipeAddr{}, cfg.options()...)
	if err != nil {
		return nil, fmt.Errorf("keying: resume: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Timeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil { // there is none: it starts the connection
		_ = conn.Close()
		return nil, fmt.Errorf("keying: resume: %w", err)
	}
	return conn, nil
}
