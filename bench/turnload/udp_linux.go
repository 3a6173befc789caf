package turnload

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/pion/stun/v4"

	"konzil/bench/clock"
)

// udp is the engine for UDP: one thread sends for all clients and the peer, and takes what comes.
type udp struct {
	common
	cli []*sock
	ses []*session
	tap *counter // counts what comes; nil: it is read from the sockets

	runs [2][][]byte // by direction and client: a burst, ready but for its stamps
	size [2]int      // of a packet in it
	at   [2]int      // of the payload in a packet

	under int64 // packets under way

	sleeper clock.Sleeper
}

// nap is how long a sender that has a tap lets packets pass before it looks again: a fifth or less of what a window is worth.
const nap = 100 * time.Microsecond

func (u *udp) prepare(ctx context.Context, progress func(string)) error {
	if err := u.openPeer(); err != nil {
		return err
	}
	if err := u.newTap(); err != nil {
		u.rec.notes = append(u.rec.notes, "all packets are read from the sockets, which costs the generator more: "+err.Error())
	}
	if err := u.allocateAll(ctx, progress, u.allocate); err != nil {
		return err
	}
	if err := u.watch(u.peer, peerNumber); err != nil { // the last one
		return err
	}
	u.fillRuns()
	return nil
}

// allocate opens a client's socket and makes its allocation.
func (u *udp) allocate(_ context.Context, i int) error {
	s, err := openSock(unspecified(u.cfg.Server.Addr()), u.cfg.Server, cliBuffer)
	if err != nil {
		return err
	}
	u.cli = append(u.cli, s)
	if err := u.watch(s, i); err != nil {
		return err
	}
	x := &session{id: uint32(i), exchange: func(m *stun.Message) (*stun.Message, error) { return exchangeUDP(s, m) }}
	x.username, x.password = u.cfg.credentials(i)
	if err := x.setUp(u.peer.local, !u.cfg.Indications); err != nil {
		return err
	}
	u.ses = append(u.ses, x)
	return nil
}

// peerNumber is that of the peer where others are clients'.
const peerNumber = -1

// newTap makes the tap where there can be one: not for indications, in which the payload has no fixed place.
func (u *udp) newTap() (err error) {
	u.sleeper = u.cfg.Clock.Sleeper()
	if u.cfg.NoTap || u.cfg.Indications {
		return nil
	}
	u.tap, err = newCounter(u.cfg, u.epoch)
	return err
}

// watch makes a socket one that is received from.
func (u *udp) watch(s *sock, client int) error {
	if err := u.poll.add(s); err != nil || u.tap == nil {
		return err
	}
	return u.tap.watch(s, client)
}

// fillRuns makes the bursts.
func (u *udp) fillRuns() {
	one, at := u.cfg.wire(u.peer.local, false)
	for d, head := range [2][]byte{one[:at], nil} {
		tail := one[at+u.cfg.Payload:]
		if d == toClient {
			tail = nil
		}
		u.at[d], u.size[d] = len(head), len(head)+u.cfg.Payload+len(tail)
		for i := range u.cfg.Allocations {
			run := make([]byte, 0, u.cfg.Burst*u.size[d])
			for k := range u.cfg.Burst {
				p := make([]byte, u.cfg.Payload)
				fill(p, uint32(i), k)
				run = append(append(append(run, head...), p...), tail...)
			}
			u.runs[d] = append(u.runs[d], run)
		}
	}
}

