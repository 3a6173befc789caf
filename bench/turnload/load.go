package turnload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/clock"
	"konzil/bench/measure"
)

// Config is one load.
type Config struct {
	Server   netip.AddrPort
	Network  string      // udp, tcp, tls
	TLS      *tls.Config // for tls
	Username string      // static credentials;
	Password string      // or
	Secret   string      // that of time-limited ones (draft-uberti-behave-turn-rest-00)

	Allocations int
	Payload     int // bytes of a packet without TURN's head
	Indications bool
	Direction   string // up: from clients to the peer; down; both
	Burst       int    // packets of one allocation that are sent together
	Runs        bool   // a burst is one message with UDP_SEGMENT, as a network card that coalesces would deliver it; else packet by packet
	Rate        int    // packets a second in all; 0 is a closed loop
	Window      int    // packets under way in a closed loop

	Peer netip.Addr // address of the peer socket; invalid is the one that the system sends to the server from

	NoTap bool         // read every packet from the sockets, also where a BPF program may count them
	Clock *clock.Clock // what the sender of UDP waits by; nil or one that was not started: it polls, or sleeps by itself

	Fault *measure.Fault // damage on purpose to what arrives; nil is none
}

// Bounds of a configuration.
const (
	maxPayload = 1400
	maxBurst   = 32
	// settle is how long packets that are under way at the end may take.
	settle = 300 * time.Millisecond
	// stall is how long a closed loop waits for packets before it counts them as lost.
	stall = 100 * time.Millisecond
	// late is how far a paced sender may fall behind before it skips.
	late = 20 * time.Millisecond
	// latencyEach: in a closed loop every 16th packet's time goes into the histogram, of those that a tap counts every 64th (verifyEach).
	latencyEach = 16
)

// Check tells what is wrong with the load, apart from who the server and its users are.
func (c *Config) Check() error {
	switch {
	case c.Network != "udp" && c.Network != "tcp" && c.Network != "tls":
		return fmt.Errorf("turnload: network %q: udp, tcp or tls", c.Network)
	case c.Direction != "up" && c.Direction != "down" && c.Direction != "both":
		return fmt.Errorf("turnload: direction %q: up, down or both", c.Direction)
	case c.Allocations < 1 || c.Allocations > 60_000:
		return errors.New("turnload: 1 to 60000 allocations")
	case c.Payload < stampSize || c.Payload > maxPayload:
		return fmt.Errorf("turnload: a payload of %d to %d bytes", stampSize, maxPayload)
	case c.Burst < 1 || c.Burst > maxBurst:
		return fmt.Errorf("turnload: bursts of 1 to %d", maxBurst)
	case c.Rate < 0 || c.Rate == 0 && c.Window < c.Burst:
		return errors.New("turnload: a window below one burst")
	}
	return nil
}

// String says what the load is in a few words.
func (c *Config) String() string {
	kind := "channel data"
	if c.Indications {
		kind = "indications"
	}
	s := fmt.Sprintf("%s over %s, %s, %d allocations, %d bytes, bursts of %d", kind, c.Network, c.Direction, c.Allocations, c.Payload, c.Burst)
	if c.Burst > 1 && c.Runs {
		s += " (runs)"
	}
	if c.Rate > 0 {
		return fmt.Sprintf("%s, %d packets/s", s, c.Rate)
	}
	return fmt.Sprintf("%s, closed loop of %d", s, c.Window)
}

// engine moves the packets of one kind of transport.
type engine interface {
	prepare(ctx context.Context, progress func(string)) error
	// run sends until the time is over and what is under way has arrived, or not.
	run(ctx context.Context, d time.Duration) error
	close() error
}

// Load is a measure.Load.
type Load struct {
	cfg Config
	eng engine
	rec recorder
	set *hdrhistogram.Histogram
}

// New makes a load.
func New(c Config) (*Load, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	switch {
	case !c.Server.IsValid():
		return nil, errors.New("turnload: no server")
	case c.Secret == "" && c.Username == "":
		return nil, errors.New("turnload: no credentials: -secret, or -user and -password")
	}
	l := &Load{cfg: c, set: measure.NewHistogram()}
	l.rec.init(&l.cfg)
	var err error
	l.eng, err = newEngine(&l.cfg, &l.rec, l.set)
	return l, err
}

// Prepare makes the allocations.
func (l *Load) Prepare(ctx context.Context, progress func(string)) error {
	return l.eng.prepare(ctx, progress)
}

// Live is what was sent and delivered so far.
func (l *Load) Live() (sent, delivered uint64) { return l.rec.sent.Load(), l.rec.delivered.Load() }

// Close ends all allocations.
func (l *Load) Close() error { return l.eng.close() }

