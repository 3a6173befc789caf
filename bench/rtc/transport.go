package rtc

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"konzil/bench/sfuload"
)

// state of a transport.
type state uint8

const (
	stateNew      state = iota // nothing is sent
	stateChecking              // connectivity checks
	stateDTLS                  // handshake
	stateUp
	stateEnded
)

// handshakeMost is how long ICE and DTLS may take together.
const handshakeMost = int64(20 * time.Second)

// Transport is one ICE and DTLS transport. It implements sfuload.Transport.
type Transport struct {
	// What each packet that comes touches, behind each other; of the shard.
	state    state
	twccID   uint8 // extension in what comes, 0: none
	heads    bool  // the tap keeps the headers of most
	disorder bool  // of arrivals
	lacks    bool  // packets of some stream may be missing
	id       int32 // number in the engine, place on the wheel and in the shard's lists
	sh       *shard
	last     *inStream
	bytes    uint64
	arrivals []arrival

	peer  *Peer
	label string
	local sfuload.Local
	sock  *sock
	log   *slog.Logger

	connected, done chan struct{}

	mu  sync.Mutex // guards err
	err error

	// All below belongs to the shard.
	began      int64
	ice        iceState
	remote     sfuload.Remote
	to         netip.AddrPort
	pipe       *pipe
	in         opener
	out        sealer
	early      []earlyPacket
	ssrc       uint32 // of our RTCP when nothing is sent
	remb       bool
	codecs     [128]codec
	streams    map[uint32]*inStream     // by SSRC
	list       []*inStream              // all of them
	recent     [recentStreams]*inStream // by SSRC modulo, to spare the map
	wholeAt    int64                    // when there was last a reason to have the tap keep everything
	deep       bool                     // what is looked for in headers stands too far behind
	fbCount    uint8
	reportAt   int64
	rembAt     int64
	rembIn     uint64
	tracks     []*outTrack
	twccSeq    uint16
	expect     int16 // layer of Peer.Expect, -1: none
	expectFrom uint32
	expectAt   int64
}

func newTransport(p *Peer, sh *shard, label string) (*Transport, error) {
	number := p.eng.number.Add(1)
	s, ip := sh.shared, p.eng.cfg.Local
	if s != nil {
		if number >= slots {
			return nil, errFull
		}
		ip = addressOf(uint16(number))
	} else {
		var err error
		if s, err = openSock(ip, sh.tap != nil); err != nil {
			return nil, err
		}
		if sh.tap != nil {
			if err := sh.tap.attach(s); err != nil {
				s.close()
				return nil, err
			}
		}
	}
	t := &Transport{id: number, peer: p, sh: sh, label: label, sock: s, log: p.eng.cfg.Logger.With("peer", p.Name, "transport", label), connected: make(chan struct{}),
		done: make(chan struct{}), streams: make(map[uint32]*inStream), expect: -1}
	t.local = sfuload.Local{Ufrag: token(8), Pwd: token(24), Candidate: netip.AddrPortFrom(ip, s.port), Hash: "sha-256", Print: p.eng.id.print}
	p.eng.mu.Lock()
	t.ssrc = p.eng.ssrc()
	p.eng.mu.Unlock()
	sh.post(func() {
		sh.transports[t.id] = t
		sh.bySlot[t.slot()] = t
		slot := int(t.id) % wheelSlots
		sh.wheel[slot] = append(sh.wheel[slot], t)
	})
	return t, nil
}

// loopback is where transports can have an address each.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // constant

// slots is how many transports a shard can tell apart by what is in a packet: by 16 bits of the address, or by the port.
const slots = 1 << 16

var errFull = errors.New("rtc: too many transports")

// addressOf is the address of a transport on a shared socket: 127.1.0.1 and on. slotOf is the reverse.
func addressOf(slot uint16) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 1, byte(slot >> 8), byte(slot)})
}

func slotOf(a [4]byte) uint16 { return uint16(a[2])<<8 | uint16(a[3]) }

// slot is the transport's place in the shard's table.
func (t *Transport) slot() uint16 {
	if t.sock.shared {
		return uint16(t.id)
	}
	return t.sock.port
}

// token makes n random characters that ICE credentials may have (RFC 8445 §5.3).
func token(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // does not fail (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:n]
}

// Local implements sfuload.Transport.
func (t *Transport) Local() sfuload.Local { return t.local }

// Connected implements sfuload.Transport.
func (t *Transport) Connected() <-chan struct{} { return t.connected }

// Done implements sfuload.Transport.
func (t *Transport) Done() <-chan struct{} { return t.done }

// Err implements sfuload.Transport.
func (t *Transport) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(t.err, errClosed) {
		return nil
	}
	return t.err
}

