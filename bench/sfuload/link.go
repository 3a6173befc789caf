package sfuload

import (
	"context"
	"fmt"
	"sync"

	"github.com/coder/websocket"
)

// Link is the life of a Session whose signalling is one WebSocket: sessions embed it. A goroutine reads until the end; whoever ends it waits
// for that, then gives free what the session holds.
type Link struct {
	WS   *websocket.Conn
	Ctx  context.Context // of reads and writes, ends with the session
	Work sync.WaitGroup  // goroutines beside the reader; they end with Ctx

	cancel  context.CancelFunc
	ready   chan struct{} // closed when the server has taken the participant in
	done    chan struct{} // closed by the reader when it ends
	release func()        // gives free what the session holds; called with Mu

	Mu      sync.Mutex // guards what follows, and the session's own state
	err     error
	left    bool // Leave was called
	isReady bool
}

// Open takes a connection into use. limit is the longest message that the server may send, bytes; release is called once, after the end.
func (l *Link) Open(ws *websocket.Conn, limit int64, release func()) {
	ws.SetReadLimit(limit)
	l.WS, l.release = ws, release
	l.ready, l.done = make(chan struct{}), make(chan struct{})
	l.Ctx, l.cancel = context.WithCancel(context.Background())
}

// Run starts the reader: read returns at the end of the session, with the reason.
func (l *Link) Run(read func() error) {
	go func() {
		defer close(l.done)
		l.End(read())
	}()
}

// Ready says that the server has taken the participant in. The caller holds Mu.
func (l *Link) Ready() {
	if !l.isReady {
		l.isReady = true
		close(l.ready)
	}
}

// IsReady tells whether Ready was called. The caller holds Mu.
func (l *Link) IsReady() bool { return l.isReady }

// Joined waits until the session is ready. If it does not come to that, all is given free, and the error says why.
func (l *Link) Joined(ctx context.Context) error {
	var err error
	select {
	case <-l.ready:
		return nil
	case <-l.done:
		err = l.Err()
	case <-ctx.Done():
		err = fmt.Errorf("join: %w", ctx.Err())
		l.End(nil)
	}
	l.close()
	return err
}

// End makes the reader stop. The first error stays, none after Leaving.
func (l *Link) End(err error) {
	l.Mu.Lock()
	if l.err == nil && !l.left {
		l.err = err
	}
	l.Mu.Unlock()
	l.cancel()
}

// Leaving says goodbye, as the server wants it, and ends the session.
func (l *Link) Leaving(goodbye func() error) error {
	l.Mu.Lock()
	l.left = true
	l.Mu.Unlock()
	err := goodbye()
	l.End(nil)
	l.close()
	return err
}

func (l *Link) close() {
	<-l.done
	l.Work.Wait()
	_ = l.WS.CloseNow()
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.release()
}

// Done implements Session.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err implements Session.
func (l *Link) Err() error {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return l.err
}
