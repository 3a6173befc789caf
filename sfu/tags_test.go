package sfu

import (
	"testing"

	"github.com/pion/srtp/v3"

	"konzil/internal/udpio"
	"konzil/sfu/seal"
)

// TestTagsBeforeSending: every packet leaves with its tag, whatever the receivers' profiles are: in a batch that is so large that some of it is sent before it
// is all sealed, in one of few packets, and in a repetition that no batch asked for.
func TestTagsBeforeSending(t *testing.T) {
	profiles := []srtp.ProtectionProfile{
		srtp.ProtectionProfileAes128CmHmacSha1_80, srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAes128CmHmacSha1_80, srtp.ProtectionProfileAes128CmHmacSha1_32,
	}
	b := newBed(t, 80, 1, nil)
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	b.warm(&scratch, list)
	got := make([]capture, len(b.to))
	keys := make([]seal.Keys, len(b.to))
	sh := b.from.sh
	sh.mu.Lock()
	for i, e := range b.to {
		p := profiles[i%len(profiles)]
		k := seal.Keys{Key: []byte("0123456789abcdef"), Salt: []byte("salt of 14 byt")}
		k.Key[0] = byte(i)
		if p == srtp.ProtectionProfileAeadAes128Gcm {
			k.Salt = k.Salt[:12]
		}
		var err error
		e.m.sealer, err = seal.NewSealer(p, k)
		must(t, err)
		keys[i] = k
		e.m.path.Store(&path{addr: b.sinks[i].LocalAddr(), via: &got[i]})
	}
	sh.mu.Unlock()
	check := func(what string, least int) {
		t.Helper()
		sh.mu.Lock()
		defer sh.mu.Unlock()
		for i := range got {
			if len(got[i].pkts) < least {
				t.Errorf("%s: receiver %d got %d packets, not %d", what, i, len(got[i].pkts), least)
			}
			p := profiles[i%len(profiles)]
			opener, err := seal.NewOpener(p, keys[i]) // a new one, since repetitions are the same packets
			must(t, err)
			for n, pkt := range got[i].pkts {
				if classOf(pkt) != classMedia || pkt[1] >= 192 && pkt[1] <= 223 {
					continue // STUN, RTCP
				}
				if _, err := opener.RTP(nil, pkt); err != nil {
					t.Fatalf("%s: receiver %d (%v), packet %d of %d, %d bytes: %v", what, i, p, n, len(got[i].pkts), len(pkt), err)
				}
			}
			got[i].pkts = nil
		}
	}
	var pkts [][]byte
	for range 6 {
		for _, p := range b.enc[0].frame(false) {
			p.Payload = append(p.Payload, make([]byte, 1100-len(p.Payload))...)
			pkts = append(pkts, b.protect(p, 200, ptVP8))
		}
	}
	if len(pkts)*len(b.to)*1100 < 2*sendAhead {
		t.Fatal("the batch is too small")
	}
	flushed := b.s.Counters()["packets_out"]
	b.feed(&scratch, append(pkts, b.frame(false)...), list)
	if n := b.s.Counters()["packets_out"] - flushed; n < uint64(len(pkts)*len(b.to)) {
		t.Fatalf("%d packets went out", n)
	}
	check("large batch", len(pkts)+2)
	b.feed(&scratch, b.frame(false), list)
	check("small batch", 2)
	sh.mu.Lock()
	for _, e := range b.to {
		o := e.m.sends[200]
		sh.resend(e, o, o.stream.Newest(), sh.s.now())
	}
	sh.flush()
	sh.mu.Unlock()
	check("repetitions", 1)
}
