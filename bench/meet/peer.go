package meet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// video is one outgoing video source with its layers.
type video struct {
	name   string
	sender *webrtc.RTPSender
	layers []*layerGen
	on     atomic.Bool
}

// mdnsDisabled is pion/ice's MulticastDNSModeDisabled: the only thing that would be needed of that module.
const mdnsDisabled = 1

// api makes the pion side: only the codecs and extensions that the session offers, with its numbers.
func (s *Session) api(loss *lossy) (*webrtc.API, error) {
	me := &webrtc.MediaEngine{}
	for _, kind := range []struct {
		name string
		typ  webrtc.RTPCodecType
	}{{"audio", webrtc.RTPCodecTypeAudio}, {"video", webrtc.RTPCodecTypeVideo}} {
		ct := s.Content(kind.name)
		if ct == nil {
			continue
		}
		for _, c := range ct.Usable("") {
			p := webrtc.RTPCodecParameters{PayloadType: webrtc.PayloadType(c.ID), RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: kind.name + "/" + c.Name, ClockRate: c.Clock, Channels: uint16(c.Channels), SDPFmtpLine: strings.Join(c.Params, ";")}}
			for _, f := range c.FB {
				t, par, _ := strings.Cut(f, " ")
				p.RTCPFeedback = append(p.RTCPFeedback, webrtc.RTCPFeedback{Type: t, Parameter: par})
			}
			if err := me.RegisterCodec(p, kind.typ); err != nil {
				return nil, fmt.Errorf("meet: codec %s: %w", c.Name, err)
			}
		}
		for _, x := range ct.Exts {
			if UsableExt(x.URI) && x.URI != extTWCC { // that one is registered with its interceptors
				if err := me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: x.URI}, kind.typ); err != nil {
					return nil, err
				}
			}
		}
	}
	ir := &interceptor.Registry{}
	if loss.up > 0 || loss.down > 0 {
		ir.Add(loss) // first: next to the network
	}
	if err := errors.Join(webrtc.ConfigureNack(me, ir), webrtc.ConfigureRTCPReports(ir), webrtc.ConfigureTWCCHeaderExtensionSender(me, ir),
		webrtc.ConfigureTWCCSender(me, ir)); err != nil {
		return nil, err
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetICEMulticastDNSMode(mdnsDisabled)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	return webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(ir), webrtc.WithSettingEngine(se)), nil
}

// connect makes the PeerConnection of a session with what the client sends on it.
func (c *Client) connect(s *Session) (*call, error) {
	api, err := s.api(&lossy{up: c.cfg.LossUp, down: c.cfg.LossDown})
	if err != nil {
		return nil, err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	k := &call{s: s, pc: pc, ctx: ctx, cancel: cancel, known: make(map[uint32]int)}
	fail := func(err error) (*call, error) {
		c.closeCall(k)
		return nil, err
	}
	audioDir, videoDir := "sendrecv", "sendrecv"
	if c.cfg.NoAudio {
		audioDir = "sendonly"
		if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return fail(err)
		}
	} else if err := c.addAudio(k); err != nil {
		return fail(err)
	}
	if c.cfg.NoVideo {
		videoDir = "sendonly"
		if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return fail(err)
		}
	} else if _, err := c.addVideo(k, c.id+"-v0", false); err != nil {
		return fail(err)
	}
	k.sections = []Section{{Kind: "audio", Direction: audioDir}, {Kind: "video", Direction: videoDir}}
	if ct := s.Content("data"); ct != nil && ct.SCTPPort != 0 {
		k.sections = append(k.sections, Section{Kind: "application"})
		if err := c.openDataChannel(k); err != nil {
			return fail(err)
		}
	}
	for _, r := range s.Remotes() {
		k.add(r)
	}
	c.watch(k)
	return k, nil
}

func (c *Client) addAudio(k *call) error {
	t, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, c.id+"-a0-track", c.id+"-a0-stream")
	if err != nil {
		return err
	}
	tr, err := k.pc.AddTransceiverFromTrack(t)
	if err != nil {
		return err
	}
	k.audio = newAudioGen(t, c.number, &c.sent)
	k.audio.speaks = c.speaks
	for _, x := range k.s.Content("audio").Exts {
		if x.URI == extAudioLevel {
			k.audio.levelID = uint8(x.ID)
		}
	}
	k.local = append(k.local, LocalSource{Name: c.id + "-a0", Kind: "audio", SSRCs: []uint32{uint32(tr.Sender().GetParameters().Encodings[0].SSRC)}})
	c.wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := tr.Sender().Read(buf); err != nil {
				return
			}
		}
	})
	return nil
}

