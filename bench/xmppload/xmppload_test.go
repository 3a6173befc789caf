package xmppload

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"konzil/bench/measure"
	"konzil/bench/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestScanner(t *testing.T) {
	in := "<?xml version='1.0'?><stream:stream id='a>b' to=\"x'y\"> <iq/>\n<message a='>'><b><c/></b>x<b>></b></message><presence></presence></stream:stream>"
	want := []string{"<?xml version='1.0'?>", "<stream:stream id='a>b' to=\"x'y\">", "<iq/>", "<message a='>'><b><c/></b>x<b>></b></message>", "<presence></presence>", "</stream:stream>"}
	for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.HalfReader(strings.NewReader(in))} {
		var s scanner
		var got []string
		b := make([]byte, 24)
		for {
			n, err := r.Read(b)
			if ferr := s.feed(b[:n], nil, func(raw []byte) { got = append(got, string(raw)) }); ferr != nil {
				t.Fatal(ferr)
			}
			if err != nil {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	}
	for _, bad := range []string{"x<a/>", "<!-- -->", "<a><!x></a>"} {
		if err := new(scanner).feed([]byte(bad), nil, func([]byte) {}); !errors.Is(err, errBroken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLookInside(t *testing.T) {
	raw := []byte(`<message xfrom='no' from="a@b/c" id='1>2'><body x='y'>hello</body><bodyx>no</bodyx></message>`)
	if n := string(name(raw)); n != "message" {
		t.Error(n)
	}
	for k, want := range map[string]string{"from": "a@b/c", "id": "1>2", "xfrom": "no", "to": ""} {
		if v := string(attr(raw, k)); v != want {
			t.Errorf("%s: %q", k, v)
		}
	}
	if el := elemOf(raw); string(el.from) != "a@b/c" || string(el.id) != "1>2" || el.to != nil || !bytes.HasPrefix(el.inner, []byte("<body")) {
		t.Errorf("%q", el)
	}
	if v := string(text(raw, "body")); v != "hello" {
		t.Errorf("%q", v)
	}
	if v := text(raw, "ody"); v != nil {
		t.Errorf("%q", v)
	}
}

// What comes must not hang the scanner, nor depend on how it was cut.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("<a b='c'><d/>e</a><f/>"), uint8(3))
	f.Add([]byte("<stream:stream a='b'><a>]]></a></stream:stream>"), uint8(1))
	f.Add([]byte("<a b=\"'>\"/> <?xml?>"), uint8(7))
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		var whole, parts []string
		var a, b scanner
		err1 := a.feed(in, nil, func(raw []byte) { whole = append(whole, string(raw)); elemOf(raw); attr(raw, "to"); text(raw, "body") })
		var err2 error
		n := int(cut)%16 + 1
		for rest := in; len(rest) > 0 && err2 == nil; {
			k := min(n, len(rest))
			err2 = b.feed(rest[:k], nil, func(raw []byte) { parts = append(parts, string(raw)) })
			rest = rest[k:]
		}
		if (err1 == nil) != (err2 == nil) || !slices.Equal(whole, parts) {
			t.Errorf("%q %v, in pieces %q %v", whole, err1, parts, err2)
		}
	})
}

func TestWindow(t *testing.T) {
	var v window
	for _, s := range []struct {
		n    uint32
		want string
	}{{0, ""}, {1, ""}, {1, "duplicate"}, {4, ""}, {3, "order"}, {3, "duplicate"}, {2, "order"}, {200, ""}, {4, "duplicate"}, {199, "order"}, {500, ""}, {499, "order"}} {
		if got := v.note(s.n); got != s.want {
			t.Errorf("%d: %q, want %q", s.n, got, s.want)
		}
	}
}

// The frames of a server come in any pieces, with pings between.
func TestWebSocketFrames(t *testing.T) {
	long := strings.Repeat("x", 70000)
	var in bytes.Buffer
	in.Write([]byte{0x81, 5})
	in.WriteString("<a/> ")
	in.Write([]byte{0x89, 3, 'p', 'n', 'g'})
	in.Write([]byte{0x81, 126, 1, 0})
	in.WriteString(long[:256])
	in.Write([]byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70})
	in.WriteString(long)
	for _, r := range []io.Reader{bytes.NewReader(in.Bytes()), iotest.OneByteReader(bytes.NewReader(in.Bytes()))} {
		w := &wsConn{upper: nopConn{r}, buf: make([]byte, 100)}
		got, err := io.ReadAll(w)
		if err != nil || string(got) != "<a/> "+long[:256]+long {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

type nopConn struct{ io.Reader }

func (nopConn) Write(p []byte) (int, error) { return len(p), nil }
func (nopConn) Close() error                { return nil }

// RFC 5802 §5 and RFC 7677 §3 have the examples; the proof of both must come out for the given nonces.
func TestSCRAM(t *testing.T) {
	var k keyCache
	s := scram{mechanism: "SCRAM-SHA-256", user: "user", password: "pencil", cache: &k, bare: "n=user,r=rOprNGfwEbeRWgbNEkqO"}
	final, err := s.final("cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQwOTY=")
	if err != nil || !strings.HasSuffix(decode(t, final), ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=") {
		t.Error(final, err)
	}
	if err := s.verify("dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ=="); err != nil {
		t.Error(err)
	}
	if s.verify("dj1ubw==") == nil {
		t.Error("a wrong proof is taken")
	}
	for _, bad := range []string{"", "!", "cj14", "cj14LHM9WA==,i=x"} {
		if _, err := s.final(bad); err == nil {
			t.Errorf("%q taken", bad)
		}
	}
}

func decode(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const testAccounts = 6

// startKonzil runs the program with a few accounts until the test ends.
func startKonzil(t *testing.T) *measure.Target {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program")
	}
	target, err := peers.Start(t.Context(), "konzil", peers.Options{Accounts: testAccounts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.Stop(); err != nil {
			t.Error(err)
		}
	})
	return target
}

type lossy struct{ lose, corrupt bool }

func (f lossy) Lose() bool { return f.lose }
func (f lossy) Corrupt(b []byte) bool {
	if f.corrupt {
		b[len(b)-1] ^= 1
	}
	return f.corrupt
}

// Each load, small, against the program as a process.
func TestLoads(t *testing.T) {
	tgt := startKonzil(t)
	for _, c := range []struct {
		name string
		cfg  Config
		lost bool // deliveries must be missing
		bad  bool // payloads must be wrong
	}{
		{name: "route", cfg: Config{Scenario: "route", Transport: "tcp", Scale: 3}},
		{name: "route tls paced", cfg: Config{Scenario: "route", Transport: "tls", Scale: 2, Rate: 500, Mechanism: "SCRAM-SHA-256"}},
		{name: "route ws", cfg: Config{Scenario: "route", Transport: "ws", Scale: 2}},
		{name: "route acked", cfg: Config{Scenario: "route", Transport: "tls", Scale: 2, SM: true}},
		{name: "route loss", cfg: Config{Scenario: "route", Transport: "tls", Scale: 2, Fault: lossy{lose: true}}, lost: true},
		{name: "route corruption", cfg: Config{Scenario: "route", Transport: "tls", Scale: 2, Fault: lossy{corrupt: true}}, bad: true},
		{name: "muc", cfg: Config{Scenario: "muc", Transport: "tcp", Scale: 5, Speakers: 2}},
		{name: "muc ws", cfg: Config{Scenario: "muc", Transport: "ws", Scale: 3, Rooms: 2}},
		{name: "join", cfg: Config{Scenario: "join", Transport: "tls", Scale: 6}},
		{name: "presence", cfg: Config{Scenario: "presence", Transport: "tls", Scale: 3, Hubs: 2}},
		{name: "mam", cfg: Config{Scenario: "mam", Transport: "tls", Scale: 2}},
		{name: "login", cfg: Config{Scenario: "login", Transport: "tcp", Scale: 4, At: 2}},
		{name: "idle", cfg: Config{Scenario: "idle", Transport: "tls", Scale: 5, Settle: time.Millisecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, tgt, c.cfg, c.lost, c.bad)
		})
	}
}

// play runs a load for a moment. What cfg does not say is small.
func play(t *testing.T, tgt *measure.Target, cfg Config, lost, bad bool) {
	t.Helper()
	d := DefaultConfig(cfg.Scenario)
	cfg.Password, cfg.Body, cfg.Under, cfg.Hubs, cfg.Drain = d.Password, d.Body, d.Under, max(cfg.Hubs, 1), 300*time.Millisecond
	cfg.Rooms, cfg.Speakers, cfg.At = max(cfg.Rooms, 1), max(cfg.Speakers, 1), max(cfg.At, 2)
	if cfg.Mechanism == "" {
		cfg.Mechanism = d.Mechanism
	}
	if !lost {
		cfg.Drain = 10 * time.Second
	}
	l, err := New(cfg, tgt, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := l.Prepare(ctx, func(string) {}); errors.Is(err, ErrAbsent) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	s, err := l.Measure(ctx, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if s.Sent == 0 || s.Expected == 0 || (s.Delivered < s.Expected) != lost || s.Wrong["payload"] > 0 != bad || len(s.Wrong) > 0 && !bad {
		t.Errorf("sent %d, expected %d, delivered %d, wrong %v, notes %v", s.Sent, s.Expected, s.Delivered, s.Wrong, s.Notes)
	}
	if !lost && (s.Delivered != s.Verified || s.Elapsed <= 0) {
		t.Errorf("verified %d of %d in %v", s.Verified, s.Delivered, s.Elapsed)
	}
}

// Messages from one server to another, which find each other by their names.
func TestPair(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tgt, err := peers.StartPair(ctx, "konzil", peers.Options{Accounts: 3})
	if errors.Is(err, peers.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tgt.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if len(tgt.PIDs) != 2 || tgt.Domain == tgt.Other.Domain {
		t.Errorf("%+v", tgt)
	}
	play(t, tgt, Config{Scenario: "s2s", Transport: "tls", Scale: 3}, false, false)
}

func TestConfig(t *testing.T) {
	tgt := &measure.Target{Addr: map[string]string{"xmpp": "127.0.0.1:1"}, Domain: "localhost"}
	for _, change := range []func(*Config){
		func(c *Config) { c.Scenario = "x" }, func(c *Config) { c.Transport = "udp" }, func(c *Config) { c.Mechanism = "PLAIN" }, func(c *Config) { c.Scale = 0 },
		func(c *Config) { c.Body = 1 }, func(c *Config) { c.Under = ring }, func(c *Config) { c.Transport = "tls" },
	} {
		c := DefaultConfig("route")
		change(&c)
		if _, err := New(c, tgt, 0); err == nil {
			t.Errorf("%+v taken", c)
		}
	}
}
