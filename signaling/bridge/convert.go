package bridge

import (
	"slices"
	"strconv"
	"strings"

	"konzil/sfu"
	"konzil/signaling/bridgechan"
	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

// endpointConfig is what the sfu has to know of a new endpoint.
func endpointConfig(ep *colibri.Endpoint) sfu.EndpointConfig {
	cfg := sfu.EndpointConfig{ID: ep.ID,
		SSRCRewriting: slices.Contains(ep.Capabilities, colibri.CapSSRCRewriting),
		MIDDemux:      slices.Contains(ep.Capabilities, colibri.CapMIDDemux)}
	if ep.Transport != nil {
		cfg.Controlling, cfg.DataChannel = ep.Transport.ICEControlling, ep.Transport.SCTP
	}
	switch {
	case slices.Contains(ep.Capabilities, colibri.CapAcksApplied):
		cfg.Acks = sfu.AckApplied
	case slices.Contains(ep.Capabilities, colibri.CapAcks):
		cfg.Acks = sfu.AckReceived
	}
	seen := map[uint8]bool{}
	for _, d := range ep.Media {
		kind := sfu.Audio
		if d.Media == jingle.Video {
			kind = sfu.Video
		}
		for _, p := range d.Payloads {
			cfg.Codecs = append(cfg.Codecs, codec(kind, p))
		}
		for _, x := range d.HdrExts {
			if !seen[x.ID] {
				seen[x.ID] = true
				cfg.Extensions = append(cfg.Extensions, sfu.Extension{ID: x.ID, URI: x.URI})
			}
		}
	}
	return cfg
}

func codec(kind sfu.MediaKind, p jingle.PayloadType) sfu.Codec {
	c := sfu.Codec{Kind: kind, PayloadType: p.ID, Name: strings.ToLower(p.Name), ClockRate: p.ClockRate}
	for _, x := range p.Params {
		if x.Name == "apt" {
			if n, err := strconv.ParseUint(x.Value, 10, 7); err == nil {
				c.APT = uint8(n)
			}
		}
	}
	for _, f := range p.Feedback {
		switch f.Type + " " + f.Subtype {
		case "nack ":
			c.NACK = true
		case "nack pli":
			c.PLI = true
		case "ccm fir":
			c.FIR = true
		case "transport-cc ":
			c.TWCC = true
		}
	}
	return c
}

// sources gathers SSRCs by source name: the layers of a SIM group in order, or the one media SSRC, each with its RTX, and what protects the first.
func sources(set jingle.SourceSet) []sfu.Source {
	rtxOf, fecOf, isRepair := map[uint32]uint32{}, map[uint32]uint32{}, map[uint32]bool{}
	layers := map[uint32][]uint32{} // by first layer
	lower := map[uint32]bool{}      // in a SIM group, not first
	for _, g := range set.Groups {
		switch {
		case g.Semantics == jingle.FID && len(g.SSRCs) == 2:
			rtxOf[g.SSRCs[0]], isRepair[g.SSRCs[1]] = g.SSRCs[1], true
		case g.Semantics == jingle.FECFR && len(g.SSRCs) == 2:
			fecOf[g.SSRCs[0]], isRepair[g.SSRCs[1]] = g.SSRCs[1], true
		case g.Semantics == jingle.SIM && len(g.SSRCs) > 0:
			layers[g.SSRCs[0]] = g.SSRCs
			for _, x := range g.SSRCs[1:] {
				lower[x] = true
			}
		}
	}
	var out []sfu.Source
	for _, s := range set.Sources {
		if isRepair[s.SSRC] || lower[s.SSRC] || slices.ContainsFunc(out, func(x sfu.Source) bool { return x.Name == s.Name }) {
			continue
		}
		src := sfu.Source{Name: s.Name, Kind: sfu.Audio, SSRCs: []uint32{s.SSRC}, FEC: fecOf[s.SSRC]}
		if s.Media == jingle.Video {
			src.Kind = sfu.Video
			src.Video = videoType(s.VideoType)
		}
		if l := layers[s.SSRC]; l != nil {
			src.SSRCs = slices.Clone(l)
		}
		for _, x := range src.SSRCs {
			src.RTX = append(src.RTX, rtxOf[x])
		}
		out = append(out, src)
	}
	return out
}

// videoType reads the names of the channel and of Jingle; what is unknown is a camera.
func videoType(s string) sfu.VideoType {
	switch strings.ToLower(s) {
	case "desktop":
		return sfu.Desktop
	case "desktop_high_fps":
		return sfu.DesktopHighFPS
	case "none":
		return sfu.NoVideo
	}
	return sfu.Camera
}

func videoTypeName(t sfu.VideoType) string {
	switch t {
	case sfu.Desktop, sfu.DesktopHighFPS:
		return "DESKTOP"
	}
	return "CAMERA"
}

func mappings(list []sfu.SourceMapping, video bool) []bridgechan.Mapping {
	out := make([]bridgechan.Mapping, 0, len(list))
	for _, m := range list {
		x := bridgechan.Mapping{Source: m.Source, Owner: m.Owner, SSRC: m.SSRC, MID: m.MID}
		if video {
			rtx := int64(m.RTX)
			if rtx == 0 {
				rtx = -1
			}
			x.RTX, x.VideoType = &rtx, videoTypeName(m.Video)
		}
		out = append(out, x)
	}
	return out
}

func remoteTransport(t *jingle.Transport) sfu.Transport {
	out := sfu.Transport{Ufrag: t.Ufrag, Pwd: t.Pwd, Generation: t.Generation}
	for _, f := range t.Fingerprints {
		out.Fingerprints = append(out.Fingerprints, sfu.Fingerprint{Hash: f.Hash, Value: f.Value})
		if out.Setup == "" {
			out.Setup = f.Setup
		}
	}
	for _, c := range t.Candidates {
		out.Candidates = append(out.Candidates, sfu.Candidate{Foundation: c.Foundation, Component: c.Component, Protocol: c.Protocol,
			Priority: c.Priority, Addr: c.Addr, Type: c.Type, Related: c.Related, TCPType: c.TCPType})
	}
	return out
}

func localTransport(t sfu.Transport) *jingle.Transport {
	out := &jingle.Transport{Ufrag: t.Ufrag, Pwd: t.Pwd, Generation: t.Generation}
	for _, f := range t.Fingerprints {
		out.Fingerprints = append(out.Fingerprints, jingle.Fingerprint{Hash: f.Hash, Setup: t.Setup, Value: f.Value})
	}
	for _, c := range t.Candidates {
		out.Candidates = append(out.Candidates, jingle.Candidate{Foundation: c.Foundation, Component: c.Component, Protocol: c.Protocol,
			Priority: c.Priority, Addr: c.Addr, Type: c.Type, Related: c.Related, TCPType: c.TCPType, Generation: t.Generation})
	}
	return out
}

// feedback are the sources a bridge uses in its own RTCP.
func feedback(audio, video uint32) jingle.SourceSet {
	return jingle.SourceSet{Sources: []jingle.Source{
		{SSRC: audio, Media: jingle.Audio, Name: jingle.BridgeOwner + "-a0", MSID: "mixedmslabel mixedlabelaudio0"},
		{SSRC: video, Media: jingle.Video, Name: jingle.BridgeOwner + "-v0", MSID: "mixedmslabel mixedlabelvideo0"},
	}}
}
