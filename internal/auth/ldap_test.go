package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"konzil/internal/auth/ldaptest"
	"konzil/internal/oops"
	"konzil/internal/proctest"
)

const (
	baseDN   = ldaptest.BaseDN
	rootDN   = "cn=root,dc=example,dc=org"
	searchDN = ldaptest.SearchDN
)

// deadURL is where no directory listens.
func deadURL(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("ldap://127.0.0.1:%d", proctest.Ports(t, 1)[0])
}

func ldapConfig(d *ldaptest.Directory) LDAPConfig {
	c := defaultLDAPConfig()
	c.URLs, c.CAFile, c.BaseDN, c.BindDN, c.BindPassword = []string{d.Plain}, d.CAFile, baseDN, searchDN, "searchpw"
	return c
}

func newLDAP(t *testing.T, c LDAPConfig) *LDAP {
	t.Helper()
	d, err := NewLDAP(c, "example.org", quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestLDAP(t *testing.T) {
	dir := ldaptest.Start(t)
	t.Run("login", func(t *testing.T) { testLDAPLogin(t, dir) })
	t.Run("injection", func(t *testing.T) { testLDAPInjection(t, dir) })
	t.Run("wrong passwords", func(t *testing.T) { testLDAPWrong(t, dir) })
	t.Run("tls", func(t *testing.T) { testLDAPTLS(t, dir) })
	t.Run("combined", func(t *testing.T) { testCombined(t, dir) })
	t.Run("parallel", func(t *testing.T) { testLDAPParallel(t, dir) })
	t.Run("failover", func(t *testing.T) { testLDAPFailover(t, dir) }) // stops it
}

func testLDAPLogin(t *testing.T, dir *ldaptest.Directory) {
	for _, url := range []string{dir.Plain, dir.TLS} {
		c := ldapConfig(dir)
		c.URLs = []string{url}
		d := newLDAP(t, c)
		for _, tc := range []struct{ user, password, want string }{
			{"alice", "wonderland", "alice"},
			{"ALICE", "wonderland", "alice"}, // uid is caseIgnoreMatch; the localpart is the entry's own
			{"alice@example.org", "wonderland", "alice"},
			{"alice.liddell@EXAMPLE.org", "wonderland", "alice"},
			{"bob", "grüße", "bob"},
			{"bob", "gru\u0308ße", "bob"},
			{"alice", "Wonderland", ""},
			{"alice", "", ""},
			{"alice", "\x00", ""},
			{"", "wonderland", ""},
			{"nobody", "wonderland", ""},
			{"shared@example.org", "carolpw", ""},            // whose?
			{"space@example.org", "spacepw", `with\20space`}, // escaped (XEP-0106)
			{`with\20space`, "spacepw", `with\20space`},
			{"root", "rootpw", ""}, {rootDN, "rootpw", ""},
		} {
			if got := check(t, d, tc.user, tc.password); got != tc.want {
				t.Errorf("%s: %q with %q: %q, want %q", url, tc.user, tc.password, got, tc.want)
			}
		}
		for user, want := range map[string]bool{"alice": true, "Alice": true, "nobody": false, "alice@example.org": false, "*": false, "": false} {
			for range 2 { // the second time from memory
				if got, err := d.Exists(context.Background(), user); got != want || err != nil {
					t.Errorf("Exists %q: %v, %v", user, got, err)
				}
			}
		}
	}
}

// testLDAPInjection types filters for names; and with the anonymous bind allowed in this slapd, the empty password would log in
// anybody if it reached a bind.
func testLDAPInjection(t *testing.T, dir *ldaptest.Directory) {
	c, err := ldap.DialURL(dir.Plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.UnauthenticatedBind("uid=alice," + baseDN); err != nil {
		t.Fatal("this slapd refuses a name without password, so the test would prove nothing:", err)
	}
	c.Close()
	d := newLDAP(t, ldapConfig(dir))
	for _, user := range []string{"*", "a*", "alice)(uid=*", "*)(|(uid=*", "alice\x00", "\\2a", "alice)(&", "uid=alice," + baseDN, "\xc0\xaa", strings.Repeat("(", 500)} {
		if got := check(t, d, user, "wonderland"); got != "" {
			t.Errorf("%q logs in as %q", user, got)
		}
	}
	if got := check(t, d, "alice", ""); got != "" {
		t.Errorf("the empty password logs in as %q", got)
	}
	// A name that has the filter's own characters in it is found, as itself.
	if got := check(t, d, "star*(x)", "starpw"); got != "star*(x)" {
		t.Errorf("star*(x) logs in as %q", got)
	}
}

func testLDAPWrong(t *testing.T, dir *ldaptest.Directory) {
	c := ldapConfig(dir)
	c.MaxWrong = 3
	d := newLDAP(t, c)
	now := time.Now()
	d.now = func() time.Time { return now }
	for range 3 {
		if check(t, d, "alice", "wrong") != "" {
			t.Fatal("wrong password taken")
		}
	}
	for _, name := range []string{"alice", "alice@example.org"} { // not to be passed by another name
		if _, ok, err := d.CheckPassword(context.Background(), name, "wonderland"); ok || !errors.Is(err, ErrTooManyWrong) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if check(t, d, "bob", "grüße") != "bob" {
		t.Error("another account is locked too")
	}
	now = now.Add(c.WrongWindow)
	if check(t, d, "alice", "wonderland") != "alice" {
		t.Error("it stays locked")
	}
	for range 2*c.MaxWrong + 1 { // a right one in between clears the count
		check(t, d, "alice", "wrong")
		check(t, d, "alice", "wonderland")
	}
	if s := d.Stats(); s["ldap_refused"] != 2 || s["ldap_failed"] != 0 {
		t.Error(s)
	}
}

func testLDAPTLS(t *testing.T, dir *ldaptest.Directory) {
	for name, change := range map[string]func(*LDAPConfig){
		"unknown authority, StartTLS": func(c *LDAPConfig) { c.CAFile = "" },
		"unknown authority, LDAPS":    func(c *LDAPConfig) { c.CAFile = ""; c.URLs = []string{dir.TLS} },
		"other name":                  func(c *LDAPConfig) { c.URLs = []string{strings.Replace(dir.TLS, "127.0.0.1", "127.0.0.2", 1)} },
		"wrong bind password":         func(c *LDAPConfig) { c.BindPassword = "x" },
	} {
		c := ldapConfig(dir)
		change(&c)
		d := newLDAP(t, c)
		if _, ok, err := d.CheckPassword(context.Background(), "alice", "wonderland"); ok || err == nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		if d.Stats()["ldap_failed"] != 1 {
			t.Errorf("%s: not counted", name)
		}
	}
}

func testCombined(t *testing.T, dir *ldaptest.Directory) {
	ctx := context.Background()
	local := newLocal(t)
	create(t, local, "alice", "local-password")
	create(t, local, "dave", "davepw")
	dirAccounts := newLDAP(t, ldapConfig(dir))
	c := NewCombined(local, dirAccounts, NewPeople(local.db, dirAccounts, quiet))
	for _, tc := range []struct{ user, password, want string }{
		{"dave", "davepw", "dave"},
		{"bob", "grüße", "bob"},
		{"alice", "local-password", "alice"},
		{"alice", "wonderland", ""},             // the local alice is somebody else
		{"alice@example.org", "wonderland", ""}, // also by another name
		{"nobody", "x", ""},
	} {
		if got := check(t, c, tc.user, tc.password); got != tc.want {
			t.Errorf("%q with %q: %q, want %q", tc.user, tc.password, got, tc.want)
		}
	}
	for user, want := range map[string]bool{"dave": true, "bob": true, "nobody": false} {
		if got, err := c.Exists(ctx, user); got != want || err != nil {
			t.Errorf("Exists %s: %v, %v", user, got, err)
		}
	}
	if m := c.Mechanisms(); len(m) != 1 || m[0] != "PLAIN" {
		t.Error(m)
	}
}

func testLDAPParallel(t *testing.T, dir *ldaptest.Directory) {
	c := ldapConfig(dir)
	c.Connections = 3
	d := newLDAP(t, c)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if i%2 == 0 {
				if check(t, d, "alice", "wonderland") != "alice" {
					t.Error("alice was refused")
				}
			} else if check(t, d, "nobody", "x") != "" {
				t.Error("nobody was let in")
			}
		})
	}
	wg.Wait()
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	if n := len(d.pool.idle); n < 1 || n > c.Connections {
		t.Errorf("%d connections are kept", n)
	}
}

func testLDAPFailover(t *testing.T, dir *ldaptest.Directory) {
	c := ldapConfig(dir)
	dead := deadURL(t)
	c.URLs = []string{dead, dir.Plain}
	d := newLDAP(t, c)
	if check(t, d, "alice", "wonderland") != "alice" {
		t.Error("the second server was not asked")
	}
	if got := d.pool.order(time.Now()); got[0] != dir.Plain {
		t.Errorf("the dead server is still asked first: %v", got)
	}
	if got := d.pool.order(time.Now().Add(2 * downFor)); got[0] != dead {
		t.Errorf("the first server is not asked again: %v", got)
	}
	dir.Stop()
	if _, ok, err := d.CheckPassword(context.Background(), "alice", "wonderland"); ok || err == nil || errors.Is(err, ErrTooManyWrong) {
		t.Errorf("without any server: %v, %v", ok, err)
	}
	if _, err := d.Exists(context.Background(), "somebody"); err == nil {
		t.Error("Exists without any server gave an answer")
	}
}

// TestLDAPStuck: a directory that takes a connection and says nothing costs no more than the timeout, or the caller's patience.
func TestLDAPStuck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()
	defer func() {
		l.Close()
		<-done
		for _, c := range conns {
			c.Close()
		}
	}()
	c := defaultLDAPConfig()
	c.URLs, c.BaseDN, c.Timeout, c.StartTLS = []string{"ldap://" + l.Addr().String()}, baseDN, 50*time.Millisecond, false
	if _, ok, err := newLDAP(t, c).CheckPassword(context.Background(), "alice", "x"); ok || err == nil {
		t.Error(ok, err)
	}
	c.Timeout = time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, ok, err := newLDAP(t, c).CheckPassword(ctx, "alice", "x"); ok || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 20*time.Second {
		t.Error(ok, err, time.Since(begin))
	}
}

