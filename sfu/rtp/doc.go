// Package rtp reads and writes RTP (RFC 3550) and RTCP (RFC 3550, RFC 4585, RFC 5104) on byte slices that the caller owns.
//
// A packet passes the files in this order:
//
//  1. header.go: IsRTCP tells the two apart on one port (RFC 5761), Header.Parse checks every bound once, Header.Ext
//     finds a header extension (RFC 8285); AppendHeader writes the header of a forwarded packet.
//  2. ext.go: values of single extensions: audio level (RFC 6464), absolute send time.
//  3. rtcp.go: Walk visits the packets of a compound; SR, EachReportBlock, EachNACK, EachFIR, REMB and Feedback read bodies.
//  4. build.go: Append functions for RTCP that we send ourselves.
//  5. seq.go: unwrapping of 16-bit sequence numbers.
//
// Nothing here allocates (the Append functions do when dst is too small), keeps a reference to its arguments, starts a
// goroutine, locks, logs or reads a clock. Times are nanoseconds.
package rtp
