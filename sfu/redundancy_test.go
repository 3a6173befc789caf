package sfu

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pion/rtp"

	"konzil/internal/await"
	"konzil/internal/udpio"
	"konzil/sfu/red"
)

const ptRED = 112

func TestLossMeter(t *testing.T) {
	var l lossMeter
	l.note(1, 1, 0)
	if l.level(0) != 0 {
		t.Error("one packet decides")
	}
	l = lossMeter{}
	for i := range 20 {
		l.note(0, 20, int64(i))
	}
	if l.level(20) != 0 {
		t.Error("redundancy without loss")
	}
	l.note(1, 20, 20)
	l.note(1, 20, 20)
	l.note(1, 20, 20)
	if l.level(21) != 1 {
		t.Errorf("rate %v: level %d", l.rate, l.level(21))
	}
	for i := range 10 {
		l.note(3, 20, int64(i+30))
	}
	if l.level(41) != 2 {
		t.Errorf("rate %v: level %d", l.rate, l.level(41))
	}
	for i := range 40 {
		l.note(0, 20, int64(i+50))
	}
	if l.level(90) != 2 || l.level(90+lossHold) != 0 || l.rate > 0.01 {
		t.Errorf("rate %v: levels %d, %d", l.rate, l.level(90), l.level(90+lossHold))
	}
}

// TestRedundancy has three receivers of Opus or RED: one with RED that loses packets, one with RED that loses none, one without RED.
func TestRedundancy(t *testing.T) {
	for _, c := range []struct {
		shards  int
		sendRED bool
	}{{1, false}, {2, false}, {1, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			b := newBedOf(t, func(id string) EndpointConfig {
				conf := endpointConfig(id)
				if id != "to2" {
					conf.Codecs = append(conf.Codecs, Codec{Kind: Audio, PayloadType: ptRED, Name: "red", ClockRate: 48000})
				}
				return conf
			}, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}}, 3, func(cfg *Config) { cfg.Shards, cfg.ShardSpill = c.shards, 1 })
			var taps []*tap
			for _, s := range b.sinks {
				taps = append(taps, newTap(t, s))
			}
			lossy := b.to[0]
			lossy.sh.mu.Lock()
			lossy.m.loss.some = 1 << 62
			lossy.sh.mu.Unlock()
			var scratch batch
			list := make([]udpio.Packet, 0, 1)
			seq := uint32(65500) // numbers wrap, timestamps do not
			say := func() {
				seq++
				now := fmt.Sprintf("packet %d", seq)
				p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(seq), Timestamp: seq * 960}, Payload: []byte(now)}
				must(t, p.SetExtension(extLevel, []byte{30}))
				pt := uint8(ptOpus)
				if c.sendRED {
					pt = ptRED
					p.Payload = append([]byte{0x80 | ptOpus, 15, 0, 3, ptOpus, 'o', 'l', 'd'}, now...)
				}
				b.feed(&scratch, [][]byte{b.protect(p, 100, pt)}, list)
			}
			await.True(t, "audio for all", func() bool {
				say()
				for _, p := range taps {
					if len(p.of(100)) < 20 {
						return false
					}
				}
				return true
			})
			redundant := 0
			for i, p := range taps {
				ps := p.of(100)
				for k, x := range ps {
					if k > 0 && x.SequenceNumber != ps[k-1].SequenceNumber+1 {
						t.Fatalf("receiver %d: %d after %d", i, x.SequenceNumber, ps[k-1].SequenceNumber)
					}
					if k > 0 && x.Timestamp-ps[k-1].Timestamp != 960 {
						t.Fatalf("receiver %d: timestamp %d after %d", i, x.Timestamp, ps[k-1].Timestamp)
					}
					primary := x.Payload
					if x.PayloadType == ptRED {
						redundant++
						if primary, _ = red.Primary(x.Payload); primary == nil {
							t.Fatalf("receiver %d: %q", i, x.Payload)
						}
						if c.sendRED {
							if !strings.HasSuffix(string(x.Payload), "old"+string(primary)) {
								t.Fatalf("receiver %d: %q", i, x.Payload)
							}
						} else if before := ps[max(k-1, 0)].Payload; k > 0 && !strings.HasSuffix(string(before), string(x.Payload[5:len(x.Payload)-len(primary)])) {
							t.Fatalf("receiver %d: %q repeats not %q", i, x.Payload, before)
						}
					}
					if want := i == 0 || i == 1 && c.sendRED; x.PayloadType == ptRED && !want || k > 3 && want && x.PayloadType != ptRED {
						t.Fatalf("receiver %d: packet %d of type %d", i, k, x.PayloadType)
					}
					if !strings.HasPrefix(string(primary), "packet ") {
						t.Fatalf("receiver %d: %q", i, x.Payload)
					}
				}
			}
			if redundant == 0 {
				t.Fatal("no redundancy")
			}
		})
	}
}

// TestRedundancySealed: what looks encrypted end to end is never put together with more.
func TestRedundancySealed(t *testing.T) {
	sealed := append(make([]byte, 60), 12, 3)
	open := append(make([]byte, 60), 13, 3)
	sh := &shard{redb: make([]byte, 0, redRoom)}
	src := &source{kind: Audio}
	src.redUntil.Store(1 << 62)
	tr := &track{src: src}
	for i, c := range []struct {
		payload []byte
		at      int64
		want    bool
	}{{open, 0, false}, {open, 1, true}, {sealed, 2, false}, {open, 3, false}, {open, 3 + sealedFor, false}, {open, 4 + sealedFor, true}} {
		p := &packet{codec: codecOpus, payload: c.payload}
		p.hdr.Seq, p.hdr.Timestamp = uint16(i), uint32(i)*960
		sh.prepareRED(p, tr, c.at)
		if (p.red != nil) != c.want {
			t.Errorf("%d: %v", i, p.red)
		}
	}
}
