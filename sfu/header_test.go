package sfu

import (
	"encoding/binary"
	"slices"
	"testing"

	pionrtp "github.com/pion/rtp"

	"konzil/internal/udpio"
	"konzil/sfu/rtp"
)

// capture keeps what is sent to a receiver.
type capture struct{ pkts [][]byte }

func (c *capture) send(_ int, pkts ...[]byte) {
	for _, p := range pkts {
		c.pkts = append(c.pkts, slices.Clone(p))
	}
}

// TestHeadersOfFrame: packets of a frame leave with the extensions that each of them needs, in whatever order those with more than the others come.
func TestHeadersOfFrame(t *testing.T) {
	const extAbs, extOrientation = 3, 4
	conf := func(id string) EndpointConfig {
		cfg := endpointConfig(id)
		cfg.Extensions = append(slices.Clone(cfg.Extensions), Extension{ID: extAbs, URI: uriAbsSendTime}, Extension{ID: extOrientation, URI: uriOrientation})
		return cfg
	}
	b := newBedOf(t, conf, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}}, 2, nil)
	b.enc = []*vp8Encoder{{seq: 100}}
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	b.warm(&scratch, list)
	got := &capture{}
	m := &b.to[1].m
	m.path.Store(&path{addr: b.sinks[1].LocalAddr(), via: got})
	var sent []*pionrtp.Packet
	for range 4 {
		sent = append(sent, b.enc[0].frame(false)...)
	}
	var pkts [][]byte
	for i, p := range sent {
		if i%5 == 3 {
			must(t, p.SetExtension(extOrientation, []byte{byte(i)}))
		}
		pkts = append(pkts, b.protect(p, 200, ptVP8))
	}
	b.feed(&scratch, pkts, list)
	if len(got.pkts) != len(sent) {
		t.Fatalf("%d packets of %d", len(got.pkts), len(sent))
	}
	var first rtp.Header
	must(t, first.Parse(got.pkts[0]))
	number := binary.BigEndian.Uint16(first.Ext(got.pkts[0], extTWCC))
	abs := first.Ext(got.pkts[0], extAbs)
	for i, raw := range got.pkts {
		var h rtp.Header
		must(t, h.Parse(raw))
		want := sent[i]
		if h.Seq != first.Seq+uint16(i) || h.Marker != want.Marker || h.SSRC != first.SSRC || h.Timestamp-first.Timestamp != want.Timestamp-sent[0].Timestamp {
			t.Errorf("packet %d: %+v, of %+v", i, h, want.Header)
		}
		if x := h.Ext(raw, extTWCC); len(x) != 2 || binary.BigEndian.Uint16(x) != number+uint16(i) {
			t.Errorf("packet %d: transport-wide number %x, the first had %d", i, x, number)
		}
		if x := h.Ext(raw, extAbs); len(x) != 3 || !slices.Equal(x, abs) {
			t.Errorf("packet %d: sending time %x, the first had %x", i, x, abs)
		}
		if x := h.Ext(raw, extOrientation); !slices.Equal(x, want.GetExtension(extOrientation)) {
			t.Errorf("packet %d: orientation %x", i, x)
		}
	}
}
