package sfuload_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"konzil/bench/sfuload"
	"konzil/bench/sfuload/sfutest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A link gives free what the session holds, once, however it ends; the first error stays, and none counts after leaving.
func TestLink(t *testing.T) {
	url := sfutest.Serve(t, "", func(p *sfutest.Peer) {
		for p.Read() != nil {
		}
	})
	open := func(t *testing.T) (l *sfuload.Link, released *int) {
		t.Helper()
		ws, _, err := websocket.Dial(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, released = &sfuload.Link{}, new(int)
		l.Open(ws, 1000, func() { *released++ })
		return l, released
	}
	read := func(l *sfuload.Link) func() error {
		return func() error {
			_, _, err := l.WS.Read(l.Ctx)
			return err
		}
	}
	ready := func(l *sfuload.Link) {
		l.Mu.Lock()
		defer l.Mu.Unlock()
		l.Ready()
		l.Ready()
		if !l.IsReady() {
			t.Error("not ready")
		}
	}
	t.Run("leaves", func(t *testing.T) {
		l, released := open(t)
		l.Run(read(l))
		ready(l)
		if err := l.Joined(t.Context()); err != nil {
			t.Fatal(err)
		}
		said := errors.New("said")
		if err := l.Leaving(func() error { return said }); !errors.Is(err, said) || l.Err() != nil || *released != 1 {
			t.Error(err, l.Err(), *released)
		}
		<-l.Done()
	})
	t.Run("refused", func(t *testing.T) {
		l, released := open(t)
		no := errors.New("no")
		l.Run(func() error { return no })
		if err := l.Joined(t.Context()); !errors.Is(err, no) || *released != 1 {
			t.Error(err, *released)
		}
		if l.End(errors.New("later")); !errors.Is(l.Err(), no) {
			t.Error(l.Err())
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		l, released := open(t)
		l.Run(read(l))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Joined(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "join") || *released != 1 {
			t.Error(err, *released)
		}
	})
}
