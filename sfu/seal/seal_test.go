package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"konzil/sfu/seal/aesgcm"
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

// TestAgainstPion has pion open what is sealed here, and the other way round, over a wrap of the sequence numbers, with lost and reordered packets,
// headers of several kinds, in place and not.
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
			theirs, err := srtp.CreateContext(k.Key, k.Salt, p)
			if err != nil {
				t.Fatal(err)
			}
			var x Index
			arena := make([]byte, 1500)
			for i := range 5000 {
				seq := uint16(65000+i) ^ uint16(i>>9&1) // pairs change places at times
				if i%1000 == 77 {
					continue
				}
				h := rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: seq, SSRC: 0x12345678, CSRC: make([]uint32, i%3)}
				if i%4 != 0 {
					if err := h.SetExtension(5, []byte{1, 2}); err != nil {
						t.Fatal(err)
					}
				}
				n, err := h.MarshalTo(arena)
				if err != nil {
					t.Fatal(err)
				}
				payload := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, i%50)
				idx, ok := x.Next(seq)
				if !ok {
					t.Fatalf("index of %d refused", seq)
				}
				plain := append(bytes.Clone(arena[:n]), payload...)
				out, err := s.RTP(arena[:n], n, payload, h.SSRC, idx)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := theirs.DecryptRTP(nil, out, nil); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("packet %d, opened by pion: %v", i, err)
				}
				theirs.SetROC(h.SSRC, uint32(idx>>16))
				if out, err = theirs.EncryptRTP(nil, plain, nil); err != nil {
					t.Fatal(err)
				}
				var dst []byte
				if i%2 == 0 {
					dst = out
				}
				if got, err := o.RTP(dst, out); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("packet %d of pion's: %v", i, err)
				}
				if name == "cm" && i > 2000 {
					break
				}
			}
		})
	}
}

// TestRTCPAgainstPion does so with SRTCP.
func TestRTCPAgainstPion(t *testing.T) {
	for name, p := range profiles {
		t.Run(name, func(t *testing.T) {
			k := keys(t, p)
			s, _ := NewSealer(p, k)
			o, _ := NewOpener(p, k)
			theirs, err := srtp.CreateContext(k.Key, k.Salt, p)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 300 {
				plain := append([]byte{0x81, 201, 0, byte(1 + i), 0, 0, 0, byte(i % 3)}, bytes.Repeat([]byte{byte(i)}, 4*i)...)
				out, err := s.RTCP(nil, plain)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := theirs.DecryptRTCP(nil, out, nil); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("packet %d, opened by pion: %v", i, err)
				}
				if out, err = theirs.EncryptRTCP(nil, plain, nil); err != nil {
					t.Fatal(err)
				}
				for j := range out {
					bad := bytes.Clone(out)
					bad[j] ^= 4
					if _, err := o.RTCP(nil, bad); err == nil {
						t.Fatalf("packet %d is opened with byte %d changed", i, j)
					}
				}
				got, err := o.RTCP(make([]byte, 0, 2000), out)
				if err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("packet %d of pion's: %v", i, err)
				}
				if _, err := o.RTCP(nil, out); !errors.Is(err, ErrReplay) {
					t.Fatalf("packet %d for the second time: %v", i, err)
				}
			}
		})
	}
}

