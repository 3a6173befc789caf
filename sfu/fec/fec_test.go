package fec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	media = 0x11223344
	ms    = int64(1e6)
)

// packet makes an RTP packet with extensions of various lengths.
func packet(r *rand.Rand, seq uint16, ts uint32, marker bool) []byte {
	b := []byte{0x90, 100, byte(seq >> 8), byte(seq)}
	if marker {
		b[1] |= 0x80
	}
	b = binary.BigEndian.AppendUint32(b, ts)
	b = binary.BigEndian.AppendUint32(b, media)
	words := 1 + r.IntN(3)
	b = append(b, 0xbe, 0xde, 0, byte(words))
	for range 4*words + r.IntN(1150) {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

// split is what a packet is for Add.
func split(p []byte) (header, payload []byte) {
	n := rtpHeader + 4 + 4*int(p[15])
	return p[:n], p[n:]
}

var errFormat = errors.New("malformed")

// recover does what a receiver does with a repair packet, by the draft's §6.3: it gives back the one packet that is missing, nil when there is none or
// more.
func recover(fec []byte, have map[uint16][]byte) ([]byte, error) {
	if len(fec) < 20 || fec[0]&0xc0 != 0 || fec[8] != 1 || fec[9] != 0 || fec[10] != 0 || fec[11] != 0 {
		return nil, errFormat
	}
	ssrc, base := binary.BigEndian.Uint32(fec[12:]), binary.BigEndian.Uint16(fec[16:])
	var seqs []uint16
	part := binary.BigEndian.Uint16(fec[18:])
	for i := range uint16(15) {
		if part>>(14-i)&1 != 0 {
			seqs = append(seqs, base+i)
		}
	}
	body := fec[20:]
	if part>>15 == 0 {
		if len(body) < 4 {
			return nil, errFormat
		}
		more := binary.BigEndian.Uint32(body)
		if more>>31 == 0 {
			return nil, errFormat
		}
		for i := range uint16(31) {
			if more>>(30-i)&1 != 0 {
				seqs = append(seqs, base+15+i)
			}
		}
		body = body[4:]
	}
	head := slices.Clone(fec[:8])
	out := slices.Clone(body)
	var missing []uint16
	for _, s := range seqs {
		p := have[s]
		if p == nil {
			missing = append(missing, s)
			continue
		}
		head[0] ^= p[0]
		head[1] ^= p[1]
		n := len(p) - rtpHeader
		head[2] ^= byte(n >> 8)
		head[3] ^= byte(n)
		for i := range 4 {
			head[4+i] ^= p[4+i]
		}
		for i, x := range p[rtpHeader:] {
			out[i] ^= x
		}
	}
	if len(missing) != 1 {
		return nil, nil
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if n > len(out) {
		return nil, errFormat
	}
	p := []byte{head[0]&0x3f | 0x80, head[1], byte(missing[0] >> 8), byte(missing[0])}
	p = append(p, head[4:8]...)
	p = binary.BigEndian.AppendUint32(p, ssrc)
	return append(p, out[:n]...), nil
}

// TestRecovers: each packet of each group, lost alone, comes back bit for bit.
func TestRecovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{minGroup, 5, 15, 16, maxGroup} {
		var e Encoder
		e.Tune(size)
		sent := map[uint16][]byte{}
		seq := uint16(65500) // wraps
		repaired := 0
		for i := range 200 {
			p := packet(r, seq, uint32(i)*3000, i%7 == 6)
			sent[seq] = p
			delete(sent, seq-60)
			seq++
			if !add(&e, int64(i)*2*ms, p) {
				continue
			}
			for {
				fec, ok := e.Append(nil, media)
				if !ok {
					break
				}
				if len(fec) > MaxPayload {
					t.Fatalf("%d bytes", len(fec))
				}
				for s, want := range sent {
					delete(sent, s)
					got, err := recover(fec, sent)
					sent[s] = want
					if err != nil {
						t.Fatal(err)
					}
					if got == nil {
						continue
					}
					repaired++
					if !bytes.Equal(got, want) {
						t.Fatalf("group of %d: packet %d comes back as\n%x, was\n%x", size, s, got[:40], want[:40])
					}
				}
			}
		}
		if repaired < 200-2*size {
			t.Errorf("groups of %d: %d of 200 packets are protected", size, repaired)
		}
	}
}

func add(e *Encoder, now int64, p []byte) bool {
	header, payload := split(p)
	return e.Add(now, header, payload)
}

// line sends frames over a path that loses packets in bursts of the given mean length, with protection after the path's loss, and returns the
// share that is lost before and after repair, and the share of repair packets.
func line(t *testing.T, loss, burst float64, rtt int64, perFrame int) (before, after, extra float64) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, uint64(perFrame)))
	var e Encoder
	e.Tune(Group(loss, rtt))
	bad := false
	lose := func() bool { // Gilbert: two states
		if bad {
			bad = r.Float64() >= 1/burst
		} else {
			bad = r.Float64() < loss/(1-loss)/burst
		}
		return bad
	}
	const frames = 4000
	have, all := map[uint16][]byte{}, 0
	var lost, repaired, fecs int
	seq := uint16(0)
	flush := func() {
		for {
			fec, ok := e.Append(nil, media)
			if !ok {
				return
			}
			fecs++
			if lose() {
				continue
			}
			p, err := recover(fec, have)
			if err != nil {
				t.Fatal(err)
			}
			if p != nil {
				repaired++
				have[binary.BigEndian.Uint16(p[2:])] = p
			}
		}
	}
	for f := range frames {
		now := int64(f) * 33 * ms
		if e.Expired(now) {
			flush()
		}
		for i := range perFrame {
			p := packet(r, seq, uint32(f)*3000, i == perFrame-1)
			delete(have, seq-2000)
			all++
			if lose() {
				lost++
			} else {
				have[seq] = p
			}
			seq++
			if add(&e, now+int64(i)*ms/10, p) {
				flush()
			}
		}
	}
	return float64(lost) / float64(all), float64(lost-repaired) / float64(all), float64(fecs) / float64(all)
}