// addVideo adds a video source: the camera with three simulcast layers, or a shared screen with one.
func (c *Client) addVideo(k *call, name string, desktop bool) (*video, error) {
	sizes := cameraSizes
	if desktop {
		sizes = desktopSizes
	} else if c.cfg.NoSimulcast {
		sizes = []size{{"", 1280, 720, 1_500_000}}
	}
	v := &video{name: name}
	v.on.Store(true)
	for i, sz := range sizes {
		opts := []func(*webrtc.TrackLocalStaticRTP){}
		if sz.rid != "" {
			opts = append(opts, webrtc.WithRTPStreamID(sz.rid))
		}
		t, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, name+"-track", name+"-stream", opts...)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			dir := webrtc.RTPTransceiverDirectionSendrecv
			if desktop {
				dir = webrtc.RTPTransceiverDirectionSendonly
			}
			tr, err := k.pc.AddTransceiverFromTrack(t, webrtc.RTPTransceiverInit{Direction: dir})
			if err != nil {
				return nil, err
			}
			v.sender = tr.Sender()
		} else if err := v.sender.AddEncoding(t); err != nil {
			return nil, err
		}
		v.layers = append(v.layers, newLayerGen(sz, t, c.number, &c.sent))
	}
	src := LocalSource{Name: name, Kind: "video", Desktop: desktop}
	for i, e := range v.sender.GetParameters().Encodings {
		v.layers[i].ssrc = uint32(e.SSRC)
		src.SSRCs = append(src.SSRCs, uint32(e.SSRC))
		if e.RTX.SSRC != 0 {
			src.RTX = append(src.RTX, uint32(e.RTX.SSRC))
		}
	}
	k.local = append(k.local, src)
	k.addVideo(v)
	for _, l := range v.layers {
		c.wg.Go(func() { v.requests(l) })
	}
	return v, nil
}

// requests reads the RTCP of one layer and notes when a keyframe is asked for.
func (v *video) requests(l *layerGen) {
	for {
		var ps []rtcp.Packet
		var err error
		if l.rid == "" {
			ps, _, err = v.sender.ReadRTCP()
		} else {
			ps, _, err = v.sender.ReadSimulcastRTCP(l.rid)
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
				return
			}
			return // the sender has been stopped
		}
		for _, p := range ps {
			switch p := p.(type) {
			case *rtcp.PictureLossIndication:
				v.keyframe(p.MediaSSRC)
			case *rtcp.FullIntraRequest:
				for _, f := range p.FIR {
					v.keyframe(f.SSRC)
				}
			}
		}
	}
}

func (v *video) keyframe(ssrc uint32) {
	for _, l := range v.layers {
		if l.ssrc == ssrc {
			l.want.Store(true)
		}
	}
}

// watch connects the PeerConnection's events to the client.
func (c *Client) watch(k *call) {
	k.pc.OnICEConnectionStateChange(func(st webrtc.ICEConnectionState) {
		if st == webrtc.ICEConnectionStateConnected {
			c.step("ice")
		}
	})
	k.pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		switch st {
		case webrtc.PeerConnectionStateConnected:
			c.step("dtls")
			k.startOnce.Do(func() { c.startMedia(k) })
		case webrtc.PeerConnectionStateFailed:
			c.note("peer connection failed")
		}
	})
	k.pc.OnTrack(func(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		c.wg.Go(func() { c.receive(k, t) })
		c.wg.Go(func() {
			for {
				if _, _, err := r.ReadRTCP(); err != nil {
					return
				}
			}
		})
	})
}

// readPatience bounds one wait for a packet. A track's stream can outlive its PeerConnection in pion/webrtc v4.2.26 when it was closed in
// the midst of a renegotiation; without a deadline its reader would wait for ever.
const readPatience = time.Second

// receive counts one incoming track until it or the call ends.
func (c *Client) receive(k *call, t *webrtc.TrackRemote) {
	st := c.stream(uint32(t.SSRC()), t.Kind().String())
	var until time.Time
	for {
		now := time.Now()
		if until.Sub(now) < readPatience/2 {
			until = now.Add(readPatience)
			if t.SetReadDeadline(until) != nil {
				return
			}
		}
		p, _, err := t.ReadRTP()
		if err != nil {
			var timeout interface{ Timeout() bool }
			if k.ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout() {
				continue
			}
			return
		}
		st.add(p, time.Now())
		c.step("first-" + t.Kind().String())
	}
}

// startMedia starts the generators of a call. It is called once a call, when DTLS is up.
func (c *Client) startMedia(k *call) {
	c.wg.Go(func() {
		if k.audio != nil {
			c.loop(k.ctx, audioEvery, func(now time.Time) error { return k.audio.tick(now) })
		}
	})
	c.wg.Go(func() {
		c.loop(k.ctx, videoEvery, func(now time.Time) error {
			for _, v := range k.videos() {
				m := c.maxHeight(v.name)
				for i, l := range v.layers {
					if err := l.tick(now, v.on.Load() && allowed(l.height, m, i == 0)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// loop calls f at a steady rate until ctx ends or f fails. Ticks that were missed because the machine is busy are made up for, at most
// ten at once: a generator that falls further behind would only make it worse. Later ones are counted as skipped.
func (c *Client) loop(ctx context.Context, every time.Duration, f func(now time.Time) error) {
	const maxBehind = 10
	t := time.NewTicker(every)
	defer t.Stop()
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		c.sent.ticks.Add(1)
		if behind := now.Sub(next); behind > maxBehind*every {
			c.sent.skipped.Add(uint64(behind / every))
			next = now
		}
		for !next.After(now) {
			if f(time.Now()) != nil {
				return
			}
			next = next.Add(every)
		}
	}
}

// openDataChannel opens the bridge channel over SCTP.
func (c *Client) openDataChannel(k *call) error {
	proto := "http://jitsi.org/protocols/colibri"
	dc, err := k.pc.CreateDataChannel("JVB data channel", &webrtc.DataChannelInit{Protocol: &proto})
	if err != nil {
		return err
	}
	dc.OnOpen(func() {
		c.mu.Lock()
		c.bridgeSend = func(b []byte) error { return dc.SendText(string(b)) }
		c.mu.Unlock()
		c.channelOpen()
	})
	dc.OnMessage(func(m webrtc.DataChannelMessage) { c.bridgeReceived(m.Data) })
	return nil
}
