package sfu

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"konzil/internal/await"
	"konzil/internal/udpio"
	"konzil/sfu/codec"
)

// tap opens what one receiver of a bed gets.
type tap struct {
	mu  sync.Mutex
	got []*rtp.Packet
	at  []time.Time
}

func newTap(t testing.TB, s *udpio.Conn) *tap {
	t.Helper()
	key, err := srtp.CreateContext(bedKeys.Key, bedKeys.Salt, srtp.ProtectionProfileAeadAes128Gcm)
	must(t, err)
	p := &tap{}
	r := s.NewReader()
	go func() {
		for {
			ps, err := r.Read()
			if err != nil {
				return
			}
			for _, d := range ps {
				var x rtp.Packet
				if plain, err := key.DecryptRTP(nil, bytes.Clone(d.Data), nil); err == nil && x.Unmarshal(plain) == nil {
					p.mu.Lock()
					p.got, p.at = append(p.got, &x), append(p.at, time.Now())
					p.mu.Unlock()
				}
			}
		}
	}()
	return p
}

// of returns the packets of an SSRC.
func (p *tap) of(ssrc uint32) (out []*rtp.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.got {
		if x.SSRC == ssrc {
			out = append(out, x)
		}
	}
	return out
}

// since says whether the last packet of frame first or of a later one has come. Frames count on: none was a keyframe meanwhile.
func (p *tap) since(ssrc uint32, first int) bool {
	return slices.ContainsFunc(p.of(ssrc), func(x *rtp.Packet) bool {
		var n int
		_, text, ok := bytes.Cut(x.Payload, []byte("frame "))
		_, err := fmt.Sscanf(string(text), "%d part 2", &n)
		return ok && err == nil && n >= first
	})
}

// replayBed has two receivers of one layer; the first gets it live, the second wants nothing yet and has got nothing.
func replayBed(t *testing.T, shards int, change func(*Config)) (*bed, []*tap, func(key bool)) {
	b := newBed(t, 2, 1, func(c *Config) {
		c.Shards, c.ShardSpill = shards, 1
		if change != nil {
			change(c)
		}
	})
	b.to[1].SetConstraints(VideoConstraints{LastN: -1})
	await.True(t, "the second receiver is given nothing", func() (yes bool) {
		b.c.do(func() {
			sb := b.to[1].subs[b.from.sources["from-v0"]]
			yes = !b.c.dirty && (sb == nil || sb.layer == 0 && !sb.linked)
		})
		return yes
	})
	taps := []*tap{newTap(t, b.sinks[0]), newTap(t, b.sinks[1])}
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	step := func(key bool) { b.feed(&scratch, b.frame(key), list) }
	// It may begin with a repetition; from then on it gets each packet as it comes.
	await.True(t, "the first receiver sees it live", func() bool {
		step(true)
		e := b.to[0]
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		o := e.m.sends[200]
		if o == nil || o.stream.Current() != 200 || o.hold != 0 || o.stream.Replaying() {
			return false
		}
		o.replayed = 0
		return true
	})
	return b, taps, step
}

// newest says whether the last packet of the newest frame has come to a receiver.
func (b *bed) newest(p *tap) bool {
	ps := p.of(200)
	return len(ps) > 0 && bytes.Contains(ps[len(ps)-1].Payload, fmt.Appendf(nil, "frame %d part 2", b.enc[0].n-1))
}

// seen waits until the control loop knows that the source is sending, and all that was fed has gone out.
func (b *bed) seen() {
	b.t.Helper()
	tr := b.from.sources["from-v0"].tracks[0]
	await.True(b.t, "the source is seen", func() (yes bool) {
		b.c.do(func() { yes = tr.seen.active })
		return yes
	})
}

// TestReplay: a newcomer gets the cached keyframe and what followed, then live packets, as one stream; the sender is not asked.
func TestReplay(t *testing.T) {
	for _, shards := range []int{1, 2} {
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			b, taps, step := replayBed(t, shards, nil)
			step(true)
			for range 21 {
				step(false)
			}
			b.seen()
			before := b.s.Counters()
			began := time.Now()
			b.to[1].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
			await.True(t, "a picture without a new one", func() bool { return len(taps[1].of(200)) > 0 })
			t.Logf("first packet after %v", time.Since(began))
			await.True(t, "all frames of the cache", func() bool { return len(taps[1].of(200)) >= 6*3 })
			took := time.Since(began)
			for range 40 {
				step(false)
				await.True(t, "live", func() bool { return b.newest(taps[0]) })
			}
			await.True(t, "live packets", func() bool { step(false); return len(taps[1].of(200)) > 150 })
			ps := taps[1].of(200)
			d, ok := codec.ParseVP8(ps[0].Payload)
			if !ok || !d.Keyframe {
				t.Fatalf("it begins with %+v", d)
			}
			for i, p := range ps[1:] {
				last := ps[i]
				d, _ := codec.ParseVP8(p.Payload)
				e, _ := codec.ParseVP8(last.Payload)
				if p.SequenceNumber != last.SequenceNumber+1 {
					t.Fatalf("packet %d: number %d after %d", i, p.SequenceNumber, last.SequenceNumber)
				}
				if step := (d.PictureID - e.PictureID) & 0x7fff; (p.Timestamp != last.Timestamp) != (step == 1) || step > 1 {
					t.Fatalf("packet %d: picture %d at %d after %d at %d", i, d.PictureID, p.Timestamp, e.PictureID, last.Timestamp)
				}
				if i < 17 && d.TID != 0 {
					t.Errorf("packet %d of the cache is of temporal layer %d", i, d.TID)
				}
				if d.TL0-e.TL0 > 1 {
					t.Errorf("packet %d: TL0PICIDX %d after %d", i, d.TL0, e.TL0)
				}
			}
			// They are shown when they are sent, at least replayStep apart, and not at the pace at which they were made.
			if shown, most := ps[17].Timestamp-ps[0].Timestamp, 90*uint32(took.Milliseconds()+10); shown > most {
				t.Errorf("the cache was sent in %v, and is shown in %d ticks", took, shown)
			}
			if top, _ := codec.ParseVP8(ps[len(ps)-1].Payload); !top.HasTID {
				t.Error("no temporal layers any more")
			}
			after := b.s.Counters()
			if after["pli_out"] != before["pli_out"] || after["replays"] != before["replays"]+1 {
				t.Errorf("before %v\nafter %v", before, after)
			}
		})
	}
}

