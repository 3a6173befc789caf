// Package dd reads and rewrites the dependency descriptor, the RTP header extension that tells a forwarding unit how the frames of
// a scalable stream depend on each other (AV1 RTP payload specification, appendix A). It works for any codec.
//
//  1. Parse (parse.go) reads the extension of one packet. It needs the template structure in force, which came with the last
//     keyframe; a packet that brings a new one fills a Structure of the caller (structure.go).
//  2. Structure.Within and Structure.Top answer which decode targets belong to a choice of layers, Present and Switch of a Template what
//     the frame is to each of them: those are bit masks, bit i for decode target i.
//  3. Append (write.go) writes the extension anew with another mask of active decode targets, SetNumber writes another frame
//     number in place.
//
// Everything has fixed bounds: what exceeds them, or the packet, is refused. Nothing here allocates, keeps a reference to its
// arguments, starts a goroutine, locks, logs or reads a clock.
package dd
