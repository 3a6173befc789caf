package jvb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// writeTime bounds one write to the bridge channel, maxFrame one message from it.
const (
	writeTime = 10 * time.Second
	maxFrame  = 4 << 20
)

// unlimitedHeight is what a Jitsi client asks for when it does not limit the height.
const unlimitedHeight = 2160

// session is one endpoint. Its reader goroutine reads the bridge channel to its end.
type session struct {
	a      *Adapter
	p      *sfuload.Participant
	t      sfuload.Transport
	ws     *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed by the reader

	mu   sync.Mutex // guards err and left
	err  error
	left bool
}

func newSession(a *Adapter, p *sfuload.Participant) *session {
	s := &session{a: a, p: p, done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// open takes the bridge channel into use.
func (s *session) open(ctx context.Context, ws *websocket.Conn) error {
	s.ws = ws
	ws.SetReadLimit(maxFrame)
	go s.read()
	if err := s.write(ctx, map[string]any{"colibriClass": "ClientHello"}); err != nil {
		return err
	}
	return s.Want(ctx, s.p.Want)
}

// undo takes back what Join has done.
func (s *session) undo(ctx context.Context) error {
	s.cancel()
	if s.ws != nil {
		<-s.done
		_ = s.ws.CloseNow()
	}
	if s.t != nil {
		s.t.Close()
	}
	return s.a.expire(ctx, s.p.Room, s.p.Name)
}

// Done implements sfuload.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements sfuload.Session.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Leave implements sfuload.Session.
func (s *session) Leave(ctx context.Context) error {
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
	return s.undo(ctx)
}

// read reads the bridge channel: what the bridge says (who speaks, what it forwards) changes nothing for the load, but a closed channel
// ends the session.
func (s *session) read() {
	defer close(s.done)
	for {
		_, b, err := s.ws.Read(s.ctx)
		if err == nil && !json.Valid(b) {
			err = errors.New("jvb: the bridge channel is not JSON")
		}
		if err != nil {
			s.mu.Lock()
			if !s.left {
				s.err = fmt.Errorf("jvb: bridge channel: %w", err)
			}
			s.mu.Unlock()
			return
		}
	}
}

func (s *session) write(ctx context.Context, m map[string]any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("jvb: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := s.ws.Write(ctx, websocket.MessageText, b); err != nil {
		return fmt.Errorf("jvb: bridge channel: %w", err)
	}
	return nil
}

// Want implements sfuload.Session.
func (s *session) Want(ctx context.Context, w sfuload.Want) error {
	if err := s.write(ctx, videoConstraints(w)); err != nil {
		return err
	}
	return s.write(ctx, map[string]any{"colibriClass": "ReceiverAudioSubscription", "all": !w.NoAudio, "include": []string{}, "exclude": []string{}})
}

// videoConstraints is the ReceiverVideoConstraints of a wish. Camera and shared screen of the one participant in Only are v0 and v1.
func videoConstraints(w sfuload.Want) map[string]any {
	height := func(h int) map[string]any { return map[string]any{"maxHeight": h} }
	h := w.MaxHeight
	if h == 0 {
		h = unlimitedHeight
	}
	m := map[string]any{"colibriClass": "ReceiverVideoConstraints", "lastN": -1, "defaultConstraints": height(h)}
	switch {
	case w.NoVideo:
		m["lastN"], m["defaultConstraints"] = 0, height(0)
	case w.Only != "":
		stage := []string{sourceName(w.Only, "v0"), sourceName(w.Only, "v1")}
		m["defaultConstraints"], m["onStageSources"] = height(0), stage
		m["constraints"] = map[string]any{stage[0]: height(h), stage[1]: height(h)}
	}
	return m
}
