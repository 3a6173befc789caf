package sfu

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// TestUnusualPeers has clients that are not like browsers meet one that is: a message of the bridge, audio both ways.
func TestUnusualPeers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		setting  func(t *testing.T, se *webrtc.SettingEngine)
		endpoint func(*EndpointConfig)
		channel  *webrtc.DataChannelInit
		remote   func(t *testing.T, c *client, r *Transport)
	}{
		{name: "ICE lite, which makes no checks of its own", setting: func(_ *testing.T, se *webrtc.SettingEngine) { se.SetLite(true) }, remote: gathered},
		{name: "AES-CM alone", setting: func(_ *testing.T, se *webrtc.SettingEngine) {
			se.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80)
		}},
		{name: "AES-256-GCM alone", setting: func(_ *testing.T, se *webrtc.SettingEngine) {
			se.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_256_GCM)
		}},
		{name: "candidates that are of no use", remote: func(_ *testing.T, _ *client, r *Transport) {
			for i, a := range []string{"0.0.0.0:9", "224.0.0.1:5000", "127.0.0.1:0", "[fe80::1%lo]:5000", "192.0.2.1:5000", "[2001:db8::1]:5000"} {
				r.Candidates = append(r.Candidates, Candidate{Foundation: "x", Component: 1 + i%2, Protocol: "udp", Priority: 1<<32 - 1, Addr: netip.MustParseAddrPort(a), Type: "host"})
			}
			r.Candidates = append(r.Candidates, Candidate{}, Candidate{Protocol: "tcp", TCPType: "active", Addr: netip.MustParseAddrPort("127.0.0.1:9"), Type: "host"})
		}},
		{name: "fingerprints of two certificates", remote: func(_ *testing.T, _ *client, r *Transport) {
			other := Fingerprint{Hash: "sha-256", Value: strings.Repeat("AB:", 31) + "AB"}
			r.Fingerprints = append([]Fingerprint{other}, r.Fingerprints...)
		}},
		{name: "a bridge channel by another name, without order", channel: &webrtc.DataChannelInit{Ordered: new(bool), MaxRetransmits: new(uint16)}},
		{name: "no extensions", endpoint: func(c *EndpointConfig) { c.Extensions = nil }},
		{name: "extensions that nobody knows", endpoint: func(c *EndpointConfig) {
			c.Extensions = append(c.Extensions, Extension{ID: 15, URI: "urn:example:x"}, Extension{ID: 255, URI: "urn:example:y"}, Extension{ID: 0, URI: "urn:example:z"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startSFU(t, nil)
			ev := newEvents()
			conf, err := s.NewConference("room", ev)
			must(t, err)
			a := newClient(t, conf, "aaaa", clientOptions{endpoint: c.endpoint, channel: c.channel, setting: func(se *webrtc.SettingEngine) {
				if c.setting != nil {
					c.setting(t, se)
				}
			}})
			b := newClient(t, conf, "bbbb", clientOptions{})
			local, err := a.ep.LocalTransport(t.Context())
			must(t, err)
			remote := a.answer(a.offer(local, b.sources()))
			if c.remote != nil {
				c.remote(t, a, &remote)
			}
			must(t, a.ep.SetSources(a.sources()))
			must(t, a.ep.SetRemote(remote))
			b.join(a.sources())
			ev.connected(t, "aaaa")
			ev.connected(t, "bbbb")
			defer a.play(nil)()
			defer b.play(nil)()
			ev.wait(t, "channel open", func(v event) bool { return v.kind == "open" && v.ep == "aaaa" })
			await.True(t, "channel open at the client", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.open })
			must(t, a.ep.SendMessage([]byte(`{}`)))
			await.True(t, "a message", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.texts) > 0 })
			await.True(t, "audio both ways", func() bool { return b.count(a.ssrc(0)) > 10 && a.count(b.ssrc(0)) > 10 })
		})
	}
}

