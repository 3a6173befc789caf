package clients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"konzil/internal/certs/certtest"
	"konzil/internal/proctest"
)

// The Debian paths of what is driven; `make deps` installs it.
const (
	python  = "/usr/bin/python3"
	slixmpp = "/usr/lib/python3/dist-packages/slixmpp"
)

// patience is how long a client may take for one step, on a busy machine.
const patience = 20 * time.Second

func needSlixmpp(t *testing.T) {
	t.Helper()
	for _, file := range []string{python, slixmpp} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("Debian package python3-slixmpp is not installed (%s is missing): run `make deps` as root", file)
		}
	}
}

// event is what chat.py reports; which fields are set depends on Event.
type event struct {
	Event     string            `json:"event,omitempty"`
	Cmd       string            `json:"cmd,omitempty"`
	N         int               `json:"n,omitempty"` // number of the command that this is the result of
	Condition string            `json:"condition,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	JID       string            `json:"jid,omitempty"`
	Mech      string            `json:"mech,omitempty"`
	TLS       string            `json:"tls,omitempty"`
	Verified  bool              `json:"verified,omitempty"`
	ID        string            `json:"id,omitempty"`
	Resume    bool              `json:"resume,omitempty"`
	Sender    string            `json:"sender,omitempty"`
	Type      string            `json:"type,omitempty"`
	Body      string            `json:"body,omitempty"`
	Delayed   bool              `json:"delayed,omitempty"`
	Status    string            `json:"status,omitempty"`
	Items     map[string]string `json:"items,omitempty"`
	Result    json.RawMessage   `json:"result,omitempty"`
}

// chat is a running chat.py. Its methods are for the test's goroutine.
type chat struct {
	t      *testing.T
	name   string
	in     io.WriteCloser
	events chan event

	seen     []event // all so far, in order
	read     int     // how many of seen the test has waited through
	commands int     // how many were given
}

type chatOptions struct {
	JID      string `json:"jid"`
	Password string `json:"password"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	CA       string `json:"ca"`
	TLS      string `json:"tls"` // "starttls" or "direct"
	Mech     string `json:"mech,omitempty"`
	TLS12    bool   `json:"tls12,omitempty"` // no newer version
	PEP      bool   `json:"pep,omitempty"`   // wants to hear of avatars
	Files    bool   `json:"files,omitempty"` // shares files
}

// options are those of user over STARTTLS.
func options(user string) chatOptions {
	return chatOptions{JID: user + "@" + domain, Password: password(user), Host: "127.0.0.1", Port: shared.port, CA: shared.ca, TLS: "starttls"}
}

// startChat starts a client; it ends with the test.
func startChat(t *testing.T, o chatOptions) *chat {
	t.Helper()
	arg, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join("testdata", "chat.py"), string(arg))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs proctest.Log
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(o.JID, "@")
	c := &chat{t: t, name: name, in: in, events: make(chan event, 1000)}
	go func() {
		defer close(c.events)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e event
			// slixmpp prints lines of its own, such as None
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event != "" {
				c.events <- e
			}
		}
	}()
	t.Cleanup(func() {
		in.Close() // chat.py ends at the end of its commands
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		for range c.events {
		}
		_ = cmd.Wait()
		kill.Stop()
		if t.Failed() {
			for _, e := range c.seen {
				b, _ := json.Marshal(e)
				t.Logf("%s saw %s", c.name, b)
			}
			t.Logf("%s said\n%s", c.name, &errs)
		}
	})
	return c
}

// online starts a client of user and waits until it has logged in and has stream management.
func online(t *testing.T, o chatOptions) *chat {
	t.Helper()
	c := startChat(t, o)
	c.want("log in", func(e event) bool { return e.Event == "online" })
	c.do(map[string]any{"cmd": "roster"}) // from now on it gets roster pushes (RFC 6121 §2.1.6)
	c.available()
	return c
}

