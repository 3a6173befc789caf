package sfu

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"konzil/internal/await"
	"konzil/internal/udpio"
	"konzil/sfu/seal"
)

// bench is a conference without ICE and DTLS: keys are installed by hand, so that the packet path is alone.
type bed struct {
	t     testing.TB
	s     *SFU
	c     *Conference
	from  *Endpoint
	to    []*Endpoint
	sinks []*udpio.Conn
	key   *srtp.Context // the sender's
	addr  netip.AddrPort
	enc   []*vp8Encoder
	audio uint16
	open  *srtp.Context // of the first receiver
}

var bedKeys = seal.Keys{Key: []byte("0123456789abcdef"), Salt: []byte("salt of 12 b")}

func newBed(t testing.TB, receivers, layers int, change func(*Config)) *bed {
	t.Helper()
	v := Source{Name: "from-v0", Kind: Video}
	var enc []*vp8Encoder
	for i := range layers {
		v.SSRCs = append(v.SSRCs, uint32(200+i))
		enc = append(enc, &vp8Encoder{layer: i, seq: 100, ts: uint32(i * 5000)})
	}
	b := newBedOf(t, endpointConfig, v, receivers, change)
	b.enc = enc
	return b
}

// newBedOf has endpoints as conf says, and video v of the sender.
func newBedOf(t testing.TB, conf func(id string) EndpointConfig, v Source, receivers int, change func(*Config)) *bed {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg.Shards = 1
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, nil)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	c, err := s.NewConference("bed", newEvents())
	must(t, err)
	b := &bed{t: t, s: s, c: c, addr: netip.MustParseAddrPort("127.0.0.1:9")}
	const profile = srtp.ProtectionProfileAeadAes128Gcm
	b.key, err = srtp.CreateContext(bedKeys.Key, bedKeys.Salt, profile)
	must(t, err)
	b.open, err = srtp.CreateContext(bedKeys.Key, bedKeys.Salt, profile)
	must(t, err)
	connect := func(e *Endpoint, to netip.AddrPort) {
		sealer, err := seal.NewSealer(profile, bedKeys)
		must(t, err)
		opener, err := seal.NewOpener(profile, bedKeys)
		must(t, err)
		e.sh.mu.Lock()
		e.m.sealer, e.m.opener = sealer, opener
		e.sh.mu.Unlock()
		e.m.path.Store(&path{addr: to})
		c.do(func() { e.connected, c.dirty = true, true })
	}
	b.from, err = c.AddEndpoint(conf("from"))
	must(t, err)
	must(t, b.from.SetSources([]Source{{Name: "from-a0", Kind: Audio, SSRCs: []uint32{100}}, v}))
	connect(b.from, b.addr)
	s.routes.set(b.addr, b.from.t)
	for i := range receivers {
		e, err := c.AddEndpoint(conf(fmt.Sprintf("to%d", i)))
		must(t, err)
		sink, err := udpio.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpio.Options{ReadBuffer: 4 << 20})
		must(t, err)
		t.Cleanup(func() { _ = sink.Close() })
		b.sinks = append(b.sinks, sink)
		connect(e, sink.LocalAddr())
		e.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
		b.to = append(b.to, e)
	}
	return b
}

// protect makes the sender's packet as it comes off the wire.
func (b *bed) protect(p *rtp.Packet, ssrc uint32, pt uint8) []byte {
	p.SSRC, p.PayloadType = ssrc, pt
	must(b.t, p.SetExtension(extTWCC, []byte{byte(p.SequenceNumber >> 8), byte(p.SequenceNumber)}))
	raw, err := p.Marshal()
	must(b.t, err)
	out, err := b.key.EncryptRTP(nil, raw, nil)
	must(b.t, err)
	return out
}

// frame is one video frame of every layer and an audio packet, protected.
func (b *bed) frame(key bool) [][]byte {
	var out [][]byte
	for i, e := range b.enc {
		for _, p := range e.frame(key) {
			out = append(out, b.protect(p, uint32(200+i), ptVP8))
		}
	}
	b.audio++
	a := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: b.audio, Timestamp: uint32(b.audio) * 960}, Payload: make([]byte, 100)}
	must(b.t, a.SetExtension(extLevel, []byte{30}))
	return append(out, b.protect(a, 100, ptOpus))
}

// feed passes packets to the demux as one receive batch.
func (b *bed) feed(scratch *batch, pkts [][]byte, list []udpio.Packet) {
	list = list[:0]
	for _, p := range pkts {
		list = append(list, udpio.Packet{Data: p, From: b.addr})
	}
	b.from.sh.demux(scratch, 0, list)
}

// warm lets layers become known and the receivers reach the top one.
func (b *bed) warm(scratch *batch, list []udpio.Packet) {
	b.t.Helper()
	await.True(b.t, "top layer reaches all", func() bool {
		b.feed(scratch, b.frame(true), list)
		n := 0
		b.from.sh.mu.Lock()
		defer b.from.sh.mu.Unlock()
		for _, e := range b.to {
			if o := e.m.sends[200]; o != nil && o.stream.Current() == uint32(200+len(b.enc)-1) {
				n++
			}
		}
		return n == len(b.to)
	})
}

