package xmpp

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"io"
	"net"
	"testing"

	"konzil/internal/await"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	mxmpp "mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	mstanza "mellium.im/xmpp/stanza"
)

// mellium logs in with a foreign implementation of the client's side.
func (r *rig) mellium(user, password string, mechs ...sasl.Mechanism) (*mxmpp.Session, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := net.Dial("tcp", r.tcp)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return mxmpp.NewClientSession(ctx, jid.MustParse(user+"@x.test"), c,
		mxmpp.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "x.test"}),
		mxmpp.SASL("", password, mechs...), mxmpp.BindResource())
}

// Each mechanism as somebody else wrote it; -PLUS binds with tls-exporter.
func TestMelliumMechanisms(t *testing.T) {
	r := newRig(t, nil)
	for _, m := range []sasl.Mechanism{sasl.Plain, sasl.ScramSha1, sasl.ScramSha256, sasl.ScramSha1Plus, sasl.ScramSha256Plus} {
		t.Run(m.Name, func(t *testing.T) {
			s, err := r.mellium("alice", "secret-a", m)
			if err != nil {
				t.Fatal(err)
			}
			if a := s.LocalAddr(); a.Bare().String() != "alice@x.test" || a.Resourcepart() == "" {
				t.Errorf("bound %s", s.LocalAddr())
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if s, err := r.mellium("alice", "wrong", m); err == nil {
				t.Errorf("wrong password got in as %s", s.LocalAddr())
			}
			r.s.backoff.succeeded("alice", "127.0.0.0")
		})
	}
}

func TestMelliumChat(t *testing.T) {
	r := newRig(t, nil)
	s, err := r.mellium("alice", "secret-a", sasl.ScramSha256Plus)
	if err != nil {
		t.Fatal(err)
	}
	got, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- s.Serve(mxmpp.HandlerFunc(func(rw xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			if start.Name.Local != "message" {
				return nil
			}
			m := struct {
				mstanza.Message
				Body string `xml:"body"`
			}{}
			err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), rw)).Decode(&m)
			if err != nil && err != io.EOF {
				return err
			}
			got <- m.From.String() + " " + m.Body
			return nil
		}))
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Send(ctx, mstanza.Presence{}.Wrap(nil)); err != nil {
		t.Fatal(err)
	}
	bob := r.user("bob", "b")
	msg := mstanza.Message{To: jid.MustParse("bob@x.test"), Type: mstanza.ChatMessage}
	body := xmlstream.Wrap(xmlstream.Token(xml.CharData("a < b & \"c\"")), xml.StartElement{Name: xml.Name{Local: "body"}})
	if err := s.Send(ctx, msg.Wrap(body)); err != nil {
		t.Fatal(err)
	}
	bob.expect("from='"+s.LocalAddr().String(), "a &lt; b &amp; \"c\"</body>")
	await.True(t, "alice is available", func() bool { return aliceAvailable(r.s) })
	bob.send("<message to='alice@x.test'><body>1 &lt; 2</body></message>")
	if g := <-got; g != "bob@x.test/b 1 < 2" {
		t.Errorf("got %q", g)
	}
	_ = s.Close()
	<-done
}
