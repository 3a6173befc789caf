package logfile

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShorten(t *testing.T) {
	for in, want := range map[string]string{ // without the blanks that fill up
		"from=192.0.2.17:51234 user=a\n":              "from=192.0.2.x user=a\n",
		"192.0.2.1":                                   "192.0.2.x",
		"[2001:db8:1:2:3:4:5:6]:443 x":                "[2001:db8:1:2::x] x",
		`"from":"2001:db8::1","to":"fe80::1%eth0"}`:   `"from":"2001:db8::x","to":"fe80::x"}`,
		"dial tcp 198.51.100.7:5269: refused.\r\n":    "dial tcp 198.51.100.x: refused.\r\n",
		"of ::ffff:192.0.2.1, and 203.0.113.255.":     "of 192.0.2.x, and 203.0.113.x.",
		"alice@192.0.2.200/phone":                     "alice@192.0.2.x/phone",
		"time=2026-11-23T13:26:01.123Z v1.2.3.4":      "time=2026-11-23T13:26:01.123Z v1.2.3.4",
		"127.0.0.1:1 [::1]:2 0.0.0.0:3 :: localhost":  "127.0.0.1:1 [::1]:2 0.0.0.0:3 :: localhost",
		"AA:BB:CC:DD:EE:FF 1.2.3 dead:beef 1.2.3.4.5": "AA:BB:CC:DD:EE:FF 1.2.3 dead:beef 1.2.3.4.5",
		"192.0.2.x 2001:db8::x":                       "192.0.2.x 2001:db8::x",
	} {
		got := string(shorten([]byte(in)))
		body := strings.TrimRight(want, "\r\n")
		want = body + strings.Repeat(" ", len(in)-len(want)) + want[len(body):]
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzShorten: any address goes, nothing gets longer, and a second time changes nothing.
func FuzzShorten(f *testing.F) {
	f.Add([]byte("192.0.2.17 and [2001:db8::1]:5"), []byte{10, 1, 2, 3}, uint16(5))
	f.Add([]byte(""), []byte("0123456789abcdef"), uint16(0))
	f.Fuzz(func(t *testing.T, text, raw []byte, port uint16) {
		short := shorten(text)
		if len(short) != len(text) {
			t.Errorf("%q became %q", text, short)
		}
		if again := shorten(short); !bytes.Equal(again, short) {
			t.Errorf("%q, then %q", short, again)
		}
		a, ok := netip.AddrFromSlice(raw)
		if a = a.Unmap(); !ok || a.IsLoopback() || a.IsUnspecified() {
			return
		}
		for _, full := range []string{a.String(), a.StringExpanded(), netip.AddrPortFrom(a, port).String()} {
			line := "addr=" + full + " x\n"
			got := string(shorten([]byte(line)))
			if strings.Contains(got, full) || len(got) != len(line) || !strings.HasSuffix(got, "\n") || !strings.Contains(got, " x") {
				t.Errorf("%q became %q", line, got)
			}
		}
	})
}

// clock is a time that the test moves.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// logger writes lines with the clock's time.
func (c *clock) logger(f *File, json bool) *slog.Logger {
	o := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			a.Value = slog.TimeValue(c.Time)
		}
		return a
	}}
	if json {
		return slog.New(slog.NewJSONHandler(f, o))
	}
	return slog.New(slog.NewTextHandler(f, o))
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMasked: addresses are whole for at most the time, in the current file, those of earlier days and those of an earlier run.
func TestMasked(t *testing.T) {
	for _, json := range []bool{false, true} {
		t.Run(fmt.Sprint("json ", json), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a[b].log")
			c := &clock{time.Date(2026, 11, 23, 23, 30, 0, 0, time.UTC)}
			cfg := Config{Path: path, MaskAfter: time.Hour, Keep: 48 * time.Hour}
			f, err := open(cfg, t.Output(), c.now)
			if err != nil {
				t.Fatal(err)
			}
			log := c.logger(f, json)
			log.Info("login failed", "user", "alice", "address", "192.0.2.17:5000")
			c.Time = c.Add(40 * time.Minute) // the next day
			f.tend(c.Time)
			log.Info("login failed", "user", "bob", "address", "[2001:db8::5]:6000")
			earlier := path + ".2026-11-23"
			if s := read(t, earlier); !strings.Contains(s, "192.0.2.17:5000") {
				t.Fatalf("masked too early: %s", s)
			}
			c.Time = c.Add(19 * time.Minute)
			f.tend(c.Time)
			if s := read(t, earlier); strings.Contains(s, "192.0.2.17") || !strings.Contains(s, "192.0.2.x") || !strings.Contains(s, "alice") {
				t.Errorf("after 59 minutes: %s", s)
			}
			if s := read(t, path); !strings.Contains(s, "[2001:db8::5]:6000") {
				t.Errorf("after 19 minutes: %s", s)
			}
			go f.run()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, c.Time, c.Time); err != nil {
				t.Fatal(err)
			}
			c.Time = c.Add(time.Hour)
			if f, err = open(cfg, t.Output(), c.now); err != nil {
				t.Fatal(err)
			}
			f.tend(c.Time)
			if s := read(t, path); strings.Contains(s, "db8::5") || !strings.Contains(s, "[2001:db8::x]") {
				t.Errorf("after another start: %s", s)
			}
			if f.Counters()["failures_total"] != 0 {
				t.Error(f.Counters())
			}
			c.Time = c.AddDate(0, 0, 3)
			f.tend(c.Time)
			if _, err := os.Stat(earlier); !os.IsNotExist(err) {
				t.Errorf("kept for too long: %v", err)
			}
			if _, err := os.Stat(path + ".2026-11-24"); !os.IsNotExist(err) {
				t.Errorf("kept for too long: %v", err)
			}
			go f.run()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAtOnce: without a time addresses never get into the file, nor to standard error.
func TestAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var errOut bytes.Buffer
	f, err := Open(Config{Path: path, Keep: time.Hour}, &errOut)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(f, nil))
	log.Info("first", "address", "192.0.2.17:5000")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	log.Info("second", "address", "192.0.2.17:5000")
	if s := read(t, path); !strings.Contains(s, "first") || strings.Contains(s, "192.0.2.17") {
		t.Error(s)
	}
	if s := errOut.String(); !strings.Contains(s, "second") || strings.Contains(s, "192.0.2.17") {
		t.Error(s)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
}

// TestTooMuch: a day's file has an end.
func TestTooMuch(t *testing.T) {
	f, err := open(Config{Path: filepath.Join(t.TempDir(), "log")}, t.Output(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer f.file.Close()
	f.size = maxDay - 5
	for range 2 {
		if _, err := f.Write([]byte("12345")); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.Counters()["dropped_total"]; n != 1 {
		t.Errorf("%d lines dropped", n)
	}
	if s := read(t, f.cfg.Path); s != "12345" {
		t.Errorf("%q", s)
	}
}

// TestSameDay: a file of the day that is there already keeps what it has.
func TestSameDay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	c := &clock{time.Date(2026, 11, 24, 1, 0, 0, 0, time.UTC)}
	for name, text := range map[string]string{path: "new\n", path + ".2026-11-23": "old\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(path, c.Add(-2*time.Hour), c.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	f, err := open(Config{Path: path, MaskAfter: time.Hour}, t.Output(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	defer f.file.Close()
	if s := read(t, path+".2026-11-23"); s != "old\nnew\n" {
		t.Errorf("%q", s)
	}
	if s := read(t, path); s != "" {
		t.Errorf("%q", s)
	}
}