// TestVectors has the packets of RFC 7714 §16 and §17.
func TestVectors(t *testing.T) {
	const (
		salt  = "517569642070726f2071756f"
		head  = "8040f17b8041f8d35501a0b2"
		text  = "47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573"
		rhead = "81c8000d4d617273"
		rtext = "4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
	)
	for _, v := range []struct{ key, rtp, rtcp, plain string }{
		{
			"000102030405060708090a0b0c0d0e0f",
			"f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
			"63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
			"841dd9683dd78ec92ae58790125f62b3000005d4",
		},
		{
			"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
			"32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
			"d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
			"91db4afbfeee5a978fab4393ed2615fe000005d4",
		},
	} {
		s := &Sealer{}
		o := &aeadOpener{heard: indexes{by: map[uint32]*Index{}}, told: indexes{by: map[uint32]*Index{}}}
		s.rtcp.index = map[uint32]uint32{0x4d617273: 0x5d3}
		for _, a := range []*aead{&s.gcm, &s.rtcp.aead, &o.rtp, &o.rtcp} {
			if err := a.set(unhex(t, v.key), unhex(t, salt)); err != nil {
				t.Fatal(err)
			}
		}
		h := append(make([]byte, 0, 200), unhex(t, head)...)
		if out, err := s.RTP(h, len(h), unhex(t, text), 0x5501a0b2, 0xf17b); err != nil || hex.EncodeToString(out) != head+v.rtp {
			t.Errorf("RTP: %v\n%x", err, out)
		}
		if out, err := o.openRTP(nil, unhex(t, head+v.rtp)); err != nil || hex.EncodeToString(out) != head+text {
			t.Errorf("RTP opened: %v\n%x", err, out)
		}
		if out, err := s.RTCP(nil, unhex(t, rhead+rtext)); err != nil || hex.EncodeToString(out) != rhead+v.rtcp {
			t.Errorf("RTCP: %v\n%x", err, out)
		}
		// What is only authenticated (§9.3) comes first, with the same index: it is the second that is a replay.
		if out, err := o.openRTCP(nil, unhex(t, rhead+rtext+v.plain)); err != nil || hex.EncodeToString(out) != rhead+rtext {
			t.Errorf("plain RTCP opened: %v\n%x", err, out)
		}
		if _, err := o.openRTCP(nil, unhex(t, rhead+v.rtcp)); !errors.Is(err, ErrReplay) {
			t.Error("a replay is opened:", err)
		}
		o.told = indexes{by: map[uint32]*Index{}}
		if out, err := o.openRTCP(nil, unhex(t, rhead+v.rtcp)); err != nil || hex.EncodeToString(out) != rhead+rtext {
			t.Errorf("RTCP opened: %v\n%x", err, out)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestManySSRCs bounds what an authentic peer can make us remember.
func TestManySSRCs(t *testing.T) {
	k := keys(t, srtp.ProtectionProfileAeadAes128Gcm)
	s, _ := NewSealer(srtp.ProtectionProfileAeadAes128Gcm, k)
	o, _ := NewOpener(srtp.ProtectionProfileAeadAes128Gcm, k)
	for i := range maxHeard + 1 {
		pkt, err := s.RTCP(nil, binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, uint32(i)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = o.RTCP(nil, pkt); err != nil && i < maxHeard || i == maxHeard && !errors.Is(err, ErrTooMany) {
			t.Fatal(i, err)
		}
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

// TestLater has packets of all profiles, their tags left to one list, be what RTP makes of them.
func TestLater(t *testing.T) {
	var sealers []*Sealer
	for _, p := range profiles {
		for range 3 {
			s, err := NewSealer(p, keys(t, p))
			if err != nil {
				t.Fatal(err)
			}
			sealers = append(sealers, s)
		}
	}
	var tags Tags
	var index uint64
	for _, n := range []int{1, 5, 9, 40, 300} {
		var got, want [][]byte
		for i := range n {
			index += 40000
			s, payload, h := sealers[i%len(sealers)], make([]byte, i*97%1200), bytes.Repeat([]byte{0x80}, 12+4*(i%5))
			out, err := s.RTP(append(make([]byte, 0, 1500), h...), len(h), payload, uint32(i), index)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, out)
			if out, err = s.Later(&tags, append(make([]byte, 0, len(h)+len(payload)+MaxOverhead), h...), len(h), payload, uint32(i), index); err != nil {
				t.Fatal(err)
			}
			got = append(got, out)
		}
		tags.Finish()
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("packet %d of %d: %x, want %x", i, n, got[i], want[i])
			}
		}
	}
	if _, err := sealers[0].Later(&tags, make([]byte, 12, 12+100+MaxOverhead-1), 12, make([]byte, 100), 1, 1); !errors.Is(err, ErrShort) {
		t.Error("without room:", err)
	}
}

// TestCounterModeVector has the key derivation of RFC 3711 §B.3 and the key stream of §B.2, by both ways of making it.
func TestCounterModeVector(t *testing.T) {
	k := Keys{Key: unhex(t, "e1f97a0d3e018be0d64fa32c06de4139"), Salt: unhex(t, "0ec675ad498afeebb6960b3aabe6")}
	for _, v := range []struct {
		label byte
		want  string
	}{
		{labelRTPKey, "c61e7a93744f39ee10734afe3ff7a087"},
		{labelRTPSalt, "30cbbc08863d8c85d49db34a9ae1"},
		{labelRTPAuth, "cebe321f6ff7716b6fd4ab49af256a156d38baa4"},
	} {
		if got, err := derive(v.label, k, len(v.want)/2); err != nil || hex.EncodeToString(got) != v.want {
			t.Errorf("label %d: %v, %x, want %s", v.label, err, got, v.want)
		}
	}
	key, salt := unhex(t, "2b7e151628aed2a6abf7158809cf4f3c"), unhex(t, "f0f1f2f3f4f5f6f7f8f9fafbfcfd")
	const want = "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
	slow, err := newGCMCounter(key, salt)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]*counterMode{"by GCM": {slow: slow}}
	g := &aesgcm.GCM{}
	if aesgcm.Accelerated() {
		if err := g.Init(key); err != nil {
			t.Fatal(err)
		}
		ways["fast"] = &counterMode{hi: binary.BigEndian.Uint64(salt), lo: binary.BigEndian.Uint64(append(salt, 0, 0)[8:])}
	}
	for name, c := range ways {
		if got := c.encrypt(g, make([]byte, 0, 48+MaxOverhead), make([]byte, 48), 0, 0); hex.EncodeToString(got) != want {
			t.Errorf("%s: %x", name, got)
		}
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

// TestCounters has AES-CM begin at counters of every kind: what is counted by either of our ways, of which the processor has one, must be what pion
// counts block by block.
func TestCounters(t *testing.T) {
	p := srtp.ProtectionProfileAes128CmHmacSha1_80
	for i := range 400 {
		k := keys(t, p)
		s, err := NewSealer(p, k)
		if err != nil {
			t.Fatal(err)
		}
		if i >= 200 {
			key, _ := derive(labelRTPKey, k, len(k.Key))
			salt, _ := derive(labelRTPSalt, k, cmSalt)
			if s.cm.slow, err = newGCMCounter(key, salt); err != nil {
				t.Fatal(err)
			}
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
		if i%200 == 0 { // the counter's upper half goes round
			h.SequenceNumber = binary.BigEndian.Uint16(k.Salt[12:])
		}
		roc := uint32(binary.BigEndian.Uint16(r[6:]))
		c.SetROC(h.SSRC, roc)
		plain, err := (&rtp.Packet{Header: h, Payload: r[8 : 8+1+i%200*7]}).Marshal()
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
