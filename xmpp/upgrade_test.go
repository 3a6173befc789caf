package xmpp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"konzil/xmpp/sasl"
)

// testUpgrades lacks SHA-512 keys of bob.
type testUpgrades struct{ got chan string }

func (u testUpgrades) Missing(_ context.Context, local string) ([]string, error) {
	if local == "bob" {
		return []string{"SHA-512"}, nil
	}
	return nil, nil
}

func (u testUpgrades) UpgradeSalt() ([]byte, int) { return []byte("salt"), 4096 }

func (u testUpgrades) Upgrade(_ context.Context, local, hash string, salt []byte, n int, salted []byte) error {
	if len(salted) != 64 {
		return errors.New("wrong length")
	}
	u.got <- local + " " + hash + " " + string(salt)
	return nil
}

func newUpgradeRig(t *testing.T) (*rig, testUpgrades) {
	u := testUpgrades{make(chan string, 1)}
	return newRig(t, func(c *Config) { c.Upgrades = u }), u
}

// A client that asks for the keys that are missing makes them in the middle of its login (XEP-0480).
func TestUpgradeTask(t *testing.T) {
	r, u := newUpgradeRig(t)
	const want = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade><upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-1</upgrade><upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-X</upgrade>"
	p := r.dial("bob", r.tls)
	if f := p.header("x.test"); !strings.Contains(string(f.AppendXML(nil, "")), "UPGR-SCRAM-SHA-256") {
		t.Error("no upgrade offered")
	}
	p.authenticate("bob", want)
	p.expect("<continue xmlns='urn:xmpp:sasl:2'", "<task>UPGR-SCRAM-SHA-512</task>")
	p.send("<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-512'/>")
	p.expect("<task-data", "<salt xmlns='urn:xmpp:scram-upgrade:0' iterations='4096'>c2FsdA==</salt>")
	p.send("<task-data xmlns='urn:xmpp:sasl:2'><hash xmlns='urn:xmpp:scram-upgrade:0'>%s</hash></task-data>", base64.StdEncoding.EncodeToString(make([]byte, 64)))
	p.expect("<success", "<authorization-identifier>bob@x.test<")
	if got := <-u.got; got != "bob SHA-512 salt" {
		t.Error(got)
	}
	// Who lacks nothing is not asked; rubbish ends the stream.
	q := r.dial("alice", r.tls)
	q.header("x.test")
	q.authenticate("alice", want)
	q.expect("<success")
	for _, bad := range []string{"<next xmlns='urn:xmpp:sasl:2' task='UPGR-X'/>", "<message/>", "<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-512'/><task-data xmlns='urn:xmpp:sasl:2'><hash xmlns='urn:xmpp:scram-upgrade:0'>AAAA</hash></task-data>"} {
		x := r.dial("bad", r.tls)
		x.header("x.test")
		x.authenticate("bob", want)
		x.expect("<continue")
		x.send("%s", bad)
		if strings.Contains(bad, "hash") {
			x.expect("<task-data")
		}
		x.expectEnd("not-authorized")
	}
}

// The challenge of SCRAM has a hash of what was offered, which the client can check (XEP-0474 §5.1).
func TestOfferHash(t *testing.T) {
	r := newRig(t, nil)
	for _, sasl2 := range []bool{false, true} {
		p := r.dial("alice", r.tls)
		f := p.header("x.test")
		list, types := f.Child(nsSASL, "mechanisms"), f.Child(nsSASLCB, "sasl-channel-binding")
		if sasl2 {
			list = f.Child(nsSASL2, "authentication")
		}
		var mechanisms, bindings []string
		for _, m := range list.Children() {
			if m.Local == "mechanism" {
				mechanisms = append(mechanisms, m.Text())
			}
		}
		for _, b := range types.Children() {
			bindings = append(bindings, b.Attr("type"))
		}
		slices.Sort(mechanisms)
		slices.Sort(bindings)
		sum := sha256.Sum256([]byte(strings.Join(mechanisms, "\x1e") + "\x1f" + strings.Join(bindings, "\x1e")))
		first := base64.StdEncoding.EncodeToString([]byte("n,,n=alice,r=abc"))
		if sasl2 {
			p.send("<authenticate xmlns='%s' mechanism='SCRAM-SHA-256'><initial-response>%s</initial-response></authenticate>", nsSASL2, first)
		} else {
			p.send("<auth xmlns='%s' mechanism='SCRAM-SHA-256'>%s</auth>", nsSASL, first)
		}
		challenge, err := base64.StdEncoding.DecodeString(p.expect("<challenge").Elem.Text())
		if err != nil || !strings.HasSuffix(string(challenge), ",h="+base64.StdEncoding.EncodeToString(sum[:])) {
			t.Errorf("challenge %q", challenge)
		}
	}
	// The example of XEP-0474 §5.3.
	if got := sasl.Offer([]string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}, []string{"tls-server-end-point", "tls-exporter"}); got != "SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1ftls-exporter\x1etls-server-end-point" {
		t.Errorf("%q", got)
	}
}

// mailAccounts knows alice by a mail address too.
type mailAccounts struct{ testAccounts }

func (a mailAccounts) Localpart(ctx context.Context, user string) (string, error) {
	if strings.TrimSuffix(strings.ToLower(user), "@x.test") == "alice.liddell" {
		return "alice", nil
	}
	return a.testAccounts.Localpart(ctx, user)
}

func (a mailAccounts) CheckPassword(ctx context.Context, user, password string) (string, bool, error) {
	local, err := a.Localpart(ctx, user)
	if err != nil {
		return "", false, err
	}
	return a.testAccounts.CheckPassword(ctx, local, password)
}

// Who types a mail address gets the session of its account, also when the client puts that address into the stream header and the
// authorization identity; nobody else's goes.
func TestMailLogin(t *testing.T) {
	r := newRig(t, nil)
	r.s.accounts = mailAccounts{testAccounts{"alice": "secret-a", "bob": "secret-b"}}
	login := func(authzid, user, from string) *play {
		p := r.dial("mail", r.tls)
		p.send("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x.test' from='%s' version='1.0'>", from)
		if _, err := p.rd.Header(); err != nil {
			t.Fatal(err)
		}
		p.expect("<features")
		p.send("<authenticate xmlns='%s' mechanism='PLAIN'><initial-response>%s</initial-response></authenticate>", nsSASL2,
			base64.StdEncoding.EncodeToString([]byte(authzid+"\x00"+user+"\x00secret-a")))
		return p
	}
	for _, user := range []string{"alice.liddell", "Alice.Liddell@x.test", "alice"} {
		for _, as := range []string{"", "alice@x.test"} {
			login(as, user, as).expect("<success", "<authorization-identifier>alice@x.test<")
		}
	}
	login("alice.liddell@x.test", "alice.liddell", "alice.liddell@x.test").expect("<success", "<authorization-identifier>alice@x.test<")
	login("bob@x.test", "alice.liddell", "").expect("<failure", "invalid-authzid")
	login("", "alice.liddell", "bob@x.test").expect("<failure", "invalid-authzid")
}
