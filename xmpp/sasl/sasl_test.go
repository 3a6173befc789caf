package sasl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hashOf(name string) (func() hash.Hash, int) {
	if name == "SHA-1" {
		return sha1.New, 20
	}
	return sha256.New, 32
}

func mac(h func() hash.Hash, key []byte, s string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(s))
	return m.Sum(nil)
}

func sum(h func() hash.Hash, b []byte) []byte { w := h(); w.Write(b); return w.Sum(nil) }

// keysFor knows one user.
func keysFor(t testing.TB, user, password string, salt []byte, iterations int) Keys {
	return func(_ context.Context, u, name string) ([]byte, int, []byte, []byte, bool, error) {
		h, n := hashOf(name)
		if u == "broken" {
			return nil, 0, nil, nil, false, errors.New("away")
		}
		salted, err := pbkdf2.Key(h, password, salt, iterations, n)
		if err != nil {
			t.Fatal(err)
		}
		if u != user {
			return salt, iterations, nil, nil, false, nil
		}
		return salt, iterations, sum(h, mac(h, salted, "Client Key")), mac(h, salted, "Server Key"), true, nil
	}
}

// client is the other side, written straight from RFC 5802 §3.
type client struct {
	hash, gs2, user, password string
	binding                   []byte
	auth                      string
	salted                    []byte
}

func (c *client) first() []byte { return []byte(c.gs2 + "n=" + c.user + ",r=abcDEF") }

func (c *client) final(t *testing.T, challenge []byte) []byte {
	t.Helper()
	h, n := hashOf(c.hash)
	var nonce, salt64 string
	var iterations int
	if _, err := fmt.Sscanf(strings.ReplaceAll(string(challenge), ",", " "), "r=%s s=%s i=%d", &nonce, &salt64, &iterations); err != nil {
		t.Fatalf("%q: %v", challenge, err)
	}
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if err != nil || !strings.HasPrefix(nonce, "abcDEF") || len(nonce) < 20 {
		t.Fatalf("%q", challenge)
	}
	if c.salted, err = pbkdf2.Key(h, c.password, salt, iterations, n); err != nil {
		t.Fatal(err)
	}
	bare := "c=" + base64.StdEncoding.EncodeToString(append([]byte(c.gs2), c.binding...)) + ",r=" + nonce
	c.auth = "n=" + c.user + ",r=abcDEF," + string(challenge) + "," + bare
	key := mac(h, c.salted, "Client Key")
	sig := mac(h, sum(h, key), c.auth)
	for i := range key {
		key[i] ^= sig[i]
	}
	return []byte(bare + ",p=" + base64.StdEncoding.EncodeToString(key))
}

func (c *client) verify(t *testing.T, data []byte) {
	t.Helper()
	h, _ := hashOf(c.hash)
	if want := "v=" + base64.StdEncoding.EncodeToString(mac(h, mac(h, c.salted, "Server Key"), c.auth)); string(data) != want {
		t.Errorf("server signature %q, want %q", data, want)
	}
}