// available makes the client available and waits until the server has taken it so: it tells the client's own resource too (RFC 6121 §4.4.2).
func (c *chat) available() {
	c.t.Helper()
	c.do(map[string]any{"cmd": "presence"})
	c.any("become available", func(e event) bool {
		return e.Event == "presence" && e.Type == "available" && strings.HasPrefix(e.Sender, c.name+"@")
	})
}

// want waits for an event that ok accepts, after the last one that want returned.
func (c *chat) want(what string, ok func(event) bool) event {
	c.t.Helper()
	i := c.find(c.read, what, ok)
	c.read = i + 1
	return c.seen[i]
}

// any is want without regard to the order: it looks at everything seen so far, too.
func (c *chat) any(what string, ok func(event) bool) event {
	c.t.Helper()
	return c.seen[c.find(0, what, ok)]
}

// find gives the index in seen of the first event from i on that ok accepts; it waits for one.
func (c *chat) find(i int, what string, ok func(event) bool) int {
	c.t.Helper()
	deadline := time.After(patience)
	for ; ; i++ {
		for i >= len(c.seen) {
			select {
			case e, open := <-c.events:
				if !open {
					c.t.Fatalf("%s ended while it was to %s", c.name, what)
				}
				c.seen = append(c.seen, e)
			case <-deadline:
				c.t.Fatalf("%s did not %s within %v", c.name, what, patience)
			}
		}
		if ok(c.seen[i]) {
			return i
		}
	}
}

// start gives the client a command, and returns its number.
func (c *chat) start(cmd map[string]any) int {
	c.t.Helper()
	c.commands++
	cmd["n"] = c.commands
	b, err := json.Marshal(cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		c.t.Fatalf("%s is gone: %v", c.name, err)
	}
	return c.commands
}

// do gives a command and waits for its result.
func (c *chat) do(cmd map[string]any) json.RawMessage {
	c.t.Helper()
	n := c.start(cmd)
	e := c.any(fmt.Sprint(cmd), func(e event) bool { return e.N == n })
	if e.Event == "failed" {
		c.t.Fatalf("%s: %v failed with %s", c.name, cmd, e.Condition)
	}
	return e.Result
}

func (c *chat) send(to, body string) {
	c.t.Helper()
	c.do(map[string]any{"cmd": "send", "to": to, "body": body})
}

// gets waits for a message with that body.
func (c *chat) gets(body string) event {
	c.t.Helper()
	return c.any("get "+body, func(e event) bool { return e.Event == "message" && e.Body == body })
}

// bodies lists the bodies of messages of that type that begin with prefix, in order of arrival.
func (c *chat) bodies(typ, prefix string) []string {
	var out []string
	for _, e := range c.seen {
		if e.Event == "message" && e.Type == typ && strings.HasPrefix(e.Body, prefix) {
			out = append(out, e.Body)
		}
	}
	return out
}

// joined is the result of a join.
type joined struct {
	Codes     []int    `json:"codes"`
	Subject   string   `json:"subject"`
	Occupants []string `json:"occupants"`
	History   []string `json:"history"`
}

// newRoom gives the address of a room that no other test uses.
func newRoom() string { return fmt.Sprintf("room%d@conference.%s", rooms.Add(1), domain) }

var rooms atomic.Int64

func (c *chat) join(room, nick string) joined {
	c.t.Helper()
	var j joined
	if err := json.Unmarshal(c.do(map[string]any{"cmd": "join", "room": room, "nick": nick}), &j); err != nil {
		c.t.Fatal(err)
	}
	return j
}

// create makes a room and opens it for others.
func (c *chat) create(room, nick string) joined {
	c.t.Helper()
	j := c.join(room, nick)
	if !slices.Contains(j.Codes, 110) || !slices.Contains(j.Codes, 201) {
		c.t.Errorf("%s creates %s: %+v", c.name, room, j)
	}
	c.do(map[string]any{"cmd": "accept", "room": room})
	return j
}

