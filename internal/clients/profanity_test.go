package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"konzil/internal/certs/certtest"
)

// terminal is a profanity that runs in a tmux of its own.
type terminal struct {
	t      *testing.T
	socket string
	log    string // profanity's log, at level DEBUG
}

func needProfanity(t *testing.T) {
	t.Helper()
	for file, pkg := range map[string]string{"/usr/bin/profanity": "profanity", "/usr/bin/tmux": "tmux"} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("Debian package %s is not installed (%s is missing): run `make deps` as root", pkg, file)
		}
	}
}

// startProfanity lets user log in over STARTTLS at port, trusting the authorities of the PEM file trust.
func startProfanity(t *testing.T, user, trust string, port int) *terminal {
	t.Helper()
	home := t.TempDir()
	account := fmt.Sprintf("[%[1]s]\nenabled=true\njid=%[1]s@%[2]s\nresource=prof\npassword=%[3]s\nserver=127.0.0.1\nport=%[4]d\ntls.policy=force\nmuc.service=conference.%[2]s\nmuc.nick=%[1]s\n",
		user, domain, password(user), port)
	for file, text := range map[string]string{"data/profanity/accounts": account, "config/profanity/profrc": "[ui]\nsplash=false\n"} {
		file = filepath.Join(home, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	term := &terminal{t: t, socket: filepath.Join(home, "tmux"), log: filepath.Join(home, "log")}
	cmd := exec.Command("tmux", "-S", term.socket, "-f", "/dev/null", "-u", "new-session", "-d", "-x", "150", "-y", "45",
		"profanity -a "+user+" -l DEBUG -f '"+term.log+"'")
	// libstrophe takes its authorities from OpenSSL's defaults, which these variables set
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, "config"), "XDG_DATA_HOME="+filepath.Join(home, "data"),
		"SSL_CERT_FILE="+trust, "SSL_CERT_DIR="+home, "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TERM=xterm", "TMUX=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(term.log)
			t.Logf("screen of %s:\n%s\nlog:\n%s", user, term.screen(), log)
		}
		_ = exec.Command("tmux", "-S", term.socket, "kill-server").Run()
	})
	return term
}

// screen is what the user sees, without empty lines.
func (term *terminal) screen() string {
	out, err := exec.Command("tmux", "-S", term.socket, "capture-pane", "-p").CombinedOutput()
	if err != nil {
		return fmt.Sprintf("(no terminal: %v: %s)", err, out)
	}
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	return strings.Join(lines, "\n")
}

// enter types a line.
func (term *terminal) enter(line string) {
	term.t.Helper()
	for _, keys := range [][]string{{"-l", "--", line}, {"Enter"}} {
		if out, err := exec.Command("tmux", append([]string{"-S", term.socket, "send-keys"}, keys...)...).CombinedOutput(); err != nil {
			term.t.Fatalf("typing %q: %v\n%s", line, err, out)
		}
	}
}

// sees waits until one of the texts is on the screen, and gives it.
func (term *terminal) sees(texts ...string) string {
	term.t.Helper()
	return term.eventually(term.screen, texts)
}

// logs waits until the text is in profanity's log.
func (term *terminal) logs(text string) {
	term.t.Helper()
	term.eventually(func() string { b, _ := os.ReadFile(term.log); return string(b) }, []string{text})
}

func (term *terminal) eventually(where func() string, texts []string) string {
	term.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		text := where()
		for _, want := range texts {
			if strings.Contains(text, want) {
				return want
			}
		}
		if time.Now().After(deadline) {
			term.t.Fatalf("profanity did not show any of %q within %v", texts, patience)
		}
		<-tick.C
	}
}

func TestProfanity(t *testing.T) {
	needSlixmpp(t)
	needProfanity(t)
	grace := online(t, options("grace"))
	frank := startProfanity(t, "frank", shared.ca, shared.port)
	frank.logs("Certificate verification passed")
	frank.logs("SASL SCRAM-SHA-512 auth successful")
	frank.sees("[online]")

	frank.enter("/msg grace@" + domain + " hello grace, ünïcode & <tags>")
	e := grace.gets("hello grace, ünïcode & <tags>")
	if e.Type != "chat" || e.Sender != "frank@"+domain+"/prof" {
		t.Errorf("grace got %+v", e)
	}
	grace.send(e.Sender, "hello frank & co")
	frank.sees("hello frank & co")

	room := newRoom()
	grace.create(room, "Grace")
	frank.enter("/join " + room)
	frank.sees("You have joined the room as frank")
	grace.any("see frank enter", func(e event) bool { return e.Event == "occupant" && e.Sender == room+"/frank" })
	frank.enter("hello room")
	if e := grace.gets("hello room"); e.Type != "groupchat" || e.Sender != room+"/frank" {
		t.Errorf("grace got %+v", e)
	}
	grace.do(map[string]any{"cmd": "send", "to": room, "type": "groupchat", "body": "welcome frank"})
	frank.sees("Grace: welcome frank")
	frank.enter("/close")
	grace.any("see frank leave", func(e event) bool {
		return e.Event == "occupant" && e.Sender == room+"/frank" && e.Type == "unavailable"
	})

	// a room of frank's own
	room = newRoom()
	frank.enter("/join " + room)
	frank.sees("Room locked, requires configuration.")
	frank.enter("/room accept")
	frank.sees("Room unlocked.")
	grace.join(room, "Grace")
	frank.sees("Grace") // in the panel of occupants

	frank.enter("/quit")
	grace.any("see frank go", func(e event) bool {
		return e.Event == "occupant" && e.Sender == room+"/frank" && e.Type == "unavailable"
	})
}

// TestProfanityUntrusted shows that TestProfanity really checks the certificate.
func TestProfanityUntrusted(t *testing.T) {
	needProfanity(t)
	other := filepath.Join(t.TempDir(), "other.pem")
	if err := certtest.New().WriteCertificate(other); err != nil {
		t.Fatal(err)
	}
	frank := startProfanity(t, "frank", other, shared.port)
	if frank.sees("TLS certificate verification failed", "[online]") == "[online]" {
		t.Fatal("profanity is online although it does not know the authority")
	}
}

// TestProfanityOMEMO has two people encrypt who never did before (XEP-0384): their first keys and lists of devices, got by each other without a
// subscription.
func TestProfanityOMEMO(t *testing.T) {
	needProfanity(t)
	kim, lee := startProfanity(t, "kim", shared.ca, shared.port), startProfanity(t, "lee", shared.ca, shared.port)
	for name, term := range map[string]*terminal{"kim": kim, "lee": lee} {
		term.sees("[online]")
		term.enter("/omemo trustmode blind")
		term.enter("/omemo gen")
		term.logs("[OMEMO] bundle published successfully")
		term.logs("Starting device session for " + name + "@" + domain)
	}
	kim.enter("/msg lee@" + domain)
	kim.enter("/omemo start")
	kim.logs("[OMEMO] Trust lee@" + domain)
	kim.enter("under the rose")
	lee.sees("chat message")
	lee.enter("/win 2")
	lee.sees("under the rose")
	lee.logs("<encrypted")
	b, err := os.ReadFile(lee.log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "<body>under the rose") {
		t.Error("it was sent in the open")
	}
}
