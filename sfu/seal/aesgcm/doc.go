// Package aesgcm is AES-GCM (NIST SP 800-38D, RFC 5116 §5.1) for packets: one call protects one packet, and a packet is so short that its
// beginning and its end cost as much as what lies between. Where the processor has VAES and VPCLMULQDQ with 512-bit registers (Intel from Ice Lake
// on, AMD from Zen 4 on) it is assembly of our own; elsewhere GCM is what crypto/cipher has.
//
// # The way of a packet (aesgcm_amd64.s)
//
//  1. begin: the round keys into registers, J0 encrypted for the tag, four counters side by side.
//  2. authenticate: GHASH of the additional data, up to four blocks at a time.
//  3. While much is left, 256 bytes a turn: sixteen blocks of key stream, then GHASH of what was made (absorb4). The turns
//     hang together by GHASH only, so that the processor begins the next one while this one's products are added.
//  4. The rest, 64 bytes a turn, cut by a mask at the end; all products of it are added before they are reduced once (absorb1).
//  5. finish: the lanes are added up, the tag is written.
//
// GHASH's elements are bit-reflected: as integers with their bytes reversed, the highest bit is the coefficient of x^0. A carry-less product of
// two is one bit lower than the product's own place, so the table of powers has H^i/x, and it is reduced by adding multiples of the
// polynomial that clear its lowest 64 bits, twice. Both are in Gueron and Kounavis, "Intel Carry-Less Multiplication Instruction and its Usage for
// Computing the GCM Mode" (2014).
//
// Nothing branches on or looks up by what is secret, and tags are compared in constant time. Nonces are the caller's: one that is
// used twice gives the authentication key away (SP 800-38D §8).
package aesgcm