// exchangeUDP repeats a request until it is answered.
func exchangeUDP(s *sock, m *stun.Message) (*stun.Message, error) {
	buf := make([]byte, 2048)
	for range tries {
		n, err := s.exchange(m.Raw, buf, answerTime)
		for ; err == nil; n, err = s.receive(buf, answerTime) {
			a := &stun.Message{Raw: append([]byte(nil), buf[:n]...)}
			if a.Decode() == nil && a.TransactionID == m.TransactionID {
				return a, nil
			}
		}
		if err != os.ErrDeadlineExceeded {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no answer from the server")
}

func (u *udp) run(ctx context.Context, d time.Duration) error {
	u.rec.mu.Lock() // there is no other goroutine that counts
	defer u.rec.mu.Unlock()
	if !u.sleeper.On() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		sharpTimers()
	}
	u.renew(slices.Values(u.ses))
	start := time.Now()
	end := start.Add(d)
	last, seen := start, u.rec.delivered.Load()
	p := pacer{rate: int64(u.cfg.Rate), burst: int64(u.cfg.Burst)}
	u.under = 0
	for now := start; now.Before(end) && ctx.Err() == nil; now = time.Now() {
		u.rec.now = int64(now.Sub(u.epoch))
		u.receive(u.send(&p, now.Sub(start)))
		if n := u.rec.delivered.Load(); n != seen {
			last, seen = now, n
		} else if now.Sub(last) > stall {
			u.under, last = 0, now // lost
		}
		if u.sleeper.On() {
			u.sleeper.Yield(now.UnixNano())
		}
	}
	for limit := time.Now().Add(settle); u.under > 0 && time.Now().Before(limit); {
		u.receive(time.Millisecond)
	}
	if u.tap != nil { // what it did not know
		u.read(0)
	}
	u.rec.skipped += p.skipped + u.out.lost
	u.out.lost = 0
	return nil
}

// send sends what is due, or for what there is room in a closed loop, and tells how long nothing will be.
func (u *udp) send(p *pacer, at time.Duration) (wait time.Duration) {
	for n := 0; n < sendMax; n++ {
		if u.cfg.Rate > 0 {
			if wait = p.wait(at); wait > 0 {
				break
			}
			p.sent()
		} else if u.under+int64(u.cfg.Burst) > int64(u.cfg.Window) {
			if u.tap != nil {
				wait = nap
			}
			break
		}
		u.burst()
	}
	u.out.flush()
	return wait
}

// burst sends the packets of the allocation whose turn it is.
func (u *udp) burst() {
	d, i := u.next()
	run := u.runs[d][i]
	u.mark(run, u.size[d], u.at[d], d, i, u.rec.now)
	u.under += int64(u.cfg.Burst)
	if d == toClient {
		u.down(u.ses[i].relayed, run, u.size[d])
		return
	}
	u.out.add(u.cli[i], netip.AddrPort{}, run, u.size[d])
	u.atOnce()
}

// receive takes what has come after at most d.
func (u *udp) receive(d time.Duration) {
	before := u.rec.delivered.Load()
	switch {
	case u.tap == nil:
		u.read(d)
	case d > 0 && u.sleeper.On():
		u.sleeper.Until(time.Now().Add(d).UnixNano())
	case d > 0:
		sleep(d)
	}
	if u.tap != nil {
		u.tap.collect(u.rec)
	}
	u.under -= int64(u.rec.delivered.Load() - before)
}

// read takes what is in the sockets after at most d.
func (u *udp) read(d time.Duration) {
	n := u.poll.wait(d)
	u.rec.now = int64(time.Since(u.epoch)) // when what is read now has been there at the latest
	u.poll.take(n, func(id int, b []byte) {
		if id == len(u.cli) {
			u.rec.arrived(toPeer, 0, b)
			return
		}
		if p := unwrap(b); p != nil {
			u.rec.arrived(toClient, uint32(id), p)
		}
	})
}

func (u *udp) close() error {
	for _, s := range u.ses {
		if _, err := s.ask(stun.MethodRefresh, number(stun.AttrLifetime, 0, 0, 0, 0)); err != nil {
			break // a server that is gone, perhaps; the other allocations run out by themselves
		}
	}
	for _, s := range u.cli {
		s.close()
	}
	u.closePeer()
	if u.tap != nil {
		u.tap.close()
	}
	return nil
}
