// Package hmacsha1 is HMAC-SHA1 (RFC 2104, RFC 3174) of packets, as SRTP authenticates them (RFC 3711 §4.2.1): the tags of up to sixteen packets
// with different keys are computed side by side. SHA-1 is a chain of eighty steps a block, so that one message cannot make use of wide registers, but
// a fan-out has many messages of nearly one length.
//
// # The way of a packet
//
//  1. Tags.Add notes the packet, its key, and where the tag goes. A Key is the state of SHA-1 behind the key's block, for both hashes.
//  2. When the list is full, or by Tags.Finish, packets are ordered by their number of blocks and taken sixteen at a time.
//  3. lanes.put prepares a lane: whole blocks are read where they lie; what is left of the packet, the word behind it, and the padding make its tail,
//     of one or two blocks.
//  4. sum (lanes_amd64.s) transposes a block of each lane, so that a register has the same word of all, does the eighty steps, and goes on for as long as
//     the longest lane needs; a mask keeps lanes that are done as they are. One more block is the outer hash.
//
// Few packets, and processors without AVX-512, take the way of crypto/hmac. Nothing branches on or looks up by what is secret.
package hmacsha1
