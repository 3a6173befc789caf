package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"konzil/internal/auth/ldaptest"
	"konzil/internal/await"
)

// does runs another command of the program with the same settings.
func (h *house) does(in string, args ...string) (string, int) {
	h.t.Helper()
	var out, errOut bytes.Buffer
	code := run(context.Background(), append([]string{args[0], "-config", h.file}, args[1:]...), strings.NewReader(in), &out, &errOut)
	return out.String() + errOut.String(), code
}

// wire is a client that writes what it likes.
type wire struct {
	t    testing.TB
	conn net.Conn
	got  string // not yet looked at
}

const streamHeader = "<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

func (h *house) dial() *wire {
	h.t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprint("127.0.0.1:", h.cfg.XMPP.TLSPort), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"xmpp-client"}})
	if err != nil {
		h.t.Fatal(err)
	}
	w := &wire{t: h.t, conn: conn}
	h.t.Cleanup(func() { conn.Close() })
	w.send(streamHeader, h.cfg.Domain)
	w.wants("</stream:features>")
	return w
}

// login gives a client with the resource x, or what the server said instead.
func (h *house) login(user, password string) (*wire, string) {
	h.t.Helper()
	w := h.dial()
	w.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	if answer := w.wants(">"); !strings.Contains(answer, "<success") {
		return nil, answer + w.wants("</failure>")
	}
	w.send(streamHeader, h.cfg.Domain)
	w.wants("</stream:features>")
	w.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq>")
	return w, w.wants("</iq>")
}

func (w *wire) send(format string, args ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.conn, format, args...); err != nil {
		w.t.Fatal(err)
	}
}

// wants reads until text has come, and gives all up to its end.
func (w *wire) wants(text string) string {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		if i := strings.Index(w.got, text); i >= 0 {
			seen := w.got[:i+len(text)]
			w.got = w.got[i+len(text):]
			return seen
		}
		n, err := w.conn.Read(buf)
		w.got += string(buf[:n])
		if err != nil && n == 0 {
			w.t.Fatalf("waiting for %s: %v; got %s", text, err, w.got)
		}
	}
}

// ask sends an iq and gives the answer.
func (w *wire) ask(typ, to, payload string) string {
	w.t.Helper()
	if to != "" {
		to = " to='" + to + "'"
	}
	w.send("<iq type='%s'%s id='ask'>%s</iq>", typ, to, payload)
	w.wants("id='ask'")
	head := w.wants(">")
	if strings.HasSuffix(head, "/>") {
		return head
	}
	return head + w.wants("</iq>")
}

