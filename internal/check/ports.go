package check

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	// maxGreeting bounds what a server may say before TLS, bytes.
	maxGreeting = 16 << 10
	// stunCookie is in every STUN message (RFC 8489 §5).
	stunCookie = 0x2112a442
)

// ports connects to each as others do, by the machine's name, and from the machine itself where that fails, to tell a firewall from
// a server that is not there.
func (p *Plan) ports(ctx context.Context, r *Report, hosts []netip.Addr) {
	r.title("Ports")
	for _, port := range p.Ports {
		if port.Number == 0 {
			continue
		}
		var failed error
		tried := 0
		for _, h := range hosts {
			tried++
			if err := p.reach(ctx, port, h); err != nil {
				failed = fmt.Errorf("at %s: %w", h, err)
				break
			}
		}
		switch {
		case failed == nil && tried > 0:
			r.OK("%d open (%s)", port.Number, port.What)
		case failed == nil:
			failed = errors.New("the machine's name has no address")
			fallthrough
		default:
			p.closed(ctx, r, port, failed)
		}
	}
	r.Note("what lies between the world and this machine cannot be seen from here: open the same ports there")
}

// closed tells why a port cannot be used.
func (p *Plan) closed(ctx context.Context, r *Report, port Port, failed error) {
	var bad *tlsError
	if errors.As(failed, &bad) {
		r.Fail(bad.do, "%d (%s) %v", port.Number, port.What, failed)
		return
	}
	here := false
	for _, l := range p.Listen {
		a, err := netip.ParseAddr(l)
		if err != nil {
			continue
		}
		if a.IsUnspecified() {
			a = netip.MustParseAddr("127.0.0.1")
		}
		if p.reach(ctx, port, a) == nil {
			here = true
		}
	}
	if here {
		r.Fail("open the port in the firewall, forward it, or put the address into listen", "%d (%s) is closed from outside: %v; the server itself answers there on this machine", port.Number, port.What, failed)
		return
	}
	r.Fail("start the server, or look in its log why it does not listen ("+port.Setting+")", "%d (%s) is closed: %v", port.Number, port.What, failed)
}

// tlsError is a connection that came to be and then was no use.
type tlsError struct {
	what, do string
}

func (e *tlsError) Error() string { return e.what }

// reach connects to a port and says hello.
func (p *Plan) reach(ctx context.Context, port Port, host netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	network := "tcp"
	if port.Kind == STUN {
		network = "udp"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(host.String(), strconv.Itoa(port.Number)))
	if err != nil {
		return plainer(err)
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // a socket that is open takes one
	}
	switch port.Kind {
	case STUN:
		return plainer(askSTUN(conn))
	case Plain:
		return nil
	case ClientStartTLS, ServerStartTLS:
		if err := p.startTLS(conn, port.Kind); err != nil {
			return plainer(err)
		}
	}
	return p.handshake(ctx, conn, port)
}

// plainer leaves out what the line says already.
func plainer(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer")
	}
	return err
}

// startTLS asks for TLS as clients and servers do (RFC 6120 §5.4).
func (p *Plan) startTLS(conn net.Conn, kind Kind) error {
	space := "jabber:client"
	if kind == ServerStartTLS {
		space = "jabber:server"
	}
	if _, err := fmt.Fprintf(conn, "<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", space, p.Domain); err != nil {
		return err
	}
	if err := until(conn, "</stream:features>"); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	return until(conn, "<proceed")
}

// until reads up to the end of the element that text begins or ends.
func until(conn net.Conn, text string) error {
	var got []byte
	b := make([]byte, 1)
	for len(got) < maxGreeting {
		if _, err := conn.Read(b); err != nil {
			return err
		}
		if got = append(got, b[0]); b[0] == '>' && bytes.Contains(got, []byte(text)) {
			return nil
		}
		if bytes.Contains(got, []byte("</stream:stream>")) {
			break
		}
	}
	return &tlsError{"is no server for " + text + ": " + string(got), "another program, or another server, has this port"}
}

// handshake looks at the certificate that is shown there.
func (p *Plan) handshake(ctx context.Context, conn net.Conn, port Port) error {
	cfg := &tls.Config{ServerName: p.Domain, InsecureSkipVerify: true} // compared with ours below
	if port.ALPN != "" {
		cfg.NextProtos = []string{port.ALPN}
	}
	c := tls.Client(conn, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		return &tlsError{"takes connections, and no TLS: " + err.Error(), "another program has this port, or the server is an old one: restart it"}
	}
	if shown := c.ConnectionState().PeerCertificates; p.Certificate != nil && !bytes.Equal(shown[0].Raw, p.Certificate.Certificate[0]) {
		return &tlsError{
			fmt.Sprintf("shows another certificate, of %s until %s", shown[0].Subject, shown[0].NotAfter.Format(time.DateOnly)),
			"another program, or another server, has this port; or the server runs with other settings: restart it",
		}
	}
	return nil
}

// askSTUN sends a binding request and waits for the answer (RFC 8489 §5), three times: datagrams get lost.
func askSTUN(conn net.Conn) error {
	req := make([]byte, 20)
	binary.BigEndian.PutUint16(req, 0x0001)
	binary.BigEndian.PutUint32(req[4:], stunCookie)
	_, _ = rand.Read(req[8:]) // never fails
	answer := make([]byte, 1500)
	var err error
	for range 3 {
		if _, err = conn.Write(req); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		var n int
		if n, err = conn.Read(answer); err == nil && n >= 20 && bytes.Equal(answer[8:20], req[8:]) && answer[0] == 1 {
			return nil
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	if err == nil {
		err = errors.New("something else answers")
	}
	return err
}