func TestSCRAM(t *testing.T) {
	salt := []byte("sixteen bytes..")
	exporter := map[string][]byte{"tls-exporter": []byte("bound"), "tls-server-end-point": []byte("cert")}
	for name, c := range map[string]struct {
		s    SCRAM
		c    client
		want string // condition, "" for success
	}{
		"sha-1":          {SCRAM{Hash: "SHA-1"}, client{gs2: "n,,"}, ""},
		"sha-256":        {SCRAM{Hash: "SHA-256"}, client{gs2: "n,,"}, ""},
		"y":              {SCRAM{Hash: "SHA-256"}, client{gs2: "y,,"}, ""},
		"authzid":        {SCRAM{Hash: "SHA-256"}, client{gs2: "n,a=a=2Cb=3Dc@x,"}, ""},
		"plus":           {SCRAM{Hash: "SHA-256", Plus: true, Bindings: exporter}, client{gs2: "p=tls-exporter,,", binding: []byte("bound")}, ""},
		"plus end point": {SCRAM{Hash: "SHA-1", Plus: true, Bindings: exporter}, client{gs2: "p=tls-server-end-point,,", binding: []byte("cert")}, ""},
		"other channel":  {SCRAM{Hash: "SHA-256", Plus: true, Bindings: exporter}, client{gs2: "p=tls-exporter,,", binding: []byte("other")}, "not-authorized"},
		"other type":     {SCRAM{Hash: "SHA-256", Plus: true, Bindings: exporter}, client{gs2: "p=tls-unique,,", binding: []byte("bound")}, "not-authorized"},
		"downgrade":      {SCRAM{Hash: "SHA-256", RefuseY: true}, client{gs2: "y,,"}, "not-authorized"},
		"wrong password": {SCRAM{Hash: "SHA-256"}, client{gs2: "n,,", password: "x"}, "not-authorized"},
		"nobody":         {SCRAM{Hash: "SHA-256"}, client{gs2: "n,,", user: "nobody"}, "not-authorized"},
		"broken":         {SCRAM{Hash: "SHA-256"}, client{gs2: "n,,", user: "broken"}, "temporary-auth-failure"},
		"flag":           {SCRAM{Hash: "SHA-256"}, client{gs2: "x,,"}, "malformed-request"},
		"p without plus": {SCRAM{Hash: "SHA-256", Bindings: exporter}, client{gs2: "p=tls-exporter,,"}, "malformed-request"},
		"n with plus":    {SCRAM{Hash: "SHA-256", Plus: true, Bindings: exporter}, client{gs2: "n,,"}, "malformed-request"},
		"empty authzid":  {SCRAM{Hash: "SHA-256"}, client{gs2: "n,a=,"}, "malformed-request"},
		"bad escape":     {SCRAM{Hash: "SHA-256"}, client{gs2: "n,,", user: "a=41"}, "malformed-request"},
		"NUL":            {SCRAM{Hash: "SHA-256"}, client{gs2: "n,,", user: "a\x00b"}, "malformed-request"},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, want := c.s, c.c, c.want
			if c.user == "" {
				c.user = "us=2Cer"
			}
			if c.password == "" {
				c.password = "pencil"
			}
			s.Keys, c.hash = keysFor(t, "us,er", "pencil", salt, 4096), s.Hash
			condition := func(err error) string {
				var f *Failure
				if !errors.As(err, &f) {
					t.Fatalf("no Failure: %v", err)
				}
				return f.Condition
			}
			if ch, done, err := s.Step(t.Context(), nil); err != nil || done || len(ch) != 0 {
				t.Fatalf("without initial response: %q %v %v", ch, done, err)
			}
			ch, done, err := s.Step(t.Context(), c.first())
			if err != nil {
				if got := condition(err); got != want {
					t.Fatalf("got %s, want %q", got, want)
				}
				return
			}
			if done {
				t.Fatal("done after the first message")
			}
			data, done, err := s.Step(t.Context(), c.final(t, ch))
			if err != nil {
				if got := condition(err); got != want {
					t.Fatalf("got %s, want %q", got, want)
				}
				return
			}
			if want != "" || !done {
				t.Fatalf("got in, want %s", want)
			}
			c.verify(t, data)
			if id := s.Identity(); id.User != "us,er" || strings.Contains(c.gs2, "a=") != (id.Authzid == "a,b=c@x") {
				t.Errorf("%+v", id)
			}
			if _, _, err := s.Step(t.Context(), []byte("more")); err == nil {
				t.Error("exchange goes on after its end")
			}
		})
	}
}

// The final message must keep to what was agreed, byte for byte.
func TestSCRAMTampered(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"nonce":       func(s string) string { return strings.Replace(s, ",r=abcDEF", ",r=abcDEG", 1) },
		"gs2":         func(s string) string { return strings.Replace(s, "c=biws", "c=eSws", 1) },
		"proof":       func(s string) string { return s[:len(s)-8] + "AAAAAAA=" },
		"short proof": func(s string) string { return s[:strings.Index(s, ",p=")] + ",p=AAAA" },
		"no proof":    func(s string) string { return s[:strings.Index(s, ",p=")] },
		"no base64":   func(s string) string { return s + "*" },
		"empty":       func(string) string { return "" },
	} {
		s := SCRAM{Hash: "SHA-256", Keys: keysFor(t, "u", "p", []byte("salt"), 4096)}
		c := client{hash: "SHA-256", gs2: "n,,", user: "u", password: "p"}
		ch, _, err := s.Step(t.Context(), c.first())
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Step(t.Context(), []byte(change(string(c.final(t, ch))))); err == nil || done {
			t.Errorf("%s: got in", name)
		}
	}
}