func TestSlixmppLogin(t *testing.T) {
	needSlixmpp(t)
	for _, tc := range []struct {
		name, tls, mech string
		tls12           bool
		want            string
	}{
		{"its own choice", "starttls", "", false, "SCRAM-SHA-512"},
		{"SHA-1", "starttls", "SCRAM-SHA-1", false, "SCRAM-SHA-1"},
		{"SHA-256, direct TLS", "direct", "SCRAM-SHA-256", false, "SCRAM-SHA-256"},
		{"PLAIN", "starttls", "PLAIN", false, "PLAIN"},
		// slixmpp 1.8.3 knows tls-unique, which TLS 1.2 alone has: there it really binds the channel
		{"channel binding", "starttls", "", true, "SCRAM-SHA-512-PLUS"},
		{"channel binding, direct TLS, SHA-1", "direct", "SCRAM-SHA-1", true, "SCRAM-SHA-1-PLUS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := options("carol")
			o.Mech, o.TLS12 = tc.mech, tc.tls12
			if o.TLS = tc.tls; tc.tls == "direct" {
				o.Port = shared.tlsPort
			}
			c := startChat(t, o)
			e := c.want("log in", func(e event) bool { return e.Event == "online" || e.Event == "auth_given_up" })
			if !strings.HasPrefix(e.JID, "carol@"+domain+"/") || e.Mech != tc.want {
				t.Fatalf("logged in as %q with %q, wanted %s", e.JID, e.Mech, tc.want)
			}
			version := "TLSv1.3"
			if tc.tls12 {
				version = "TLSv1.2"
			}
			if !e.Verified || e.TLS != version {
				t.Errorf("certificate verified: %v, version %s", e.Verified, e.TLS)
			}
			c.do(map[string]any{"cmd": "ping", "to": domain})
			var info struct {
				Features []string `json:"features"`
			}
			if err := json.Unmarshal(c.do(map[string]any{"cmd": "disco", "to": domain}), &info); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(info.Features, "urn:xmpp:ping") || !slices.Contains(info.Features, "http://jabber.org/protocol/disco#info") {
				t.Errorf("features of the server: %v", info.Features)
			}
		})
	}
}

func TestSlixmppWrongPassword(t *testing.T) {
	needSlixmpp(t)
	o := options("alice")
	o.Password = "guess"
	c := startChat(t, o)
	if e := c.want("be refused", func(e event) bool { return e.Event == "auth_failed" || e.Event == "online" }); e.Condition != "not-authorized" {
		t.Fatalf("a wrong password gave %+v", e)
	}
}

func TestSlixmppUntrustedCertificate(t *testing.T) {
	needSlixmpp(t)
	o := options("alice")
	o.CA = "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(o.CA); err != nil {
		o.CA = filepath.Join(t.TempDir(), "other.pem")
		if err := certtest.New().WriteCertificate(o.CA); err != nil {
			t.Fatal(err)
		}
	}
	c := startChat(t, o)
	if e := c.want("refuse the certificate", func(e event) bool { return e.Event == "tls_failed" || e.Event == "online" }); e.Event == "online" {
		t.Fatal("logged in to a server whose authority it does not know: the other tests prove nothing about TLS")
	}
}

func TestSlixmppChat(t *testing.T) {
	needSlixmpp(t)
	alice, bob := online(t, options("alice")), online(t, options("bob"))
	alice.send("bob@"+domain, "hello bob <&> 'é' 🙂")
	if e := bob.gets("hello bob <&> 'é' 🙂"); e.Type != "chat" || !strings.HasPrefix(e.Sender, "alice@"+domain+"/") {
		t.Errorf("bob got %+v", e)
	} else {
		bob.send(e.Sender, "hello alice, to your full address")
	}
	alice.gets("hello alice, to your full address")
	// in order, none lost
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprintf("n%02d", i))
		alice.send("bob@"+domain, want[i])
	}
	bob.gets(want[49])
	if got := bob.bodies("chat", "n"); !slices.Equal(got, want) {
		t.Errorf("bob got %v", got)
	}
	// an account that does not exist
	alice.send("nobody@"+domain, "anyone?")
	alice.any("be told that nobody is not there", func(e event) bool {
		return e.Event == "message_error" && strings.HasPrefix(e.Sender, "nobody@") && e.Condition == "service-unavailable"
	})
}