func (b *bed) drain() {
	for _, s := range b.sinks {
		r := s.NewReader()
		go func() {
			for {
				if _, err := r.Read(); err != nil {
					return
				}
			}
		}()
	}
}

// TestForwardAllocatesNothing sends VP8 simulcast and opus to five receivers through demux, open, forward, seal and send.
func TestForwardAllocatesNothing(t *testing.T) {
	b := newBed(t, 5, 3, nil)
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	b.warm(&scratch, list)
	var frames [][][]byte
	for range 300 {
		frames = append(frames, b.frame(false))
	}
	for range 20 { // lets maps and slices reach their size
		b.feed(&scratch, frames[0], list)
		frames = frames[1:]
	}
	before := b.s.Counters()
	i := 0
	n := testing.AllocsPerRun(200, func() {
		b.feed(&scratch, frames[i], list)
		i++
	})
	after := b.s.Counters()
	if sent := after["packets_out"] - before["packets_out"]; sent < 5*4*200 {
		t.Fatalf("only %d packets went out: %v", sent, after)
	}
	if n != 0 {
		t.Fatalf("%v allocations a batch", n)
	}
}

// FuzzDemux gives the demux bytes from an established address and from nowhere.
func FuzzDemux(f *testing.F) {
	bd := newBed(f, 1, 1, nil)
	var scratch batch
	for _, p := range bd.frame(true) {
		f.Add(p, true)
	}
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, false)
	f.Add([]byte{0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6, 0, 3, 'a', ':', 'b', 0}, false)
	f.Add([]byte{1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, true)
	f.Add([]byte{22, 254, 253, 0, 0}, true)
	f.Add([]byte{22, 254, 253, 0, 0}, false)
	f.Add([]byte{16, 0}, true)
	f.Add([]byte{64, 0, 0, 4, 1, 2, 3, 4}, true)
	f.Add([]byte{0x80, 200, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}, true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, pkt []byte, known bool) {
		from := netip.MustParseAddrPort("127.0.0.1:10")
		if known {
			from = bd.addr
		}
		data := append([]byte(nil), pkt...)
		before := bd.s.Counters()
		bd.from.sh.demux(&scratch, 0, []udpio.Packet{{Data: data, From: from}})
		after := bd.s.Counters()
		if after["packets_in"] != before["packets_in"]+1 {
			t.Fatal("not counted")
		}
		if c := classOf(pkt); c == classUnknown && after["drop_unknown_byte"] == before["drop_unknown_byte"] {
			t.Fatal("unknown first byte not counted")
		}
		if !known && classOf(pkt) == classDTLS && after["drop_unknown_address"] == before["drop_unknown_address"] {
			t.Fatal("DTLS from an address that ICE did not validate was taken")
		}
	})
}

// FuzzOpened gives arbitrary bytes to what runs behind SRTP: an authenticated peer may be hostile too.
func FuzzOpened(f *testing.F) {
	bd := newBed(f, 2, 1, nil)
	for _, e := range []*vp8Encoder{{seq: 1}} {
		for _, p := range e.frame(true) {
			p.SSRC, p.PayloadType = 200, ptVP8
			raw, _ := p.Marshal()
			f.Add(raw, false)
		}
	}
	f.Add([]byte{0x90, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 100, 0xbe, 0xde, 0, 1, 0x10, 30, 0, 0, 1}, false)
	f.Add([]byte{0xb0, 97, 0, 1, 0, 0, 0, 1, 0, 0, 0, 200, 0, 1, 2}, false)
	f.Add([]byte{0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 200}, true)
	f.Add([]byte{0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 200, 0, 1, 0xff, 0xff}, true)
	f.Add([]byte{0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 200, 0, 1, 0, 1, 0, 0, 0, 1, 0x20, 1, 4, 0}, true)
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 200, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}, true)
	sealer, err := seal.NewSealer(srtp.ProtectionProfileAeadAes128Gcm, bedKeys)
	must(f, err)
	var index seal.Index
	var seq uint16
	var scratch batch
	f.Fuzz(func(t *testing.T, plain []byte, asRTCP bool) {
		if asRTCP {
			if len(plain) < 8 {
				return
			}
			pkt, err := sealer.RTCP(nil, plain)
			if err != nil {
				return
			}
			bd.from.sh.demux(&scratch, 0, []udpio.Packet{{Data: pkt, From: bd.addr}})
			return
		}
		var h rtp.Header
		n, err := h.Unmarshal(plain)
		if err != nil || n > len(plain) || len(plain) > 1400 || h.Version != 2 {
			return
		}
		seq++
		plain = append([]byte(nil), plain...)
		plain[2], plain[3] = byte(seq>>8), byte(seq)
		i, ok := index.Next(seq)
		if !ok {
			return
		}
		dst := make([]byte, n, 1500)
		copy(dst, plain[:n])
		pkt, err := sealer.RTP(dst, n, plain[n:], h.SSRC, i)
		if err != nil {
			t.Fatal(err)
		}
		bd.from.sh.demux(&scratch, 0, []udpio.Packet{{Data: pkt, From: bd.addr}})
	})
}
