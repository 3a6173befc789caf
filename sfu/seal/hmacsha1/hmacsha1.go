package hmacsha1

import (
	"crypto/hmac"
	"crypto/sha1" // what SRTP has
	"encoding/binary"
	"hash"
)

// Size is that of a whole tag in bytes.
const Size = sha1.Size

// Key is a key of HMAC-SHA1. Use Init. It belongs to one owner.
type Key struct {
	inner, outer [5]uint32 // the state of SHA-1 behind the key's block
	mac          hash.Hash // one packet at a time
	word         [4]byte   // scratch of sum
	digest       [Size]byte
}

// Init takes a key of any length.
func (k *Key) Init(secret []byte) {
	k.mac = hmac.New(sha1.New, secret)
	if len(secret) > sha1.BlockSize {
		short := sha1.Sum(secret)
		secret = short[:]
	}
	k.inner, k.outer = behind(secret, 0x36), behind(secret, 0x5c)
}

// behind is the state of SHA-1 behind the block of a key with every byte of it changed by pad (RFC 2104 §2).
func behind(secret []byte, pad byte) (state [5]uint32) {
	var block [sha1.BlockSize]byte
	copy(block[:], secret)
	for i := range block {
		block[i] ^= pad
	}
	h := sha1.New()
	_, _ = h.Write(block[:])
	b, err := h.(interface{ AppendBinary([]byte) ([]byte, error) }).AppendBinary(nil)
	if err != nil {
		panic(err) // it has none
	}
	for i := range state {
		state[i] = binary.BigEndian.Uint32(b[4+4*i:]) // behind four bytes of its name
	}
	return state
}

// Append appends the first n bytes of the tag of msg and word, in network order, to msg.
func (k *Key) Append(msg []byte, word uint32, n int) []byte {
	binary.BigEndian.PutUint32(k.word[:], word)
	k.mac.Reset()
	_, _ = k.mac.Write(msg)
	_, _ = k.mac.Write(k.word[:])
	return append(msg, k.mac.Sum(k.digest[:0])[:n]...)
}

// queue is how many packets a list has: a few groups, so that their order pays.
const queue = 64

// Tags is a list of packets whose tags are not there yet. The zero value is ready; it belongs to one owner.
type Tags struct {
	n     int
	jobs  [queue]job
	order [queue]uint8 // of jobs, by blocks
	lanes lanes
}

// job is a packet without its tag.
type job struct {
	key    *Key
	msg    []byte
	word   uint32
	tag    uint32 // bytes of it
	blocks uint32 // of the inner hash, word and padding included
}

// Add returns what Append does, but the tag is only there after the next Finish. msg must have room for it; until then neither msg nor the key may change.
func (t *Tags) Add(k *Key, msg []byte, word uint32, n int) []byte {
	if !Accelerated() {
		return k.Append(msg, word, n)
	}
	if t.n == queue {
		t.finish()
	}
	t.jobs[t.n] = job{key: k, msg: msg, word: word, tag: uint32(n), blocks: uint32(len(msg)+behindMessage+sha1.BlockSize-1) / sha1.BlockSize}
	t.n++
	return msg[:len(msg)+n]
}

// behindMessage is the least behind a message: word, a byte of padding, length.
const behindMessage = 4 + 1 + 8

// Finish writes the tags that are not there yet.
func (t *Tags) Finish() {
	if t.n != 0 {
		t.finish()
	}
}

func (t *Tags) finish() {
	t.sort()
	for at := 0; at < t.n; {
		if group := t.order[at:min(t.n, at+width)]; t.pays(group) {
			t.together(group)
			at += width
		} else {
			t.jobs[group[0]].single()
			at++
		}
	}
	clear(t.jobs[:t.n])
	t.n = 0
}

// single does a packet by itself.
func (j *job) single() { j.key.Append(j.msg, j.word, int(j.tag)) }

// sort orders the jobs by blocks, the longest first, unless they are too few to go side by side; what is longer than any packet counts as one length.
func (t *Tags) sort() {
	if t.n < breakEven {
		for i := range t.n {
			t.order[i] = uint8(i)
		}
		return
	}
	const longest = 31
	var before [longest + 2]uint8
	for i := range t.jobs[:t.n] {
		before[longest-min(t.jobs[i].blocks, longest)+1]++
	}
	for i := 1; i < len(before); i++ {
		before[i] += before[i-1]
	}
	for i := range t.jobs[:t.n] {
		at := &before[longest-min(t.jobs[i].blocks, longest)]
		t.order[*at] = uint8(i)
		*at++
	}
}

const (
	// breakEven is how many blocks one after the other take as long as one block side by side (35 and 163 ns).
	breakEven = 5
	// ends is how many blocks the beginning and the end of a packet by itself are worth, its outer hash included.
	ends = 3
)

// pays says whether a group is faster side by side.
func (t *Tags) pays(group []uint8) bool {
	sum, longest := uint32(0), uint32(0)
	for _, i := range group {
		sum, longest = sum+t.jobs[i].blocks+ends, max(longest, t.jobs[i].blocks)
	}
	return sum >= breakEven*(longest+1)
}
