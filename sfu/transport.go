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
	"github.com/pion/ice/v4"
	"github.com/pion/srtp/v3"

	"konzil/sfu/seal"
)

const (
	// iceDisconnected is when pion/ice calls a silent path disconnected; it still checks it until ConsentTimeout.
	iceDisconnected = 5 * time.Second
	// iceKeepalive is the interval of our own consent checks (RFC 7675 §5.1: 5 s). Each costs a wake-up.
	iceKeepalive = 5 * time.Second
	// icePrflxWait holds back the nomination of peer reflexive pairs, so that a direct path may beat a relayed one. It is short because
	// clients signal no candidates: all pairs are peer reflexive. A relayed path takes three round trips more to come up than a direct one.
	icePrflxWait = 10 * time.Millisecond
	// iceNudge is how long the agent is given to take a response in before it is told to go on.
	iceNudge = time.Millisecond
	// iceCheck is the pace of connectivity checks (RFC 8445 §14.2); pion's own 200 ms made most of the time of a join.
	iceCheck = 50 * time.Millisecond
	// iceMaxChecks per pair: 20 s of them; with fewer a pair whose first packets were lost is dead.
	iceMaxChecks = 400
	// pathSilence is how long the selected path must be silent before an authenticated check from elsewhere moves us.
	pathSilence = 5 * time.Second
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
	local int        // listening address
	relay *relayPath // nil: the socket
}

// transport is ICE and DTLS of one endpoint. ICE runs in pion's agent, DTLS and SCTP in the transport's own goroutines.
type transport struct {
	s   *SFU
	ep  *Endpoint
	sh  *shard
	log *slog.Logger

	out           atomic.Pointer[path] // where to send; nil before ICE validated anything
	heard         atomic.Int64         // s.now of the last sign of life
	heardSelected atomic.Int64         // s.now of the last check on the selected path
	checking      atomic.Int64         // s.now when the agent began to look for a pair; 0: it has one, or was not started
	nudging       atomic.Bool
	addrs         []netip.AddrPort // guarded by routes.mu

	pipe   *dtlsPipe
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	valid  chan struct{} // closed when out is first set
	once   sync.Once

	mu      sync.Mutex // guards all below
	agent   *ice.Agent
	started bool // ICE checks run
	secured bool // DTLS was started
	gen     int
	remote  Transport // as signalled last, fingerprints kept
	seen    map[netip.AddrPort]bool
	closed  bool
}

func newTransport(ep *Endpoint) (*transport, error) {
	t := &transport{s: ep.conf.s, ep: ep, sh: ep.sh, valid: make(chan struct{}), seen: map[netip.AddrPort]bool{}}
	t.log = ep.log
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.pipe = newDTLSPipe(t.writeDTLS)
	t.heard.Store(t.s.now())
	failed := max(t.s.cfg.ConsentTimeout-iceDisconnected, time.Second)
	agent, err := ice.NewAgentWithOptions(
		ice.WithUDPMux(t.s.mux.Bind(t)),
		ice.WithNet(t.s.net), // else each agent would read the machine's interfaces
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithDisconnectedTimeout(min(iceDisconnected, t.s.cfg.ConsentTimeout)),
		ice.WithFailedTimeout(failed),
		ice.WithKeepaliveInterval(iceKeepalive),
		ice.WithPrflxAcceptanceMinWait(icePrflxWait),
		ice.WithMaxBindingRequests(iceMaxChecks),
		ice.WithCheckInterval(iceCheck),
		ice.WithBindingRequestHandler(t.followPath),
		ice.WithLoggerFactory(pionLogs{t.log}),
	)
	if err != nil {
		t.cancel()
		return nil, fmt.Errorf("sfu: ice agent: %w", err)
	}
	t.agent = agent
	if err := errors.Join(agent.OnConnectionStateChange(t.iceState), agent.OnSelectedCandidatePairChange(t.selected)); err != nil {
		t.cancel()
		_ = agent.Close()
		return nil, fmt.Errorf("sfu: ice agent: %w", err)
	}
	return t, nil
}

// local gathers and returns our side. All host candidates are in it.
func (t *transport) local(ctx context.Context) (Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return Transport{}, ErrClosed
	}
	if st, err := t.agent.GetGatheringState(); err != nil || st == ice.GatheringStateNew {
		if err != nil {
			return Transport{}, fmt.Errorf("sfu: ice: %w", err)
		}
		if err := t.gather(ctx); err != nil {
			return Transport{}, err
		}
	}
	ufrag, pwd, err := t.agent.GetLocalUserCredentials()
	if err != nil {
		return Transport{}, fmt.Errorf("sfu: ice: %w", err)
	}
	setup := "actpass"
	if t.remote.Setup == "passive" {
		setup = "active"
	} else if t.secured {
		setup = "passive"
	}
	return Transport{
		Ufrag: ufrag, Pwd: pwd, Setup: setup, Generation: t.gen, Candidates: t.s.candidates(t.gen),
		Fingerprints: []Fingerprint{{Hash: "sha-256", Value: t.s.print}},
	}, nil
}

