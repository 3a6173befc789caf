package rtc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp/codecs"
	"go.uber.org/goleak"

	"konzil/bench/sfuload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func camera() *sfuload.Track {
	return &sfuload.Track{Name: "v0", Kind: sfuload.Video, Codec: "VP8", Layers: []sfuload.Layer{{Width: 1280, Height: 720, Bitrate: 2_000_000, FrameRate: 30}}}
}

func microphone() *sfuload.Track {
	return &sfuload.Track{Name: "a0", Kind: sfuload.Audio, Codec: "opus", Layers: []sfuload.Layer{{}}}
}

func engine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// call connects two participants of an engine with each other.
func call(t *testing.T, e *Engine, roomA, roomB string) (a, b *Peer) {
	t.Helper()
	sections := []*sfuload.Media{{MID: "0", Kind: sfuload.Audio, Codecs: sfuload.DefaultCodecs("opus"), Exts: sfuload.DefaultExts(sfuload.Audio)},
		{MID: "1", Kind: sfuload.Video, Codecs: sfuload.DefaultCodecs("VP8"), Exts: sfuload.DefaultExts(sfuload.Video)}}
	var peers [2]*Peer
	var ts [2]sfuload.Transport
	for i, room := range []string{roomA, roomB} {
		p := &sfuload.Participant{Name: fmt.Sprintf("p%d", i), Room: room, Publish: []*sfuload.Track{microphone(), camera()}}
		peers[i] = e.Peer(p)
		var err error
		if ts[i], err = peers[i].Transport("x"); err != nil {
			t.Fatal(err)
		}
		for k, s := range sections {
			if err := ts[i].Send(p.Publish[k], s); err != nil {
				t.Fatal(err)
			}
			if err := ts[i].Receive(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Nothing is sent before both ends are up: what comes earlier is lost, as it should be.
	if err := e.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range ts {
		l := ts[1-i].Local()
		r := sfuload.Remote{Ufrag: l.Ufrag, Pwd: l.Pwd, Hash: l.Hash, Print: l.Print, Controlling: i == 0, Role: sfuload.Role(i)}
		if err := ts[i].Start(r); err != nil {
			t.Fatal(err)
		}
		ts[i].AddCandidates(l.Candidate)
	}
	for _, x := range ts {
		select {
		case <-x.Connected():
		case <-x.Done():
			t.Fatal(x.Err())
		case <-time.After(10 * time.Second):
			t.Fatal("not connected")
		}
	}
	if err := e.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	return peers[0], peers[1]
}

// until waits for a condition on a snapshot.
func until(t *testing.T, e *Engine, what string, ok func(*Snapshot) bool) *Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for {
		s, err := e.Snapshot(ctx)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if ok(s) {
			return s
		}
	}
}

func total(s *Snapshot) (sent, got uint64) {
	for _, p := range s.Peers {
		for _, t := range p.Sent {
			for _, n := range t {
				sent += n
			}
		}
		for _, st := range p.Streams {
			got += st.Got
		}
	}
	return sent, got
}

// Two participants: every packet that one sends reaches the other, the counters agree to the packet, and what is checked is right.
func TestCall(t *testing.T) {
	for name, cfg := range map[string]Config{"GCM": {Shards: 2}, "CM": {Profile: "AES128_CM_SHA1_80"}, "own sockets": {OwnSockets: true, Shards: 2}, "IPv6": {Local: netip.IPv6Loopback()}} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, cfg)
			a, b := call(t, e, "room", "room")
			until(t, e, "media", func(s *Snapshot) bool { _, got := total(s); return got > 500 })
			if err := e.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := until(t, e, "counters", func(*Snapshot) bool { return true })
			sent, got := total(s)
			c := s.Counters
			if sent != got || c.Wrong != (Wrong{}) || c.Verified == 0 || c.Recovered+c.Late+c.Duplicates+c.Leaps+c.SocketDrops+c.SendErrors != 0 {
				t.Errorf("sent %d got %d: %+v", sent, got, c)
			}
			for _, p := range []*Peer{a, b} {
				for _, step := range []string{"ice", "dtls", "first packet", "first keyframe"} {
					if _, ok := p.Steps()[step]; !ok {
						t.Errorf("%s lacks the step %q: %v", p.Name, step, p.Steps())
					}
				}
				if st := s.Peers[p.Number].Streams; len(st) != 2 || st[0].Switches+st[0].Hidden+st[1].Switches+st[1].Hidden != 0 {
					t.Errorf("%+v", st)
				}
			}
			audio, video, _, err := e.Latencies(t.Context())
			if err != nil || audio.TotalCount() == 0 || video.TotalCount() == 0 || video.ValueAtQuantile(50) > int64(time.Second) {
				t.Error(err, audio.TotalCount(), video.TotalCount())
			}
			if n, _, _, _ := e.Latencies(t.Context()); n.TotalCount() != 0 {
				t.Error("histograms are not emptied")
			}
		})
	}
}