func TestLDAPValidate(t *testing.T) {
	good := func() LDAPConfig {
		c := defaultLDAPConfig()
		c.URLs, c.BaseDN = []string{"ldaps://ldap.example.org"}, baseDN
		return c
	}
	if err := good().validate(); err != nil {
		t.Error(err)
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*LDAPConfig){
		`auth: auth.ldap.urls has "http://x"`:     func(c *LDAPConfig) { c.URLs = []string{"http://x"} },
		"auth: auth.ldap.starttls is off":         func(c *LDAPConfig) { c.URLs = []string{"ldap://x"}; c.StartTLS = false },
		"auth: auth.ldap.base_dn is empty":        func(c *LDAPConfig) { c.BaseDN = "" },
		"auth: auth.ldap.base_dn \"x\" is not":    func(c *LDAPConfig) { c.BaseDN = "x" },
		"auth: auth.ldap.filter":                  func(c *LDAPConfig) { c.Filter = "uid=x)" },
		"auth: auth.ldap.login_attributes is":     func(c *LDAPConfig) { c.LoginAttributes = nil },
		"auth: auth.ldap.login_attributes or":     func(c *LDAPConfig) { c.LoginAttributes = []string{"uid)(x"} },
		"auth: auth.ldap.timeout":                 func(c *LDAPConfig) { c.Connections = 0 },
		"auth: /does/not/exist.pem does not exis": func(c *LDAPConfig) { c.CAFile = "/does/not/exist.pem" },
	} {
		c := good()
		change(&c)
		err := c.validate()
		if _, ok := oops.Is(err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s...", err, want)
		}
	}
}

func FuzzLDAPFilter(f *testing.F) {
	for _, s := range []string{"alice", "*", ")(uid=*", "\\", "\x00", "ü", "\xff", "a\\2a"} {
		f.Add(s)
	}
	c := defaultLDAPConfig()
	want, err := ldap.CompileFilter(c.filter(c.LoginAttributes, "x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := ldap.CompileFilter(c.filter(c.LoginAttributes, value))
		if err != nil {
			t.Fatalf("%q makes no filter: %v", value, err)
		}
		// The shape must not depend on the value: (& class (| (uid=) (mail=))).
		if len(got.Children) != len(want.Children) || len(got.Children[1].Children) != len(want.Children[1].Children) {
			t.Fatalf("%q changes the filter", value)
		}
		for i, or := range got.Children[1].Children {
			if or.Tag != want.Children[1].Children[i].Tag {
				t.Fatalf("%q changes a comparison", value)
			}
			if typed := or.Children[1].Data.String(); typed != value {
				t.Fatalf("%q is compared as %q", value, typed)
			}
		}
	})
}