// gather makes the agent take its candidates from the mux; they are host candidates, so it is over at once.
func (t *transport) gather(ctx context.Context) error {
	done := make(chan struct{})
	var once sync.Once
	if err := t.agent.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			once.Do(func() { close(done) })
		}
	}); err != nil {
		return fmt.Errorf("sfu: ice: %w", err)
	}
	if err := t.agent.GatherCandidates(); err != nil {
		return fmt.Errorf("sfu: ice: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.ctx.Done():
		return ErrClosed
	}
}

// candidates lists the listening addresses as host candidates and the advertised ones as server reflexive (RFC 8445 §5.1).
func (s *SFU) candidates(int) []Candidate {
	out := make([]Candidate, 0, len(s.addrs)+len(s.cfg.Advertise))
	for i, a := range s.addrs {
		pref := uint32(65535 - i)
		out = append(out, Candidate{
			Foundation: fmt.Sprint(i + 1), Component: 1, Protocol: "udp", Type: "host", Addr: a, Priority: 126<<24 | pref<<8 | 255,
		})
	}
	for i, a := range s.cfg.Advertise {
		var base netip.AddrPort
		for _, l := range s.addrs {
			if l.Addr() == a {
				base = netip.AddrPort{}
				break
			}
			if l.Addr().Is4() == a.Is4() && !base.IsValid() {
				base = l
			}
		}
		if !base.IsValid() {
			continue // listened on already, or no socket of its family
		}
		out = append(out, Candidate{
			Foundation: fmt.Sprint(len(s.addrs) + i + 1), Component: 1, Protocol: "udp", Type: "srflx",
			Addr: netip.AddrPortFrom(a, base.Port()), Related: base, Priority: 100<<24 | uint32(65535-i)<<8 | 255,
		})
	}
	return out
}

// setRemote takes the peer's side, whole or in parts: credentials start ICE, a fingerprint starts DTLS, candidates add up.
func (t *transport) setRemote(r Transport) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if st, err := t.agent.GetGatheringState(); err == nil && st == ice.GatheringStateNew {
		if err := t.gather(t.ctx); err != nil {
			return err
		}
	}
	if len(r.Fingerprints) > 0 {
		t.remote.Fingerprints = append([]Fingerprint(nil), r.Fingerprints...)
	}
	if r.Setup != "" {
		t.remote.Setup = r.Setup
	}
	if r.Ufrag != "" && (r.Ufrag != t.remote.Ufrag || r.Pwd != t.remote.Pwd) {
		if r.Pwd == "" {
			return fmt.Errorf("%w: ICE password missing", ErrDescription)
		}
		t.remote.Ufrag, t.remote.Pwd = r.Ufrag, r.Pwd
		if err := t.connect(); err != nil {
			return err
		}
	}
	t.addCandidates(r.Candidates)
	if !t.secured && len(t.remote.Fingerprints) > 0 && t.remote.Ufrag != "" {
		t.secured = true
		client := t.remote.Setup == "passive"
		prints := t.remote.Fingerprints
		t.wg.Go(func() { t.runDTLS(client, prints) })
	}
	return nil
}

// connect starts the checks, or gives a restarted agent its new peer credentials.
func (t *transport) connect() error {
	if t.started {
		if err := t.agent.SetRemoteCredentials(t.remote.Ufrag, t.remote.Pwd); err != nil {
			return fmt.Errorf("sfu: ice: %w", err)
		}
		return nil
	}
	var err error
	t.checking.Store(t.s.now())
	if t.ep.cfg.Controlling {
		_, err = t.agent.StartDial(t.remote.Ufrag, t.remote.Pwd)
	} else {
		_, err = t.agent.StartAccept(t.remote.Ufrag, t.remote.Pwd)
	}
	if err != nil {
		return fmt.Errorf("sfu: ice: %w", err)
	}
	t.started = true
	return nil
}

// addCandidates gives the agent the peer's candidates; what we cannot use (TCP, other components) is left out.
func (t *transport) addCandidates(cs []Candidate) {
	for _, c := range cs {
		if c.Component > 1 || (c.Protocol != "" && c.Protocol != "udp" && c.Protocol != "UDP") || !c.Addr.IsValid() ||
			t.seen[c.Addr] || len(t.seen) >= maxAddrs {
			continue
		}
		t.seen[c.Addr] = true
		cand, err := ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network: "udp", Address: c.Addr.Addr().String(), Port: int(c.Addr.Port()), Component: 1,
			Priority: c.Priority, Foundation: c.Foundation,
		})
		if err != nil {
			t.log.Debug("candidate left out", "candidate", c.Addr, "error", err)
			continue
		}
		if err := t.agent.AddRemoteCandidate(cand); err != nil {
			t.log.Debug("candidate left out", "candidate", c.Addr, "error", err)
		}
	}
}

