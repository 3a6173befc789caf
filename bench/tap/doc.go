// Package tap is what the load engines share of BPF programs on sockets (bench/rtc, bench/turnload): where a socket costs the receiver 0.7 µs for a
// message and the copy of all that is in it, a program that looks at it on its way into the socket costs the sender some nanoseconds, and the
// receiver next to none.
//
// The path of a tap: its owner makes maps (Array, Ring) and a program that uses them; Attach puts that onto the sockets; what the program writes into
// the maps is read from memory that is shared with the kernel, without a system call.
//
// It needs CAP_BPF, CAP_NET_ADMIN, and Linux 5.8.
package tap