// TestReplayCrowded: the receiver's shard has room for a few packets at a time only: the repetition waits for it, and does not lose its end, which live
// packets wait for.
func TestReplayCrowded(t *testing.T) {
	b, taps, step := replayBed(t, 2, func(c *Config) { c.InboxPackets = 4 })
	step(true)
	for range 21 {
		step(false)
	}
	b.seen()
	b.to[1].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	await.True(t, "all frames of the cache", func() bool { return len(taps[1].of(200)) >= 6*3 })
	looks := 0 // each 5 ms of a machine that runs; a second and more is what the wait without an end takes
	await.True(t, "the end", func() bool {
		looks++
		e := b.to[1]
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		return !e.m.sends[200].stream.Replaying()
	})
	first := b.enc[0].n // of the frames from here on the end of one comes, if not at once: each look feeds another one
	await.True(t, "live packets", func() bool { step(false); return taps[1].since(200, first) })
	if looks > 120 {
		t.Errorf("live after %d looks: the end was lost", looks)
	}
	ps := taps[1].of(200)[:18]
	for i, p := range ps[1:] {
		if p.SequenceNumber != ps[i].SequenceNumber+1 {
			t.Errorf("packet %d: number %d after %d", i, p.SequenceNumber, ps[i].SequenceNumber)
		}
	}
	if n := b.s.Counters(); n["drop_inbox"] == 0 {
		t.Error("the inbox was never full: nothing was tested")
	}
}

// TestReplayRefused: what is not whole, too old or switched off is not repeated; the sender is asked for a keyframe.
func TestReplayRefused(t *testing.T) {
	for name, spoil := range map[string]func(b *bed, tr *track){
		"a packet is missing": func(b *bed, tr *track) { b.enc[0].seq++ },
		"too old":             func(b *bed, tr *track) { tr.lastKey -= replayNewcomer + 1 },
		"too much":            func(b *bed, tr *track) { tr.key.cost[0] = 1 << 40 },
		"another codec":       func(b *bed, tr *track) { tr.key.have = false },
	} {
		t.Run(name, func(t *testing.T) {
			b, taps, step := replayBed(t, 1, nil)
			step(true)
			step(false)
			tr := b.from.sources["from-v0"].tracks[0]
			b.from.sh.mu.Lock()
			spoil(b, tr)
			b.from.sh.mu.Unlock()
			step(false)
			b.seen()
			before := b.s.Counters()
			b.to[1].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
			await.True(t, "the sender is asked", func() bool { return b.s.Counters()["pli_out"] > before["pli_out"] })
			if n := b.s.Counters()["replays"]; n != before["replays"] || len(taps[1].of(200)) != 0 {
				t.Errorf("%d repetitions, %d packets", n, len(taps[1].of(200)))
			}
		})
	}
}

// TestReplayForLoss: a PLI soon after a keyframe is answered from the cache, the next one by the sender.
func TestReplayForLoss(t *testing.T) {
	b, taps, step := replayBed(t, 1, nil)
	step(true)
	step(false)
	e := b.to[0]
	o := func() *send { e.sh.mu.Lock(); defer e.sh.mu.Unlock(); return e.m.sends[200] }()
	b.seen()
	pli := func() {
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		e.sh.clock = b.s.now()
		e.sh.pli(e, 200, b.s.now())
		e.sh.flush()
	}
	n := len(taps[0].of(200))
	before := b.s.Counters()
	pli()
	await.True(t, "the keyframe again", func() bool {
		for _, p := range taps[0].of(200)[n:] {
			if d, _ := codec.ParseVP8(p.Payload); d.Keyframe {
				return true
			}
		}
		return false
	})
	await.True(t, "live again", func() bool {
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		return o.hold == 0 && !o.stream.Replaying()
	})
	if now := b.s.Counters(); now["pli_out"] != before["pli_out"] {
		t.Error("the sender was asked")
	}
	e.sh.mu.Lock()
	o.replayed = b.s.now() // however slow the machine
	e.sh.mu.Unlock()
	pli()
	await.True(t, "the sender is asked", func() bool { return b.s.Counters()["pli_out"] > before["pli_out"] })
}
