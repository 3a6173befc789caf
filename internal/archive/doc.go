// Package archive keeps messages for good: each belongs to one or two owners (the accounts at both ends, or a room) and is found again by
// owner, time, counterpart and id. It knows bytes and names, no XMPP.
//
// The path of a message, in order:
//
//  1. Append (append.go, the caller's goroutine) gives the message its ID and puts it into the open batch.
//  2. Archive.run (append.go, the goroutine that writes) takes the batch, encodes it as one record and writes it as one row of the journal: a commit of the
//     store for all that came meanwhile.
//  3. The message stands in its owners' tails, in memory, where queries see it. Those who wait (Wait) are woken, and those who asked to be called (AppendThen)
//     are called in the order of the IDs by callAll (calls.go, a goroutine of its own: what is called may wait for the disk).
//  4. Archive.flush (flush.go, on the goroutine that writes) moves long or old tails into chunks: rows of up to chunkMessages messages of one owner. What is in
//     chunks goes from the journal, in the same transaction.
//  5. Open reads the journal back into tails after a restart or kill.
//
// A message so costs a share of one insert for the journal and a share of one for each owner's chunk, not several inserts with indexes of its own:
// BenchmarkAppend says how much. A query (query.go) walks an owner's chunks from the side it asks for and decodes only those whose bounds, counterparts
// (a 64-bit filter) fit.
//
// IDs are 64 bits: milliseconds since 1970 shifted left by 20, and a counter below. They grow with each Append, so order by ID is order of arrival.
package archive
