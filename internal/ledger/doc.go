// Package ledger remembers, over a kill of the program, what queues between it and its peers hold: which stanzas were handed to whom and not acknowledged,
// how many of a peer's were handled, and what belongs to a session. It knows bytes and numbers, no XMPP.
//
// The path of a change, in order:
//
//  1. A method of Channel or Ledger (channel.go, the caller's goroutine) makes a record and puts it at the end of the log under the ledger's lock.
//  2. region.add (region.go) copies it into a file that is mapped into memory: body and checksum first, the length last. No system call is made, and yet
//     a kill of the process loses nothing, since the kernel has the page. A record that a kill cut has no length, so it is not there.
//  3. state.apply (state.go) carries it out in memory; the queues there hold positions in the log, not bytes.
//  4. When the log is full, Ledger.compact writes the state as records into another file, which takes the place of the old one. That is the spare one from then
//     on, and the next to be written over: what it still has behind its end is of a generation before, by which checksums differ.
//  5. Open reads the log back through the same state.apply.
//
// A stanza to several (Origin.Part) is handled by the push for the last of them. Of one that a kill has cut short the state knows who has it (state.go: parts; served
// of one in the archive), so that Push takes it for the others alone when its sender sends it again, or the start hands it on.
//
// A power cut is another matter: pages reach the disk when the kernel likes, and every syncEvery at the latest. After one, Trusted is false: the queues are
// about right, so that they may be delivered, but numbers that peers know must not be used; so it stays, over further kills, until
// Started says that they are gone. What must never be lost is in the archive, which is on disk.
//
// BenchmarkPush tells what a stanza costs.
package ledger
