package play

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// patience is how long a test waits for what has to happen anyway.
const patience = 10 * time.Second

const nsSync = "urn:konzil:play:sync"

// Live is a World with a real server: clients log in over WebSockets on the loopback interface, with the password "secret"; with an
// address on the guest domain they are guests. Accounts are all localparts but "nobody".
//
// Commands: "NAME comes JID" logs in again under a name, "NAME leaves" ends the stream, "NAME breaks" closes the connection without a word and waits
// until the server has given the session up. "NAME enables" turns on stream management with the shortest time to resume (a second), "NAME
// acknowledges" all it got since (XEP-0198). "NAME rests" and "NAME wakes" say whether somebody looks (XEP-0352).
type Live struct {
	t       *testing.T
	Server  *xmpp.Server
	http    *httptest.Server
	clients map[string]*liveClient
	more    func(words []string) error
	ended   chan stanza.JID // sessions whose end all features know of
	log     secretLog
	words   []string // of messages that clients have sent: they must not be in the log
}

// secretLog keeps what the server logs at any level.
type secretLog struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (s *secretLog) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// leastWord is the length of words that cannot be in a log by chance.
const leastWord = 8

// note remembers what a message says.
func (l *Live) note(st *stanza.Stanza) {
	if body := st.Child(stanza.NSClient, "body").Text(); st.Kind == stanza.Message && len(body) >= leastWord {
		l.words = append(l.words, body)
	}
}

// checkLog looks for what people have said to each other.
func (l *Live) checkLog() {
	l.log.mu.Lock()
	defer l.log.mu.Unlock()
	for _, w := range l.words {
		if strings.Contains(l.log.text.String(), w) {
			l.t.Errorf("%q is in the log:\n%s", w, l.log.text.String())
		}
	}
}

type liveClient struct {
	name  string
	jid   stanza.JID
	ws    *websocket.Conn
	in    chan *stanza.Stanza // closed when the connection is
	inbox []*stanza.Stanza
	syncs int
	h     atomic.Int32 // stanzas read since <enabled/>
}

// NewLive starts a server for example.org and guest.example.org; attach adds what is to be tested. more performs further commands, it may
// be nil.
func NewLive(t *testing.T, attach func(*xmpp.Server), more func(words []string) error) *Live {
	t.Helper()
	cfg := xmpp.DefaultConfig()
	cfg.Domain, cfg.GuestDomain = "example.org", "guest.example.org"
	l := &Live{t: t, clients: map[string]*liveClient{}, more: more, ended: make(chan stanza.JID, 1024)}
	srv, err := xmpp.New(cfg, accounts{}, slog.New(slog.NewTextHandler(&l.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	srv.Hooks().IQ(xmpp.ToServer, nsSync, "sync", func(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza { return iq.Result() })
	attach(srv)
	srv.Hooks().Closed(func(x *xmpp.Session) { l.ended <- x.JID() }) // the last hook, after those of attach
	l.Server, l.http = srv, httptest.NewServer(srv.WebSocketHandler())
	t.Cleanup(l.close)
	return l
}

func (l *Live) close() {
	for _, c := range l.clients {
		_ = c.ws.CloseNow()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.Server.Shutdown(ctx); err != nil {
		l.t.Errorf("shutdown: %v", err)
	}
	l.http.Close()
	l.checkLog()
	for _, c := range l.clients {
		for range c.in { // until its reader has ended
		}
	}
}

// Enter implements World: it logs in and binds.
func (l *Live) Enter(name, jid string) error {
	j, err := stanza.ParseJID(jid)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(l.http.URL, "http"), &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		return err
	}
	ws.SetReadLimit(1 << 20)
	c := &liveClient{name: name, ws: ws, in: make(chan *stanza.Stanza, 1024)}
	if err := c.login(ctx, j); err != nil {
		_ = ws.CloseNow()
		return err
	}
	l.clients[name] = c
	go c.read()
	return nil
}

// login performs the dialogue of RFC 7395, answer by answer.
func (c *liveClient) login(ctx context.Context, j stanza.JID) error {
	open := "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='" + j.Domain() + "' version='1.0'/>"
	auth := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+j.Local()+"\x00secret")) + "</auth>"
	if strings.HasPrefix(j.Domain(), "guest.") {
		auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>"
	}
	bind := "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + j.Resource() + "</resource></bind></iq>"
	for _, step := range []struct {
		say     string
		answers int
	}{{open, 2}, {auth, 1}, {open, 2}} {
		if err := c.ws.Write(ctx, websocket.MessageText, []byte(step.say)); err != nil {
			return err
		}
		for range step.answers {
			_, b, err := c.ws.Read(ctx)
			if err != nil {
				return err
			}
			if strings.Contains(string(b), "<failure") {
				return fmt.Errorf("login: %s", b)
			}
		}
	}
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(bind)); err != nil {
		return err
	}
	for {
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return err
		}
		st, err := stanza.Parse(b)
		if err != nil {
			return err
		}
		if st.Kind != stanza.IQ || st.ID != "bind" {
			c.inbox = append(c.inbox, st)
			continue
		}
		full := st.Child("urn:ietf:params:xml:ns:xmpp-bind", "bind").Child("urn:ietf:params:xml:ns:xmpp-bind", "jid").Text()
		c.jid, err = stanza.ParseJID(full)
		return err
	}
}

