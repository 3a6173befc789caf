// Package sfu is the load on selective forwarding units: `konzil bench sfu`. Every server gets the same packets from the same engine.
//
// The path of a run:
//
//  1. A scenario (scenario.go) makes the participants: rooms, what each sends (trace.go) and what it wants.
//  2. Load.Prepare (load.go) joins them through the server's adapter (package sfuload and below), publishers first, and waits until each has
//     every source that it must have.
//  3. Load.Measure lets the senders run for the interval between two silences, so that counters at both ends are exact, and compares
//     (count.go): what each receiver got of each source with what that source sent.
//  4. The scenarios storm, join and switch measure joins, together and one by one, and changes of layers instead (storm.go, stage.go).
package sfu
