package admin

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/ext"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a server's operator in memory.
type fake struct {
	mu    sync.Mutex // guards all below
	users []stanza.JID
	off   map[stanza.JID]bool
	motd  string
	set   Settings
	known map[stanza.JID]time.Time
}

func (f *fake) Settings() Settings {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set
}

func (f *fake) SetSettings(_ context.Context, s Settings) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = s
	return nil
}

func (f *fake) Roster(context.Context, stanza.JID) (*stanza.Element, error) {
	return stanza.NewElement("jabber:iq:roster", "query").Add(stanza.NewElement("jabber:iq:roster", "item", "jid", "nurse@example.org", "subscription", "both")), nil
}

func (f *fake) Login(j stanza.JID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[stanza.JID]time.Time{}
	}
	_, there := f.known[j]
	f.known[j] = time.Now()
	return !there
}

func (f *fake) LastLogin(j stanza.JID) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[j]
}

func (f *fake) Restart() {}

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
