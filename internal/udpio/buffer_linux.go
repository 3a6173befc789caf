package udpio

import "golang.org/x/sys/unix"

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