func TestSlixmppRoster(t *testing.T) {
	needSlixmpp(t)
	dave, erin := online(t, options("dave")), online(t, options("erin"))
	dave.do(map[string]any{"cmd": "presence", "to": "erin@" + domain, "type": "subscribe"})
	erin.any("be asked", func(e event) bool {
		return e.Event == "presence" && e.Type == "subscribe" && e.Sender == "dave@"+domain
	})
	erin.do(map[string]any{"cmd": "presence", "to": "dave@" + domain, "type": "subscribed"})
	erin.do(map[string]any{"cmd": "presence", "to": "dave@" + domain, "type": "subscribe"})
	dave.any("be asked back", func(e event) bool {
		return e.Event == "presence" && e.Type == "subscribe" && e.Sender == "erin@"+domain
	})
	dave.do(map[string]any{"cmd": "presence", "to": "erin@" + domain, "type": "subscribed"})
	for c, other := range map[*chat]string{dave: "erin", erin: "dave"} {
		c.any("have the other in the roster", func(e event) bool { return e.Event == "roster" && e.Items[other+"@"+domain] == "both" })
	}
	erin.do(map[string]any{"cmd": "presence", "status": "in the garden"})
	dave.any("see the status", func(e event) bool {
		return e.Event == "presence" && strings.HasPrefix(e.Sender, "erin@") && e.Status == "in the garden"
	})
	erin.start(map[string]any{"cmd": "quit"})
	dave.want("see erin go", func(e event) bool {
		return e.Event == "presence" && e.Type == "unavailable" && strings.HasPrefix(e.Sender, "erin@")
	})
	dave.do(map[string]any{"cmd": "roster"})
	dave.any("get the roster", func(e event) bool { return e.Event == "roster" && e.Items["erin@"+domain] == "both" })
	dave.do(map[string]any{"cmd": "forget", "to": "erin@" + domain})
	dave.any("have erin no more", func(e event) bool { return e.Event == "roster" && e.Items["erin@"+domain] == "remove" })
}

func TestSlixmppRoom(t *testing.T) {
	needSlixmpp(t)
	room := newRoom()
	alice, bob := online(t, options("alice")), online(t, options("bob"))
	alice.create(room, "Alice")
	for i := range 3 {
		alice.do(map[string]any{"cmd": "send", "to": room, "type": "groupchat", "body": fmt.Sprintf("early %d", i)})
	}
	alice.gets("early 2")
	j := bob.join(room, "Bob")
	if !slices.Contains(j.Codes, 110) || slices.Contains(j.Codes, 201) || !slices.Contains(j.Occupants, "Alice") {
		t.Errorf("bob joins: %+v", j)
	}
	if !slices.Equal(j.History, []string{"early 0", "early 1", "early 2"}) {
		t.Errorf("history of the newcomer: %v", j.History)
	}
	alice.any("see bob enter", func(e event) bool { return e.Event == "occupant" && e.Sender == room+"/Bob" && e.Type == "available" })
	bob.do(map[string]any{"cmd": "send", "to": room, "type": "groupchat", "body": "hi all"})
	for _, c := range []*chat{alice, bob} {
		if e := c.gets("hi all"); e.Sender != room+"/Bob" || e.Type != "groupchat" || e.Delayed {
			t.Errorf("%s got %+v", c.name, e)
		}
	}
	alice.do(map[string]any{"cmd": "send", "to": room + "/Bob", "body": "just us"})
	if e := bob.gets("just us"); e.Sender != room+"/Alice" || e.Type != "chat" {
		t.Errorf("private message: %+v", e)
	}
	bob.do(map[string]any{"cmd": "leave", "room": room, "nick": "Bob"})
	alice.any("see bob leave", func(e event) bool { return e.Event == "occupant" && e.Sender == room+"/Bob" && e.Type == "unavailable" })
	if n := len(alice.bodies("groupchat", "hi all")); n != 1 {
		t.Errorf("alice got bob's line %d times", n)
	}
	// the nick of somebody else (XEP-0045 §7.2.8)
	n := bob.start(map[string]any{"cmd": "join", "room": room, "nick": "Alice"})
	if e := bob.any("be refused", func(e event) bool { return e.Event == "presence_error" || e.N == n }); e.Condition != "conflict" {
		t.Errorf("a taken nick gave %+v", e)
	}
}

