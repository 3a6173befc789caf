// Package bench is the room of load tools: `konzil bench`. It drives servers from outside, over real sockets, and imports no package of
// the server, so that a benchmark cannot cheat. Everything here can be used as a Go package, too: a program makes a measure.Config of its
// own load and servers (package peers starts some) and calls measure.Run.
//
// The path of a run:
//
//  1. Main (main.go) picks the scenario among scenarios. Each is a measure.Scenario; those of other loads live in their own packages.
//  2. options.go reads the flags that all scenarios have, lets the scenario read its own, and makes a measure.Config of them. Hosts that are
//     not on this machine's loopback are refused unless -i-own-this-target is given. cpus.go splits the CPUs between server and generator.
//  3. measure.Run does the rounds; progress.go shows meanwhile what happens.
//  4. Package report prints tables and makes the page; the JSON is the measure.Report itself.
//
// call.go is the scenario call: n clients of package meet join one meeting and wait until media flow; callsample.go counts what came by
// sequence numbers and stamps. Its generator is built on pion/webrtc and is much dearer per packet than the server: its figures on the
// server's CPU are good for a few participants, not for capacity.
//
// The page "bench" of docs says the method: what is counted, what is not, and what loopback distorts.
package bench