// What is lost is missing in the counters, though it is asked for and sent again.
func TestLoss(t *testing.T) {
	n := 0 // only the one shard calls it
	e := engine(t, Config{Lose: func() bool { n++; return n%50 == 0 }})
	call(t, e, "room", "room")
	s := until(t, e, "repair", func(s *Snapshot) bool { return s.Counters.Recovered > 5 })
	sent, got := total(s)
	if c := s.Counters; c.Thrown == 0 || c.NACKed == 0 || c.SentRTX == 0 || got >= sent {
		t.Errorf("sent %d got %d %+v", sent, got, c)
	}
}

func TestWrongPayload(t *testing.T) {
	n := 0
	e := engine(t, Config{Corrupt: func(b []byte) bool { n++; b[len(b)-1] ^= 1; return true }})
	call(t, e, "room", "room")
	until(t, e, "wrong payload", func(s *Snapshot) bool { return s.Counters.Wrong.Payload > 2 && s.Counters.Corrupted > 2 })
}

// Media of another room are foreign.
func TestForeign(t *testing.T) {
	e := engine(t, Config{})
	call(t, e, "room", "other")
	until(t, e, "foreign media", func(s *Snapshot) bool { return s.Counters.Wrong.Foreign > 2 && s.Counters.Wrong.Payload == 0 })
}

func TestLimitAndSwitch(t *testing.T) {
	e := engine(t, Config{})
	a, b := call(t, e, "room", "room")
	tr := a.transports[0]
	s := until(t, e, "media", func(s *Snapshot) bool { return len(s.Peers[b.Number].Streams) == 2 })
	tr.Limit(a.tracks[1], 0)
	var at uint64
	until(t, e, "silence", func(x *Snapshot) bool {
		now := x.Peers[a.Number].Sent[1][0]
		quiet := now == at && x.Peers[a.Number].Sent[0][0] > s.Peers[a.Number].Sent[0][0]+10
		if now != at {
			at, s = now, x
		}
		return quiet
	})
	b.Expect(a, 0)
	tr.Limit(a.tracks[1], -1) // begins with a keyframe
	until(t, e, "switch", func(*Snapshot) bool {
		_, _, sw, err := e.Latencies(t.Context())
		return err == nil && sw.TotalCount() == 1
	})
}