// Start implements sfuload.Transport.
func (t *Transport) Start(r sfuload.Remote) error {
	if r.Ufrag == "" || r.Pwd == "" || r.Print == "" {
		return errors.New("rtc: remote side without credentials or fingerprint")
	}
	if r.Hash != "sha-256" {
		return fmt.Errorf("rtc: fingerprint by %s; only sha-256 is known", r.Hash)
	}
	t.sh.post(func() {
		if t.state != stateNew {
			return
		}
		more := t.remote.Candidates
		t.remote = r
		t.began = time.Now().UnixNano()
		t.state = stateChecking
		t.ice.controlling = r.Controlling
		for _, a := range append(slices.Clone(r.Candidates), more...) {
			t.candidate(a)
		}
		t.sh.fast = append(t.sh.fast, t)
	})
	return nil
}

// AddCandidates implements sfuload.Transport.
func (t *Transport) AddCandidates(c ...netip.AddrPort) {
	c = slices.Clone(c)
	t.sh.post(func() {
		for _, a := range c {
			if t.state == stateNew {
				t.remote.Candidates = append(t.remote.Candidates, a)
			} else {
				t.candidate(a)
			}
		}
	})
}

// Receive implements sfuload.Transport.
func (t *Transport) Receive(m *sfuload.Media) error {
	twcc, remb := negotiated(m)
	codecs := slices.Clone(m.Codecs)
	t.sh.post(func() {
		for _, c := range codecs {
			t.codecs[c.PT&127] = codecOf(c.Name)
		}
		if twcc != 0 {
			t.twccID = uint8(twcc)
		}
		t.remb = t.remb || remb
	})
	return nil
}

// negotiated is the extension of transport-wide feedback, 0 when there is none, and whether REMB is agreed on.
func negotiated(m *sfuload.Media) (twcc int, remb bool) {
	fb := false
	for _, c := range m.Codecs {
		fb = fb || slices.Contains(c.Feedback, "transport-cc")
		remb = remb || slices.Contains(c.Feedback, "goog-remb")
	}
	for _, e := range m.Exts {
		if e.URI == sfuload.ExtTWCC && fb && e.ID < 15 {
			twcc = e.ID
		}
	}
	return twcc, remb
}

// Close implements sfuload.Transport.
func (t *Transport) Close() { t.sh.post(func() { t.end(errClosed) }) }

// end releases everything. It is called in the shard.
func (t *Transport) end(err error) {
	if t.state == stateEnded {
		return
	}
	t.state = stateEnded
	t.mu.Lock()
	t.err = err
	t.mu.Unlock()
	if t.pipe != nil {
		_ = t.pipe.Close()
	}
	for _, o := range t.tracks {
		o.stop()
	}
	t.sh.flush() // before the socket is gone
	if !t.sock.shared {
		t.sock.close()
	}
	t.unlist()
	close(t.done)
}

// unlist takes the transport out of the shard's lists; its streams stay, for who counts them.
func (t *Transport) unlist() {
	sh := t.sh
	delete(sh.transports, t.id)
	sh.bySlot[t.slot()] = nil
	t.keepWhole(0)
	is := func(x *Transport) bool { return x == t }
	slot := int(t.id) % wheelSlots
	sh.wheel[slot] = slices.DeleteFunc(slices.Clone(sh.wheel[slot]), is) // look may be walking over the old one
	sh.fast = slices.DeleteFunc(sh.fast, is)
}

// send sends a datagram to the other side.
func (t *Transport) send(b []byte) { t.sendTo(b, t.to) }

// sendTo sends a datagram to an address.
func (t *Transport) sendTo(b []byte, to netip.AddrPort) {
	if len(b) == 0 || to.Addr().Is4() != t.local.Candidate.Addr().Is4() {
		t.sh.count.SendErrors++
		return
	}
	t.put(append(t.sh.room(), b...), len(b), to)
}

// put sends what was written to the shard's room: datagrams of size seg behind each other.
func (t *Transport) put(b []byte, seg int, to netip.AddrPort) {
	t.sh.out.put(t.sock, t.local.Candidate.Addr(), to, b, seg)
}

// handshakes drives the transports that are not up.
func (sh *shard) handshakes(now int64) {
	list := sh.fast
	sh.fast = sh.spare[:0] // end looks for itself in sh.fast
	for _, t := range list {
		if t.state == stateChecking {
			t.checks(now)
		}
		if now-t.began > handshakeMost && (t.state == stateChecking || t.state == stateDTLS) {
			what := "no answer to connectivity checks"
			if t.state == stateDTLS {
				what = "DTLS handshake does not end"
			}
			t.end(fmt.Errorf("rtc: %s within %v", what, time.Duration(handshakeMost)))
		}
		if t.state == stateChecking || t.state == stateDTLS {
			sh.fast = append(sh.fast, t)
		}
	}
	clear(list)
	sh.spare = list
}

// lookAfter is called each 100 ms.
func (t *Transport) lookAfter(now int64) {
	if t.state != stateUp {
		return
	}
	if t.sh.tap != nil {
		t.settle(now)
		if !t.sock.shared {
			t.sh.read(t.sock, t, false)
			if t.state != stateUp {
				return
			}
		}
	}
	t.consent(now)
	t.feedback(now)
}