// restart swaps the ICE credentials. Media keeps to the old path until a pair of the new generation is selected.
func (t *transport) restart(ctx context.Context) (Transport, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return Transport{}, ErrClosed
	}
	if err := t.agent.Restart("", ""); err != nil {
		t.mu.Unlock()
		return Transport{}, fmt.Errorf("sfu: ice restart: %w", err)
	}
	t.gen++
	t.remote.Ufrag, t.remote.Pwd = "", ""
	clear(t.seen)
	err := t.gather(ctx)
	t.mu.Unlock()
	if err != nil {
		return Transport{}, err
	}
	return t.local(ctx)
}

// Validated implements icemux.Owner: remote knows the ICE password.
func (t *transport) Validated(local int, remote netip.AddrPort) {
	if !t.s.routes.has(remote, t) {
		t.s.routes.set(remote, t)
	}
	if t.out.Load() == nil && t.out.CompareAndSwap(nil, t.pathTo(local, remote)) {
		t.once.Do(func() { close(t.valid) })
	}
}

// Heard implements icemux.Owner.
func (t *transport) Heard(remote netip.AddrPort) {
	now := t.s.now()
	t.heard.Store(now)
	if p := t.out.Load(); p != nil && p.addr == remote {
		t.heardSelected.Store(now)
	}
	if since := t.checking.Load(); since != 0 && t.nudging.CompareAndSwap(false, true) {
		time.AfterFunc(max(iceNudge, icePrflxWait+iceNudge-time.Duration(now-since)), t.nudge)
	}
}

// nudge makes the agent nominate now what has proved valid: by itself it does so at its next round of checks (iceCheck).
func (t *transport) nudge() {
	t.nudging.Store(false)
	if t.checking.Load() != 0 {
		_ = t.agent.SetRemoteICELite(false) // changes nothing, and starts a round
	}
}

func (t *transport) pathTo(local int, remote netip.AddrPort) *path {
	return &path{addr: remote, local: local, relay: t.s.routes.relay(remote)}
}

// selected is told by the agent: its choice is where we send.
func (t *transport) selected(local, remote ice.Candidate) {
	l, err1 := netip.ParseAddr(local.Address())
	r, err2 := netip.ParseAddr(remote.Address())
	if err1 != nil || err2 != nil {
		return
	}
	to := netip.AddrPortFrom(r.Unmap(), uint16(remote.Port()))
	for i, a := range t.s.addrs {
		if a.Addr() == l.Unmap() && int(a.Port()) == local.Port() {
			t.s.routes.set(to, t)
			t.out.Store(t.pathTo(i, to))
			t.checking.Store(0)
			t.once.Do(func() { close(t.valid) })
			t.log.Debug("path selected", "local", a, "remote", to)
			return
		}
	}
}

// followPath lets an authenticated check from another address move the selected pair once the old path is silent: a
// client that changed its network. The agent's goroutine calls it.
func (t *transport) followPath(_ *stunMessage, _, remote ice.Candidate, _ *ice.CandidatePair) bool {
	cur := t.out.Load()
	if cur == nil {
		return false
	}
	if cur.addr.Port() == uint16(remote.Port()) && cur.addr.Addr().String() == remote.Address() {
		return false
	}
	return t.s.now()-t.heardSelected.Load() > int64(pathSilence)
}

// iceState is told by the agent in a goroutine of its own.
func (t *transport) iceState(st ice.ConnectionState) {
	switch st {
	case ice.ConnectionStateFailed:
		t.s.count.inc(cICEFailed)
		t.ep.report(TransportFailed)
	case ice.ConnectionStateConnected:
		t.heard.Store(t.s.now())
		t.heardSelected.Store(t.s.now())
		t.ep.iceConnected()
	default:
	}
}

// writeDTLS sends one DTLS datagram on the current path; before there is one it is dropped and DTLS repeats it.
func (t *transport) writeDTLS(b []byte) {
	p := t.out.Load()
	if p == nil {
		t.s.count.inc(cDropNoPath)
		return
	}
	if p.relay != nil {
		p.relay.send(p.local, b)
		return
	}
	if err := t.sh.conns[p.local].WriteTo(b, p.addr); err != nil {
		t.s.count.inc(cDropSocket)
	}
}

// runDTLS does the handshake, installs the SRTP keys and serves SCTP until the connection ends.
func (t *transport) runDTLS(client bool, prints []Fingerprint) {
	select {
	case <-t.valid:
	case <-t.ctx.Done():
		return
	}
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

// close ends ICE, DTLS and SCTP and waits for their goroutines.
func (t *transport) close() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	_ = t.agent.GracefulClose()
	// The pipe is closed last, so that DTLS may still say close_notify.
	t.wg.Wait()
	_ = t.pipe.Close()
	t.s.routes.drop(t)
	t.out.Store(nil)
}
