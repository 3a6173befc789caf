// Package store is the database inside the binary: SQLite in <datadir>/konzil.db.
//
// The path of a write, in order:
//
//  1. Write (write.go, the caller's goroutine) puts a job on the bounded queue and waits.
//  2. writer.run (write.go, the one writer goroutine) takes the first job, opens a transaction and runs it inside a savepoint,
//     then every further job that is already waiting, up to maxGroup, each in a savepoint of its own: an error undoes its
//     own job alone.
//  3. One commit for all of them: one fsync of the write-ahead log (synchronous=FULL). While it waits for the disk the next
//     group collects itself, so the load decides the size of groups, and no timer does.
//  4. Each caller is told the result. A nil error means: on disk, and there after kill -9 or loss of power.
//
// A read goes through Read, a pool of connections that cannot write; in WAL mode readers never wait for the writer nor it for them.
//
// Schema changes are the files of migrations/, run in order by Open (open.go). A feature owns its tables and its files.
package store
