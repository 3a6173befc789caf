//go:build !linux

package udpio

// Buffer makes room for packets.
func Buffer(n int) (b []byte, free func()) { return make([]byte, n), func() {} }

// GiveBack lets the system have memory again, where it can.
func GiveBack([]byte) {}