// TestSlixmppResume breaks alice's connection four times while both sides write: each message must arrive once and in order.
func TestSlixmppResume(t *testing.T) {
	needSlixmpp(t)
	room := newRoom()
	p := proctest.StartProxy(t, shared.addr())
	o := options("alice")
	o.Port = p.Port()
	alice, bob := startChat(t, o), online(t, options("bob"))
	alice.want("log in", func(e event) bool { return e.Event == "online" })
	alice.any("have a resumable stream", func(e event) bool { return e.Event == "sm" && e.ID != "" && e.Resume })
	alice.available()
	jid := alice.seen[slices.IndexFunc(alice.seen, func(e event) bool { return e.Event == "online" })].JID
	alice.create(room, "Alice")
	bob.join(room, "Bob")

	run, _, _ := strings.Cut(room, "@") // what is left over of an earlier run is none of ours
	var direct, group, back []string
	for round := range 4 {
		name := func(kind string, i int) string { return fmt.Sprintf("%s %s %d.%d", kind, run, round, i) }
		// just before the break: some of these have not been acknowledged when it comes
		for i := range 3 {
			direct, back = append(direct, name("to-alice", i)), append(back, name("to-bob", i))
			alice.send("bob@"+domain, back[len(back)-1])
			bob.send(jid, direct[len(direct)-1])
		}
		p.Cut()
		alice.want("notice the break", func(e event) bool { return e.Event == "disconnected" })
		for i := 3; i < 6; i++ {
			direct, group = append(direct, name("to-alice", i)), append(group, name("to-room", i))
			bob.send(jid, direct[len(direct)-1])
			bob.do(map[string]any{"cmd": "send", "to": room, "type": "groupchat", "body": group[len(group)-1]})
		}
		bob.gets(group[len(group)-1]) // the room has it
		alice.start(map[string]any{"cmd": "reconnect"})
		if e := alice.want("resume", func(e event) bool { return e.Event == "resumed" || e.Event == "sm_failed" || e.Event == "online" }); e.Event != "resumed" {
			t.Fatalf("round %d: the stream was not resumed: %+v", round, e)
		}
		alice.gets(group[len(group)-1])
		direct, back = append(direct, name("to-alice", 9)), append(back, name("to-bob", 9))
		bob.send(jid, direct[len(direct)-1])
		alice.send("bob@"+domain, back[len(back)-1])
		alice.gets(direct[len(direct)-1])
		bob.gets(back[len(back)-1])
	}
	for _, w := range []struct {
		what      string
		got, want []string
	}{
		{"direct to alice", alice.bodies("chat", "to-alice "+run), direct},
		{"room to alice", alice.bodies("groupchat", "to-room"), group},
		{"alice to bob", bob.bodies("chat", "to-bob "+run), back},
	} {
		if !slices.Equal(w.got, w.want) {
			t.Errorf("%s:\n got %v\nwant %v", w.what, w.got, w.want)
		}
	}
	for _, e := range bob.seen {
		if e.Event == "occupant" && e.Sender == room+"/Alice" && e.Type == "unavailable" {
			t.Error("bob saw alice leave the room")
		}
	}
}
