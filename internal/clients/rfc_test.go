package clients

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// raw is a connection on which the test writes what it likes, as no client does.
type raw struct {
	t    *testing.T
	conn net.Conn
	got  strings.Builder // all input
	seen int             // how much of got earlier waits have consumed
}

const header = `<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

// dialRaw connects to addr without TLS.
func dialRaw(t *testing.T, addr string) *raw {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{t: t, conn: conn}
	t.Cleanup(func() { r.conn.Close() })
	return r
}

// dialTLS connects to the direct TLS port.
func dialTLS(t *testing.T) *raw {
	t.Helper()
	r := dialRaw(t, shared.tlsAddr())
	r.startTLS()
	return r
}

// loginRaw opens a stream of user with the resource raw-<name>.
func loginRaw(t *testing.T, user, name string) *raw {
	t.Helper()
	r := dialTLS(t)
	r.write(header, domain)
	r.wants("<mechanism>PLAIN</mechanism>", "features>")
	r.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", plain(user, password(user)))
	r.wants("<success")
	r.write(header, domain)
	r.wants("urn:ietf:params:xml:ns:xmpp-bind", "features>")
	r.write("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>raw-%s</resource></bind></iq>", name)
	r.wants("<jid>", "</iq>")
	return r
}

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

func (r *raw) startTLS() {
	r.t.Helper()
	c := tls.Client(r.conn, shared.roots(r.t))
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	if err := c.Handshake(); err != nil {
		r.t.Fatalf("TLS: %v", err)
	}
	r.conn = c
}

// write sends; that the server has closed already shows in what it said.
func (r *raw) write(format string, args ...any) {
	r.t.Helper()
	_ = r.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(r.conn, format, args...)
}

// close ends the stream in order.
func (r *raw) close() {
	r.t.Helper()
	r.write("</stream:stream>")
	r.wants("</stream:stream>")
	r.conn.Close()
}

// wants reads until all the texts have come, in any order, since the last wait.
func (r *raw) wants(texts ...string) {
	r.t.Helper()
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		fresh := r.got.String()[r.seen:]
		end := 0
		for _, text := range texts {
			i := strings.Index(fresh, text)
			if i < 0 {
				end = -1
				break
			}
			end = max(end, i+len(text))
		}
		if end >= 0 {
			r.seen += end
			return
		}
		n, err := r.conn.Read(buf)
		r.got.Write(buf[:n])
		if err != nil && n == 0 {
			r.t.Fatalf("waiting for %q: %v; got since then:\n%s", texts, err, fresh)
		}
	}
}

// wantsStreamError reads a stream error with that condition and the end of the connection after it (RFC 6120 §4.9.1.1).
func (r *raw) wantsStreamError(conditions ...string) {
	r.t.Helper()
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		n, err := r.conn.Read(buf)
		r.got.Write(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Fatalf("the stream was not closed: %s", r.got.String()[r.seen:])
		}
		if err != nil {
			break
		}
	}
	fresh := r.got.String()[r.seen:]
	if !strings.Contains(fresh, "<stream:error") || !strings.Contains(fresh, "</stream:stream>") {
		r.t.Fatalf("no stream error and end of stream: %q", fresh)
	}
	for _, c := range conditions {
		if strings.Contains(fresh, "<"+c+" ") || strings.Contains(fresh, "<"+c+"/") {
			return
		}
	}
	r.t.Fatalf("no stream error %v: %s", conditions, fresh)
}

func TestStreamErrors(t *testing.T) {
	for _, tc := range []struct {
		name, send string
		want       []string
	}{
		{"host-unknown", fmt.Sprintf(header, "no-such-host.example"), []string{"host-unknown"}},
		{"not XML", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"not-well-formed", "bad-format"}},
		{"crossed tags", fmt.Sprintf(header, domain) + "<iq><a></iq></a>", []string{"not-well-formed"}},
		{"comment", fmt.Sprintf(header, domain) + "<!-- hello -->", []string{"restricted-xml", "not-well-formed"}},
		{"document type", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]>", []string{"restricted-xml", "not-well-formed"}},
		{"entity", fmt.Sprintf(header, domain) + "<message><body>&evil;</body></message>", []string{"restricted-xml", "not-well-formed"}},
		{"wrong namespace", "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='urn:wrong'>", []string{"invalid-namespace"}},
		{"stanza before login", fmt.Sprintf(header, domain) + "<message to='alice@localhost'><body>x</body></message>", []string{"not-authorized"}},
		{"large before login", fmt.Sprintf(header, domain) + "<message><body>" + strings.Repeat("x", 20_000) + "</body></message>", []string{"policy-violation"}},
		{"deep before login", fmt.Sprintf(header, domain) + strings.Repeat("<a>", 500), []string{"policy-violation"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := dialTLS(t)
			r.write("%s", tc.send)
			r.wantsStreamError(tc.want...)
		})
	}
}

func TestStartTLSRequired(t *testing.T) {
	r := dialRaw(t, shared.addr())
	r.write(header, domain)
	r.wants("<starttls", "<required", "features>")
	if strings.Contains(r.got.String(), "<mechanism>") {
		t.Errorf("mechanisms are offered without TLS: %s", r.got.String())
	}
	// a password in the clear gets nowhere, though it is the right one
	r.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", plain("alice", password("alice")))
	r.wants(">", "<")
	r.conn.Close()
	if strings.Contains(r.got.String(), "<success") {
		t.Errorf("logged in without TLS: %s", r.got.String())
	}

	// what comes in the same packet as <starttls/> must not be taken as if it had come through TLS
	r = dialRaw(t, shared.addr())
	r.write(header, domain)
	r.wants("<starttls", "features>")
	r.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"+header, domain)
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	n, _ := r.conn.Read(buf)
	if strings.Contains(string(buf[:n]), "<mechanism>") {
		t.Errorf("injected clear text was answered: %s", buf[:n])
	}
}

func TestWrongPasswords(t *testing.T) {
	r := dialTLS(t)
	r.write(header, domain)
	r.wants("<mechanism>PLAIN</mechanism>", "features>")
	auth := func(mechanism, text string) {
		r.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>", mechanism, text)
	}
	auth("PLAIN", plain("bob", "wrong"))
	r.wants("<failure", "<not-authorized", "</failure>")
	auth("PLAIN", plain("nobody", "wrong"))
	r.wants("<failure", "<not-authorized", "</failure>")
	auth("NO-SUCH", "")
	r.wants("<failure", "<invalid-mechanism", "</failure>")
	auth("PLAIN", "%%%")
	r.wants("<failure", "<incorrect-encoding", "</failure>")
	// the stream stays usable: RFC 6120 §6.4.5
	auth("PLAIN", plain("bob", password("bob")))
	r.wants("<success")
}

func TestStanzaErrors(t *testing.T) {
	for _, tc := range []struct {
		name, send string
		want       []string
	}{
		{"unknown iq", "<iq type='get' id='q1' to='localhost'><query xmlns='urn:no:such'/></iq>", []string{"q1", "type='error'", "<service-unavailable"}},
		{"iq to nobody", "<iq type='get' id='q2' to='nobody@localhost'><query xmlns='jabber:iq:version'/></iq>", []string{"q2", "<service-unavailable"}},
		{"iq without payload", "<iq type='get' id='q3' to='localhost'/>", []string{"q3", "<bad-request"}},
		{"iq of no type", "<iq type='shout' id='q4' to='localhost'><query xmlns='urn:no:such'/></iq>", []string{"q4", "<bad-request"}},
		{"malformed address", "<message id='q5' to='@@localhost'><body>x</body></message>", []string{"q5", "<jid-malformed"}},
		{"another domain", "<message id='q6' to='a@nowhere.invalid'><body>x</body></message>", []string{"q6", "type='error'"}},
		{"resume of nothing", "<resume xmlns='urn:xmpp:sm:3' h='0' previd='no-such'/>", []string{"<failed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := loginRaw(t, "alice", strings.ReplaceAll(tc.name, " ", "-"))
			r.write("%s", tc.send)
			want := make([]string, 0, len(tc.want))
			for _, w := range tc.want {
				want = append(want, strings.TrimPrefix(w, "type="))
			}
			r.wants(want...)
			// the stream lives on
			r.write("<iq type='get' id='still-here' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
			r.wants("still-here", "result")
		})
	}
}

func TestLimitsAfterLogin(t *testing.T) {
	for name, send := range map[string]string{
		"oversized stanza": "<message to='alice@localhost'><body>" + strings.Repeat("x", 300<<10) + "</body></message>",
		"deep stanza":      "<message to='alice@localhost'>" + strings.Repeat("<a xmlns='urn:a'>", 500),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := loginRaw(t, "alice", strings.ReplaceAll(name, " ", "-"))
			r.write("%s", send)
			r.wantsStreamError("policy-violation")
		})
	}
}

// TestForgedSender: a client cannot write as somebody else (RFC 6120 §8.1.2.1).
func TestForgedSender(t *testing.T) {
	victim := loginRaw(t, "bob", "victim")
	victim.write("<presence/>")
	forger := loginRaw(t, "alice", "forger")
	forger.write("<message from='carol@localhost/x' to='bob@localhost/raw-victim'><body>I am carol</body></message>")
	forger.write("<message to='bob@localhost/raw-victim'><body>the end</body></message>")
	done := make(chan struct{})
	go func() { // either the stream is ended with invalid-from, or the sender is put right
		defer close(done)
		buf := make([]byte, 4096)
		_ = forger.conn.SetReadDeadline(time.Now().Add(patience))
		for {
			n, err := forger.conn.Read(buf)
			forger.got.Write(buf[:n])
			if err != nil || strings.Contains(forger.got.String(), "</stream:stream>") {
				return
			}
		}
	}()
	honest := loginRaw(t, "alice", "honest")
	honest.write("<message to='bob@localhost/raw-victim'><body>really the end</body></message>")
	victim.wants("really the end")
	if strings.Contains(victim.got.String(), "carol@") {
		t.Errorf("bob got a forged sender: %s", victim.got.String())
	}
	forger.conn.Close()
	<-done
	if !strings.Contains(forger.got.String(), "<invalid-from") && !strings.Contains(victim.got.String(), "I am carol") {
		t.Errorf("the forged message was neither refused nor put right: %s", forger.got.String())
	}
}

// TestOfflineMessage: what came while nobody was there is handed over at the next login, once (XEP-0160).
func TestOfflineMessage(t *testing.T) {
	alice := loginRaw(t, "alice", "sender")
	alice.write("<message type='chat' to='heidi@localhost'><body>are you there?</body></message>")
	alice.write("<iq type='get' id='handled' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	alice.wants("handled")
	heidi := loginRaw(t, "heidi", "late")
	heidi.write("<presence/>")
	heidi.wants("are you there?", "urn:xmpp:delay")
	heidi.close()
	heidi = loginRaw(t, "heidi", "later")
	heidi.write("<presence/><iq type='get' id='handled' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	heidi.wants("handled")
	if strings.Contains(heidi.got.String(), "are you there?") {
		t.Error("an offline message came twice")
	}
	heidi.close()
}

// TestMessageWhileComingOnline sends to a bare address at the moment at which its owner becomes available: online or offline, it must arrive now.
func TestMessageWhileComingOnline(t *testing.T) {
	alice := loginRaw(t, "alice", "eager")
	for i := range 40 {
		heidi := loginRaw(t, "heidi", fmt.Sprint(i))
		done := make(chan struct{})
		go func() {
			defer close(done)
			alice.write("<message type='chat' to='heidi@localhost'><body>welcome %d!</body></message>", i)
		}()
		heidi.write("<presence/>")
		<-done
		heidi.wants(fmt.Sprintf("welcome %d!", i))
		heidi.close()
	}
}