// RFC 7677 §3 with its fixed nonce shows that the sums are right; the nonce of ours is put in place of the drawn one.
func TestSCRAMVector(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	s := SCRAM{Hash: "SHA-256", Keys: keysFor(t, "user", "pencil", salt, 4096)}
	if _, _, err := s.Step(t.Context(), []byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")); err != nil {
		t.Fatal(err)
	}
	s.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	s.serverMsg = "r=" + s.nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	data, done, err := s.Step(t.Context(), []byte("c=biws,r="+s.nonce+",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	if err != nil || !done || string(data) != "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("%q %v %v", data, done, err)
	}
}

func TestPlain(t *testing.T) {
	p := &Plain{Check: func(_ context.Context, u, pw string) (string, bool, error) { return "me", u == "a" && pw == "b", nil }}
	if ch, done, err := p.Step(t.Context(), nil); err != nil || done || ch == nil {
		t.Fatal("no challenge without initial response")
	}
	if _, done, err := p.Step(t.Context(), []byte("z\x00a\x00b")); err != nil || !done || p.Identity() != (Identity{"me", "z"}) {
		t.Errorf("%v %+v", err, p.Identity())
	}
}

// Both ends of a TLS connection must see the same bindings.
func TestBindings(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	for version, typ := range map[uint16]string{tls.VersionTLS13: "tls-exporter", tls.VersionTLS12: "tls-unique"} {
		a, b := net.Pipe()
		srv := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		cl := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		done := make(chan error)
		go func() { done <- srv.Handshake() }()
		if err := cl.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		ss, cs := srv.ConnectionState(), cl.ConnectionState()
		sb, cb := Bindings(&ss, EndPoint(der)), Bindings(&cs, EndPoint(cs.PeerCertificates[0].Raw))
		if len(sb) != 2 || len(sb[typ]) == 0 || string(sb[typ]) != string(cb[typ]) || len(sb["tls-server-end-point"]) != 48 {
			t.Errorf("version %x: %v and %v", version, sb, cb)
		}
		a.Close()
		b.Close()
	}
}

// FuzzSCRAM: no message makes the server panic or lets a stranger in.
func FuzzSCRAM(f *testing.F) {
	f.Add("n,,n=user,r=x", "c=biws,r=x,p=AAAA", false)
	f.Add("p=tls-exporter,,n=user,r=x", "c=cD10bHMtZXhwb3J0ZXIsLA==,r=x,p=", true)
	f.Add("y,a=b,m=1,n=u=2C,r=x,e=1", ",p=", false)
	keys := func(context.Context, string, string) ([]byte, int, []byte, []byte, bool, error) {
		return []byte("salt"), 4096, []byte("01234567890123456789012345678901"), []byte("k"), true, nil
	}
	f.Fuzz(func(t *testing.T, first, final string, plus bool) {
		s := SCRAM{Hash: "SHA-256", Plus: plus, Keys: keys, Bindings: map[string][]byte{"tls-exporter": []byte("b")}}
		if _, _, err := s.Step(context.Background(), []byte(first)); err != nil {
			return
		}
		if _, done, err := s.Step(context.Background(), []byte(strings.Replace(final, "r=x", "r="+s.nonce, 1))); err == nil || done {
			t.Error("got in without a password")
		}
	})
}

// FuzzPlain: a message is taken as three parts or not at all, and nobody gets in without the password.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "\x00a\x00b", "a@x\x00a\x00b", "\x00\x00", "\x00a\x00", "\x00a\x00b\x00", "a\x00b", "\x00\xff\x00b", "\x00A\x00b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p := &Plain{Check: func(_ context.Context, user, password string) (string, bool, error) {
			if user == "" || password == "" || strings.Contains(user+password, "\x00") {
				t.Errorf("asked for %q, %q", user, password)
			}
			return user, user == "a" && password == "b", nil
		}}
		_, done, err := p.Step(context.Background(), in)
		if id := p.Identity(); done && (err != nil || id.Authzid+"\x00a\x00b" != string(in) || id.User != "a") || !done && id != (Identity{}) {
			t.Errorf("%q: %v %v %+v", in, done, err, id)
		}
	})
}