// Measure sends for d.
func (l *Load) Measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	before := l.rec.begin()
	start := time.Now()
	if err := l.eng.run(ctx, d); err != nil {
		return nil, err
	}
	return l.rec.sample(before, start, l.set), nil
}

// recorder checks and counts what arrives.
type recorder struct {
	cfg             *Config
	sent, delivered atomic.Uint64

	mu  sync.Mutex // guards all below; an engine holds it for a batch
	now int64      // nanoseconds on the clock of stamps

	bytes, verified, skipped uint64
	wrong                    map[string]uint64
	latency                  *hdrhistogram.Histogram
	next                     [2][]uint32 // numbers expected next, by direction and client
	tick                     uint32
	notes                    []string
	damaged                  []byte // a sample, to be changed by Fault
}

const (
	toPeer = iota
	toClient
)

func (r *recorder) init(c *Config) {
	r.cfg, r.wrong = c, map[string]uint64{}
	r.next = [2][]uint32{make([]uint32, c.Allocations), make([]uint32, c.Allocations)}
	r.latency = measure.NewHistogram()
}

type mark struct {
	sent, delivered, bytes, verified, skipped uint64
}

func (r *recorder) begin() mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latency = measure.NewHistogram()
	clear(r.wrong)
	return mark{r.sent.Load(), r.delivered.Load(), r.bytes, r.verified, r.skipped}
}

func (r *recorder) sample(m mark, start time.Time, steps *hdrhistogram.Histogram) *measure.Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &measure.Sample{Unit: "packets", Elapsed: time.Since(start), Sent: r.sent.Load() - m.sent, Delivered: r.delivered.Load() - m.delivered,
		Bytes: r.bytes - m.bytes, Verified: r.verified - m.verified, Skipped: r.skipped - m.skipped, Wrong: map[string]uint64{},
		Latency: map[string]*hdrhistogram.Histogram{"packet": r.latency}, Steps: map[string]*hdrhistogram.Histogram{"allocation": steps},
		Labels: map[string]string{"transport": r.cfg.Network}}
	s.Expected, s.Notes = s.Sent, r.notes
	maps.Copy(s.Wrong, r.wrong)
	return s
}

// arrived checks a payload that came to the peer, or to a client. The caller holds mu.
func (r *recorder) arrived(direction int, client uint32, p []byte) {
	if r.cfg.Fault.Lose() {
		return
	}
	r.cfg.Fault.Corrupt(p)
	if len(p) != r.cfg.Payload || be32(p) != magic || be32(p[12:]) != uint32(len(p)) || be32(p[4:]) >= uint32(len(r.next[0])) {
		r.wrong["payload"]++
		return
	}
	from, seq := be32(p[4:]), be32(p[8:])
	if direction == toClient && from != client {
		r.wrong["foreign"]++
		return
	}
	want := &r.next[direction][from]
	switch {
	case seq == *want-1:
		r.wrong["duplicate"]++
	case int32(seq-*want) < 0:
		r.wrong["order"]++
	default:
		*want = seq + 1
	}
	r.tick++
	if r.cfg.Rate > 0 || r.tick%latencyEach == 0 {
		_ = r.latency.RecordValue(max(r.now-int64(be64(p[16:])), 0))
	}
	if r.tick%verifyEach == 0 {
		r.verify(p)
	}
	r.bytes += uint64(len(p))
	r.delivered.Add(1)
}

// verify compares a payload byte by byte. Its stamp is right.
func (r *recorder) verify(p []byte) {
	if r.verified++; !filled(p, be32(p[4:]), int(be32(p[8:]))%r.cfg.Burst) {
		r.wrong["payload"]++
	}
}

// counted takes packets that a tap has counted. The caller holds mu.
func (r *recorder) counted(packets uint64) {
	n := packets
	if r.cfg.Fault != nil {
		for range packets {
			if r.cfg.Fault.Lose() {
				n--
			}
		}
	}
	r.bytes += n * uint64(r.cfg.Payload)
	r.delivered.Add(n)
}

// sampled takes a payload that a tap has kept, and when it came. The caller holds mu; p is not changed.
func (r *recorder) sampled(p []byte, at int64) {
	if r.cfg.Fault != nil {
		r.damaged = append(r.damaged[:0], p...)
		p = r.damaged
		if r.cfg.Fault.Corrupt(p) && (be32(p) != magic || be32(p[12:]) != uint32(len(p)) || be32(p[4:]) >= uint32(len(r.next[0]))) {
			r.wrong["payload"]++
			return
		}
	}
	_ = r.latency.RecordValue(max(at-int64(be64(p[16:])), 0))
	r.verify(p)
}

func be32(p []byte) uint32 {
	return uint32(p[3]) | uint32(p[2])<<8 | uint32(p[1])<<16 | uint32(p[0])<<24
}

func be64(p []byte) uint64 { return uint64(be32(p))<<32 | uint64(be32(p[4:])) }
