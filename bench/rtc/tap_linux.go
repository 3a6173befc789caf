package rtc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// tapRing is the bytes that may wait to be read: at 250,000 packets a second almost a second.
const tapRing = 16 << 20

// tap is a BPF program on the sockets of a shard (tapprog_linux.go). What comes is noted by it when it would have been queued for the socket: where
// a socket costs the receiver 0.7 µs for a message and the copy of all that is in it, reading a note costs some nanoseconds. It needs CAP_BPF,
// CAP_NET_ADMIN, and Linux 5.8.
type tap struct {
	prog                    *ebpf.Program
	room, masks, ring, lost *ebpf.Map

	mask []byte // mapped masks: maskBytes for each slot, a bit for each payload type
	full []byte // mapped lost

	consumer, producer []byte // mapped pages of the ring: how far was read; how far was written, then the data twice
	read               uint64
	offset             int64 // of CLOCK_REALTIME to CLOCK_MONOTONIC
	dropped            uint64
}

// newTap loads the program: for one socket of transports that have an address each, or for sockets of their own.
func newTap(shared bool) (_ *tap, err error) {
	t := &tap{}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("rtc: tap: %w", err)
	}
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&t.room, ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: tapRoom, MaxEntries: uint32(cpus)}},
		{&t.masks, ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: maskBytes, MaxEntries: slots, Flags: unix.BPF_F_MMAPABLE}},
		{&t.lost, ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE}},
		{&t.ring, ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: tapRing}},
	} {
		if *m.to, err = ebpf.NewMap(&m.spec); err != nil {
			return nil, fmt.Errorf("rtc: tap: %w", err)
		}
	}
	slotAt, ip := int32(2), false // destination port (RFC 768)
	if shared {
		slotAt, ip = 18, true // lower half of the destination address (RFC 791 §3.1)
	}
	t.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: tapProgram(t.room, t.masks, t.ring, t.lost, slotAt, ip), License: "MIT"})
	if err != nil {
		return nil, fmt.Errorf("rtc: tap: %w", err)
	}
	page := os.Getpagesize()
	for _, m := range []struct {
		to         *[]byte
		of         *ebpf.Map
		at         int64
		size, prot int
	}{
		{&t.mask, t.masks, 0, maskBytes * slots, unix.PROT_READ | unix.PROT_WRITE},
		{&t.full, t.lost, 0, page, unix.PROT_READ | unix.PROT_WRITE},
		{&t.consumer, t.ring, 0, page, unix.PROT_READ | unix.PROT_WRITE},
		{&t.producer, t.ring, int64(page), page + 2*tapRing, unix.PROT_READ},
	} {
		if *m.to, err = unix.Mmap(m.of.FD(), m.at, m.size, m.prot, unix.MAP_SHARED); err != nil {
			return nil, os.NewSyscallError("mmap", err)
		}
	}
	for i := range t.mask {
		t.mask[i] = 0xff
	}
	return t, nil
}

// attach puts the program onto a socket.
func (t *tap) attach(s *sock) error {
	return os.NewSyscallError("setsockopt SO_ATTACH_BPF", unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, t.prog.FD()))
}

func (t *tap) close() {
	for _, b := range [][]byte{t.mask, t.full, t.consumer, t.producer} {
		if b != nil {
			_ = unix.Munmap(b)
		}
	}
	for _, m := range []*ebpf.Map{t.room, t.masks, t.ring, t.lost} {
		if m != nil {
			_ = m.Close()
		}
	}
	if t.prog != nil {
		_ = t.prog.Close()
	}
}

// want says which payload types of a slot are to come whole from now on.
func (t *tap) want(slot uint16, types [maskBytes]byte) {
	to := t.mask[int(slot)*maskBytes:]
	for i := 0; i < maskBytes; i += 4 { // the program reads single bytes
		atomic.StoreUint32((*uint32)(unsafe.Pointer(&to[i])), binary.NativeEndian.Uint32(types[i:]))
	}
}

// lostNow is how many packets there was no room for since the last time.
func (t *tap) lostNow() uint64 {
	n := atomic.LoadUint64((*uint64)(unsafe.Pointer(&t.full[0])))
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

// Bits of a record's length in the ring, and what stands before its data (BPF ring buffer, Documentation/bpf/ringbuf.rst).
const (
	ringBusy, ringDiscard = 1 << 31, 1 << 30
	ringHead              = 8
)

// begin makes ready for reading: clocks drift apart.
func (t *tap) begin() error {
	var real, mono unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono), unix.ClockGettime(unix.CLOCK_REALTIME, &real)); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	t.offset = real.Nano() - mono.Nano()
	return nil
}

// next is the oldest note that was not read; done gives its place back.
func (t *tap) next() (n note, ok bool) {
	if t.read >= atomic.LoadUint64((*uint64)(unsafe.Pointer(&t.producer[0]))) {
		return n, false
	}
	at := os.Getpagesize() + int(t.read&(tapRing-1))
	size := atomic.LoadUint32((*uint32)(unsafe.Pointer(&t.producer[at])))
	if size&ringBusy != 0 { // being written
		return n, false
	}
	length := int(size &^ ringDiscard)
	t.read += uint64(length+ringHead+7) &^ 7
	b := t.producer[at+ringHead : at+ringHead+length]
	if size&ringDiscard != 0 || length < recordHead {
		return n, true
	}
	n.at = int64(binary.NativeEndian.Uint64(b)) + t.offset
	n.slot = binary.BigEndian.Uint16(b[8:])
	n.rest = b[recordHead:]
	return n, true
}

// done gives all that was read back to the kernel.
func (t *tap) done() { atomic.StoreUint64((*uint64)(unsafe.Pointer(&t.consumer[0])), t.read) }

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
