package auth

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"mellium.im/sasl"

	"konzil/internal/store"
	"konzil/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func openStore(t testing.TB, dir string) *store.DB {
	t.Helper()
	db := storetest.OpenIn(t, dir)
	t.Cleanup(func() { db.Close() })
	return db
}

func newLocal(t testing.TB) *Local {
	t.Helper()
	l, err := NewLocal(context.Background(), openStore(t, t.TempDir()), "example.org", minIterations)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func create(t testing.TB, l *Local, user, password string, aliases ...string) {
	t.Helper()
	if err := l.Create(context.Background(), user, password, aliases...); err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, l interface {
	CheckPassword(context.Context, string, string) (string, bool, error)
}, user, password string) string {
	t.Helper()
	local, ok, err := l.CheckPassword(context.Background(), user, password)
	if err != nil {
		t.Fatalf("%q: %v", user, err)
	}
	if ok != (local != "") {
		t.Fatalf("%q: ok %v but localpart %q", user, ok, local)
	}
	return local
}

// TestDeriveRFC uses the example of RFC 5802 §5, whose proofs follow from these keys.
func TestDeriveRFC(t *testing.T) {
	salt, _ := hex.DecodeString("4125c247e43ab1e93c6dff76") // QSXCR+Q6sek8bf92
	k, err := derive(nameSHA1, "pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	authMessage := "n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
	if got := hex.EncodeToString(mac(sha1.New, k.server, authMessage)); got != "ae617da6a57c4bbb2e0286568dae1d251905b0a4" { // rmF9pqV8S7suAoZWja4dJRkFsKQ=
		t.Errorf("server signature %s", got)
	}
	// The client's proof, xored with its signature, gives ClientKey, whose hash is StoredKey.
	proof, _ := hex.DecodeString("bf45fcbf7073d93d022466c94321745fe1c8e13b") // v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=
	sig := mac(sha1.New, k.stored, authMessage)
	for i := range proof {
		proof[i] ^= sig[i]
	}
	if sum := sha1.Sum(proof); !bytes.Equal(sum[:], k.stored) {
		t.Error("the proof of RFC 5802 §5 does not fit StoredKey")
	}
}

// TestSCRAMWithClient runs the real client side against what SCRAM gives.
func TestSCRAMWithClient(t *testing.T) {
	l := newLocal(t)
	create(t, l, "alice", "wonderland")
	for hash, mechanism := range map[string]sasl.Mechanism{nameSHA1: sasl.ScramSha1, nameSHA256: sasl.ScramSha256} {
		salt, iterations, _, serverKey, ok, err := l.SCRAM(context.Background(), "alice", hash)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		c := sasl.NewClient(mechanism, sasl.Credentials(func() (u, p, i []byte) { return []byte("alice"), []byte("wonderland"), nil }))
		_, first, err := c.Step(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, bare, _ := strings.Cut(string(first), "n,,")
		_, nonce, _ := strings.Cut(bare, "r=")
		serverFirst := "r=" + nonce + "server,s=" + b64(salt) + ",i=" + itoa(iterations)
		_, final, err := c.Step([]byte(serverFirst))
		if err != nil {
			t.Fatal(err)
		}
		withoutProof := string(final[:bytes.LastIndex(final, []byte(",p="))])
		h, _ := newHash(hash)
		signature := mac(h, serverKey, bare+","+serverFirst+","+withoutProof)
		if _, _, err := c.Step([]byte("v=" + b64(signature))); err != nil {
			t.Errorf("%s: the client does not believe our key: %v", hash, err)
		}
	}
}

func TestUnknownIsStable(t *testing.T) {
	dir := t.TempDir()
	var first [][]byte
	for round := range 2 { // over a restart
		db := openStore(t, dir)
		l, err := NewLocal(context.Background(), db, "example.org", minIterations)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for _, user := range []string{"nobody", "nobody2", "x@y.example", "a b", strings.Repeat("x", 2000)} {
			for _, hash := range []string{nameSHA1, nameSHA256} {
				salt, i, stored, server, ok, err := l.SCRAM(context.Background(), user, hash)
				if ok || err != nil || len(salt) != saltLen || i != minIterations {
					t.Fatalf("%q: ok %v, err %v, salt %d bytes, %d iterations", user, ok, err, len(salt), i)
				}
				h, _ := newHash(hash)
				if len(stored) != h().Size() || len(server) != h().Size() {
					t.Fatalf("%q: fake keys of %d and %d bytes", user, len(stored), len(server))
				}
				got = append(got, salt)
			}
		}
		if round == 0 {
			first = slices.Clone(got)
		} else if !reflect.DeepEqual(first, got) {
			t.Error("the fake salts changed")
		}
		slices.SortFunc(got, bytes.Compare)
		if len(slices.CompactFunc(got, bytes.Equal)) != len(first) {
			t.Error("fake salts repeat")
		}
		db.Close()
	}
}

func TestPasswordsAndNames(t *testing.T) {
	l := newLocal(t)
	create(t, l, "Alice", "grüße\u00a0\U0001F511", "Alice.Liddell@Example.org")
	for _, tc := range []struct{ user, password, want string }{
		{"alice", "grüße\u00a0\U0001F511", "alice"},
		{"ALICE", "grüße\u00a0\U0001F511", "alice"},
		{"alice.liddell@example.org", "grüße\u00a0\U0001F511", "alice"},
		{"alice", "gru\u0308ße \U0001F511", "alice"}, // decomposed, and a plain space
		{"alice", "Grüße\u00a0\U0001F511", ""},
		{"alice", "", ""},
		{"alice", "grüße\x00", ""},
		{"alice@elsewhere.example", "grüße\u00a0\U0001F511", ""},
		{"", "grüße\u00a0\U0001F511", ""},
		{"alice'--", "x", ""},
	} {
		if got := check(t, l, tc.user, tc.password); got != tc.want {
			t.Errorf("%q with %q: %q, want %q", tc.user, tc.password, got, tc.want)
		}
	}
	for name, err := range map[string]error{
		"exists":   l.Create(context.Background(), "alice", "x"),
		"address":  l.Create(context.Background(), "other", "x", "alice.liddell@example.ORG"),
		"name":     l.Create(context.Background(), "a@b", "x"),
		"slash":    l.Create(context.Background(), "a/b", "x"),
		"password": l.Create(context.Background(), "bob", ""),
		"alias":    l.Create(context.Background(), "bob", "x", "alice"),
	} {
		want := map[string]error{"exists": ErrExists, "address": ErrExists, "name": ErrName, "slash": ErrName, "password": ErrPassword, "alias": ErrName}[name]
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ok, err := l.Exists(context.Background(), "other"); ok || err != nil {
		t.Error("an account is left of a Create that failed", err)
	}
}

func TestLifeOfAnAccount(t *testing.T) {
	ctx := context.Background()
	l := newLocal(t)
	create(t, l, "alice", "one", "a@example.org")
	salt1, _, _, _, _, _ := l.SCRAM(ctx, "alice", nameSHA256)
	if err := l.SetPassword(ctx, "alice", "two"); err != nil {
		t.Fatal(err)
	}
	if check(t, l, "alice", "one") != "" || check(t, l, "alice", "two") != "alice" {
		t.Error("SetPassword did not change the password")
	}
	if salt2, _, _, _, ok, _ := l.SCRAM(ctx, "a@example.org", nameSHA256); !ok || bytes.Equal(salt1, salt2) {
		t.Error("the salt stayed, or the alias does not work for SCRAM")
	}
	if err := l.Disable(ctx, "alice", true); err != nil {
		t.Fatal(err)
	}
	if _, _, _, _, ok, _ := l.SCRAM(ctx, "alice", nameSHA1); ok || check(t, l, "alice", "two") != "" {
		t.Error("a disabled account can log in")
	}
	all, err := l.List(ctx)
	if err != nil || len(all) != 1 || !all[0].Disabled || !slices.Equal(all[0].Aliases, []string{"a@example.org"}) {
		t.Errorf("List: %+v, %v", all, err)
	}
	if err := l.Disable(ctx, "alice", false); err != nil || check(t, l, "alice", "two") != "alice" {
		t.Error("enabling did not help", err)
	}
	if err := l.Delete(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if ok, _ := l.Exists(ctx, "alice"); ok || check(t, l, "a@example.org", "two") != "" {
		t.Error("a deleted account is still there")
	}
	for _, err := range []error{l.Delete(ctx, "alice"), l.SetPassword(ctx, "alice", "x"), l.Disable(ctx, "alice", true)} {
		if !errors.Is(err, ErrNoAccount) {
			t.Error(err)
		}
	}
}

// TestNoClearText looks for the password in every file of the data directory.
func TestNoClearText(t *testing.T) {
	dir := t.TempDir()
	db := openStore(t, dir)
	l, err := NewLocal(context.Background(), db, "example.org", minIterations)
	if err != nil {
		t.Fatal(err)
	}
	create(t, l, "alice", "very-secret-password")
	db.Close()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || bytes.Contains(text, []byte("very-secret-password")) {
			t.Errorf("%s: %v, or it holds the password", f, err)
		}
	}
	if len(files) < 2 {
		t.Error("nothing was looked at")
	}
}

func TestDemo(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	l, err := NewLocal(ctx, openStore(t, dir), "example.org", minIterations)
	if err != nil {
		t.Fatal(err)
	}
	first, err := l.EnsureDemo(ctx, dir)
	if err != nil || len(first) != 2 || first[0].User != "alice" || first[1].User != "bob" || first[0].Password == first[1].Password {
		t.Fatal(first, err)
	}
	if check(t, l, "alice", first[0].Password) != "alice" || check(t, l, "bob", first[1].Password) != "bob" {
		t.Error("the demo accounts cannot log in")
	}
	if fi, err := os.Stat(filepath.Join(dir, demoFile)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(err, fi.Mode())
	}
	if err := l.SetPassword(ctx, "bob", "changed"); err != nil {
		t.Fatal(err)
	}
	again, err := l.EnsureDemo(ctx, dir)
	if err != nil || again[0] != first[0] || again[1] != (Demo{User: "bob"}) {
		t.Error(again, err)
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"alice", "ÄLICE", "a@b.c", "a\x00b", "ﬀ", "a/b", strings.Repeat("x", 1024), "\u212b", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := PrepareLocalpart(s); err == nil {
			if again, err := PrepareLocalpart(p); err != nil || again != p {
				t.Errorf("%q prepares to %q, and that to %q, %v", s, p, again, err)
			}
			if strings.ContainsAny(p, "@/<>&'\": \x00") {
				t.Errorf("%q was let through as %q", s, p)
			}
		}
		if a, err := prepareAlias(s); err == nil && !strings.Contains(a, "@") {
			t.Errorf("alias %q without @", a)
		}
		_, _ = preparePassword(s)
	})
}
