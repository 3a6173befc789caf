package turnload

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"konzil/bench/tap"
)

// sampleRing is the bytes of samples that may wait to be read.
const sampleRing = 4 << 20

// counter is a BPF program on the sockets (tapprog_linux.go) that counts and checks packets where they would be queued, and keeps samples. Nobody is
// woken by them.
type counter struct {
	prog   *ebpf.Program
	ports  *tap.Array // by local port: client + 1, 0 is the peer
	next   *tap.Array // numbers expected next, by direction and client
	places *tap.Array // by CPU
	ring   *tap.Ring

	seen   [noteAt / 8]uint64 // of the counters' sums
	offset int64              // of CLOCK_MONOTONIC to the clock of stamps
}

// newCounter makes one for the packets of c. Every packet of a paced load is a sample.
func newCounter(c *Config, epoch time.Time) (_ *counter, err error) {
	k := &counter{}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	cpus, err := tap.CPUs()
	if err != nil {
		return nil, err
	}
	if err = tap.NewArrays(tap.Want{To: &k.ports, Entries: 1 << 16, Size: 8}, tap.Want{To: &k.next, Entries: 2 * c.Allocations, Size: 8},
		tap.Want{To: &k.places, Entries: cpus, Size: placeSize}); err != nil {
		return nil, err
	}
	if k.ring, err = tap.NewRing(sampleRing); err != nil {
		return nil, err
	}
	each := int32(verifyEach)
	if c.Rate > 0 {
		each = 1
	}
	if k.prog, err = tap.Load(k.program(c, each)); err != nil {
		return nil, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, fmt.Errorf("turnload: clock_gettime: %w", err)
	}
	k.offset = now.Nano() - int64(time.Since(epoch))
	return k, nil
}

// watch puts the program onto the socket of a client, or with -1 of the peer.
func (k *counter) watch(s *sock, client int) error {
	binary.NativeEndian.PutUint32(k.ports.Mem[int(s.local.Port())*8:], uint32(client+1))
	return tap.Attach(k.prog, s.fd)
}

// sum is a counter of all CPUs.
func (k *counter) sum(at int) (n uint64) {
	for place := 0; place < len(k.places.Mem); place += placeSize {
		n += atomic.LoadUint64((*uint64)(unsafe.Pointer(&k.places.Mem[place+at])))
	}
	return n
}

// collect gives the recorder what came since the last time. The caller holds its mu.
func (k *counter) collect(r *recorder) {
	var n [noteAt / 8]uint64
	for i := range n {
		now := k.sum(8 * i)
		n[i], k.seen[i] = now-k.seen[i], now
	}
	for i, kind := range map[int]string{countPayload: "payload", countForeign: "foreign", countDuplicate: "duplicate", countOrder: "order"} {
		if d := n[i/8]; d > 0 {
			r.wrong[kind] += d
		}
	}
	r.counted(n[countDelivered/8])
	for {
		b, ok := k.ring.Next()
		if !ok {
			break
		}
		if len(b) > noteHead {
			r.sampled(b[noteHead:], int64(binary.NativeEndian.Uint64(b))-k.offset)
		}
	}
	k.ring.Done()
}

func (k *counter) close() error {
	k.ring.Close()
	for _, a := range []*tap.Array{k.ports, k.next, k.places} {
		a.Close()
	}
	if k.prog != nil {
		return k.prog.Close()
	}
	return nil
}
