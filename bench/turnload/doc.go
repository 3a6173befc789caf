// Package turnload drives a TURN server (RFC 8656) over real sockets: many allocations, channel data or indications, over UDP, TCP or TLS,
// from clients to peers or back, in a closed loop or paced, in bursts.
//
// The path of a run:
//
//  1. New checks Config. Load.Prepare makes the allocations (session.go): Allocate with long-term credentials or those of a REST secret,
//     CreatePermission, ChannelBind. All permissions are for one peer socket, the generator's own (engine_linux.go).
//  2. Load.Measure (load.go) starts what is sent: over UDP from one thread for both sides (udp_linux.go), which sends runs with one system call and
//     polls all sockets itself (sock_linux.go); over streams with a goroutine that reads each connection and one
//     that sends (stream_linux.go).
//  3. Each packet carries its client, number and time (packet.go). What arrives is checked: for whom, in which order, and every 64th byte by byte.
//     The latency of every 16th goes into the histogram, of each when the load is paced.
//  4. After the time is over, what is still under way may arrive for a bounded time; what does not is lost.
//
// It knows nothing of any server's insides; the only common thing with Konzil's is the wire format.
package turnload
