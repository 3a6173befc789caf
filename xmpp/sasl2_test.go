package xmpp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

// testTokens keeps one token for each client.
type testTokens map[string]string

func (k testTokens) IssueToken(_ context.Context, local, client, mechanism string) (string, time.Time, error) {
	if client == "broken" {
		return "", time.Time{}, errors.New("disk full")
	}
	k[local+client+mechanism] = "token-of-" + client
	return "token-of-" + client, time.Unix(1_900_000_000, 0), nil
}

func (k testTokens) CheckToken(_ context.Context, local, client, mechanism string, _ uint64, invalidate bool, matches func(string) bool) (bool, bool, error) {
	key := local + client + mechanism
	ok := k[key] != "" && matches(k[key])
	if ok && invalidate {
		delete(k, key)
	}
	return ok, false, nil
}

func newSASL2Rig(t *testing.T) *rig {
	return newRigWith(t, func(c *Config) { c.Tokens = testTokens{} }, func(s *Server) {
		s.Hooks().BindFeature("test:on", func(x *Session, asked *stanza.Element) *stanza.Element {
			x.Set("on", asked.Local)
			return stanza.NewElement("test:on", "done")
		})
		s.Hooks().BoundInfo(func(x *Session) *stanza.Element { return stanza.NewElement("test:info", "info", "of", x.JID().Local()) })
		s.Hooks().Bound(func(x *Session) { // what comes the moment that the address is there
			x.Send(stanza.NewMessage("headline", stanza.MustJID("x.test"), x.JID(), stanza.TextElement(stanza.NSClient, "body", "welcome")))
		})
	})
}

const userAgent = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>Test</software></user-agent>"

// authenticate sends a login with PLAIN, or with the mechanism and data given, and inline requests.
func (p *play) authenticate(user, inline string) {
	p.send("<authenticate xmlns='%s' mechanism='PLAIN'><initial-response>%s</initial-response>%s</authenticate>", nsSASL2, plain(user, "secret-"+user[:1]), inline)
}

// One round trip: logged in, bound, managed, with features on and tokens given (XEP-0388, XEP-0386, XEP-0484).
func TestSASL2(t *testing.T) {
	r := newSASL2Rig(t)
	p := r.dial("alice", r.tls)
	f := p.header("x.test")
	text := string(f.AppendXML(nil, ""))
	for _, want := range []string{"<authentication xmlns='urn:xmpp:sasl:2'", "SCRAM-SHA-256-PLUS", "<bind xmlns='urn:xmpp:bind:0'", "<sm xmlns='urn:xmpp:sm:3'/>",
		"<feature var='urn:xmpp:csi:0'/>", "<feature var='test:on'/>", "<fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-EXPR", "HT-SHA-256-NONE"} {
		if !strings.Contains(text, want) {
			t.Errorf("features lack %s: %s", want, text)
		}
	}
	p.authenticate("alice", userAgent+"<bind xmlns='urn:xmpp:bind:0'><tag>Test</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/><go xmlns='test:on'/></bind>"+
		"<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>")
	e := p.expect("<success xmlns='urn:xmpp:sasl:2'", "<authorization-identifier>alice@x.test/Test/", "<bound xmlns='urn:xmpp:bind:0'>", "<enabled xmlns='urn:xmpp:sm:3' id='",
		"<done xmlns='test:on'/>", "<info xmlns='test:info' of='alice'/>", "token='token-of-d4565fa7").Elem
	p.jid = stanza.MustJID(e.Child(nsSASL2, "authorization-identifier").Text())
	p.smid = e.Child(nsBind2, "bound").Child(nsSM, "enabled").Attr("id")
	p.expect("<features")
	p.h = 0
	p.expect("welcome")
	if strings.Contains(p.jid.Resource(), "d4565fa7") {
		t.Error("the id of the user agent is in the address")
	}
	if x := r.s.Session(p.jid); x == nil || x.Get("on") != "go" {
		t.Error("the feature is not on")
	} else if x.Note(NoteSoftware) != "Test" || x.Note(NoteToken) != "" || !strings.HasPrefix(x.Note(NoteClient), "d4565fa7") {
		t.Error("what the client says of itself is not known")
	}
	p.available("")
	// The same client again: same address, by its token; the old session gives way.
	q := r.dial("again", r.tls)
	q.header("x.test")
	st := r.s.Session(p.jid)
	q.token(t, "alice", "HT-SHA-256-EXPR", "token-of-d4565fa7-4d72-4749-b3d3-740edbf87770", userAgent+"<fast xmlns='urn:xmpp:fast:0'/><bind xmlns='urn:xmpp:bind:0'><tag>Test</tag></bind>")
	q.expect("<success", "<additional-data>", "<authorization-identifier>"+p.jid.String()+"<")
	q.expect("<features")
	q.expect("welcome")
	q.available("")
	if x := r.s.Session(p.jid); x == st || x == nil || x.Note(NoteToken) == "" {
		t.Error("the old session is still there, or it is not known that a token was used")
	}
	p.expectEnd("conflict")
}

// A client that comes to fetch what there is and goes back to sleep is never disturbed by what can wait (XEP-0352, inline as in XEP-0386 §3.1).
func TestInactiveAtOnce(t *testing.T) {
	r := newSASL2Rig(t)
	for inline, want := range map[string]bool{"<inactive xmlns='urn:xmpp:csi:0'/>": true, "<active xmlns='urn:xmpp:csi:0'/>": false, "": false} {
		p := r.dial("alice", r.tls)
		p.header("x.test")
		p.authenticate("alice", "<bind xmlns='urn:xmpp:bind:0'>"+inline+"</bind>")
		jid := p.expect("<success", "<bound").Elem.Child(nsSASL2, "authorization-identifier").Text()
		x := r.s.Session(stanza.MustJID(jid))
		x.mu.Lock()
		if got := x.csi != nil; got != want {
			t.Errorf("%q: inactive %v", inline, got)
		}
		x.mu.Unlock()
	}
}

