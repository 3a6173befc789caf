package rtc

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"konzil/bench/clock"
	"konzil/bench/sfuload"
)

// Profiles are the SRTP protection profiles that an engine can be told to offer (RFC 5764 §4.1.2, RFC 7714 §14.2).
var Profiles = map[string]dtls.SRTPProtectionProfile{ // constant
	"AEAD_AES_128_GCM":  dtls.SRTP_AEAD_AES_128_GCM,
	"AEAD_AES_256_GCM":  dtls.SRTP_AEAD_AES_256_GCM,
	"AES128_CM_SHA1_80": dtls.SRTP_AES128_CM_HMAC_SHA1_80,
}

// Config is how an engine works. The zero value is good.
type Config struct {
	Local   netip.Addr // address of all sockets; default 127.0.0.1
	Shards  int        // goroutines that work; default 1, which carries some hundred thousand packets a second
	Profile string     // the one SRTP profile to offer, a key of Profiles; default AEAD_AES_128_GCM
	// OwnSockets gives each transport a socket of its own even on the loopback, where those of a shard share one and have an address each.
	OwnSockets bool
	// NoTap reads every packet from the sockets, also where a BPF program may note the headers.
	NoTap bool
	// Clock is what the shards wait by between Alone and its end; nil or one that was not started: they sleep by themselves.
	Clock  *clock.Clock
	Logger *slog.Logger

	// Faults, to show that they are found. Lose says whether to throw a received packet away; Corrupt may change the payload of one that is
	// about to be verified and says whether it did. Both are called from the shards.
	Lose    func() bool
	Corrupt func(payload []byte) bool
}

// Engine is a set of shards.
type Engine struct {
	cfg     Config
	profile dtls.SRTPProtectionProfile
	id      identity
	shards  []*shard
	wg      sync.WaitGroup
	next    atomic.Uint32
	number  atomic.Int32 // of transports
	base    uint32       // of participants' numbers: other runs on the same server have other numbers
	closed  atomic.Bool
	alone   atomic.Bool     // see Alone
	epoch   int64           // of the schedule, ns since 1970
	placed  [2]atomic.Int32 // audio and video tracks that have a place in it

	mu    sync.Mutex // guards all below
	peers []*Peer
	ssrcs map[uint32]bool
}

// New starts an engine.
func New(cfg Config) (*Engine, error) {
	if !cfg.Local.IsValid() {
		cfg.Local = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if cfg.Shards <= 0 {
		cfg.Shards = 1
	}
	if cfg.Profile == "" {
		cfg.Profile = "AEAD_AES_128_GCM"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, epoch: time.Now().UnixNano(), base: rand.Uint32() &^ 0xffff, ssrcs: make(map[uint32]bool)}
	var ok bool
	if e.profile, ok = Profiles[cfg.Profile]; !ok {
		return nil, fmt.Errorf("rtc: SRTP profile %q is not known", cfg.Profile)
	}
	var err error
	if e.id, err = newIdentity(); err != nil {
		return nil, err
	}
	if n := cfg.Shards + 1; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n) // see sleep
	}
	for range cfg.Shards {
		sh, err := newShard(e)
		if err != nil {
			e.Close()
			return nil, err
		}
		e.shards = append(e.shards, sh)
		e.wg.Go(sh.run)
	}
	return e, nil
}

// Close ends all transports and the shards.
func (e *Engine) Close() {
	if e.closed.Swap(true) {
		return
	}
	for _, sh := range e.shards {
		sh.post(sh.end)
	}
	e.wg.Wait()
}

// Profile is the name of the SRTP profile that all transports use.
func (e *Engine) Profile() string { return e.cfg.Profile }

// Shared tells whether the transports share sockets.
func (e *Engine) Shared() bool {
	for _, sh := range e.shards {
		if sh.shared == nil {
			return false
		}
	}
	return true
}

// Peer makes a participant and chooses the SSRCs of what it publishes. When it began is the start of its steps.
func (e *Engine) Peer(p *sfuload.Participant) *Peer {
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.Room))
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &Peer{eng: e, Name: p.Name, Number: e.base + uint32(len(e.peers)), room: h.Sum32(), began: time.Now(), steps: make(map[string]time.Duration)}
	e.peers = append(e.peers, r)
	for ti, t := range p.Publish {
		t.Name = trackName(t, ti, t.Name)
		for i := range t.Layers {
			t.Layers[i].SSRC = e.ssrc()
			if t.Kind == sfuload.Video {
				t.Layers[i].RTX = e.ssrc()
			}
		}
	}
	r.tracks = p.Publish
	return r
}

func trackName(t *sfuload.Track, i int, name string) string {
	if name != "" {
		return name
	}
	return fmt.Sprintf("%c%d", t.Kind[0], i)
}

// ssrc draws one that nobody has. The caller holds mu.
func (e *Engine) ssrc() uint32 {
	for {
		if s := rand.Uint32(); s != 0 && !e.ssrcs[s] {
			e.ssrcs[s] = true
			return s
		}
	}
}

var errClosed = errors.New("rtc: closed")

// call runs f in every shard and waits.
func (e *Engine) call(ctx context.Context, f func(*shard)) error {
	if e.closed.Load() {
		return errClosed
	}
	done := make(chan struct{}, len(e.shards))
	for _, sh := range e.shards {
		sh.post(func() { f(sh); done <- struct{}{} })
	}
	for range e.shards {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Times of Hold.
const (
	quietFor = 150 * time.Millisecond // without a packet: nothing is under way
	holdMost = 2 * time.Second        // for an overloaded server to send what it has queued
)

// Hold stops all senders and waits until nothing has come for a while, at most holdMost. The transports stay alive.
func (e *Engine) Hold(ctx context.Context) error {
	if err := e.call(ctx, func(sh *shard) { sh.hold(true) }); err != nil {
		return err
	}
	t := time.NewTicker(quietFor / 3)
	defer t.Stop()
	until := time.Now().Add(holdMost)
	last, since := e.arrived(), time.Now()
	for time.Now().Before(until) && time.Since(since) < quietFor {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if n := e.arrived(); n != last {
			last, since = n, time.Now()
		}
	}
	return nil
}

// Release lets the senders go on.
func (e *Engine) Release(ctx context.Context) error {
	return e.call(ctx, func(sh *shard) { sh.hold(false) })
}

// Alone leaves the process as many processors of the runtime as there are shards, until back is called: for an interval that is measured, in which
// nothing else has much to do. A shard that sleeps keeps its processor. Beside one that is idle, the runtime's monitor thread would take the shard
// off it by a signal each 10 ms, and wake another thread to find it again; here the shard asks itself whether others want to run (shard.rest).
func (e *Engine) Alone() (back func()) {
	was := runtime.GOMAXPROCS(len(e.shards))
	e.alone.Store(true)
	return func() {
		e.alone.Store(false)
		runtime.GOMAXPROCS(was)
	}
}

// Tapped tells whether the kernel gives the headers of what comes, instead of the packets.
func (e *Engine) Tapped() bool {
	for _, sh := range e.shards {
		if sh.tap == nil {
			return false
		}
	}
	return true
}

func (e *Engine) arrived() (n uint64) {
	for _, sh := range e.shards {
		n += sh.liveIn.Load()
	}
	return n
}

// Live is how many media packets were sent and received so far.
func (e *Engine) Live() (sent, received uint64) {
	for _, sh := range e.shards {
		sent += sh.liveOut.Load()
		received += sh.liveIn.Load()
	}
	return sent, received
}