func TestWrongFingerprint(t *testing.T) {
	e := engine(t, Config{})
	p := e.Peer(&sfuload.Participant{Name: "a"})
	q := e.Peer(&sfuload.Participant{Name: "b"})
	x, err := p.Transport("x")
	if err != nil {
		t.Fatal(err)
	}
	y, err := q.Transport("y")
	if err != nil {
		t.Fatal(err)
	}
	remote := func(l sfuload.Local, role sfuload.Role) sfuload.Remote {
		return sfuload.Remote{Ufrag: l.Ufrag, Pwd: l.Pwd, Hash: l.Hash, Print: "AA:BB", Controlling: role == sfuload.RoleActive, Role: role}
	}
	if x.Start(sfuload.Remote{}) == nil || x.Start(sfuload.Remote{Ufrag: "a", Pwd: "b", Print: "c", Hash: "md5"}) == nil {
		t.Error("nonsense was taken")
	}
	for _, err := range []error{x.Start(remote(y.Local(), sfuload.RoleActive)), y.Start(remote(x.Local(), sfuload.RolePassive))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	x.AddCandidates(y.Local().Candidate)
	y.AddCandidates(x.Local().Candidate)
	select {
	case <-x.Done():
		if x.Err() == nil || p.Err() == nil {
			t.Error("no reason")
		}
	case <-x.Connected():
		t.Error("a wrong certificate was taken")
	case <-time.After(15 * time.Second):
		t.Error("nothing happens")
	}
}

// Feedback is what pion/rtcp reads back: every arrival with its time, gaps as gaps.
func TestTWCC(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 200 {
		var a []arrival
		seq, at := uint16(r.Uint32()), int64(1_700_000_000_000_000_000)+r.Int64N(1e9)
		for range 1 + r.IntN(900) {
			a = append(a, newArrival(seq, at))
			seq++
			if r.IntN(20) == 0 {
				seq += uint16(r.IntN(30))
			}
			at += r.Int64N([]int64{100_000, 5_000_000, 200_000_000}[round%3])
			if r.IntN(10) == 0 {
				at -= 3_000_000
			}
		}
		for left := a; len(left) > 0; {
			p := make([]byte, 8, 4096)
			p[0], p[1] = 0x80|fbTWCC, rtcpRTPFB
			p, n := twccBody(p, left, 7, 9)
			p[2], p[3] = byte((len(p)/4-1)>>8), byte(len(p)/4-1)
			checkTWCC(t, p, left[:n])
			left = left[n:]
		}
	}
}

func checkTWCC(t *testing.T, p []byte, want []arrival) {
	t.Helper()
	var fb rtcp.TransportLayerCC
	if err := fb.Unmarshal(p); err != nil {
		t.Fatalf("%v: %x", err, p)
	}
	if fb.MediaSSRC != 7 || fb.FbPktCount != 9 || fb.BaseSequenceNumber != want[0].seq() || len(fb.RecvDeltas) != len(want) {
		t.Fatalf("%+v for %d arrivals", fb, len(want))
	}
	var symbols []uint16
	for _, c := range fb.PacketChunks {
		switch c := c.(type) {
		case *rtcp.RunLengthChunk:
			for range c.RunLength {
				symbols = append(symbols, c.PacketStatusSymbol)
			}
		case *rtcp.StatusVectorChunk:
			symbols = append(symbols, c.SymbolList...)
		}
	}
	at := int64(fb.ReferenceTime) * twccRef
	i := 0
	for k := range int(fb.PacketStatusCount) {
		if symbols[k] == rtcp.TypeTCCPacketNotReceived {
			continue
		}
		if want[i].seq() != fb.BaseSequenceNumber+uint16(k) {
			t.Fatalf("arrival %d is %d, not %d", i, fb.BaseSequenceNumber+uint16(k), want[i].seq())
		}
		at += fb.RecvDeltas[i].Delta * 1000
		if d := want[i].at()%(1<<24*twccRef) - at; d < -twccUnit || d > twccUnit {
			t.Fatalf("arrival %d is off by %d ns", i, d)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("%d of %d arrivals", i, len(want))
	}
}

// Counting by sequence numbers: gaps, late ones, duplicates, a wrap, a leap.
func TestStreamCounts(t *testing.T) {
	e := engine(t, Config{})
	sh := &shard{eng: e}
	st := &inStream{}
	feed := func(seqs ...uint16) {
		for _, s := range seqs {
			if n := st.hi + 1; uint16(n) == s && st.got > 0 {
				st.hi = n
				st.got++
			} else {
				st.odd(s, 1, sh)
			}
		}
	}
	feed(65533, 65534, 65535, 0, 1, 4, 5)
	if st.got != 7 || st.hi-st.first+1 != 9 || len(st.missing) != 2 {
		t.Errorf("%+v", st)
	}
	feed(3) // late by itself
	st.missing[0].tries = 1
	feed(2) // asked for
	feed(5)
	if st.got != 8 || sh.count.Late != 1 || sh.count.Recovered != 1 || sh.count.Duplicates != 1 || len(st.missing) != 0 {
		t.Errorf("%+v %+v", st, sh.count)
	}
	feed(30000, 30001)
	if sh.count.Leaps != 1 || st.hi-st.first+1 != 11 || st.got != 10 {
		t.Errorf("%d %+v", st.hi-st.first+1, st)
	}
}

// The payloads are what depacketizers of others understand, and the stamps come out again.
func TestTraces(t *testing.T) {
	for _, tr := range []*sfuload.Track{camera(), {Kind: sfuload.Video, Codec: "VP9", SVC: "L3T1_KEY", Layers: []sfuload.Layer{{Width: 1280, Height: 720, Bitrate: 1_700_000, FrameRate: 30}}}} {
		l := &outLayer{Layer: tr.Layers[0], codec: codecOf(tr.Codec), spatial: 1, wantKey: true}
		if tr.SVC != "" {
			l.spatial = 3
		}
		for n := range 20 {
			parts := l.picture(nil)
			if key := parts[0].key; key != (n == 0) || !parts[len(parts)-1].end || !parts[0].first {
				t.Fatalf("%d: %+v", n, parts)
			}
			for i, p := range parts {
				b := make([]byte, p.size)
				x := sent{part: p, pic: l.pic, tl0: l.tl0, phase: uint8(l.phase % 8), counter: l.counter}
				off := l.begin(b, &x)
				s := stamp{room: 1, sender: 2, counter: l.counter, at: 3}
				s.put(b[off:])
				l.counter++
				if got, ok := depayload(l.codec, b); !ok || got != off {
					t.Fatalf("%s picture %d packet %d: stamp at %d, found at %d", tr.Codec, n, i, off, got)
				}
				var r stamp
				if found, intact := r.read(b[off:]); !found || !intact || r.sender != 2 || r.counter != s.counter {
					t.Fatalf("%+v", r)
				}
				b[len(b)-1] ^= 1
				if _, intact := r.read(b[off:]); intact {
					t.Fatal("a changed payload is not noticed")
				}
				b[len(b)-1] ^= 1
				understood(t, l, p, b)
			}
			l.advance()
		}
	}
}

func understood(t *testing.T, l *outLayer, p part, b []byte) {
	t.Helper()
	if l.codec == codecVP8 {
		var v codecs.VP8Packet
		rest, err := v.Unmarshal(b)
		if err != nil || v.PictureID != l.pic || v.TL0PICIDX != l.tl0 || (v.S == 1) != p.first || p.first && (rest[0]&1 == 0) != p.key {
			t.Fatalf("%v %+v %+v", err, v, p)
		}
		return
	}
	var v codecs.VP9Packet
	if _, err := v.Unmarshal(b); err != nil || v.PictureID != l.pic || v.SID != p.sid || v.B != p.first || v.E != p.last || v.P == p.key {
		t.Fatalf("%v %+v %+v", err, v, p)
	}
	if v.V && (len(v.Width) != 3 || v.Width[2] != 1280 || v.Height[0] != 180) {
		t.Fatalf("%+v", v)
	}
}

func FuzzDepayload(f *testing.F) {
	f.Add(uint8(codecVP8), []byte{0x90, 0xe0, 0x80, 1, 2, 3})
	f.Add(uint8(codecVP9), []byte{0xaa, 0x80, 1, 0, 0, 0x58, 5, 0, 2, 208, 5, 0, 2, 208, 5, 0, 2, 208})
	f.Fuzz(func(t *testing.T, c uint8, b []byte) {
		if off, ok := depayload(codec(c%5), b); ok && off >= len(b) {
			t.Error(off)
		}
		if len(b) >= 12 {
			if p := extension(b, 3, 2); p+3 > len(b) {
				t.Error(p)
			}
		}
		var s stamp
		s.read(b)
	})
}
