// Package fec makes FlexFEC protection of one RTP stream: draft-ietf-payload-flexible-fec-scheme-03, which is what browsers speak under the name
// flexfec-03 (RFC 8627 is its final form, with another header).
//
// A repair packet is the XOR of a group of packets, as the receiver sees them after decryption, and repairs any one of them that was lost, without
// asking back. Encoder collects groups of packets in the order of sending:
//
//  1. Tune sets how many packets share a repair packet, from the loss of the path and its round trip.
//  2. Add takes each packet that was sent and says whether groups are complete; Expired says the same when nothing follows.
//  3. Append writes the payload of a repair packet for each complete group. Sequence number, SSRC and sending are the caller's.
//
// When packets follow each other closely, two groups are filled in turn, so that two neighbours may be lost.
//
// No goroutine, lock, clock or log; times are nanoseconds.
package fec
