// Package push wakes clients that are not connected, or that nobody looks at, by way of their app server (XEP-0357).
//
// The path, in order:
//
//  1. A client enables a node of its app server (register.go); that is on disk before it is answered.
//  2. Service.inbound (notify.go, the sender's goroutine) sees each message for an account. For one that matters and an account with clients it looks
//     which of them are away: no session, a session that waits to be resumed, or one whose client said that it is inactive (XEP-0352).
//  3. For these an iq goes to the app server (Service.wake), with the number of messages and nothing of their content. One is under way for each client; what
//     comes meanwhile is told by the next, after the answer.
//  4. Service.answer: an error ends the registration; servers that cannot be reached only after maxFailures in a row.
package push
