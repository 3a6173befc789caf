// Package bench is the room of load tools: `konzil bench`. It drives a server from outside, over real sockets, and imports no package of
// the server, so that a benchmark cannot cheat.
//
// The path of a run:
//
//  1. Main (main.go) picks the scenario; there is one so far: call.
//  2. target: hosts that are not on this machine's loopback are refused unless -i-own-this-target is given (meet/target.go).
//  3. call.go lets n clients of package meet join one meeting, waits until media flow, then measures for -d: counters before and after.
//  4. proc.go reads the CPU time and memory of the server (-pid) and of the bench itself over the measured interval.
//  5. report.go prints a table, and JSON with all figures.
//
// What is measured: time of each join step; delivery, by sequence numbers of what each receiver got; packets per second; latency from the
// stamp in each payload to its arrival (one clock: all clients are in one process); CPU time of the server per second and per forwarded
// packet. What is not: networks (loopback has no loss, no delay, and segments of 64 KiB), browsers' decoders and jitter buffers. The
// generator is built on pion/webrtc and is much dearer per packet than the server: its figures on the server's CPU are good for a few
// participants, not for capacity. Its own load is part of the report; above 80 % of the machine the run is marked as limited.
package bench
