package auth

import (
	"context"
	"fmt"
	"testing"
	"time"

	"konzil/internal/store/storetest"
)

func newTokens(t *testing.T) (*Tokens, *time.Time) {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	k := NewTokens(storetest.Open(t))
	k.now = func() time.Time { return now }
	return k, &now
}

const testHT = "HT-SHA-256-NONE"

func issue(t *testing.T, k *Tokens, client string) string {
	t.Helper()
	token, _, err := k.IssueToken(context.Background(), "anna", client, testHT)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func use(t *testing.T, k *Tokens, client, mechanism, token string, count uint64, invalidate bool) (ok, rotate bool) {
	t.Helper()
	ok, rotate, err := k.CheckToken(context.Background(), "anna", client, mechanism, count, invalidate, func(s string) bool { return s == token })
	if err != nil {
		t.Fatal(err)
	}
	return ok, rotate
}

func TestTokens(t *testing.T) {
	k, now := newTokens(t)
	a := issue(t, k, "phone")
	if ok, _ := use(t, k, "phone", testHT, a+"x", 0, false); ok {
		t.Error("another token")
	}
	if ok, _ := use(t, k, "desk", testHT, a, 0, false); ok {
		t.Error("another client")
	}
	if ok, _ := use(t, k, "phone", "HT-SHA-256-EXPR", a, 0, false); ok {
		t.Error("another mechanism")
	}
	if ok, rotate := use(t, k, "phone", testHT, a, 0, false); !ok || rotate {
		t.Error(ok, rotate)
	}
	*now = now.Add(tokenRotate)
	if ok, rotate := use(t, k, "phone", testHT, a, 0, false); !ok || !rotate {
		t.Error(ok, rotate)
	}
	b := issue(t, k, "phone")
	for _, token := range []string{a, b, b} { // the old one holds until the new one is used
		if ok, _ := use(t, k, "phone", testHT, token, 0, false); !ok {
			t.Error(token)
		}
	}
	if ok, _ := use(t, k, "phone", testHT, a, 0, false); ok {
		t.Error("the old one holds although the new one was used")
	}
	if ok, _ := use(t, k, "phone", testHT, b, 5, false); !ok {
		t.Error("count")
	}
	if ok, _ := use(t, k, "phone", testHT, b, 5, false); ok {
		t.Error("replayed")
	}
	if ok, _ := use(t, k, "phone", testHT, b, 6, true); !ok {
		t.Error("invalidate")
	}
	if ok, _ := use(t, k, "phone", testHT, b, 7, false); ok {
		t.Error("invalidated")
	}
	c := issue(t, k, "phone")
	*now = now.Add(tokenLife)
	if ok, _ := use(t, k, "phone", testHT, c, 0, false); ok {
		t.Error("expired")
	}
}

func TestTokenClients(t *testing.T) {
	k, now := newTokens(t)
	for i := range maxClients + 5 {
		*now = now.Add(time.Second)
		issue(t, k, fmt.Sprintf("c%03d", i))
	}
	list, err := k.Clients(context.Background(), "anna")
	if err != nil || len(list) != maxClients || list[0].ID != "c005" {
		t.Fatal(len(list), list[0].ID, err)
	}
	if err := k.Revoke(context.Background(), "anna", "c005"); err != nil {
		t.Fatal(err)
	}
	if list, _ = k.Clients(context.Background(), "anna"); len(list) != maxClients-1 {
		t.Error(len(list))
	}
	if err := k.Revoke(context.Background(), "anna", ""); err != nil {
		t.Fatal(err)
	}
	if list, _ = k.Clients(context.Background(), "anna"); len(list) != 0 {
		t.Error(len(list))
	}
}

// A new password, and an account that is disabled or deleted, end logins without a password.
func TestTokensEndWithPassword(t *testing.T) {
	k, _ := newTokens(t)
	ctx := context.Background()
	l, err := NewLocal(ctx, k.db, "example.org", minIterations)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Create(ctx, "anna", "correct horse"); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"password": func() error { return l.SetPassword(ctx, "anna", "battery staple") },
		"disable":  func() error { return l.Disable(ctx, "anna", true) },
	} {
		token := issue(t, k, "phone")
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if ok, _ := use(t, k, "phone", testHT, token, 0, false); ok {
			t.Error(name)
		}
	}
	token := issue(t, k, "phone")
	if err := l.Delete(ctx, "anna"); err != nil {
		t.Fatal(err)
	}
	if ok, _ := use(t, k, "phone", testHT, token, 0, false); ok {
		t.Error("delete")
	}
}
