// Package prefetch asks the processor for memory that is going to be needed. A fan-out visits hundreds of receivers, whose state has left the
// core's own cache since the last packet; fetching each while those before it are being sealed hides the wait (docs/decisions.md has the figures).
//
// Go has no such instruction outside of its runtime: it is one line of assembly for amd64, and nothing elsewhere.
package prefetch
