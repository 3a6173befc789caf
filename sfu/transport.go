package sfu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"konzil/sfu/ice"
	"konzil/sfu/keying"
)

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

	dtls   dtlsSide
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
	t.dtls.pipe = keying.NewPipe(t.writeDTLS)
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
		Fingerprints: []Fingerprint{{Hash: "sha-256", Value: t.s.identity.Fingerprint}},
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
	t.dtls.mu.Lock()
	pipe := t.dtls.pipe
	t.dtls.mu.Unlock()
	keys, err := keying.Handshake(t.ctx, pipe, t.keying(client, prints))
	if err != nil {
		if t.ctx.Err() == nil {
			t.s.count.inc(cDTLSFailed)
			if errors.Is(err, keying.ErrFingerprint) {
				t.s.count.inc(cFingerprintMismatch)
			}
			t.log.Info("dtls failed", "err", err)
			t.ep.report(TransportFailed)
		}
		return
	}
	defer func() { _ = keys.Conn.Close() }()
	stop := context.AfterFunc(t.ctx, func() { _ = keys.Conn.Close() })
	defer stop()
	t.sh.mu.Lock()
	t.ep.m.sealer, t.ep.m.opener = keys.Sealer, keys.Opener
	t.sh.mu.Unlock()
	t.log.Debug("dtls connected", "profile", keys.Profile)
	t.ep.report(TransportConnected)
	if t.ep.cfg.DataChannel {
		t.ep.runChannel(t.ctx, keys.Conn)
	}
	// Without SCTP, or after it, the connection is still read: the peer's close_notify ends the transport.
	t.attend(keys.Conn, pipe, min(parkSoon, t.s.park))
}

// keying is what a handshake has to know.
func (t *transport) keying(client bool, prints []Fingerprint) keying.Config {
	return keying.Config{Identity: t.s.identity, Client: client, Fingerprints: prints, Timeout: t.s.cfg.HandshakeTimeout, Log: t.log}
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
	t.endDTLS()
	t.ice.mu.Lock()
	t.ice.closed = true
	t.s.users.drop(t, t.ice.name, t.ice.old)
	t.ice.mu.Unlock()
	// The pipe is closed last, so that DTLS may still say close_notify.
	t.wg.Wait()
	t.dtls.mu.Lock()
	if t.dtls.pipe != nil {
		_ = t.dtls.pipe.Close()
	}
	t.dtls.mu.Unlock()
	t.s.routes.drop(t)
	t.s.tcp.drop(t)
	t.ep.m.path.Store(nil)
}