// TestCampus: a directory gives logins by mail address, vcards with avatars, search, contact lists, rooms and hats; who leaves is out at once.
func TestCampus(t *testing.T) {
	dir := ldaptest.Start(t)
	s := openHouse(t, fmt.Sprintf(`domain: example.org
auth:
  ldap:
    urls: ["%s"]
    ca_file: %s
    bind_dn: %s
    bind_password: %s
    base_dn: %s
    people:
      search_filter: (employeeType=visible)
      groups: {base_dn: "%s", rosters: ["course-*"], rooms: ["course-*"], hats: ["tutors=Tutor"]}
`, dir.Plain, dir.CAFile, ldaptest.SearchDN, ldaptest.SearchPassword, ldaptest.BaseDN, ldaptest.GroupsDN))
	if out, code := s.does("wonderland\n", "ldap", "test", "alice.liddell@example.org"); code != 0 || !strings.Contains(out, "ok    the password is right") {
		t.Errorf("%d %s", code, out)
	}
	if out, code := s.does("", "ldap", "sync"); code != 0 || !strings.Contains(out, "2 groups") {
		t.Fatalf("%d %s", code, out)
	}
	alice, jid := s.login("alice.liddell", "wonderland")
	if alice == nil || !strings.Contains(jid, "<jid>alice@example.org/x</jid>") {
		t.Fatal(jid)
	}
	if _, answer := s.login("alice", "x"); !strings.Contains(answer, "not-authorized") {
		t.Error(answer)
	}
	contacts := alice.ask("get", "alice@example.org", "<query xmlns='jabber:iq:roster'/>")
	if !strings.Contains(contacts, "<item jid='bob@example.org' name='Bob Dobbs' subscription='both'><group>Algebra I</group></item>") {
		t.Error(contacts)
	}
	alice.send("<presence/>")
	bob, _ := s.login("bob", "grüße")
	bob.ask("get", "bob@example.org", "<query xmlns='jabber:iq:roster'/>")
	bob.send("<presence/>")
	bob.wants("from='alice@example.org/x'") // a subscription that nobody asked for
	alice.wants("from='bob@example.org/x'")

	card := bob.ask("get", "alice@example.org", "<vCard xmlns='vcard-temp'/>")
	for _, want := range []string{"<FN>Alice Liddell</FN>", "<N><FAMILY>Liddell</FAMILY><GIVEN>Alice</GIVEN></N>", "<USERID>alice@example.org</USERID>", "<TYPE>image/jpeg</TYPE>"} {
		if !strings.Contains(card, want) {
			t.Errorf("no %s in %s", want, card)
		}
	}
	await.True(t, "the avatar that is made in the background", func() bool {
		return strings.Contains(bob.ask("get", "alice@example.org", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:metadata'/></pubsub>"), "image/jpeg")
	})
	if found := bob.ask("set", "search.example.org", "<query xmlns='jabber:iq:search'><last>lidd</last></query>"); !strings.Contains(found, "<item jid='alice@example.org'>") {
		t.Error(found)
	}
	if found := alice.ask("set", "search.example.org", "<query xmlns='jabber:iq:search'><x xmlns='jabber:x:data' type='submit'><field var='nick'><value>Dobbs</value></field></x></query>"); strings.Contains(found, "bob@") || !strings.Contains(found, "<reported>") {
		t.Error(found)
	}
	// The room of the course is there; members get in, others do not; the tutor has a hat.
	const join = "<presence to='course-algebra@conference.example.org/%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
	alice.send(join, "alice")
	if in := alice.wants("<status code='110'/>") + alice.wants("</presence>"); !strings.Contains(in, "affiliation='member'") || !strings.Contains(in, "title='Tutor'") {
		t.Error(in)
	}
	hatter, _ := s.login("mad.hatter@partner.org", "teatime")
	hatter.send(join, "hatter")
	hatter.wants("registration-required")

	// bob leaves: his next message and his sessions are refused at once.
	dir.Delete("bob")
	if out, code := s.does("", "ldap", "sync"); code != 0 || !strings.Contains(out, "left: bob") {
		t.Errorf("%d %s", code, out)
	}
	bob.wants("<not-authorized")
	alice.wants("<item jid='bob@example.org' subscription='remove'/>")
	if _, answer := s.login("bob", "grüße"); !strings.Contains(answer, "not-authorized") {
		t.Error(answer)
	}
	if out, _ := s.does("", "user", "list"); !strings.Contains(out, "bob@example.org directory seen") || !strings.Contains(out, " left ") {
		t.Error(out)
	}
	// alice is deleted by hand: everything goes.
	if out, code := s.does("", "user", "delete", "alice"); code != 0 || !strings.Contains(out, "alice@example.org deleted, with tokens, contacts") {
		t.Errorf("%d %s", code, out)
	}
	alice.wants("<not-authorized")
	if log := s.errOut.String(); strings.Contains(log, "level=ERROR") {
		t.Error(log)
	}
}

// TestDeleteUser: an account that is deleted while it is in use leaves nothing behind, for who gets its name later.
func TestDeleteUser(t *testing.T) {
	s := openHouse(t, "")
	for _, who := range []string{"carol", "dora"} {
		if out, code := s.does("pw\n", "user", "add", who); code != 0 {
			t.Fatal(out)
		}
	}
	carol, _ := s.login("carol", "pw")
	dora, _ := s.login("dora", "pw")
	carol.ask("get", "", "<query xmlns='jabber:iq:roster'/>")
	fill := []struct{ what, payload string }{
		{"private", "<query xmlns='jabber:iq:private'><a xmlns='test:private'>secret</a></query>"},
		{"vcard", "<vCard xmlns='vcard-temp'><FN>Carol</FN></vCard>"},
		{"roster", "<query xmlns='jabber:iq:roster'><item jid='dora@localhost' name='D'/></query>"},
		{"block list", "<block xmlns='urn:xmpp:blocking'><item jid='evil@example.net'/></block>"},
		{"pubsub", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='test:node'><item id='1'><x xmlns='test:x'>secret</x></item></publish></pubsub>"},
	}
	for _, f := range fill {
		if answer := carol.ask("set", "", f.payload); strings.Contains(answer, "<error") {
			t.Fatalf("%s: %s", f.what, answer)
		}
	}
	carol.send("<message to='dora@localhost' type='chat'><body>secret</body></message><presence to='dora@localhost' type='subscribe'/>")
	dora.send("<presence/>")
	dora.wants("type='subscribe'")
	dora.send("<presence to='carol@localhost' type='subscribed'/><presence to='carol@localhost' type='subscribe'/>")
	carol.wants("subscription='to'")

	if out, code := s.does("", "user", "delete", "carol"); code != 0 {
		t.Fatal(out)
	}
	carol.wants("<not-authorized")
	dora.wants("type='unsubscribe")
	if out, code := s.does("pw2\n", "user", "add", "carol"); code != 0 {
		t.Fatal(out)
	}
	carol, _ = s.login("carol", "pw2")
	for what, get := range map[string]string{
		"private": "<query xmlns='jabber:iq:private'><a xmlns='test:private'/></query>", "vcard": "<vCard xmlns='vcard-temp'/>",
		"roster": "<query xmlns='jabber:iq:roster'/>", "block list": "<blocklist xmlns='urn:xmpp:blocking'/>",
		"pubsub": "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='test:node'/></pubsub>",
	} {
		if answer := carol.ask("get", "", get); strings.Contains(answer, "secret") || strings.Contains(answer, "Carol") || strings.Contains(answer, "<item") && what != "pubsub" {
			t.Errorf("%s of the old account: %s", what, answer)
		}
	}
	if answer := carol.ask("set", "", "<query xmlns='urn:xmpp:mam:2'/>"); strings.Contains(answer, "secret") {
		t.Errorf("archive of the old account: %s", answer)
	}
	if out, code := s.does("", "user", "disable", "carol"); code != 0 {
		t.Error(out)
	}
	carol.wants("<not-authorized")
}

// TestTokens: the operator sees which clients log in without a password (XEP-0484), and takes that from one or all.
func TestTokens(t *testing.T) {
	h := openHouse(t, "")
	if out, code := h.does("pw\n", "user", "add", "carol"); code != 0 {
		t.Fatal(out)
	}
	for _, client := range []string{"phone-1", "laptop-2"} {
		w := h.dial()
		w.send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>%s</initial-response><user-agent id='%s'/>"+
			"<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/></authenticate>", base64.StdEncoding.EncodeToString([]byte("\x00carol\x00pw")), client)
		w.wants("<token xmlns='urn:xmpp:fast:0'")
	}
	tokens := func(args ...string) string {
		t.Helper()
		out, code := h.does("", append([]string{"user", "tokens", "carol"}, args...)...)
		if code != 0 {
			t.Fatal(out)
		}
		return out
	}
	if out := tokens(); !strings.Contains(out, "phone-1 HT-SHA-256-NONE issued ") || !strings.Contains(out, "laptop-2") {
		t.Error(out)
	}
	tokens("revoke", "phone-1")
	if out := tokens(); strings.Contains(out, "phone-1") || !strings.Contains(out, "laptop-2") {
		t.Error(out)
	}
	tokens("revoke", "all")
	if out := tokens(); out != "" {
		t.Error(out)
	}
}