func (c *liveClient) read() {
	defer close(c.in)
	for {
		_, b, err := c.ws.Read(context.Background())
		if err != nil {
			return
		}
		if strings.HasPrefix(string(b), "<enabled") {
			c.h.Store(0)
		}
		if st, err := stanza.Parse(b); err == nil {
			c.h.Add(1)
			c.in <- st
		}
	}
}

func (c *liveClient) write(st *stanza.Stanza) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, st.AppendXML(nil, stanza.NSClient, true))
}

// sync asks the server a question and collects what comes before the answer: all that the server did for this client by then.
func (c *liveClient) sync() error {
	c.syncs++
	id := "sync" + strconv.Itoa(c.syncs)
	if err := c.write(stanza.NewIQ("get", id, stanza.JID{}, stanza.MustJID(c.jid.Domain()), stanza.NewElement(nsSync, "sync"))); err != nil {
		return err
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case st, ok := <-c.in:
			switch {
			case !ok:
				return errors.New("the connection of " + c.name + " is gone")
			case st.Kind == stanza.IQ && st.ID == id:
				return nil
			}
			c.inbox = append(c.inbox, st)
		case <-deadline.C:
			return errors.New("no answer to " + c.name)
		}
	}
}

func (l *Live) client(name string) (*liveClient, error) {
	if c := l.clients[name]; c != nil {
		return c, nil
	}
	return nil, errors.New("there is no " + name)
}

// Send implements World. When it returns the server has done what the stanza asked.
func (l *Live) Send(name string, st *stanza.Stanza) error {
	l.note(st)
	c, err := l.client(name)
	if err != nil {
		return err
	}
	if err := c.write(st); err != nil {
		return err
	}
	return c.sync()
}

// Receive implements World.
func (l *Live) Receive(name string) *stanza.Stanza {
	c, err := l.client(name)
	if err != nil || c.sync() != nil || len(c.inbox) == 0 {
		return nil
	}
	st := c.inbox[0]
	c.inbox = c.inbox[1:]
	return st
}

// Pending implements World.
func (l *Live) Pending(name string) []*stanza.Stanza {
	c, err := l.client(name)
	if err != nil {
		return nil
	}
	_ = c.sync() // who has left gets nothing more
	out := c.inbox
	c.inbox = nil
	return out
}

// Command implements World.
func (l *Live) Command(words []string) error {
	switch {
	case len(words) == 3 && words[1] == "comes":
		return l.Enter(words[0], words[2])
	case len(words) == 2 && (words[1] == "leaves" || words[1] == "breaks"):
		return l.leave(words[0], words[1] == "leaves")
	case len(words) == 2 && (words[1] == "rests" || words[1] == "wakes"):
		return l.indicate(words[0], words[1] == "wakes")
	case len(words) == 2 && (words[1] == "enables" || words[1] == "acknowledges"):
		return l.manage(words[0], words[1] == "enables")
	case l.more != nil:
		return l.more(words)
	}
	return errors.New("no such command")
}

// indicate says whether somebody looks at the client.
func (l *Live) indicate(name string, active bool) error {
	c, err := l.client(name)
	if err != nil {
		return err
	}
	say := "<inactive xmlns='urn:xmpp:csi:0'/>"
	if active {
		say = "<active xmlns='urn:xmpp:csi:0'/>"
	}
	if err := c.ws.Write(context.Background(), websocket.MessageText, []byte(say)); err != nil {
		return err
	}
	return c.sync()
}

// manage sends what stream management needs of a client; it returns when the server has read it.
func (l *Live) manage(name string, enable bool) error {
	c, err := l.client(name)
	if err != nil {
		return err
	}
	say := "<enable xmlns='urn:xmpp:sm:3' resume='true' max='1'/>"
	if !enable {
		if err := c.sync(); err != nil {
			return err
		}
		say = "<a xmlns='urn:xmpp:sm:3' h='" + strconv.Itoa(int(c.h.Load())) + "'/>"
	}
	if err := c.ws.Write(context.Background(), websocket.MessageText, []byte(say)); err != nil {
		return err
	}
	return c.sync()
}

// leave returns when the server has ended the session.
func (l *Live) leave(name string, politely bool) error {
	c, err := l.client(name)
	if err != nil {
		return err
	}
	if politely {
		if err := c.ws.Write(context.Background(), websocket.MessageText, []byte("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")); err != nil {
			return err
		}
	} else {
		_ = c.ws.CloseNow()
	}
	for range c.in { // until the server has closed it too
	}
	_ = c.ws.CloseNow()
	delete(l.clients, name)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case jid := <-l.ended:
			if jid == c.jid {
				return nil
			}
		case <-deadline.C:
			return errors.New("the session has not ended")
		}
	}
}

type accounts struct{}

func (accounts) SCRAM(context.Context, string, string) ([]byte, int, []byte, []byte, bool, error) {
	return nil, 0, nil, nil, false, nil
}

func (accounts) CheckPassword(_ context.Context, user, password string) (string, bool, error) {
	return user, user != "nobody" && password == "secret", nil
}

func (accounts) Exists(_ context.Context, local string) (bool, error) { return local != "nobody", nil }

func (accounts) Localpart(_ context.Context, user string) (string, error) { return user, nil }

func (a accounts) Enabled(ctx context.Context, local string) (bool, error) {
	return a.Exists(ctx, local)
}

func (accounts) Mechanisms() []string { return []string{"PLAIN"} }
