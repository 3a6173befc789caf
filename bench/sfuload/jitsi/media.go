package jitsi

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"konzil/bench/meet"
	"konzil/bench/sfuload"
)

// media makes the transport of a client's session; it implements meet.Media. A client has one at a time.
type media struct {
	p *sfuload.Participant
	c sfuload.Connector

	mu    sync.Mutex // guards all below
	t     sfuload.Transport
	names map[string]*sfuload.Track
}

// Start implements meet.Media.
func (m *media) Start(id string, s *meet.Session) (meet.Transport, []meet.LocalSource, error) {
	t, err := m.c.Transport("bridge")
	if err != nil {
		return meet.Transport{}, nil, err
	}
	fail := func(err error) (meet.Transport, []meet.LocalSource, error) {
		t.Close()
		return meet.Transport{}, nil, err
	}
	r, err := remote(s)
	if err != nil {
		return fail(err)
	}
	video := ""
	for _, tr := range m.p.Publish {
		if tr.Kind == sfuload.Video {
			video = tr.Codec
		}
	}
	sections := map[sfuload.Kind]*sfuload.Media{}
	for _, k := range []sfuload.Kind{sfuload.Audio, sfuload.Video} {
		if ct := s.Content(string(k)); ct != nil {
			sections[k] = section(k, ct, video)
			everything := section(k, ct, video)
			everything.Codecs = codecs(ct.Codecs) // others may send what we do not
			if err := t.Receive(everything); err != nil {
				return fail(err)
			}
		}
	}
	var local []meet.LocalSource
	names := map[string]*sfuload.Track{}
	for _, tr := range m.p.Publish {
		sec := sections[tr.Kind]
		if sec == nil {
			return fail(fmt.Errorf("jitsi: the focus offers no %s", tr.Kind))
		}
		if err := t.Send(tr, sec); err != nil {
			return fail(err)
		}
		name := id + "-" + tr.Name
		names[name] = tr
		src := meet.LocalSource{Name: name, Kind: string(tr.Kind), Desktop: tr.Screen}
		_, rtx, _ := sec.Codec(tr.Codec)
		for _, l := range tr.Layers {
			src.SSRCs = append(src.SSRCs, l.SSRC)
			if l.RTX != 0 && rtx != 0 {
				src.RTX = append(src.RTX, l.RTX)
			}
		}
		local = append(local, src)
	}
	if err := t.Start(r); err != nil {
		return fail(err)
	}
	m.mu.Lock()
	m.t, m.names = t, names
	m.mu.Unlock()
	l := t.Local()
	return meet.Transport{Ufrag: l.Ufrag, Pwd: l.Pwd, Hash: l.Hash, Print: l.Print, Setup: "active"}, local, nil
}

// Limit implements meet.Media.
func (m *media) Limit(source string, maxHeight int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if tr := m.names[source]; tr != nil && m.t != nil {
		m.t.Limit(tr, maxHeight)
	}
}

// Stop implements meet.Media.
func (m *media) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.t != nil {
		m.t.Close()
		m.t = nil
	}
}

// remote is the bridge's transport.
func remote(s *meet.Session) (sfuload.Remote, error) {
	for i := range s.Contents {
		t := &s.Contents[i].Transport
		if t.Ufrag == "" {
			continue
		}
		r := sfuload.Remote{Ufrag: t.Ufrag, Pwd: t.Pwd, Hash: strings.ToLower(t.Hash), Print: strings.ToUpper(t.Print), Role: sfuload.RoleActive}
		for _, c := range t.Candidates {
			ip, err := netip.ParseAddr(c.IP)
			port, perr := strconv.ParseUint(c.Port, 10, 16)
			if err == nil && perr == nil && strings.EqualFold(c.Protocol, "udp") {
				r.Candidates = append(r.Candidates, netip.AddrPortFrom(ip, uint16(port)))
			}
		}
		return r, nil
	}
	return sfuload.Remote{}, errors.New("jitsi: session without a transport")
}

// section is a content in the engine's words, with what the client accepts.
func section(k sfuload.Kind, ct *meet.Content, video string) *sfuload.Media {
	m := &sfuload.Media{Kind: k, Codecs: codecs(ct.Usable(video))}
	for _, x := range ct.Exts {
		if meet.UsableExt(x.URI) {
			m.Exts = append(m.Exts, sfuload.Ext{ID: x.ID, URI: x.URI})
		}
	}
	return m
}

func codecs(cs []meet.Codec) []sfuload.Codec {
	out := make([]sfuload.Codec, 0, len(cs))
	for _, c := range cs {
		out = append(out, sfuload.Codec{PT: c.ID, Name: c.Name, Clock: c.Clock, Channels: c.Channels, Params: strings.Join(c.Params, ";"), Feedback: c.FB})
	}
	return out
}
