// Package xmppload is load on XMPP servers: `konzil bench xmpp`. It speaks to any server that has the RFCs, over STARTTLS, direct TLS or WebSocket,
// and knows none from within.
//
// The path of a run:
//
//	step      where                     goroutine  what
//	login     client.go, scram.go       login      blocking and in order, as a person's client does it; PBKDF2 once for each salt
//	adopt     sock.go, loop.go          loop       the socket leaves Go's poller; from here on nothing blocks
//	read      loop.go feed              loop       epoll, one read into a shared buffer
//	open      records.go                loop       TLS 1.3 with the keys that crypto/tls agreed on, decrypted in place; else crypto/tls
//	cut       scan.go                   loop       first-level elements; names and attributes only as far as counting needs
//	judge     message.go arrived        loop       id, hash, addressee, order of each sender, time
//	send      message.go lane.send      loop       one TLS record for each stanza, one system call for each client and turn of the loop
//
// The scenarios (route.go, muc.go, login.go, contacts.go, archive.go) say who writes to whom and when. Every message has an id and a text that follow from the
// run, its sender and its number: a lost, doubled, changed, misdirected or late one is counted as such, and what earlier runs left
// behind is not counted.
//
// What is not measured: other clients' habits (each has a roster and a presence, few ask for what people's clients ask for), networks, and disks, unless the
// server's settings make it store. One loop is one core; a server that is faster than that limits the figures, and the driver says so.
package xmppload
