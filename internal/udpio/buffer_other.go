//go:build !linux

package udpio

// Buffer makes room for packets.
func Buffer(n int) (b []byte, free func()) { return make([]byte, n), func() {} }
