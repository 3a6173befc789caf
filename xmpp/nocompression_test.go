package xmpp

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestNoCompression: nothing that comes is unpacked, so that a small message is a small message ("xmppbomb", CVE-2014-2741 and others): no
// XEP-0138, no permessage-deflate (RFC 7692), no packed HTTP bodies.
func TestNoCompression(t *testing.T) {
	r := newRig(t, nil)
	p := r.dial("x", r.tls)
	if f := string(p.header("x.test").AppendXML(nil, "")); strings.Contains(f, "compress") {
		t.Error("offered:", f)
	}
	p.send("<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>")
	p.expectEnd("not-authorized")
	p = r.user("alice", "a")
	p.send("<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>")
	p.expectEnd("unsupported-stanza-type")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, r.web+"/xmpp-websocket", &websocket.DialOptions{Subprotocols: []string{"xmpp"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	if e := resp.Header.Get("Sec-WebSocket-Extensions"); e != "" {
		t.Error("agreed to", e)
	}
	ws.CloseNow()

	b := r.bosh(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, "<body xmlns='http://jabber.org/protocol/httpbind' to='x.test' rid='1' wait='5' hold='1'/>")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, "POST", b.url, &packed)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "gzip")
	got, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(got.Body); err != nil || !strings.Contains(answer.String(), "bad-request") {
		t.Errorf("a packed body: %s %s %v", got.Status, &answer, err)
	}
}

// TestNoRenegotiation: a client that wants a second TLS 1.2 handshake is disconnected (CVE-2021-32920).
func TestNoRenegotiation(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	r := newRig(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, openssl, "s_client", "-connect", r.tls, "-tls1_2")
	cmd.Stdin = strings.NewReader("R\n<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x.test' version='1.0'>\n")
	out, err := cmd.CombinedOutput()
	if said := string(out); err == nil || !strings.Contains(said, "RENEGOTIATING") || strings.Contains(said, "stream:features") {
		t.Errorf("%v: %s", err, said)
	}
}
