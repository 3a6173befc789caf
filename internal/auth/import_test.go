package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// keyText is what another server would export of a password.
func keyText(t testing.TB, hash, password string) string {
	k, err := derive(hash, password, []byte("salt of sixteen."), 4096)
	if err != nil {
		t.Fatal(err)
	}
	b := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-%s$%d:%s$%s:%s", hash, k.iterations, b(k.salt), b(k.stored), b(k.server))
}

func TestImport(t *testing.T) {
	l, ctx := newLocal(t), context.Background()
	err := l.Import(ctx, []Imported{{Localpart: "Ann", Password: "pw of ann"}, {Localpart: "ben", Keys: []string{keyText(t, nameSHA1, "pw of ben"), keyText(t, nameSHA256, "pw of ben")}}})
	if err != nil {
		t.Fatal(err)
	}
	for user, pw := range map[string]string{"ann": "pw of ann", "ben": "pw of ben"} {
		if _, ok, err := l.CheckPassword(ctx, user, pw); !ok || err != nil {
			t.Error(user, ok, err)
		}
		if _, ok, _ := l.CheckPassword(ctx, user, "x"); ok {
			t.Error(user, "with a wrong password")
		}
	}
	if _, n, _, _, ok, err := l.SCRAM(ctx, "ben", nameSHA1); !ok || n != 4096 || err != nil {
		t.Error(n, ok, err)
	}
	// All or none.
	if err := l.Import(ctx, []Imported{{Localpart: "new", Password: "x"}, {Localpart: "ann", Password: "y"}}); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if ok, _ := l.Exists(ctx, "new"); ok {
		t.Error("half an import")
	}
	for _, bad := range []Imported{{Localpart: "a b", Password: "x"}, {Localpart: "c"}, {Localpart: "e", Keys: []string{"SCRAM-SHA-1$x"}}} {
		if err := l.Import(ctx, []Imported{bad}); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	good := keyText(f, nameSHA256, "x")
	for _, s := range []string{good, "", "$$", strings.Replace(good, "4096", "0", 1), strings.Replace(good, "4096", "99999999999", 1), strings.Replace(good, "SHA-256", "SHA-1", 1), strings.ReplaceAll(good, ":", "")} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hash, k, err := parseKey(s)
		if err != nil {
			return
		}
		h, herr := newHash(hash)
		if herr != nil || k.iterations < 1 || k.iterations > maxIterations || len(k.salt) == 0 || len(k.stored) != h().Size() || len(k.server) != h().Size() {
			t.Errorf("%q: %+v", s, k)
		}
	})
}

func TestParseKeySeeds(t *testing.T) {
	if _, _, err := parseKey(keyText(t, nameSHA256, "x")); err != nil {
		t.Error(err)
	}
	if _, _, err := parseKey(strings.Replace(keyText(t, nameSHA256, "x"), "4096", "0", 1)); err == nil {
		t.Error("no iterations")
	}
}
