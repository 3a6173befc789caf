// Package twcc does both sides of transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//
// Towards a sender: Recorder.Record notes the arrival of every packet that carries a transport-wide sequence number, and Build makes the
// feedback packets, about every 100 ms (recorder.go). Towards a receiver: Sent.Add notes every packet that goes out, and ParseFeedback
// joins its feedback with these notes (feedback.go); package bwe takes the result.
//
// No goroutine, lock, clock or log; each value is for one user at a time; times are nanoseconds.
package twcc

import "errors"

// Parts of the wire format (draft §3.1).
const (
	refUnit   = 64 * 1e6  // ns per step of the reference time
	deltaUnit = 250 * 1e3 // ns per step of a receive delta

	symLost  = 0
	symSmall = 1
	symLarge = 2
)

// ErrFeedback is returned for feedback that ends before all that it announces.
var ErrFeedback = errors.New("twcc: feedback is cut or malformed")