// gathered adds the client's own candidates to its side.
func gathered(t *testing.T, c *client, r *Transport) {
	t.Helper()
	<-webrtc.GatheringCompletePromise(c.pc)
	for l := range strings.Lines(c.pc.LocalDescription().SDP) {
		var k Candidate
		var ip string
		var port uint16
		if n, _ := fmt.Sscanf(l, "a=candidate:%s %d %s %d %s %d typ %s", &k.Foundation, &k.Component, &k.Protocol, &k.Priority, &ip, &port, &k.Type); n == 7 {
			k.Addr = netip.AddrPortFrom(netip.MustParseAddr(ip), port)
			r.Candidates = append(r.Candidates, k)
		}
	}
	if len(r.Candidates) == 0 {
		t.Fatal("no candidates")
	}
}

// TestUnusualPackets sends audio as no browser would: numbers and timestamps that go round while packets are lost, extensions that nobody has
// negotiated in both forms, contributing sources, padding, and reports by a clock that is hours off. The receiver gets what was sent, in its order.
func TestUnusualPackets(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	_, _, a, b := pair(t, s, 0)
	for n := -2000; n < 0 && b.count(a.ssrc(0)) == 0; n++ { // what comes before the receiver is ready is not passed on
		_ = a.audio.WriteRTP(oddPacket(n))
		<-time.After(5 * time.Millisecond)
	}
	seqs := a.sayOddly(0, 400)
	var got []*rtp.Packet // from the first of them on: some that were sent before may still be on their way now
	await.True(t, "all that was sent", func() bool {
		got = b.packets(a.ssrc(0))
		first := slices.IndexFunc(got, func(p *rtp.Packet) bool { return string(p.Payload) == fmt.Sprintf("odd %d", seqs[0]) })
		got = got[max(first, 0):]
		return first >= 0 && len(got) >= len(seqs)
	})
	if len(got) != len(seqs) {
		t.Fatalf("%d packets of %d", len(got), len(seqs))
	}
	for i, p := range got {
		if want := fmt.Sprintf("odd %d", seqs[i]); string(p.Payload) != want {
			t.Fatalf("packet %d: payload %q, want %q", i, p.Payload, want)
		}
		if d, want := p.SequenceNumber-got[0].SequenceNumber, seqs[i]-seqs[0]; d != want {
			t.Fatalf("packet %d: %d numbers after the first, want %d", i, d, want)
		}
		if d, want := p.Timestamp-got[0].Timestamp, 960*uint32(seqs[i]-seqs[0]); d != want {
			t.Fatalf("packet %d: timestamp %d after the first, want %d", i, d, want)
		}
	}
	// Reports of b answer a's, and tell the round trip: whose clock a's reports go by must not matter.
	next := 400
	await.True(t, "round trip", func() bool {
		a.sayOddly(next, next+10)
		next += 10
		b.ep.sh.mu.Lock()
		defer b.ep.sh.mu.Unlock()
		return b.ep.m.rtt > 0 && b.ep.m.rtt < 5e9
	})
}

// sayOddly sends the packets from..to of TestUnusualPackets, at their pace, and gives their numbers.
func (c *client) sayOddly(from, to int) (sent []uint16) {
	off := uint64(2*time.Hour.Seconds()) << 32
	for n := from; n < to; n++ {
		if n%50 == 10 {
			_ = c.pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{SSRC: c.ssrc(0), NTPTime: uint64(time.Now().Unix())<<32 + off, RTPTime: uint32(n * 960)}})
		}
		p := oddPacket(n)
		if n > 100 && n%3 == 1 { // the numbers go round at 200
			continue
		}
		sent = append(sent, p.SequenceNumber)
		_ = c.audio.WriteRTP(p)
		<-time.After(5 * time.Millisecond)
	}
	return sent
}

func oddPacket(n int) *rtp.Packet {
	p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(65336 + n), Timestamp: uint32(1<<32-960*150) + uint32(n*960), Marker: n%7 == 0}}
	p.Payload = fmt.Appendf(nil, "odd %d", p.SequenceNumber)
	if n%4 == 0 {
		p.CSRC = []uint32{1, 2, uint32(n)}
	}
	switch n % 3 {
	case 0:
		p.Extension, p.ExtensionProfile = true, rtp.ExtensionProfileTwoByte
		_ = p.SetExtension(200, make([]byte, 40))
		_ = p.SetExtension(201, nil)
	case 1:
		_ = p.SetExtension(13, []byte{1, 2, 3})
		_ = p.SetExtension(extLevel, []byte{20})
	}
	if n%5 == 0 {
		p.Padding, p.PaddingSize = true, 8
	}
	return p
}
