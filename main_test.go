package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/conf"
	"konzil/internal/proctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings writes a configuration with kernel-chosen free ports and a data folder of its own, and gives the file.
func settings(t testing.TB, more string) string {
	t.Helper()
	dir, p := t.TempDir(), proctest.Ports(t, 8)
	text := fmt.Sprintf("data: %s/data\nlisten: [127.0.0.1]\nhttp: {port: %d}\nxmpp: {port: %d, tls_port: %d, federation: {port: %d, tls_port: %d}}\nmedia: {port: %d, tcp: false}\nproxy: {port: %d}\nturn: {port: %d, tls_port: 0}\nlog: {level: warn}\n%s",
		dir, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], more)
	file := filepath.Join(dir, "konzil.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// ready is an output that tells when the program says so.
type ready struct {
	bytes.Buffer
	said chan struct{}
}

func (r *ready) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("ready")) {
		close(r.said)
	}
	return r.Buffer.Write(b)
}

// readyIn is how long a start may take: README promises a second, which takes 0.1 s here; other tests may keep the machine busy.
const readyIn = 5 * time.Second

func TestStartAndStop(t *testing.T) {
	file := settings(t, "")
	for round := range 2 { // the second start finds data of the first
		ctx, cancel := context.WithCancel(context.Background())
		out, errOut, code := &ready{said: make(chan struct{})}, &bytes.Buffer{}, make(chan int)
		begin := time.Now()
		go func() { code <- run(ctx, []string{"-config", file}, nil, out, errOut) }()
		select {
		case <-out.said:
		case c := <-code:
			t.Fatalf("round %d: exit %d: %s", round, c, errOut)
		case <-time.After(4 * readyIn):
			t.Fatal("never ready")
		}
		if took := time.Since(begin); took > readyIn {
			t.Errorf("ready after %v", took)
		}
		cancel()
		if c := <-code; c != 0 {
			t.Fatalf("exit %d: %s", c, errOut)
		}
		if !strings.Contains(out.String(), "https://localhost:") {
			t.Errorf("no link in\n%s", out.String())
		}
	}
	info, err := os.Stat(filepath.Join(filepath.Dir(file), "data"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: %v %v", info, err)
	}
}

// TestSTUN: the media socket asks a STUN server, here our own, and its answer through no NAT makes no candidate.
func TestSTUN(t *testing.T) {
	file := settings(t, "")
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stun := fmt.Sprintf("media: {stun: ['127.0.0.1:%d'], ", c.TURN.Port)
	if err := os.WriteFile(file, bytes.Replace(text, []byte("media: {"), []byte(stun), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = loadConfig(file); err != nil {
		t.Fatal(err)
	}
	s := &server{cfg: c, log: slog.New(slog.DiscardHandler)}
	defer s.stop()
	for _, open := range []func(context.Context) error{s.openData, s.openMedia, s.openTURN} {
		if err := open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); s.sfu.Counters()["nat_answered"] == 0; <-tick.C {
		if time.Since(begin) > 4*readyIn {
			t.Fatalf("no answer: %v", s.sfu.Counters())
		}
	}
	if n := s.sfu.Counters()["nat_mapped"]; n != 0 {
		t.Errorf("%d mappings without NAT", n)
	}
}

// TestREADME: what README shows of a first start, without a configuration, is what the program prints then, ports included.
func TestREADME(t *testing.T) {
	c := DefaultConfig()
	c.Data = t.TempDir()
	s := &server{cfg: c, log: slog.New(slog.DiscardHandler)}
	defer s.stop()
	if err := s.openData(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.announce(t.Context(), true, &out); err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`(?m)password \S+$`).ReplaceAllString(out.String(), "password ...")
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	ports := fmt.Sprintf("%d and %d TCP (XMPP), %d TCP (HTTPS), %d UDP (media), %d UDP and TCP (TURN)", c.XMPP.Port, c.XMPP.TLSPort, c.HTTP.Port, c.Media.Port, c.TURN.Port)
	for _, want := range []string{"```\n" + shown + "```\n", ports} {
		if !strings.Contains(string(readme), want) {
			t.Errorf("README.md lacks\n%s", want)
		}
	}
}

// TestOperatorErrors: one line that says what is wrong and what to do, and exit 1.
func TestOperatorErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	takenUDP, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer takenUDP.Close()
	udp := takenUDP.LocalAddr().(*net.UDPAddr).Port
	dir := t.TempDir()
	key := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(key, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		replace [2]string // in the settings, by line
		want    []string
	}{
		"unknown key":     {[2]string{"log:", "lag: {level: warn}"}, []string{"konzil.yaml", "line 8", "lag", "log"}},
		"wrong type":      {[2]string{"http:", "http: {port: many}"}, []string{"line 3", "port"}},
		"no such port":    {[2]string{"http:", "http: {port: 70000}"}, []string{"http.port", "70000"}},
		"too small":       {[2]string{"xmpp:", "xmpp: {sessions_per_user: 0}"}, []string{"xmpp.sessions_per_user", "at least 1"}},
		"no tokens":       {[2]string{"log:", "meetings: {require_token: true}"}, []string{"meetings.require_token", "tokens.secret"}},
		"bad domain":      {[2]string{"log:", "domain: 'a b'"}, []string{"domain"}},
		"http port taken": {[2]string{"http:", fmt.Sprintf("http: {port: %d}", port)}, []string{fmt.Sprint(port), "in use", "http.port"}},
		"bad admin":       {[2]string{"http:", "http: {admin: [9090]}"}, []string{"http.admin", "9090"}},
		"admin taken":     {[2]string{"http:", fmt.Sprintf("http: {port: 0, admin: ['127.0.0.1:%d']}", port)}, []string{fmt.Sprint(port), "in use", "http.admin"}},
		"xmpp port taken": {[2]string{"xmpp:", fmt.Sprintf("xmpp: {port: %d, tls_port: 0}", port)}, []string{fmt.Sprint(port), "in use", "xmpp.port"}},
		"media taken":     {[2]string{"media:", fmt.Sprintf("media: {port: %d}", udp)}, []string{fmt.Sprint(udp), "in use", "media.port"}},
		"turn taken":      {[2]string{"turn:", fmt.Sprintf("turn: {port: %d}", udp)}, []string{fmt.Sprint(udp), "in use", "turn.port"}},
		"unreadable key":  {[2]string{"log:", fmt.Sprintf("tls: {cert: %s, key: %s}", key, key)}, []string{key, "tls.cert"}},
		"no such cert":    {[2]string{"log:", "tls: {cert: /nowhere/c.pem, key: /nowhere/k.pem}"}, []string{"/nowhere/c.pem", "tls.cert"}},
		"half a pair":     {[2]string{"log:", "tls: {cert: /nowhere/c.pem}"}, []string{"tls: cert and key"}},
		"data not ours":   {[2]string{"data:", "data: /proc/nowhere"}, []string{"/proc/nowhere"}},
		"no relay range":  {[2]string{"turn:", "turn: {relay_port_min: 5}"}, []string{"relay_port_min"}},
		"foreign address": {[2]string{"listen:", "listen: [192.0.2.77]"}, []string{"192.0.2.77"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := settings(t, "")
			b, _ := os.ReadFile(file)
			lines := strings.Split(string(b), "\n")
			for i, l := range lines {
				if strings.HasPrefix(l, c.replace[0]) {
					lines[i] = c.replace[1]
				}
			}
			os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600)
			var out, errOut bytes.Buffer
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // with the race detector on a busy machine a new database takes ten seconds
			defer cancel()
			if code := run(ctx, []string{"-config", file}, nil, &out, &errOut); code != 1 {
				t.Fatalf("exit %d, said %s %s", code, &out, &errOut)
			}
			msg := strings.TrimSpace(errOut.String())
			t.Log(msg)
			if strings.Contains(msg, "\n") {
				t.Errorf("more than one line:\n%s", msg)
			}
			for _, w := range c.want {
				if !strings.Contains(msg, w) {
					t.Errorf("%q not in %q", w, msg)
				}
			}
		})
	}
}

// TestConfigDocs: docs/config.md is `konzil config`, and what that prints is a configuration file with the defaults.
func TestConfigDocs(t *testing.T) {
	text := conf.Describe(DefaultConfig())
	var c Config
	if err := conf.Load([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if got, want := conf.Describe(c), text; got != want {
		t.Errorf("the printed configuration is not the default:\n%s", got)
	}
	doc := "# Settings\n\n`konzil config` prints this; save it, change it, and run `konzil -config FILE`.\n\n```yaml\n" + text + "```\n"
	const file = "docs/config.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, _ := os.ReadFile(file); string(old) != doc {
		t.Errorf("%s is stale: UPDATE=1 go test -run TestConfigDocs .", file)
	}
}

func TestUserCommand(t *testing.T) {
	file := settings(t, "")
	do := func(in string, args ...string) (string, int) {
		var out, errOut bytes.Buffer
		code := run(context.Background(), append([]string{"user", "-config", file}, args...), strings.NewReader(in), &out, &errOut)
		return out.String() + errOut.String(), code
	}
	if out, code := do("correct horse\n", "add", "Carol", "carol@example.org"); code != 0 {
		t.Fatal(out)
	}
	if out, code := do("x\n", "add", "carol"); code != 1 || !strings.Contains(out, "carol") {
		t.Errorf("a second carol: %d %s", code, out)
	}
	if out, code := do("", "disable", "carol"); code != 0 {
		t.Error(out)
	}
	if out, _ := do("", "list"); out != "carol@localhost disabled carol@example.org\n" {
		t.Errorf("list: %q", out)
	}
	if out, code := do("", "delete", "carol"); code != 0 {
		t.Error(out)
	}
	if _, code := do("", "delete", "carol"); code != 1 {
		t.Error("deleted twice")
	}
	if out, code := do("# people\n\ndora some words\n emil x\n", "import"); code != 0 || out != "2 accounts imported\n" {
		t.Errorf("import: %d %s", code, out)
	}
	for _, bad := range []string{"fred\n", "dora again\n", "gina SCRAM-SHA-1$1\n"} {
		if out, code := do(bad, "import"); code != 1 {
			t.Errorf("import of %q: %s", bad, out)
		}
	}
	if out, _ := do("", "list"); out != "dora@localhost\nemil@localhost\n" {
		t.Errorf("list: %q", out)
	}
	if _, code := do("", "passwd"); code != 1 {
		t.Error("passwd without a name")
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args, command, file, rest string
		fails                     bool
	}{
		{"", "serve", "", "", false},
		{"-config k.yaml", "serve", "k.yaml", "", false},
		{"-config k.yaml user list", "user", "k.yaml", "list", false},
		{"user -config k.yaml add ann", "user", "k.yaml", "add ann", false},
		{"check example.org", "check", "", "example.org", false},
		{"-config k.yaml serve user", "", "", "", true},
		{"version 2", "", "", "", true},
		{"user -colour", "", "", "", true},
	} {
		var errOut strings.Builder
		command, file, rest, err := commandLine(strings.Fields(c.args), &errOut)
		if (err != nil) != c.fails || (errOut.Len() > 0) != c.fails {
			t.Errorf("konzil %s: %v, said %q", c.args, err, errOut.String())
		} else if !c.fails && (command != c.command || file != c.file || strings.Join(rest, " ") != c.rest) {
			t.Errorf("konzil %s: %s, file %q, then %q", c.args, command, file, rest)
		}
	}
}
