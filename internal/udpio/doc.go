// Package udpio moves UDP datagrams in batches.
//
// The path, in order:
//
//  1. Listen (listen.go) opens one socket, with SO_REUSEPORT so that several may share a port, and switches UDP_GRO on.
//  2. Reader.Serve or Reader.Read (reader_linux.go, the caller's goroutine) takes up to a batch of datagrams with one recvmmsg and cuts
//     what the kernel coalesced (UDP_GRO) back into datagrams.
//  3. Writer.Add (writer_linux.go, the caller's goroutine) collects datagrams for many destinations; neighbours of one
//     size for one destination become one message with its own UDP_SEGMENT.
//  4. Writer.Flush hands all of it to the kernel with as few sendmmsg calls as fit, over a second socket of the port that nobody waits for, where SendApart
//     (apart_linux.go) has made one.
//
// Where one goroutine serves many sockets and connections, as for TURN's relayed addresses, of which each allocation has its own:
//
//  1. Loop.Open (loop_linux.go) makes a Sock (sock_linux.go), which is a descriptor and little else.
//  2. Loop.Read (the caller's goroutine) asks its epoll for sockets that have something and takes a few datagrams, or runs, from each. It waits for them in the
//     runtime's poller (doorbell_linux.go) or, where they come one at a time, in the kernel (vigil_linux.go, processors.go).
//  3. Fan.Add and Fan.AddFramed (fan_linux.go) collect datagrams for many sockets, in runs; Fan.Flush is one system call for each socket's.
//     Loop.Refused (refusal_linux.go) tells of ICMP messages about what sockets have sent.
//  4. Loop.Adopt (stream_linux.go) takes a TCP connection in as a Stream (stream.go), which Read and Streams tell of when it can be read, or written
//     again. Stream.Append and Stream.Flush send to it.
//
// An Alarm (alarm_linux.go) is a timer that can be put off without waking anybody.
//
// Reader and Writer own prebuilt arrays and do not allocate once made. Neither may be used by two goroutines at once;
// a Conn's WriteTo may. A route or device that refuses segmentation (EIO, EINVAL) turns it off for that socket for good.
//
// Other systems than Linux get the same types over one system call a datagram (generic.go).
package udpio