// TestLoss: what is left of random and bursty loss, and what it costs.
func TestLoss(t *testing.T) {
	for _, c := range []struct {
		loss, burst float64
		rtt         int64
		perFrame    int
		left, extra float64 // at most: share of the loss that is left, share of repair packets
	}{
		{0.01, 1, 200 * ms, 8, 0.25, 0.06}, {0.03, 1, 200 * ms, 8, 0.45, 0.08}, {0.05, 1, 200 * ms, 8, 0.5, 0.11}, {0.1, 1, 200 * ms, 8, 0.5, 0.21},
		{0.1, 1, 200 * ms, 2, 0.4, 0.51}, {0.05, 1.5, 200 * ms, 8, 0.75, 0.11}, {0.05, 1, 20 * ms, 8, 0.75, 0.06}, {0.2, 1, 200 * ms, 8, 0.6, 0.36},
	} {
		before, after, extra := line(t, c.loss, c.burst, c.rtt, c.perFrame)
		t.Logf("loss %.0f %% in bursts of %.1f, %d packets a frame, RTT %d ms: %.2f %% lost, %.2f %% after repair, %.0f %% more packets",
			100*c.loss, c.burst, c.perFrame, c.rtt/ms, 100*before, 100*after, 100*extra)
		if after > c.left*before || extra > c.extra {
			t.Errorf("at most %.2f %% and %.0f %% more were expected", 100*c.left*before, 100*c.extra)
		}
	}
}

// TestBursts: of packets close to each other two neighbours may be lost.
func TestBursts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var e Encoder
	e.Tune(5)
	sent := map[uint16][]byte{}
	both := 0
	for seq := range uint16(300) {
		p := packet(r, seq, 0, false)
		sent[seq] = p
		if !add(&e, int64(seq)*ms, p) || seq < 100 {
			for {
				if _, ok := e.Append(nil, media); !ok {
					break
				}
			}
			continue
		}
		one, ok1 := e.Append(nil, media)
		if !ok1 {
			t.Fatal("nothing to append")
		}
		b := binary.BigEndian.Uint16(one[16:])
		have := map[uint16][]byte{}
		for s, p := range sent {
			if s != b && s != b+1 {
				have[s] = p
			}
		}
		if got, err := recover(one, have); err != nil {
			t.Fatal(err)
		} else if got != nil {
			both++
		}
	}
	if both < 20 {
		t.Errorf("one of two neighbours comes back %d times", both)
	}
}

// TestPause: the tail of a burst is protected though nothing follows.
func TestPause(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var e Encoder
	e.Tune(10)
	for seq := range uint16(4) {
		if add(&e, int64(seq)*ms, packet(r, seq, 0, seq == 3)) {
			t.Fatal("complete after four of ten")
		}
	}
	if e.Expired(10 * ms) {
		t.Fatal("expired after 7 ms")
	}
	if !e.Expired(80 * ms) {
		t.Fatal("not expired after 77 ms")
	}
	for range 2 { // the groups take turns
		if _, ok := e.Append(nil, media); !ok {
			t.Fatal("nothing to append")
		}
	}
	if e.Expired(200*ms) || e.groups[0].n+e.groups[1].n != 0 {
		t.Fatal("not begun anew")
	}
	e.Tune(0)
	if add(&e, 0, packet(r, 9, 0, true)) || e.Expired(1000*ms) {
		t.Fatal("protects without being asked")
	}
}

func TestGroup(t *testing.T) {
	for _, c := range []struct {
		loss float64
		rtt  int64
		want int
	}{{0, 0, 0}, {0.001, 0, maxGroup}, {0.05, 100 * ms, 12}, {0.05, 10 * ms, 24}, {0.1, 0, 6}, {0.9, 0, minGroup}} {
		if got := Group(c.loss, c.rtt); got != c.want {
			t.Errorf("loss %v, RTT %d: %d, want %d", c.loss, c.rtt, got, c.want)
		}
	}
}

// TestAllocations: protection allocates nothing.
func TestAllocations(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	var e Encoder
	e.Tune(5)
	h, b := split(packet(r, 1, 2, false))
	buf := make([]byte, 0, MaxPayload)
	seq := uint16(0)
	if n := testing.AllocsPerRun(1000, func() {
		seq++
		binary.BigEndian.PutUint16(h[2:], seq)
		if e.Add(int64(seq)*ms, h, b) {
			e.Append(buf, media)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
