package sfu

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

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

// replayBed has two receivers of one layer; the second wants nothing yet.
func replayBed(t *testing.T, shards int, change func(*Config)) (*bed, []*tap, func(key bool)) {
	b := newBed(t, 2, 1, func(c *Config) {
		c.Shards, c.ShardSpill = shards, 1
		if change != nil {
			change(c)
		}
	})
	b.to[1].SetConstraints(VideoConstraints{LastN: -1})
	taps := []*tap{newTap(t, b.sinks[0]), newTap(t, b.sinks[1])}
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	step := func(key bool) { b.feed(&scratch, b.frame(key), list) }
	eventually(t, "the first receiver sees it", func() bool { step(true); return len(taps[0].of(200)) > 0 })
	return b, taps, step
}

// seen waits until the control loop knows that the source is sending, and all that was fed has gone out.
func (b *bed) seen() {
	b.t.Helper()
	tr := b.from.sources["from-v0"].tracks[0]
	eventually(b.t, "the source is seen", func() (yes bool) {
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
			eventually(t, "a picture without a new one", func() bool { return len(taps[1].of(200)) > 0 })
			t.Logf("first packet after %v", time.Since(began))
			eventually(t, "all frames of the cache", func() bool { return len(taps[1].of(200)) >= 6*3 })
			for i := range 40 {
				step(false)
				eventually(t, "live", func() bool { return len(taps[0].of(200)) >= 3*(i+20) })
			}
			eventually(t, "live packets", func() bool { step(false); return len(taps[1].of(200)) > 150 })
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
				if i < 17 {
					if d.TID != 0 {
						t.Errorf("packet %d of the cache is of temporal layer %d", i, d.TID)
					}
					if step := p.Timestamp - last.Timestamp; step > 90*50 {
						t.Errorf("packet %d is shown %d ticks after the one before", i, step)
					}
				}
				if d.TL0-e.TL0 > 1 {
					t.Errorf("packet %d: TL0PICIDX %d after %d", i, d.TL0, e.TL0)
				}
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
			eventually(t, "the sender is asked", func() bool { return b.s.Counters()["pli_out"] > before["pli_out"] })
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
	eventually(t, "the keyframe again", func() bool {
		for _, p := range taps[0].of(200)[n:] {
			if d, _ := codec.ParseVP8(p.Payload); d.Keyframe {
				return true
			}
		}
		return false
	})
	eventually(t, "live again", func() bool {
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		return o.hold == 0 && !o.stream.Replaying()
	})
	if now := b.s.Counters(); now["pli_out"] != before["pli_out"] {
		t.Error("the sender was asked")
	}
	pli()
	eventually(t, "the sender is asked", func() bool { return b.s.Counters()["pli_out"] > before["pli_out"] })
}
