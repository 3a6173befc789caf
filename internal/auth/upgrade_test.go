package auth

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

// An account that came with keys of SHA-1 alone: the stronger mechanisms are not offered until it has keys for them, of its client or of a
// login with PLAIN.
func TestUpgrade(t *testing.T) {
	ctx, l := context.Background(), newLocal(t)
	offered := func(want string) {
		t.Helper()
		if got := strings.Join(l.Mechanisms(), " "); got != want {
			t.Errorf("offered %s, want %s", got, want)
		}
	}
	create(t, l, "new", "pw")
	offered("SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN")
	if err := l.Import(ctx, []Imported{{Localpart: "old", Keys: []string{keyText(t, nameSHA1, "pencil")}, Aliases: []string{"Old.Man@example.org"}}}); err != nil {
		t.Fatal(err)
	}
	offered("SCRAM-SHA-1 PLAIN")
	if m, err := l.Missing(ctx, "old"); err != nil || !slices.Equal(m, []string{nameSHA512, nameSHA256}) {
		t.Fatal(m, err)
	}
	salt, n := l.UpgradeSalt()
	salted, err := pbkdf2.Key(sha256.New, "pencil", salt, n, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Upgrade(ctx, "old", nameSHA256, salt, n, salted[1:]); err == nil {
		t.Error("half a hash taken")
	}
	if err := l.Upgrade(ctx, "old", nameSHA256, salt, n, salted); err != nil {
		t.Fatal(err)
	}
	offered("SCRAM-SHA-256 SCRAM-SHA-1 PLAIN")
	if err := l.Upgrade(ctx, "old", nameSHA256, []byte("other"), n, make([]byte, 32)); err != nil { // a second one changes nothing
		t.Fatal(err)
	}
	if got := check(t, l, "old.man", "pencil"); got != "old" { // its mail address, as a client splits it
		t.Errorf("old.man is %q", got)
	}
	offered("SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN")
	for _, user := range []string{"old", "old@example.org", "OLD.MAN@example.org", "old.man"} {
		if local, err := l.Localpart(ctx, user); err != nil || local != "old" {
			t.Errorf("%s is %q, %v", user, local, err)
		}
		if _, _, stored, _, ok, err := l.SCRAM(ctx, user, nameSHA512); !ok || err != nil || len(stored) != 64 {
			t.Errorf("keys of %s: %d %v %v", user, len(stored), ok, err)
		}
	}
	if m, err := l.Missing(ctx, "nobody"); m != nil || err != nil {
		t.Error(m, err)
	}
	if err := l.Upgrade(ctx, "nobody", nameSHA256, salt, n, salted); err != nil {
		t.Fatal(err)
	}
	if ok, _ := l.Exists(ctx, "nobody"); ok {
		t.Error("an upgrade made an account")
	}
}
