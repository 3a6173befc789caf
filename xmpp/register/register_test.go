package register

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/store/storetest"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names are accounts by their localpart.
type names map[string]bool

func (n names) Create(_ context.Context, local, _ string) error     { n[local] = true; return nil }
func (n names) Taken(_ context.Context, local string) (bool, error) { return n[local], nil }
func (n names) Local(_ context.Context, local string) (bool, error) { return n[local], nil }
func (names) SetPassword(_ context.Context, _, _ string) error      { return nil }
func (n names) Delete(_ context.Context, local string) error        { delete(n, local); return nil }
func (names) Prepare(local string) (string, error)                  { return strings.ToLower(local), nil }

func TestStore(t *testing.T) {
	ctx := t.Context()
	db := storetest.Open(t)
	now := time.Unix(1_900_000_000, 0)
	v := &Service{db: db, accounts: names{"alice": true}, opt: Options{Life: time.Hour}, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	alice := stanza.MustJID("alice@example.org")
	if _, err := v.Invite(ctx, stanza.JID{}, "Alice", true); err == nil {
		t.Error("an invitation for a name that is taken")
	}
	carol, err := v.Invite(ctx, stanza.JID{}, "Carol", true)
	if err != nil || carol.URI("example.org") != "xmpp:carol@example.org?register;preauth="+carol.Token {
		t.Fatal(carol, err)
	}
	for _, c := range []struct {
		inviter stanza.JID
		account bool
		want    string
	}{
		{stanza.JID{}, true, "xmpp:example.org?register;preauth=T"},
		{alice, true, "xmpp:alice@example.org?roster;preauth=T;ibr=y"}, {alice, false, "xmpp:alice@example.org?roster;preauth=T"},
	} {
		if got := (&Invitation{Token: "T", Inviter: c.inviter, Account: c.account}).URI("example.org"); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	if kept, err := v.reserved(ctx, "carol", "other"); !kept || err != nil {
		t.Error("the name is not kept", err)
	}
	if kept, err := v.reserved(ctx, "carol", carol.Token); kept || err != nil {
		t.Error("the name is kept from its own invitation", err)
	}
	friend, err := v.Invite(ctx, alice, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Find(ctx, friend.Token); err != nil || got.Inviter != alice || got.Account || !got.Until.Equal(friend.Until) {
		t.Errorf("%+v %v", got, err)
	}
	for range 2 {
		if err := v.Forget(ctx, alice); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Find(ctx, friend.Token); !errors.Is(err, ErrNoInvitation) {
		t.Error(err)
	}
	now = now.Add(time.Hour)
	if _, err := v.Find(ctx, carol.Token); !errors.Is(err, ErrNoInvitation) {
		t.Error("over, and good:", err)
	}
	if ok, err := v.spend(ctx, carol.Token); !ok || err != nil {
		t.Error("who began in time may end:", ok, err)
	}
	if ok, err := v.spend(ctx, carol.Token); ok || err != nil {
		t.Error("spent twice:", ok, err)
	}
}
