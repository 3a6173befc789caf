package udpio

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Buffer makes room for packets outside of the collector's heap, for as long as the program runs or until free is called: pages of it take
// memory when they are first written, and the collector, which lets garbage grow in proportion to the heap, does not count it as such. Most of
// such room is there for bursts and seldom touched. free may be called once; nothing may refer to b then.
func Buffer(n int) (b []byte, free func()) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil { // a limit on mappings: the heap does as well
		return make([]byte, n), func() {}
	}
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) // a huge page would be taken whole for its first byte
	return b, func() { _ = unix.Munmap(b) }
}

// GiveBack lets the system have the memory of a part of a Buffer's room until it is written again; what it holds is lost. Only whole pages count.
func GiveBack(b []byte) {
	page := os.Getpagesize()
	over := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & uintptr(page-1)) // up to the first whole page
	if over >= len(b) {
		return
	}
	b = b[over:]
	_ = unix.Madvise(b[:len(b)&^(page-1)], unix.MADV_DONTNEED)
}
