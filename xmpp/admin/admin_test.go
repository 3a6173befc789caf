package admin

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/ext"
	"konzil/xmpp/internal/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a server's operator in memory.
type fake struct {
	mu    sync.Mutex // guards all below
	users []stanza.JID
	off   map[stanza.JID]bool
	motd  string
}

func (f *fake) AddUser(_ context.Context, j stanza.JID, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users = append(f.users, j)
	return nil
}
func (f *fake) SetPassword(context.Context, stanza.JID, string) error { return nil }
func (f *fake) Disable(context.Context, stanza.JID, bool) error       { return nil }
func (f *fake) Delete(context.Context, stanza.JID) error              { return nil }
func (f *fake) Stop()                                                 {}
func (f *fake) Accounts(context.Context) ([]stanza.JID, map[stanza.JID]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.users, f.off, nil
}
func (f *fake) SetMOTD(_ context.Context, text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.motd = text
	return nil
}
func (f *fake) MOTD() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.motd
}

// TestPlays performs the plays of testdata.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		return play.NewLive(t, func(s *xmpp.Server) {
			d := ext.AttachDisco(s, ext.DiscoOptions{Name: "Konzil"})
			Attach(s, &fake{}, []stanza.JID{stanza.MustJID("romeo@example.org")})
			ext.AttachCommands(s, d, slog.New(slog.DiscardHandler))
			d.Seal()
		}, nil)
	})
}
