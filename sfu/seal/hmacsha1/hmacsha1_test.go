package hmacsha1

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// longest is more than any packet.
const longest = 1600

// margin stands before and behind a message, and must stay as it is.
const margin = 70

func random(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// reference is the whole tag by crypto/hmac.
func reference(secret, msg []byte, word uint32) []byte {
	m := hmac.New(sha1.New, secret)
	m.Write(msg)
	m.Write(binary.BigEndian.AppendUint32(nil, word))
	return m.Sum(nil)
}

// packet is one whose tag is to be computed, with what it should become.
type packet struct {
	key        Key
	room, want []byte
	msg        []byte
	word       uint32
	tag        int
}

func newPacket(r *rand.ChaCha8, n, tag int) *packet {
	secret := random(r, 20)
	p := &packet{word: uint32(r.Uint64()), tag: tag}
	p.key.Init(secret)
	p.room = random(r, margin+n+tag+margin)
	p.msg = p.room[margin : margin+n : margin+n+tag]
	p.want = bytes.Clone(p.room)
	copy(p.want[margin+n:], reference(secret, p.msg, p.word)[:tag])
	return p
}

// ways are those of a list: what it chooses, and side by side also where that does not pay.
var ways = map[string]func(*Tags){
	"chosen": (*Tags).Finish,
	"together": func(t *Tags) {
		if !Accelerated() {
			return
		}
		t.sort()
		for at := 0; at < t.n; at += width {
			t.together(t.order[at:min(t.n, at+width)])
		}
		t.n = 0
	},
}

// same adds packets, as many as a list has at most, and wants their tags, and nothing else of their memory changed.
func same(t *testing.T, list *Tags, finish func(*Tags), ps []*packet) {
	t.Helper()
	for _, p := range ps {
		if out := list.Add(&p.key, p.msg, p.word, p.tag); len(out) != len(p.msg)+p.tag || &out[0] != &p.room[margin] {
			t.Fatalf("a packet of %d bytes becomes one of %d", len(p.msg), len(out))
		}
	}
	finish(list)
	for i, p := range ps {
		if end := margin + len(p.msg); !bytes.Equal(p.room, p.want) {
			t.Fatalf("packet %d of %d, %d bytes, tag of %d: %x, want %x", i, len(ps), len(p.msg), p.tag, p.room[end:], p.want[end:])
		}
	}
}

// TestVectors has those of RFC 2202 §3. The last four bytes of a message are the word behind it. Each is in every lane once, beside the others.
func TestVectors(t *testing.T) {
	var ps []*packet
	for i, v := range []struct{ key, text, want string }{
		{strings.Repeat("\x0b", 20), "Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"},
		{"Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50), "125d7342b9ac11cd91a39af48aa17b4f63f175d3"},
		{
			"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19", strings.Repeat("\xcd", 50),
			"4c9007f4026250c6bc8414f9bf50c86c2d7235da",
		},
		{strings.Repeat("\x0c", 20), "Test With Truncation", "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"},
		{strings.Repeat("\xaa", 80), "Test Using Larger Than Block-Size Key - Hash Key First", "aa4ae5e15272d00e95705637ce8a3b55ed402112"},
		{
			strings.Repeat("\xaa", 80), "Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
			"e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
		},
	} {
		want, err := hex.DecodeString(v.want)
		if err != nil {
			t.Fatal(err)
		}
		n := len(v.text) - 4
		p := &packet{word: binary.BigEndian.Uint32([]byte(v.text[n:])), tag: Size, room: make([]byte, margin+n+Size)}
		p.key.Init([]byte(v.key))
		p.msg = append(p.room[margin:margin], v.text[:n]...)
		p.want = append(bytes.Clone(p.room[:margin+n]), want...)
		ps = append(ps, p)
		if out := p.key.Append(bytes.Clone(p.msg), p.word, Size); !bytes.Equal(out[n:], want) {
			t.Errorf("vector %d: %x, want %s", i+1, out[n:], v.want)
		}
	}
	for name, finish := range ways {
		t.Run(name, func(t *testing.T) {
			for range width {
				for _, p := range ps {
					clear(p.room[margin+len(p.msg):])
				}
				same(t, &Tags{}, finish, ps)
				ps = append(ps[1:], ps[0])
			}
		})
	}
}

// TestLengths compares with crypto/hmac at every length, and with every number of lanes.
func TestLengths(t *testing.T) {
	for name, finish := range ways {
		t.Run(name, func(t *testing.T) {
			r := rand.NewChaCha8([32]byte{1})
			list := &Tags{}
			for n := range longest + 1 {
				var ps []*packet
				for i := range 1 + n%width {
					ps = append(ps, newPacket(r, n, []int{10, 4, Size}[i%3]))
				}
				same(t, list, finish, ps)
			}
		})
	}
}

// TestMixes has lists of packets of several lengths: nearly one, two, any.
func TestMixes(t *testing.T) {
	for name, finish := range ways {
		t.Run(name, func(t *testing.T) {
			r := rand.NewChaCha8([32]byte{2})
			of := rand.New(r)
			list := &Tags{}
			for i := range 600 {
				var ps []*packet
				for range 1 + of.IntN(queue) {
					n := of.IntN(longest)
					switch i % 3 {
					case 0:
						n = 1100 + n%80
					case 1:
						n = 100 + n%2*1000
					}
					ps = append(ps, newPacket(r, n, 10))
				}
				same(t, list, finish, ps)
			}
		})
	}
}

// TestFull adds more packets than a list has, and some that are longer than any packet.
func TestFull(t *testing.T) {
	r := rand.NewChaCha8([32]byte{3})
	list := &Tags{}
	for range 3 {
		var ps []*packet
		for i := range 5*queue + 7 {
			ps = append(ps, newPacket(r, i*37%3000, 10))
		}
		same(t, list, (*Tags).Finish, ps)
	}
	if Accelerated() {
		same(t, list, (*Tags).Finish, []*packet{newPacket(r, 1<<20, 10), newPacket(r, 1<<20+1, 10), newPacket(r, 300, 10)})
	}
}

// TestKept: a list that was finished refers to no packet and no key.
func TestKept(t *testing.T) {
	list := &Tags{}
	r := rand.NewChaCha8([32]byte{4})
	for range 40 {
		p := newPacket(r, 500, 10)
		list.Add(&p.key, p.msg, p.word, p.tag)
	}
	list.Finish()
	for i := range list.jobs {
		if j := &list.jobs[i]; j.key != nil || j.msg != nil {
			t.Fatal("packet", i, "is kept")
		}
	}
}

// TestRoom: without room for the tag nothing is taken.
func TestRoom(t *testing.T) {
	if !Accelerated() {
		t.Skip("the tag is appended at once")
	}
	var k Key
	k.Init(make([]byte, 20))
	defer func() {
		if recover() == nil {
			t.Error("a packet without room for its tag is taken")
		}
	}()
	new(Tags).Add(&k, make([]byte, 100, 109), 0, 10)
}

func TestAllocations(t *testing.T) {
	r := rand.NewChaCha8([32]byte{5})
	list := &Tags{}
	var ps []*packet
	for range 100 {
		ps = append(ps, newPacket(r, 1100, 10))
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range ps {
			list.Add(&p.key, p.msg, p.word, p.tag)
		}
		list.Finish()
	}); n != 0 {
		t.Error(n, "allocations")
	}
}

// FuzzAgainst compares lists with crypto/hmac: two bytes of the input are the length of a packet.
func FuzzAgainst(f *testing.F) {
	f.Add([]byte{0, 0}, byte(0))
	f.Add([]byte{0, 51, 0, 52, 0, 63, 0, 64, 0, 115, 0, 116, 4, 76, 4, 77}, byte(10))
	f.Add(bytes.Repeat([]byte{4, 76}, 17), byte(4))
	f.Fuzz(func(t *testing.T, lengths []byte, tag byte) {
		for _, finish := range ways {
			r := rand.NewChaCha8([32]byte{tag})
			var ps []*packet
			for b := lengths; len(b) > 1 && len(ps) < queue; b = b[2:] {
				ps = append(ps, newPacket(r, int(binary.BigEndian.Uint16(b))%4096, 1+int(tag)%Size))
			}
			same(t, &Tags{}, finish, ps)
		}
	})
}

// BenchmarkTags computes the tags of packets of 1,100 bytes with as many keys, side by side and one by one: ns/packet.
func BenchmarkTags(b *testing.B) {
	r := rand.NewChaCha8([32]byte{6})
	for _, n := range []int{1, 2, 3, 4, 5, 6, 8, 12, 16, 64} {
		var ps []*packet
		for range n {
			ps = append(ps, newPacket(r, 1100, 10))
		}
		for name, finish := range ways {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				list := &Tags{}
				for b.Loop() {
					for _, p := range ps {
						list.Add(&p.key, p.msg, p.word, p.tag)
					}
					finish(list)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
			})
		}
		b.Run(fmt.Sprintf("single/%d", n), func(b *testing.B) {
			for b.Loop() {
				for _, p := range ps {
					p.key.Append(p.msg, p.word, p.tag)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
		})
	}
}
