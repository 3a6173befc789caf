package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

// FuzzFeatures gives the whole program what a client of an account may say, at every address that it serves: nothing breaks it, and it goes on to answer. What
// is no XML does not come this far (FuzzServer of package xmpp, FuzzTokenizer of xmpp/stanza).
func FuzzFeatures(f *testing.F) {
	const form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>%s</value></field><field var='a'><value>1</value></field></x>"
	for _, payload := range []string{
		"<query xmlns='jabber:iq:roster'><item jid='bob@localhost' name='Bob' subscription='remove'><group>g</group></item></query>",
		"<query xmlns='jabber:iq:register'><username>alice</username><password>pw</password></query>",
		"<query xmlns='jabber:iq:search'><nick>a*</nick></query>",
		"<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='r@conference.localhost' autojoin='true'/></storage></query>",
		"<query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/commands'/>",
		"<query xmlns='urn:xmpp:mam:2' queryid='q'>" + fmt.Sprintf(form, "urn:xmpp:mam:2") + "<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before/></set></query>",
		"<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>a@b.test</jid></always><never/></prefs>",
		"<inbox xmlns='urn:xmpp:inbox:1'/>",
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item id='1'><x xmlns='u'/></item></publish><publish-options>" + fmt.Sprintf(form, "http://jabber.org/protocol/pubsub#publish-options") + "</publish-options></pubsub>",
		"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'>" + fmt.Sprintf(form, "http://jabber.org/protocol/pubsub#node_config") + "</configure></pubsub>",
		"<command xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/admin#add-user' action='execute'/>",
		"<vCard xmlns='vcard-temp'><FN>A</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>AAAA</BINVAL></PHOTO></vCard>",
		"<block xmlns='urn:xmpp:blocking'><item jid='eve@localhost'/></block>",
		"<enable xmlns='urn:xmpp:push:0' jid='push.localhost' node='n'>" + fmt.Sprintf(form, "http://jabber.org/protocol/pubsub#publish-options") + "</enable>",
		"<request xmlns='urn:xmpp:http:upload:0' filename='a.png' size='10' content-type='image/png'/>",
		"<query xmlns='http://jabber.org/protocol/bytestreams' sid='s'><activate>bob@localhost/x</activate></query>",
		"<services xmlns='urn:xmpp:extdisco:2'/>",
		"<query xmlns='http://jabber.org/protocol/muc#owner'>" + fmt.Sprintf(form, "http://jabber.org/protocol/muc#roomconfig") + "</query>",
		"<query xmlns='http://jabber.org/protocol/muc#admin'><item nick='x' role='none'><reason>r</reason></item></query>",
		"<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='5' since='2026-01-01T00:00:00Z'/><password>p</password></x>",
		"<conference xmlns='http://jitsi.org/protocol/focus' room='r@conference.localhost' machine-uid='m'><property name='a' value='b'/></conference>",
		"<av_moderation xmlns='http://jitsi.org/jitmeet' enable='true' mediaType='audio'/>",
		"<breakout_rooms xmlns='http://jitsi.org/jitmeet'><add>name</add></breakout_rooms>",
		"<room_metadata xmlns='http://jitsi.org/jitmeet' room='r@conference.localhost'>{\"key\":\"k\",\"data\":{}}</room_metadata>",
		"<speakerstats xmlns='http://jitsi.org/jitmeet' room='r@conference.localhost'/>",
		"<end_conference xmlns='http://jitsi.org/jitmeet'/>",
		"<jingle xmlns='urn:xmpp:jingle:1' action='source-add' sid='s'/>",
		"<conference xmlns='http://jitsi.org/protocol/colibri' id='1'><content name='audio'><channel expire='60'/></content></conference>",
		"<retract xmlns='urn:xmpp:message-retract:1' id='1'/>",
		"<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>",
		"<body>words</body>",
	} {
		for kind := range len(fuzzKinds) {
			f.Add(uint8(kind), uint8(len(payload)), []byte(payload))
		}
	}
	h := openHouse(f, "")
	if out, code := h.does("pw\n", "user", "add", "alice"); code != 0 {
		f.Fatal(out)
	}
	var c *fuzzClient
	f.Cleanup(func() {
		if c != nil {
			c.conn.Close()
		}
	})
	f.Fuzz(func(t *testing.T, kind, to uint8, payload []byte) {
		el, err := stanza.ParseElement(payload)
		if err != nil {
			return
		}
		if c == nil {
			if c, err = newFuzzClient(fmt.Sprint("127.0.0.1:", h.cfg.XMPP.TLSPort)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.say(fuzzKinds[int(kind)%len(fuzzKinds)], fuzzAddresses[int(to)%len(fuzzAddresses)], el); err != nil {
			c.conn.Close()
			if c = nil; err != io.EOF { // the server may end the stream, in order
				t.Fatal(err)
			}
		}
	})
}

// fuzzKinds are stanzas as they begin.
var fuzzKinds = []string{"<iq type='get'", "<iq type='set'", "<iq type='result'", "<message type='chat'", "<message type='groupchat'", "<message", "<presence", "<presence type='subscribe'"}

// fuzzAddresses are those of each part of the program, of rooms, and of nobody. "" is the client's own account.
var fuzzAddresses = []string{
	"", "localhost", "alice@localhost", "alice@localhost/x", "nobody@localhost", "conference.localhost", "r@conference.localhost", "r@conference.localhost/n",
	"focus.localhost", "auth.localhost", "focus@auth.localhost/focus", "pubsub.localhost", "upload.localhost", "proxy.localhost", "search.localhost",
	"avmoderation.localhost", "breakout.localhost", "lobby.localhost", "metadata.localhost", "polls.localhost", "speakerstats.localhost",
	"filesharing.localhost", "endconference.localhost", "jitsi-videobridge.localhost",
}

// fuzzClient is alice.
type fuzzClient struct {
	conn net.Conn
	in   *bufio.Reader
	n    int // stanzas said
}

func newFuzzClient(addr string) (*fuzzClient, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"xmpp-client"}})
	if err != nil {
		return nil, err
	}
	c := &fuzzClient{conn: conn, in: bufio.NewReader(conn)}
	header := fmt.Sprintf(streamHeader, "localhost")
	for _, step := range [][2]string{
		{header, "</stream:features>"},
		{"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + base64.StdEncoding.EncodeToString([]byte("\x00alice\x00pw")) + "</auth>", "<success"},
		{header, "</stream:features>"},
		{"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq>", "</iq>"},
	} {
		if err := c.ask(step[0], step[1]); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return c, nil
}

// say sends a stanza, and a ping, whose answer tells that the stanza was taken. io.EOF: the server has ended the stream in order.
func (c *fuzzClient) say(kind, to string, payload *stanza.Element) error {
	c.n++
	b := stanza.AppendAttr([]byte(kind), "id", fmt.Sprint("f", c.n))
	if to != "" {
		b = stanza.AppendAttr(b, "to", to)
	}
	b = payload.AppendXML(append(b, '>'), stanza.NSClient)
	name, _, _ := bytes.Cut([]byte(kind[1:]), []byte(" "))
	b = fmt.Appendf(b, "</%s><iq type='get' to='localhost' id='ping%d'><ping xmlns='urn:xmpp:ping'/></iq>", name, c.n)
	return c.ask(string(b), fmt.Sprintf("id='ping%d'", c.n))
}

// ask sends text and reads until the server has said until.
func (c *fuzzClient) ask(text, until string) error {
	_ = c.conn.SetDeadline(time.Now().Add(3 * patience))
	if _, err := io.WriteString(c.conn, text); err != nil {
		return err
	}
	var got []byte
	for !bytes.Contains(got, []byte(until)) {
		part, err := c.in.ReadSlice('>')
		got = append(got, part...)
		if bytes.HasSuffix(got, []byte("</stream:stream>")) {
			return io.EOF
		}
		if err != nil && err != bufio.ErrBufferFull {
			return fmt.Errorf("waiting for %s: %w after %q", until, err, got[max(0, len(got)-1000):])
		}
	}
	return nil
}
