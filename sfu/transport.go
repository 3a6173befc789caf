package sfu

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"konzil/sfu/ice"
	"konzil/sfu/seal"
)

const (
	// dtlsFlight is the first retransmission interval of DTLS: RFC 6347's second is long for a call.
	dtlsFlight = 150 * time.Millisecond
	// dtlsMTU keeps handshake records below the smallest path MTU of IPv6.
	dtlsMTU = 1200
)

// srtpProfiles in order of preference; as DTLS server we choose. GCM 128 costs the least (see doc.go).
var srtpProfiles = []dtls.SRTPProtectionProfile{ //nolint:gochecknoglobals // constant list
	dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80,
}

// path is where packets of a transport go.
type path struct {
	addr  netip.AddrPort
	local int     // listening address
	via   carrier // nil: the socket
}

// transport is ICE and DTLS of one endpoint. ICE is an agent that is driven by sockets and timers (icein.go), DTLS and SCTP run in the
// transport's own goroutines.
type transport struct {
	s   *SFU
	ep  *Endpoint
	sh  *shard
	log *slog.Logger

	heard    atomic.Int64     // s.now of the last sign of life
	iceNext  atomic.Int64     // s.now when the agent has something to do
	iceState atomic.Uint32    // an ice.State, for the control loop
	number   uint32           // in iceUsers
	addrs    []netip.AddrPort // guarded by routes.mu
	streams  int              // TCP connections, guarded by SFU.tcp.mu
	ice      iceSide

	pipe   *dtlsPipe
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards all below
	secured bool       // the roles of DTLS are settled
	gen     int
	remote  Transport // as signalled last, fingerprints kept
	seen    map[netip.AddrPort]bool
	closed  bool
}

func newTransport(ep *Endpoint) *transport {
	t := &transport{s: ep.conf.s, ep: ep, sh: ep.sh, log: ep.log, seen: map[netip.AddrPort]bool{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.pipe = newDTLSPipe(t.writeDTLS)
	t.heard.Store(t.s.now())
	t.s.newAgent(t)
	return t
}

// local returns our side. All host candidates are in it.
func (t *transport) local() (Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return Transport{}, ErrClosed
	}
	t.ice.mu.Lock()
	own := t.ice.agent.Local()
	t.ice.mu.Unlock()
	setup := "actpass"
	if t.remote.Setup == "passive" {
		setup = "active"
	} else if t.secured {
		setup = "passive"
	}
	return Transport{
		Ufrag: own.Ufrag, Pwd: own.Pwd, Setup: setup, Generation: t.gen, Candidates: t.s.candidates(),
		Fingerprints: []Fingerprint{{Hash: "sha-256", Value: t.s.print}},
	}, nil
}

// setRemote takes the peer's side, whole or in parts: credentials start ICE, a fingerprint starts DTLS, candidates add up.
func (t *transport) setRemote(r Transport) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if r.Ufrag != "" && (r.Pwd == "" || len(r.Ufrag) > maxUfrag || len(r.Pwd) > maxPwd) {
		return fmt.Errorf("%w: ICE password missing or credentials too long", ErrDescription)
	}
	if len(r.Fingerprints) > 0 {
		t.remote.Fingerprints = append([]Fingerprint(nil), r.Fingerprints...)
	}
	if r.Setup != "" {
		t.remote.Setup = r.Setup
	}
	if r.Ufrag != "" {
		if r.Ufrag != t.remote.Ufrag {
			clear(t.seen) // the peer has restarted: it names its candidates again
		}
		t.remote.Ufrag, t.remote.Pwd = r.Ufrag, r.Pwd
	}
	if t.remote.Ufrag != "" && len(t.remote.Fingerprints) > 0 {
		t.secured = true
	}
	t.withICE(func(i *iceSide, now int64) {
		if r.Ufrag != "" {
			i.agent.SetRemote(ice.Credentials{Ufrag: r.Ufrag, Pwd: r.Pwd}, now)
		}
		t.addCandidates(i.agent, r.Candidates, now)
		if t.secured && !i.dtls {
			i.prints, i.client = t.remote.Fingerprints, t.remote.Setup == "passive"
		}
	})
	return nil
}

// addCandidates gives the agent the peer's candidates; what we cannot use (other components, mDNS names, TCP, where the peer comes to us) is
// left out: its checks to us make it a candidate all the same.
func (t *transport) addCandidates(a *ice.Agent, cs []Candidate, now int64) {
	for _, c := range cs {
		addr := netip.AddrPortFrom(c.Addr.Addr().Unmap().WithZone(""), c.Addr.Port())
		if c.Component > 1 || (c.Protocol != "" && c.Protocol != "udp" && c.Protocol != "UDP") || !c.Addr.IsValid() || addr.Port() == 0 ||
			addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() || t.seen[addr] || len(t.seen) >= maxAddrs {
			continue
		}
		t.seen[addr] = true
		a.AddRemote(addr, c.Priority, c.Type == "relay" || t.s.routes.relay(addr) != nil, now)
	}
}

// restart swaps the ICE credentials. Media keeps to the old path until a pair of the new generation is valid.
func (t *transport) restart() (Transport, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return Transport{}, ErrClosed
	}
	t.withICE(func(i *iceSide, now int64) {
		i.agent.Restart(now)
		if i.old == "" && i.agent.OldUfrag() == i.name {
			i.old = i.name
		} else {
			t.s.users.dropName(i.name)
		}
		i.name = i.agent.Local().Ufrag
		t.s.users.setName(i.name, t)
	})
	t.gen++
	t.remote.Ufrag, t.remote.Pwd = "", ""
	clear(t.seen)
	t.mu.Unlock()
	return t.local()
}

