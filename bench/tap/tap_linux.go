package tap

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Array is an array of equal values that a program and this process share.
type Array struct {
	Map *ebpf.Map
	Mem []byte // the values behind each other
}

// newArray makes one with zero values. A value takes a multiple of 8 bytes.
func newArray(entries, size int) (*Array, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: uint32(entries), Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	mem, err := mapped(m, 0, entries*size, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &Array{m, mem}, nil
}

// Want is an Array to make, and where it goes.
type Want struct {
	To            **Array
	Entries, Size int
}

// NewArrays makes all that are wanted, up to the first one that fails.
func NewArrays(all ...Want) (err error) {
	for _, w := range all {
		if *w.To, err = newArray(w.Entries, w.Size); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the memory back. A nil Array is closed.
func (a *Array) Close() {
	if a != nil {
		_ = unix.Munmap(a.Mem)
		_ = a.Map.Close()
	}
}

// Ring is where a program puts records (BPF ring buffer, the kernel's Documentation/bpf/ringbuf.rst).
type Ring struct {
	Map *ebpf.Map

	size               int
	consumer, producer []byte // mapped pages: how far was read; how far was written, then the data twice
	read               uint64
}

// Bits of a record's length in the ring, and what stands before its data.
const (
	ringBusy, ringDiscard = 1 << 31, 1 << 30
	ringHead              = 8
)

// NewRing makes one of size bytes, a power of two and of pages.
func NewRing(size int) (*Ring, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(size)})
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	r := &Ring{Map: m, size: size}
	page := os.Getpagesize()
	if r.consumer, err = mapped(m, 0, page, unix.PROT_READ|unix.PROT_WRITE); err == nil {
		r.producer, err = mapped(m, int64(page), page+2*size, unix.PROT_READ)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Next is the oldest record that was not read; it is good until Done. A record that was given up by the program is empty.
func (r *Ring) Next() (record []byte, ok bool) {
	if r.read >= atomic.LoadUint64((*uint64)(unsafe.Pointer(&r.producer[0]))) {
		return nil, false
	}
	at := os.Getpagesize() + int(r.read&uint64(r.size-1))
	size := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.producer[at])))
	if size&ringBusy != 0 { // being written
		return nil, false
	}
	length := int(size &^ ringDiscard)
	r.read += uint64(length+ringHead+7) &^ 7
	if size&ringDiscard != 0 {
		length = 0
	}
	return r.producer[at+ringHead : at+ringHead+length], true
}

// Done gives the room of all that was read back to the program.
func (r *Ring) Done() { atomic.StoreUint64((*uint64)(unsafe.Pointer(&r.consumer[0])), r.read) }

// Close gives the memory back. A nil Ring is closed.
func (r *Ring) Close() {
	if r == nil {
		return
	}
	for _, b := range [][]byte{r.consumer, r.producer} {
		if b != nil {
			_ = unix.Munmap(b)
		}
	}
	_ = r.Map.Close()
}

func mapped(m *ebpf.Map, at int64, size, prot int) ([]byte, error) {
	page := os.Getpagesize()
	b, err := unix.Mmap(m.FD(), at, (size+page-1)/page*page, prot, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return b, nil
}

// Load gives a socket filter to the kernel.
func Load(p asm.Instructions) (*ebpf.Program, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: p, License: "MIT"})
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	return prog, nil
}

// Attach puts a program onto a socket.
func Attach(prog *ebpf.Program, fd int) error {
	return os.NewSyscallError("setsockopt SO_ATTACH_BPF", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, prog.FD()))
}

// CPUs is how many there may be: a program that counts without locks has a place for each.
func CPUs() (int, error) {
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return 0, fmt.Errorf("tap: %w", err)
	}
	return n, nil
}

// Offsets in struct __sk_buff of bpf(2).
const (
	SkbLen     = 0
	SkbGSOSize = 176
)

// Of bpf-helpers(7).
const (
	FromNetworkHeader = 1 // BPF_HDR_START_NET
	RingNoWakeup      = 1 // BPF_RB_NO_WAKEUP
)
