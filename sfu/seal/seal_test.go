package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

var profiles = map[string]srtp.ProtectionProfile{
	"gcm128": srtp.ProtectionProfileAeadAes128Gcm,
	"gcm256": srtp.ProtectionProfileAeadAes256Gcm,
	"cm":     srtp.ProtectionProfileAes128CmHmacSha1_80,
}

func keys(t testing.TB, p srtp.ProtectionProfile) Keys {
	k, _ := p.KeyLen()
	s, _ := p.SaltLen()
	b := make([]byte, k+s)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return Keys{Key: b[:k], Salt: b[k:]}
}

// TestAgainstPion opens with pion what is sealed here, over a wrap of the sequence numbers.
func TestAgainstPion(t *testing.T) {
	for name, p := range profiles {
		t.Run(name, func(t *testing.T) {
			k := keys(t, p)
			s, err := NewSealer(p, k)
			if err != nil {
				t.Fatal(err)
			}
			o, err := NewOpener(p, k)
			if err != nil {
				t.Fatal(err)
			}
			var x Index
			arena := make([]byte, 1500)
			for i := range 70000 {
				seq := uint16(65000 + i)
				h := rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: seq, SSRC: 0x12345678}
				if err := h.SetExtension(5, []byte{1, 2}); err != nil {
					t.Fatal(err)
				}
				n, err := h.MarshalTo(arena)
				if err != nil {
					t.Fatal(err)
				}
				payload := []byte{byte(i), byte(i >> 8), 3, 4, 5}
				idx, ok := x.Next(seq)
				if !ok {
					t.Fatalf("index of %d refused", seq)
				}
				out, err := s.RTP(arena[:n], n, payload, h.SSRC, idx)
				if err != nil {
					t.Fatal(err)
				}
				plain, err := o.RTP(nil, out)
				if err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				if !bytes.Equal(plain[n:], payload) {
					t.Fatal("payload differs")
				}
				if name == "cm" && i > 2000 {
					break
				}
			}
		})
	}
}

func TestIndexOnce(t *testing.T) {
	var x Index
	if i, ok := x.Next(10); !ok || i != 10 {
		t.Fatal(i, ok)
	}
	if _, ok := x.Next(10); ok {
		t.Fatal("second use of 10 allowed")
	}
	if i, ok := x.Next(13); !ok || i != 13 {
		t.Fatal(i, ok)
	}
	if i, ok := x.Next(12); !ok || i != 12 {
		t.Fatal("late packet refused", i, ok)
	}
	if _, ok := x.Next(12); ok {
		t.Fatal("second use of 12 allowed")
	}
	if i, ok := x.Sent(12); !ok || i != 12 {
		t.Fatal("sent 12 unknown", i, ok)
	}
	if _, ok := x.Sent(11); ok {
		t.Fatal("11 was never sent")
	}
	seen := map[uint64]bool{10: true, 12: true, 13: true}
	seq := uint16(14)
	for range 200000 {
		i, ok := x.Next(seq)
		if !ok || seen[i] {
			t.Fatalf("index %d of %d: ok %v, seen %v", i, seq, ok, seen[i])
		}
		seen[i] = true
		seq++
	}
	if _, ok := x.Next(seq - indexWindow - 1); ok {
		t.Fatal("too old accepted")
	}
}

func TestReplayRefused(t *testing.T) {
	p := profiles["gcm128"]
	k := keys(t, p)
	s, _ := NewSealer(p, k)
	o, _ := NewOpener(p, k)
	arena := make([]byte, 200)
	h := rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: 7, SSRC: 9}
	n, _ := h.MarshalTo(arena)
	out, err := s.RTP(arena[:n], n, []byte("x"), 9, 7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.RTP(nil, out); err != nil {
		t.Fatal(err)
	}
	if _, err := o.RTP(nil, out); err == nil {
		t.Fatal("replay accepted")
	}
}

func TestNoAllocation(t *testing.T) {
	for name, p := range profiles {
		k := keys(t, p)
		s, _ := NewSealer(p, k)
		o, _ := NewOpener(p, k)
		arena, dst, payload := make([]byte, 1500), make([]byte, 1500), make([]byte, 1100)
		h := rtp.Header{Version: 2, PayloadType: 96, SSRC: 9}
		var seq uint16
		var x Index
		n := testing.AllocsPerRun(500, func() {
			seq++
			h.SequenceNumber = seq
			hl, _ := h.MarshalTo(arena)
			i, _ := x.Next(seq)
			out, err := s.RTP(arena[:hl], hl, payload, 9, i)
			if err != nil {
				panic(err)
			}
			if _, err := o.RTP(dst, out); err != nil {
				panic(err)
			}
		})
		if n != 0 && !raceEnabled { // the race detector makes sync.Pool forget, and pion keeps its HMAC states in one
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

// FuzzOpener: no packet of a stranger panics the opener or passes it.
func FuzzOpener(f *testing.F) {
	for _, seed := range [][]byte{
		nil, {0x80}, make([]byte, 12), make([]byte, 64),
		append([]byte{0x90, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0xff, 0xff}, make([]byte, 40)...), // an extension past the end
		append([]byte{0x8f, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2}, make([]byte, 40)...),                         // 15 CSRCs
		append([]byte{0x80, 200, 0, 6, 0, 0, 0, 2}, make([]byte, 40)...),
	} {
		for name := range profiles {
			f.Add(name, seed)
		}
	}
	openers := map[string]*Opener{}
	for name, p := range profiles {
		o, err := NewOpener(p, keys(f, p))
		if err != nil {
			f.Fatal(err)
		}
		openers[name] = o
	}
	f.Fuzz(func(t *testing.T, name string, pkt []byte) {
		o := openers[name]
		if o == nil {
			return
		}
		if out, err := o.RTP(nil, bytes.Clone(pkt)); err == nil {
			t.Errorf("a stranger's RTP is opened: %x", out)
		}
		if out, err := o.RTCP(nil, bytes.Clone(pkt)); err == nil {
			t.Errorf("a stranger's RTCP is opened: %x", out)
		}
	})
}

// TestCounters has AES-CM begin at counters of every kind: what GCM is made to count must be what pion counts block by block.
func TestCounters(t *testing.T) {
	p := srtp.ProtectionProfileAes128CmHmacSha1_80
	for i := range 200 {
		k := keys(t, p)
		s, err := NewSealer(p, k)
		if err != nil {
			t.Fatal(err)
		}
		c, err := srtp.CreateContext(k.Key, k.Salt, p)
		if err != nil {
			t.Fatal(err)
		}
		var r [8 + 1400]byte
		if _, err := rand.Read(r[:]); err != nil {
			t.Fatal(err)
		}
		h := rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: binary.BigEndian.Uint16(r[0:]), SSRC: binary.BigEndian.Uint32(r[2:])}
		if i == 0 { // the counter's upper half goes round
			h.SequenceNumber = binary.BigEndian.Uint16(k.Salt[12:])
		}
		roc := uint32(binary.BigEndian.Uint16(r[6:]))
		c.SetROC(h.SSRC, roc)
		plain, err := (&rtp.Packet{Header: h, Payload: r[8 : 8+1+i*7]}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.EncryptRTP(nil, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.RTP(append(make([]byte, 0, 1500), plain[:12]...), 12, plain[12:], h.SSRC, uint64(roc)<<16|uint64(h.SequenceNumber))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("packet %d (SSRC %08x, ROC %d, number %d): %v\n%x\n%x", i, h.SSRC, roc, h.SequenceNumber, err, got, want)
		}
	}
}
