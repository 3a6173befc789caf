package turnload

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// common is what the engines of all transports have: the peer that all allocations are for, and whose turn it is.
type common struct {
	cfg   *Config
	rec   *recorder
	set   *hdrhistogram.Histogram // how long allocations took
	epoch time.Time               // of the clock of stamps

	peer *sock
	poll *poller
	out  sender

	seq   [2][]uint32 // number of the next packet, by direction and client
	turn  [2]int
	dir   int
	fresh time.Time // when permissions were last granted
}

// newEngine makes the engine of the network that c names.
func newEngine(c *Config, r *recorder, set *hdrhistogram.Histogram) (engine, error) {
	e := common{cfg: c, rec: r, set: set, epoch: time.Now()}
	if c.Network == "udp" {
		return &udp{common: e}, nil
	}
	return &streams{common: e}, nil
}

// openPeer makes the peer's socket.
func (e *common) openPeer() (err error) {
	ip := e.cfg.Peer
	if !ip.IsValid() {
		if ip, err = outgoing(e.cfg.Server); err != nil {
			return err
		}
	}
	if e.poll, err = newPoller(); err != nil {
		return err
	}
	e.peer, err = openSock(ip, netip.AddrPort{}, rcvBuffer)
	return err
}

// progressEach is after how many allocations the user is told.
const progressEach = 50

// allocateAll makes allocations one after another by allocate, and notes how long each takes.
func (e *common) allocateAll(ctx context.Context, progress func(string), allocate func(ctx context.Context, i int) error) error {
	for d := range e.seq {
		e.seq[d] = make([]uint32, e.cfg.Allocations)
	}
	e.out.plain = !e.cfg.Runs
	for i := range e.cfg.Allocations {
		start := time.Now()
		if err := allocate(ctx, i); err != nil {
			return fmt.Errorf("allocation %d of %d: %w", i+1, e.cfg.Allocations, err)
		}
		_ = e.set.RecordValue(int64(time.Since(start)))
		if (i+1)%progressEach == 0 {
			progress(fmt.Sprintf("%d of %d allocations", i+1, e.cfg.Allocations))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	e.fresh = time.Now()
	return nil
}

// renew grants channels and permissions again when they grow old.
func (e *common) renew(sessions func(yield func(*session) bool)) {
	if time.Since(e.fresh) <= refreshAfter {
		return
	}
	for s := range sessions {
		s.renew(e.peer.local, !e.cfg.Indications)
	}
	e.fresh = time.Now()
}

// next is which way the next burst goes, and for which client.
func (e *common) next() (direction, client int) {
	d := toPeer
	switch e.cfg.Direction {
	case "down":
		d = toClient
	case "both":
		d = e.dir
		e.dir = 1 - e.dir
	}
	i := e.turn[d]
	e.turn[d] = (i + 1) % e.cfg.Allocations
	return d, i
}

// mark writes the stamps of a burst: packets of size bytes, with the payload at a place in each.
func (e *common) mark(run []byte, size, at, direction, client int, now int64) {
	seq := &e.seq[direction][client]
	for k := range e.cfg.Burst {
		stamp(run[k*size+at:][:e.cfg.Payload], uint32(client), *seq, now)
		*seq++
	}
	e.rec.sent.Add(uint64(e.cfg.Burst))
}

// down sends a burst from the peer to a client.
func (e *common) down(relayed netip.AddrPort, run []byte, size int) {
	e.out.add(e.peer, relayed, run, size)
	e.atOnce()
}

// atOnce sends now where the same memory may come up again before the next flush.
func (e *common) atOnce() {
	if e.cfg.Allocations < sendMax {
		e.out.flush()
	}
}

// closePeer is the reverse of openPeer, as far as that came.
func (e *common) closePeer() {
	if e.peer != nil {
		e.peer.close()
	}
	if e.poll != nil {
		e.poll.close()
	}
}
