// Package upload lets people put files on the server and share their URLs (XEP-0363).
//
// The path of a file, in order:
//
//  1. A client asks the service's domain for a slot (slot.go, on its stream's goroutine). It gets a random name to fetch the file by, and the same with a ticket to put
//     it there: what was granted, signed (HMAC-SHA256), so that nothing is kept for slots that nobody uses.
//  2. PUT (put.go, net/http's goroutine): the ticket, length and type are checked before a byte is read. The bytes go to a file of their own, which is flushed, renamed
//     to its place, and only then entered in the database (sqlstore.go), in a transaction that looks at the quotas once more; only then comes 201.
//  3. GET and HEAD (get.go): whoever knows the name may fetch it until it expires. What a browser might run is only given as a download.
//  4. Service.sweep (sweep.go, the service's goroutine) removes what has expired, and files that are in no row: those of deleted accounts, and what a crash left.
//
// The database decides which files there are: deleting rows deletes files.
package upload
