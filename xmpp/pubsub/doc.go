// Package pubsub is publish-subscribe (XEP-0060): of each account (Personal Eventing, XEP-0163), and of a service domain by the same engine.
//
// The path of a request:
//
//  1. An iq for an account comes by an IQ hook, one for the service domain by Engine.HandleStanza (domain.go); both end in Engine.answer
//     (iq.go), on the goroutine of the stream that sent it.
//  2. The operation (publish.go, read.go, owner.go, subscribe.go) finds its node in memory (cache.go), checks what the sender may (access.go), has the change on
//     disk (sqlstore.go) with the node locked, and queues what is to be told with the node.
//  3. Engine.tell (notify.go) gives the queue of a node out in its order, without a lock: to explicit subscribers, to the owner's own clients, and to
//     contacts by presence whose capabilities ask for the node ("+notify").
//
// Who asks for what is known by entity capabilities (caps.go, XEP-0115): Engine.outbound and Engine.inbound (presence.go) look at each available
// presence; one with the capabilities of before costs a comparison. A hash that is not known is asked for, and the answer is
// shared with others only if it has that hash. With new capabilities a client gets the last items of those it watches.
//
// bookmarks.go keeps the bookmarks of old and new clients the same (XEP-0402, XEP-0048), avatar.go the avatars (XEP-0398, XEP-0084, XEP-0153), vcard4.go
// the vcards (XEP-0292).
package pubsub
