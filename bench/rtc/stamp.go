package rtc

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A stamp stands in every media payload behind what servers read or rewrite (payload descriptor, VP8 frame header, Opus TOC byte).
//
//	 0 magic       4 room       8 sender      12 track, layer, flags, 0
//	16 counter    20 time, ns since 1970      28 length from the magic to the end of the payload, 0
//	32 CRC-32C of what stands between the magic and this
//
// What follows to the end of the payload is a piece of filler that follows from the counter: it needs no sum.
const (
	stampMagic = 0x6b7a6232
	stampSize  = 36
)

// Flags of a stamp.
const (
	stampKey   = 1 << iota // the frame is a keyframe
	stampFirst             // first packet of its frame
	stampLast              // last packet of its frame
	stampPlain             // every packet of the track goes to every receiver: no simulcast, no SVC
)

// stamp is who sent a payload and when.
type stamp struct {
	room, sender uint32
	track, layer uint8
	flags        uint8
	counter      uint32 // of the layer's packets
	at           int64
	size         int
}

// source names the sender's layer in one number.
func (s *stamp) source() uint64 { return uint64(s.sender)<<16 | uint64(s.track)<<8 | uint64(s.layer) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // a constant table

// put writes the stamp into b, which ends with the payload, and fills the rest.
func (s *stamp) put(b []byte) {
	be := binary.BigEndian
	be.PutUint32(b, stampMagic)
	be.PutUint32(b[4:], s.room)
	be.PutUint32(b[8:], s.sender)
	b[12], b[13], b[14], b[15] = s.track, s.layer, s.flags, 0
	be.PutUint32(b[16:], s.counter)
	be.PutUint64(b[20:], uint64(s.at))
	be.PutUint32(b[28:], uint32(len(b))<<16)
	be.PutUint32(b[32:], sum(b))
	copy(b[stampSize:], fillerOf(s.counter))
}

func sum(b []byte) uint32 { return crc32.Update(0, castagnoli, b[4:32]) }

// read takes the stamp out of b. found says that there is one, intact that the payload is as it was sent.
func (s *stamp) read(b []byte) (found, intact bool) {
	if len(b) < stampSize {
		return false, false
	}
	be := binary.BigEndian
	if be.Uint32(b) != stampMagic {
		return false, false
	}
	s.room, s.sender = be.Uint32(b[4:]), be.Uint32(b[8:])
	s.track, s.layer, s.flags = b[12], b[13], b[14]
	s.counter, s.at = be.Uint32(b[16:]), int64(be.Uint64(b[20:]))
	s.size = int(be.Uint16(b[28:]))
	return true, s.size == len(b) && be.Uint32(b[32:]) == sum(b) && bytes.HasPrefix(fillerOf(s.counter), b[stampSize:])
}
