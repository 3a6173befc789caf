// Package visitors is the audience of Jitsi meetings: people beyond a number, or who only want to watch. They see and hear the meeting and chat,
// send no media, and those in the meeting see only how many they are (jitsi-meet's mod_visitors, mod_fmuc and mod_visitors_component, with
// the visitor node in the same process).
//
// The path, in order:
//
//  1. Somebody asks the focus for a meeting; the focus asks Component.Redirect (component.go), which may name the visitor node. The client then
//     opens a stream to the node's domain, Node.meet.jitsi, and enters the room of the same name there. Who comes to the meeting itself
//     while it has an audience is turned away by Component.Door.
//  2. Component.HandleStanza (component.go), on the sender's goroutine, finds the audience of the room; seat.go takes who enters, changes and
//     leaves. The focus is sent the presence of visitors, nobody else is.
//  3. What is shown and said in the meeting comes by Shown (mirror.go) and Said (mirror.go), as an observer of the MUC service, and goes to all
//     visitors. The first mirror is made from Rooms.Stage.
//     Features of meetings that visitors have a part in (polls) ask Component.Watched and Component.Watching, and hear of newcomers by Options.Seated.
//  4. relay.go carries iqs and messages between visitors and the meeting: Jingle with the focus, conversation, private messages.
//  5. A raised hand is told to moderators (promote.go); their answer makes a name up under which the visitor may log in and enter the meeting.
//     A moderator sends somebody to the audience by a message that the client obeys.
//
// Locks: an audience's lock may be held when Rooms is asked, which locks rooms; the rooms' lock is held when Door is asked, which takes
// Component.mu alone. Nothing is routed with a lock held (jitsi.Queue).
package visitors