// writeDTLS sends one DTLS datagram on the current path; before there is one it is dropped and DTLS repeats it.
func (t *transport) writeDTLS(b []byte) {
	p := t.ep.m.path.Load()
	if p == nil {
		t.s.count.inc(cDropNoPath)
		return
	}
	if p.via != nil {
		p.via.send(p.local, b)
		return
	}
	if err := t.sh.conns[p.local].WriteTo(b, p.addr); err != nil {
		t.s.count.inc(cDropSocket)
	}
}

// runDTLS, started when ICE has found a valid pair, does the handshake, installs the SRTP keys and serves SCTP until the connection ends.
func (t *transport) runDTLS(client bool, prints []Fingerprint) {
	conn, err := t.handshake(client, prints)
	if err != nil {
		if t.ctx.Err() == nil {
			t.s.count.inc(cDTLSFailed)
			if errors.Is(err, errFingerprint) {
				t.s.count.inc(cFingerprintMismatch)
			}
			t.log.Info("dtls failed", "error", err)
			t.ep.report(TransportFailed)
		}
		return
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(t.ctx, func() { _ = conn.Close() })
	defer stop()
	if err := t.keys(conn, client); err != nil {
		t.s.count.inc(cDTLSFailed)
		t.log.Info("dtls without srtp keys", "error", err)
		t.ep.report(TransportFailed)
		return
	}
	t.ep.report(TransportConnected)
	if t.ep.cfg.DataChannel {
		t.ep.runChannel(t.ctx, conn)
	}
	// Without SCTP, or after it, the connection is still read: the peer's close_notify ends the transport.
	buf := make([]byte, 2048)
	for {
		if _, err := conn.Read(buf); err != nil {
			break
		}
	}
	if t.ctx.Err() == nil {
		t.ep.report(TransportClosed)
	}
}

func (t *transport) handshake(client bool, prints []Fingerprint) (*dtls.Conn, error) {
	verify := func(raw [][]byte, _ [][]*x509.Certificate) error {
		if len(raw) == 0 {
			return errFingerprint
		}
		return verifyFingerprints(raw[0], prints)
	}
	shared := []dtls.Option{
		dtls.WithCertificates(t.s.cert),
		dtls.WithSRTPProtectionProfiles(srtpProfiles...),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithInsecureSkipVerify(true), // self-signed by design: the signalled fingerprint is what counts
		dtls.WithVerifyPeerCertificate(verify),
		dtls.WithFlightInterval(dtlsFlight),
		dtls.WithMTU(dtlsMTU),
		dtls.WithLoggerFactory(pionLogs{t.log}),
	}
	var conn *dtls.Conn
	var err error
	if client {
		opts := make([]dtls.ClientOption, 0, len(shared))
		for _, o := range shared {
			opts = append(opts, o)
		}
		conn, err = dtls.ClientWithOptions(t.pipe, pipeAddr{}, opts...)
	} else {
		opts := make([]dtls.ServerOption, 0, len(shared)+2)
		for _, o := range shared {
			opts = append(opts, o)
		}
		// No cookie exchange: ICE has validated the address already.
		opts = append(opts, dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true))
		conn, err = dtls.ServerWithOptions(t.pipe, pipeAddr{}, opts...)
	}
	if err != nil {
		return nil, fmt.Errorf("sfu: dtls: %w", err)
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.s.cfg.HandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("sfu: dtls handshake: %w", err)
	}
	return conn, nil
}

// keys exports the SRTP keys (RFC 5764 §4.2) and gives them to the endpoint's shard.
func (t *transport) keys(conn *dtls.Conn, client bool) error {
	sel, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("sfu: no SRTP profile in common")
	}
	st, ok := conn.ConnectionState()
	if !ok {
		return errors.New("sfu: DTLS state missing")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(sel)}
	if err := cfg.ExtractSessionKeysFromDTLS(&st, client); err != nil {
		return fmt.Errorf("sfu: srtp keys: %w", err)
	}
	sealer, err := seal.NewSealer(cfg.Profile, seal.Keys{Key: cfg.Keys.LocalMasterKey, Salt: cfg.Keys.LocalMasterSalt})
	if err != nil {
		return err
	}
	opener, err := seal.NewOpener(cfg.Profile, seal.Keys{Key: cfg.Keys.RemoteMasterKey, Salt: cfg.Keys.RemoteMasterSalt})
	if err != nil {
		return err
	}
	t.sh.mu.Lock()
	t.ep.m.sealer, t.ep.m.opener = sealer, opener
	t.sh.mu.Unlock()
	t.log.Debug("dtls connected", "profile", sel)
	return nil
}

// close ends ICE, DTLS and SCTP and waits for the goroutines.
func (t *transport) close() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.ice.mu.Lock()
	t.ice.closed = true
	t.s.users.drop(t, t.ice.name, t.ice.old)
	t.ice.mu.Unlock()
	// The pipe is closed last, so that DTLS may still say close_notify.
	t.wg.Wait()
	_ = t.pipe.Close()
	t.s.routes.drop(t)
	t.s.tcp.drop(t)
	t.ep.m.path.Store(nil)
}
