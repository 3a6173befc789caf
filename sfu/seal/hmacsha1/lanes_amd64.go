package hmacsha1

import (
	"crypto/sha1"
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// width is how many packets go side by side.
const width = 16

// Accelerated reports that this processor has what the assembly needs.
func Accelerated() bool { return cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW }

// lanes is what the assembly reads; it knows the offsets. A lane without a packet has no blocks.
type lanes struct {
	at    [width]uintptr // where the whole blocks begin
	whole [width]uint32  // whole blocks
	total [width]uint32  // with those of the tail
	inner [5][width]uint32
	outer [5][width]uint32 // in the end the digests
	tails [width][2 * sha1.BlockSize]byte
}

// sum computes the digests of all lanes, of which the longest has n blocks.
//
//go:noescape
func sum(l *lanes, n int)

// together does a group side by side.
func (t *Tags) together(group []uint8) {
	l, longest := &t.lanes, uint32(0)
	for i, of := range group {
		j := &t.jobs[of]
		l.put(i, j)
		longest = max(longest, j.blocks)
	}
	for i := len(group); i < width; i++ {
		l.whole[i], l.total[i] = 0, 0
	}
	sum(l, int(longest))
	runtime.KeepAlive(t) // and with it the packets
	for i, of := range group {
		l.get(i, &t.jobs[of])
	}
}

// put prepares a lane.
func (l *lanes) put(i int, j *job) {
	n := len(j.msg) &^ (sha1.BlockSize - 1)
	l.at[i] = uintptr(unsafe.Pointer(unsafe.SliceData(j.msg)))
	l.whole[i], l.total[i] = uint32(n/sha1.BlockSize), j.blocks
	k := j.key
	for w := range k.inner {
		l.inner[w][i], l.outer[w][i] = k.inner[w], k.outer[w]
	}
	tail := &l.tails[i]
	*tail = [2 * sha1.BlockSize]byte{}
	m := copy(tail[:], j.msg[n:])
	binary.BigEndian.PutUint32(tail[m:], j.word)
	tail[m+4] = 0x80
	end := int(j.blocks)*sha1.BlockSize - n
	binary.BigEndian.PutUint64(tail[end-8:], uint64(sha1.BlockSize+len(j.msg)+4)*8)
}

// get writes the tag of a lane.
func (l *lanes) get(i int, j *job) {
	var d [Size]byte
	for w := range l.outer {
		binary.BigEndian.PutUint32(d[4*w:], l.outer[w][i])
	}
	copy(j.msg[len(j.msg):cap(j.msg)], d[:j.tag])
}