// token logs in with a token.
func (p *play) token(t *testing.T, user, mechanism, token, inline string) {
	t.Helper()
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("Initiator"))
	if strings.HasSuffix(mechanism, "-EXPR") {
		cs := p.conn.(interface {
			ConnectionState() tls.ConnectionState
		}).ConnectionState()
		b, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			t.Fatal(err)
		}
		m.Write(b)
	}
	response := base64.StdEncoding.EncodeToString(m.Sum([]byte(user + "\x00")))
	p.send("<authenticate xmlns='%s' mechanism='%s'><initial-response>%s</initial-response>%s</authenticate>", nsSASL2, mechanism, response, inline)
}

// Tokens hold for their client and mechanism, and only with <fast/>.
func TestTokenRefused(t *testing.T) {
	r := newSASL2Rig(t)
	r.s.cfg.Tokens.(testTokens)["alicedHT-SHA-256-EXPR"] = "tok"
	r.s.cfg.Tokens.(testTokens)["carolsdHT-SHA-256-NONE"] = "tok"
	const fast = "<user-agent id='d'/><fast xmlns='urn:xmpp:fast:0'/>"
	p := r.dial("p", r.tls)
	p.header("x.test")
	p.token(t, "alice", "HT-SHA-256-NONE", "tok", fast)
	p.expect("<failure xmlns='urn:xmpp:sasl:2'><not-authorized")
	p.token(t, "alice", "HT-SHA-256-EXPR", "tok", "<user-agent id='d'/>")
	p.expect("<failure", "<invalid-mechanism")
	p.token(t, "alice", "HT-SHA-256-EXPR", "tok", "<fast xmlns='urn:xmpp:fast:0'/>")
	p.expect("<failure", "<invalid-mechanism")
	p.token(t, "alice", "HT-SHA-256-EXPR", "tok", fast)
	p.expect("<success", "<authorization-identifier>alice@x.test<")
	p.expect("<features", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'")
	p.send("<iq type='set' id='b'><bind xmlns='%s'/></iq>", nsBind) // no Bind 2 asked for: the old way, on the same stream
	p.expect("welcome")
	p.expect("<iq id='b' type='result'>")
	q := r.dial("gone", r.tls)
	q.header("x.test")
	q.token(t, "gone", "HT-SHA-256-NONE", "tok", fast)
	q.expect("<failure", "<not-authorized")
}

// Resumption inline; when it fails, binding follows in the same breath.
func TestSASL2Resume(t *testing.T) {
	r := newSASL2Rig(t)
	p := r.dial("alice", r.tls)
	p.header("x.test")
	p.authenticate("alice", "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>")
	e := p.expect("<success").Elem
	p.jid, p.smid = stanza.MustJID(e.Child(nsSASL2, "authorization-identifier").Text()), e.Child(nsBind2, "bound").Child(nsSM, "enabled").Attr("id")
	p.expect("<features")
	p.expect("welcome")
	p.cut()
	q := r.dial("resumed", r.tls)
	q.header("x.test")
	q.authenticate("alice", "<resume xmlns='urn:xmpp:sm:3' h='0' previd='"+p.smid+"'/><bind xmlns='urn:xmpp:bind:0'/>")
	e = q.expect("<success", "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='"+p.smid+"'/>").Elem
	if e.Child(nsBind2, "bound") != nil {
		t.Error("bound and resumed")
	}
	q.expect("<features")
	q.expect("welcome")
	q.jid = p.jid
	q.sync()
	w := r.dial("failed", r.tls)
	w.header("x.test")
	w.authenticate("alice", "<resume xmlns='urn:xmpp:sm:3' h='0' previd='nonsense'/><bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3'/></bind>")
	w.expect("<success", "<failed xmlns='urn:xmpp:sm:3'><item-not-found", "<bound", "<enabled")
	w.expect("<features")
	w.expect("welcome")
}

func TestSASL2Failures(t *testing.T) {
	r := newSASL2Rig(t)
	p := r.dial("p", r.tls)
	p.header("x.test")
	p.send("<authenticate xmlns='%s' mechanism='NONE'/>", nsSASL2)
	p.expect("<failure xmlns='urn:xmpp:sasl:2'><invalid-mechanism xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	p.send("<authenticate xmlns='%s' mechanism='PLAIN'><initial-response>%s</initial-response></authenticate>", nsSASL2, plain("alice", "wrong"))
	p.expect("<failure", "<not-authorized")
	p.send("<authenticate xmlns='%s' mechanism='SCRAM-SHA-1'/>", nsSASL2)
	p.expect("<challenge xmlns='urn:xmpp:sasl:2'")
	p.send("<abort xmlns='%s'/>", nsSASL2)
	p.expect("<failure", "<aborted")
	p.authenticate("alice", "<user-agent id='broken'/><request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>")
	e := p.expect("<success").Elem // a token that cannot be had is no reason to stay out
	if e.Child(nsFAST, "token") != nil {
		t.Error("a token")
	}
	p.expect("<features")
	q := r.dial("q", r.tcp).secure() // in clear nothing is offered
	if f := q.header("x.test"); f.Child(nsSASL2, "authentication") == nil {
		t.Error("no SASL2 after STARTTLS")
	}
	g := r.dialWS("guest", "")
	g.header("guest.x.test")
	g.send("<authenticate xmlns='%s' mechanism='ANONYMOUS'><bind xmlns='urn:xmpp:bind:0'/></authenticate>", nsSASL2)
	g.expect("<success", "@guest.x.test/")
}
