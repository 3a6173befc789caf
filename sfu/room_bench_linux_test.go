package sfu

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"konzil/internal/udpio"
	"konzil/sfu/seal"
)

// discard takes what a member of a benchmark's room gets: the packet path alone is measured.
type discard struct{}

func (discard) send(int, ...[]byte) {}

// BenchmarkRoom is a room of ten that all send a camera and a microphone: a frame of six packets or one packet of audio is a batch, as they
// come from ten clients that do not send together. CPU time per batch.
func BenchmarkRoom(b *testing.B) {
	for _, sockets := range []bool{false, true} {
		b.Run(fmt.Sprintf("sockets=%v", sockets), func(b *testing.B) { benchRoom(b, sockets) })
	}
}

// member is one of a benchmark's room.
type member struct {
	e     *Endpoint
	addr  netip.AddrPort
	enc   *srtp.Context
	v     vp8Encoder
	audio uint16
	twcc  uint16
}

const roomSize = 10

func benchRoom(b *testing.B, sockets bool) {
	const profile = srtp.ProtectionProfileAeadAes128Gcm
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg.Shards = 1
	s, err := New(cfg, nil)
	must(b, err)
	b.Cleanup(func() { _ = s.Close() })
	c, err := s.NewConference("room", newEvents())
	must(b, err)
	var ms []*member
	for i := range roomSize {
		m := &member{addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(9+i))}
		m.enc, err = srtp.CreateContext(bedKeys.Key, bedKeys.Salt, profile)
		must(b, err)
		id := fmt.Sprintf("m%d", i)
		m.e, err = c.AddEndpoint(endpointConfig(id))
		must(b, err)
		must(b, m.e.SetSources([]Source{
			{Name: id + "-a0", Kind: Audio, SSRCs: []uint32{uint32(100 + i)}}, {Name: id + "-v0", Kind: Video, SSRCs: []uint32{uint32(200 + i)}}}))
		sealer, err := seal.NewSealer(profile, bedKeys)
		must(b, err)
		opener, err := seal.NewOpener(profile, bedKeys)
		must(b, err)
		m.e.sh.mu.Lock()
		m.e.m.sealer, m.e.m.opener = sealer, opener
		m.e.sh.mu.Unlock()
		p := &path{addr: m.addr, via: discard{}}
		if sockets {
			sink, err := udpio.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpio.Options{ReadBuffer: 4096})
			must(b, err)
			b.Cleanup(func() { _ = sink.Close() })
			p = &path{addr: sink.LocalAddr()}
		}
		m.e.m.path.Store(p)
		s.routes.set(m.addr, m.e.t)
		c.do(func() { m.e.connected, c.dirty = true, true })
		m.e.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
		ms = append(ms, m)
	}
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	sh := ms[0].e.sh
	feed := func(m *member, pkts [][]byte) {
		list = list[:0]
		for _, p := range pkts {
			list = append(list, udpio.Packet{Data: p, From: m.addr})
		}
		sh.demux(&scratch, 0, list)
	}
	warmRoom(b, sh, ms, feed)
	frozen, thaw := make(chan struct{}), make(chan struct{})
	go c.do(func() { close(frozen); <-thaw })
	<-frozen
	defer close(thaw)
	type arrival struct {
		m    *member
		pkts [][]byte
	}
	var due []arrival
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := s.Counters()
	var ns int64
	at := 0
	start := threadTime(b)
	for b.Loop() {
		if at == len(due) {
			b.StopTimer()
			ns += threadTime(b) - start
			due, at = due[:0], 0
			for round := range 25 { // half a second
				for i := range ms {
					due = append(due, arrival{ms[i], [][]byte{ms[i].speak(b)}})
					if round%5 != 0 && (i+round)%5 < 3 {
						j := (i*3 + round) % len(ms)
						due = append(due, arrival{ms[j], ms[j].picture(b, false)})
					}
				}
			}
			start = threadTime(b)
			b.StartTimer()
		}
		feed(due[at].m, due[at].pkts)
		at++
	}
	ns += threadTime(b) - start
	after := s.Counters()
	out := float64(after["packets_out"] - before["packets_out"])
	b.ReportMetric(float64(ns)/float64(b.N), "cpu-ns/batch")
	b.ReportMetric(float64(ns)/out, "cpu-ns/packet-out")
	b.ReportMetric(out/float64(b.N), "packets-out/batch")
}

// warmRoom sends until everybody sees everybody.
func warmRoom(b *testing.B, sh *shard, ms []*member, feed func(*member, [][]byte)) {
	for all := false; !all; {
		for _, m := range ms {
			feed(m, append(m.picture(b, true), m.speak(b)))
		}
		pause(tick)
		all = true
		sh.mu.Lock()
		for _, m := range ms {
			for i := range ms {
				o := m.e.m.sends[uint32(200+i)]
				all = all && (ms[i] == m || o != nil && o.stream.Current() == uint32(200+i))
			}
		}
		sh.mu.Unlock()
	}
}

func (m *member) protect(b *testing.B, p *rtp.Packet) []byte {
	m.twcc++
	must(b, p.SetExtension(extTWCC, binary.BigEndian.AppendUint16(nil, m.twcc)))
	raw, err := p.Marshal()
	must(b, err)
	out, err := m.enc.EncryptRTP(nil, raw, nil)
	must(b, err)
	return out
}

func (m *member) index() uint32 { return uint32(m.addr.Port() - 9) }

// picture is a frame of six packets of 1200 bytes.
func (m *member) picture(b *testing.B, key bool) (pkts [][]byte) {
	for i, p := range append(m.v.frame(key), m.v.frame(false)...) {
		p.Payload = append(p.Payload, make([]byte, 1150-len(p.Payload))...)
		p.SSRC, p.PayloadType, p.Marker = 200+m.index(), ptVP8, i == 5
		pkts = append(pkts, m.protect(b, p))
	}
	return pkts
}

func (m *member) speak(b *testing.B) []byte {
	m.audio++
	p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: m.audio, Timestamp: uint32(m.audio) * 960, SSRC: 100 + m.index(), PayloadType: ptOpus},
		Payload: make([]byte, 100)}
	must(b, p.SetExtension(extLevel, []byte{30}))
	return m.protect(b, p)
}
