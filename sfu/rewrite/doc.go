// Package rewrite makes one continuous outgoing RTP stream out of the layers of one source, for one receiver.
//
// A receiver must not notice that the forwarding unit switches between simulcast layers (each with its own SSRC, sequence numbers,
// timestamps and picture ids) or leaves out temporal layers, or spatial layers of an SSRC that carries several (SVC: VP9, AV1).
// The path of a packet:
//
//  1. Target and TargetSVC (stream.go) say which incoming SSRC and which highest layers of it are wanted.
//  2. Map (stream.go) switches when a wanted keyframe starts (switchTo), decides whether the packet's frame goes on (frame.go for
//     VP8; svc.go for VP9 by its payload descriptor, and for AV1 by the dependency descriptor), and gives the packet its place in the
//     outgoing numbering (seq.go).
//  3. Back (seq.go) answers retransmission requests: which incoming packet was sent under an outgoing number.
//
// Numbers. Within a layer, outgoing = incoming - what was left out before. Packets that are missing keep their number reserved, so a
// late packet or a retransmission fits in where it belongs; a packet that was left out takes none, so the receiver sees no gap for it.
// Only a missing packet that turns out to belong to a left-out frame leaves a gap behind for good, since its number was promised
// before anybody could know. Picture ids (RFC 7741 §4.2) go the same way, frame by frame. TL0PICIDX and timestamps move by a constant
// within a layer, and so do VP9's picture ids and the frame numbers of the dependency descriptor, because references between frames
// are told as their differences; at a switch the timestamp goes on by the time that passed between the arrivals.
//
// A Stream has no goroutine, lock, clock or log, and does not allocate after Reset. It is for one user at a time.
package rewrite
