// Package mmsg is what the load engines share of sockets that the Go runtime does not poll (bench/rtc, bench/turnload): messages of recvmmsg(2) and
// sendmmsg(2), addresses as the kernel has them, and options.
package mmsg
