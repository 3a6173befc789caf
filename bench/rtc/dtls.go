package rtc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5/deadline"

	"konzil/bench/sfuload"
)

const (
	// dtlsQueue bounds the records that wait for a handshake; more are dropped, DTLS repeats.
	dtlsQueue = 64
	// dtlsFlight is the first retransmission interval: libwebrtc uses 50 ms on a short path.
	dtlsFlight = 100 * time.Millisecond
	// dtlsLinger keeps a finished handshake around for the other side's repetitions of its last flight.
	dtlsLinger = time.Second
	// keyLabel of RFC 5764 §4.2.
	keyLabel = "EXTRACTOR-dtls_srtp"
)

// identity is the certificate of all transports of an engine.
type identity struct {
	cert  tls.Certificate
	print string
}

func newIdentity() (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("rtc: key: %w", err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return identity{}, fmt.Errorf("rtc: certificate: %w", err)
	}
	return identity{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, print: fingerprint(der)}, nil
}

// fingerprint is the SHA-256 of a certificate as RFC 8122 §5 writes it.
func fingerprint(der []byte) string {
	s := sha256.Sum256(der)
	h := make([]string, len(s))
	for i, c := range s {
		h[i] = fmt.Sprintf("%02X", c)
	}
	return strings.Join(h, ":")
}

// startDTLS runs the handshake in a goroutine of its own.
func (t *Transport) startDTLS() {
	t.pipe = &pipe{t: t, in: make(chan []byte, dtlsQueue), rd: deadline.New(), done: make(chan struct{})}
	p, remote, profile, id := t.pipe, t.remote, t.sh.eng.profile, t.sh.eng.id
	t.sh.eng.wg.Go(func() {
		conn, in, out, err := shake(p, remote, profile, id)
		t.sh.post(func() {
			if err != nil {
				t.end(err)
				return
			}
			t.up(in, out)
		})
		if err == nil {
			p.linger()
		}
		p.mute.Store(true) // the association ends with the process, not with the handshake
		_ = p.Close()
		if conn != nil {
			_ = conn.Close()
		}
	})
}

// shake does the handshake and makes the SRTP contexts of it.
func shake(p *pipe, r sfuload.Remote, profile dtls.SRTPProtectionProfile, id identity) (conn *dtls.Conn, in opener, out sealer, err error) {
	shared := []dtls.Option{
		dtls.WithCertificates(id.cert), dtls.WithSRTPProtectionProfiles(profile), dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithInsecureSkipVerify(true), // self-signed by design: the signalled fingerprint is what counts
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || fingerprint(raw[0]) != strings.ToUpper(r.Print) {
				return errors.New("rtc: certificate is not the one that was signalled")
			}
			return nil
		}),
		dtls.WithFlightInterval(dtlsFlight), dtls.WithMTU(1200),
	}
	client := r.Role == sfuload.RoleActive
	if client {
		opts := make([]dtls.ClientOption, 0, len(shared))
		for _, o := range shared {
			opts = append(opts, o)
		}
		conn, err = dtls.ClientWithOptions(p, peerAddr{}, opts...)
	} else {
		opts := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
		for _, o := range shared {
			opts = append(opts, o)
		}
		conn, err = dtls.ServerWithOptions(p, peerAddr{}, opts...)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("rtc: DTLS: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(handshakeMost))
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return conn, nil, nil, fmt.Errorf("rtc: DTLS: %w", err)
	}
	if got, ok := conn.SelectedSRTPProtectionProfile(); !ok || got != profile {
		return conn, nil, nil, fmt.Errorf("rtc: DTLS: SRTP profile %#x instead of %#x", got, profile)
	}
	st, ok := conn.ConnectionState()
	if !ok {
		return conn, nil, nil, errors.New("rtc: DTLS: no state after the handshake")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := cfg.ExtractSessionKeysFromDTLS(&st, client); err != nil {
		return conn, nil, nil, fmt.Errorf("rtc: %s: %w", keyLabel, err)
	}
	if out, err = newSealer(&cfg); err != nil {
		return conn, nil, nil, fmt.Errorf("rtc: SRTP: %w", err)
	}
	if in, err = newOpener(&cfg); err != nil {
		return conn, nil, nil, fmt.Errorf("rtc: SRTP: %w", err)
	}
	return conn, in, out, nil
}

// up begins with media.
func (t *Transport) up(in opener, out sealer) {
	if t.state != stateDTLS {
		return
	}
	now := time.Now().UnixNano()
	t.state, t.in, t.out = stateUp, in, out
	t.ice.answeredAt = now
	t.wholeAt = now
	t.reportAt = now + int64(t.sh.rng.Uint64N(uint64(time.Second)))
	t.peer.Step("dtls")
	for _, o := range t.tracks {
		o.start(now)
	}
	close(t.connected)
	early := t.early
	t.early = nil
	for i := range early {
		t.media(early[i].b, early[i].size, early[i].at, early[i].sampled)
	}
}

// pipe is the in-memory net.PacketConn under DTLS.
type pipe struct {
	t    *Transport
	in   chan []byte
	rd   *deadline.Deadline
	once sync.Once
	done chan struct{}
	mute atomic.Bool
}

// peerAddr stands for the other side, whatever its address.
type peerAddr struct{}

func (peerAddr) Network() string { return "udp" }
func (peerAddr) String() string  { return "peer" }

// push queues a copy of a record.
func (p *pipe) push(b []byte) {
	select {
	case p.in <- append([]byte(nil), b...):
	default:
	}
}

// linger waits dtlsLinger or until the transport ends.
func (p *pipe) linger() {
	w := time.NewTimer(dtlsLinger)
	defer w.Stop()
	select {
	case <-w.C:
	case <-p.done:
	}
}

// ReadFrom implements net.PacketConn.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-p.done:
		return 0, nil, net.ErrClosed
	case <-p.rd.Done():
		return 0, nil, os.ErrDeadlineExceeded
	case m := <-p.in:
		return copy(b, m), peerAddr{}, nil
	}
}

// WriteTo implements net.PacketConn.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-p.done:
		return 0, net.ErrClosed
	default:
	}
	if p.mute.Load() {
		return len(b), nil
	}
	c := append([]byte(nil), b...)
	p.t.sh.post(func() {
		if p.t.state == stateDTLS || p.t.state == stateUp {
			p.t.send(c)
		}
	})
	return len(b), nil
}

// Close implements net.PacketConn.
func (p *pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *pipe) LocalAddr() net.Addr { return peerAddr{} }

// SetDeadline implements net.PacketConn.
func (p *pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *pipe) SetReadDeadline(t time.Time) error { p.rd.Set(t); return nil }

// SetWriteDeadline implements net.PacketConn; writes do not wait.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
