// Package muc is a multi-user chat service (XEP-0045): chat rooms for people and meeting rooms for the focus, on one domain.
//
// The path of a stanza, in order; all of it runs on the goroutine of the sender:
//
//  1. Service.HandleStanza (service.go) takes a stanza addressed to the service: the domain itself, a room or an occupant. It finds
//     the room, or makes it for a join.
//  2. room.handle (room.go) locks the room and gives the stanza to the function for its kind: presence.go and join.go, message.go
//     (invite.go and voice.go for what is addressed to the room), iq.go (admin.go, owner.go and form.go, disco.go, hatcommands.go).
//  3. These change the room and append what must be said to the room's outgoing queue (queue.go), one entry for a stanza and
//     all who get it. Nothing is routed with the lock held.
//  4. room.flush (queue.go): the goroutine that finds nobody else at it empties the queue through the Router; others just leave their
//     entries. So all occupants see one order, no goroutine per room is needed, and a stanza that Route bounces back into
//     HandleStanza finds the room unlocked. Writes to the Store and calls of an Observer are entries of the same queue: what is answered
//     after a write is answered when the write is on disk.
//  5. A message of a room with an archive (archive.go) is on disk before anybody gets it: its entry, and all behind it, stay in the queue until the
//     archive says so; then a goroutine of Service.tasks goes on with the queue. A message behind it that no archive takes is held (Config.Hold): its
//     sender is not told that it was handled before it is out. What newcomers get is in memory (history.go), read from the archive once.
//  6. Questions to the archive (XEP-0313) and tombstones (moderate.go) wait for the disk on goroutines of their own, which tasks.go bounds.
//
// A room that an admin (the focus) creates is a meeting room: unlocked at once, not announced, closed to disco#info from outside, one session
// for each nick. A room that a person creates is a chat room.
package muc
