package rtc

import (
	"encoding/binary"
	"math"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"konzil/bench/tap"
)

// clockTries is how often two clocks are read behind each other, for the time that nothing came between.
const clockTries = 10

// tapRing is the bytes that may wait to be read: at 250,000 packets a second almost a second.
const tapRing = 16 << 20

// mediaTap is a BPF program on the sockets of a shard (tapprog_linux.go, package tap). What comes is noted by it when it would have been queued.
type mediaTap struct {
	prog              *ebpf.Program
	room, masks, lost *tap.Array // where notes are made, by CPU; maskBytes for each slot, a bit for each payload type; packets without a note
	ring              *tap.Ring

	base    time.Time // with base as Go reads both clocks,
	mono    int64     // CLOCK_MONOTONIC was this, ns
	offset  int64     // of CLOCK_REALTIME to CLOCK_MONOTONIC
	dropped uint64
}

// newTap loads the program: for one socket of transports that have an address each, or for sockets of their own.
func newTap(shared bool) (_ *mediaTap, err error) {
	t := &mediaTap{}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if err = t.clocks(); err != nil {
		return nil, err
	}
	cpus, err := tap.CPUs()
	if err != nil {
		return nil, err
	}
	if err = tap.NewArrays(tap.Want{To: &t.room, Entries: cpus, Size: tapRoom}, tap.Want{To: &t.masks, Entries: slots, Size: maskBytes},
		tap.Want{To: &t.lost, Entries: 1, Size: 8}); err != nil {
		return nil, err
	}
	if t.ring, err = tap.NewRing(tapRing); err != nil {
		return nil, err
	}
	slotAt, ip := int32(2), false // destination port (RFC 768)
	if shared {
		slotAt, ip = 18, true // lower half of the destination address (RFC 791 §3.1)
	}
	if t.prog, err = tap.Load(t.program(slotAt, ip)); err != nil {
		return nil, err
	}
	for i := range t.masks.Mem {
		t.masks.Mem[i] = 0xff
	}
	return t, nil
}

// attach puts the program onto a socket.
func (t *mediaTap) attach(s *sock) error { return tap.Attach(t.prog, s.fd) }

func (t *mediaTap) close() {
	t.ring.Close()
	for _, a := range []*tap.Array{t.room, t.masks, t.lost} {
		a.Close()
	}
	if t.prog != nil {
		_ = t.prog.Close()
	}
}

// want says which payload types of a slot are to come whole from now on.
func (t *mediaTap) want(slot uint16, types [maskBytes]byte) {
	to := t.masks.Mem[int(slot)*maskBytes:]
	for i := 0; i < maskBytes; i += 4 { // the program reads single bytes
		atomic.StoreUint32((*uint32)(unsafe.Pointer(&to[i])), binary.NativeEndian.Uint32(types[i:]))
	}
}

// lostNow is how many packets there was no room for since the last time.
func (t *mediaTap) lostNow() uint64 {
	n := atomic.LoadUint64((*uint64)(unsafe.Pointer(&t.lost.Mem[0])))
	d := n - t.dropped
	t.dropped = n
	return d
}

// note is what the tap has of one message.
type note struct {
	slot uint16
	at   int64 // ns since 1970
	rest []byte
}

// clocks learns what CLOCK_MONOTONIC is when Go's clock is base: Go does not say it, and to ask the kernel at each tick would take two system calls.
func (t *mediaTap) clocks() error {
	near := time.Duration(math.MaxInt64)
	for range clockTries {
		var mono unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
			return os.NewSyscallError("clock_gettime", err)
		}
		if d := time.Since(before); d < near {
			near, t.base, t.mono = d, before, mono.Nano()-int64(d)/2
		}
	}
	return nil
}

// begin makes ready for reading: clocks drift apart.
func (t *mediaTap) begin() {
	now := time.Now()
	t.offset = now.UnixNano() - t.mono - int64(now.Sub(t.base))
}

// next is the oldest note that was not read; done gives its place back.
func (t *mediaTap) next() (n note, ok bool) {
	b, ok := t.ring.Next()
	if len(b) < recordHead {
		return n, ok
	}
	n.at = int64(binary.NativeEndian.Uint64(b)) + t.offset
	n.slot = binary.BigEndian.Uint16(b[8:])
	n.rest = b[recordHead:]
	return n, true
}

// done gives all that was read back to the kernel.
func (t *mediaTap) done() { t.ring.Done() }

// packet takes the next datagram out of a note: what was kept of it, and how large it was.
func (n *note) packet() (b []byte, size int, sampled, ok bool) {
	if len(n.rest) < entryHead {
		return nil, 0, false, false
	}
	size = int(binary.NativeEndian.Uint16(n.rest))
	kept := binary.NativeEndian.Uint16(n.rest[2:])
	k := int(kept &^ entrySampled)
	if len(n.rest) < entryHead+k {
		return nil, 0, false, false
	}
	b = n.rest[entryHead : entryHead+k]
	n.rest = n.rest[min((entryHead+k+3)&^3, len(n.rest)):]
	return b, size, kept&entrySampled != 0, true
}
