package sfu

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"

	"konzil/sfu/alloc"
	"konzil/sfu/ice"
	"konzil/sfu/slots"
)

// Endpoint is one participant: a transport, its sources, and what it wants to get.
type Endpoint struct {
	m media // guarded by sh.mu; first, so that it begins with a cache line

	conf *Conference
	cfg  EndpointConfig
	id   string
	log  *slog.Logger
	sh   *shard
	t    *transport

	// Fixed after it is made.
	ext     extensionIDs
	pts     [128]codecID
	firOnly bool
	hasRTX  bool
	hasFEC  bool
	outbox  atomic.Pointer[chan<- []byte] // of the bridge channel, while it is open

	// The control goroutine's own.
	voices      map[string]*voice // itself; of a relay those at its other end
	relayed     map[*track]*sub   // of a relay: what goes there
	state       TransportState
	path        ice.State // as seen last
	connected   bool
	channelOpen bool
	connectedAt int64 // for the first time; 0: not yet
	ready       bool  // can learn of mappings; always true without SSRC rewriting
	sources     map[string]*source
	want        *alloc.Want // nil: nothing was asked for, nothing is sent
	audio       AudioSubscription
	subs        map[*source]*sub
	audioSlots  *slots.Table
	videoSlots  *slots.Table
	sends       map[uint32]*send  // by each outgoing SSRC that was ever used, repair flows too
	gone        []*send           // of sources that have ended lately, see retire
	acked       map[*source]int64 // when the client acknowledged it
	forwarded   []string
	constraint  map[string]int   // last told of own sources
	unwanted    map[string]int64 // own sources that nobody wants and of which nothing was told: since when
	active      bool
	created     int64
	down        downlink
	over        bool  // what it had did not fit at its last allocation
	dirty       bool  // its allocation is to be made again
	again       int64 // when it must be, 0: whenever something changes
	estimateAt  int64
	removed     bool
}

// sub is one source that a receiver gets. Control goroutine.
type sub struct {
	src     *source
	out     *send
	mid     string
	layer   uint32 // SSRC targeted, 0 none
	sid     uint8
	tid     uint8
	pending bool // layer, sid or tid changed since the last apply
	linked  bool // in the source's fanout
	held    heldLayer

	notBefore int64 // audio, SSRC rewriting: when the receiver may be taken to know the slot
}

func newEndpoint(c *Conference, cfg EndpointConfig, sh *shard) (*Endpoint, error) {
	e := &Endpoint{
		conf: c, cfg: cfg, id: cfg.ID, sh: sh, log: c.log.With("endpoint", cfg.ID), active: true, created: c.s.now(),
		voices: map[string]*voice{}, relayed: map[*track]*sub{},
		sources: map[string]*source{}, subs: map[*source]*sub{}, sends: map[uint32]*send{}, acked: map[*source]int64{}, ready: !cfg.SSRCRewriting, constraint: map[string]int{}, unwanted: map[string]int64{},
	}
	e.m.configure(&cfg)
	e.ext = e.m.ext
	pli, fir := false, false
	for i, p := range e.m.pt {
		e.pts[i] = p.codec
		e.hasRTX = e.hasRTX || p.codec == codecRTX
		e.hasFEC = e.hasFEC || p.codec == codecFlexFEC
		pli, fir = pli || p.pli, fir || p.fir
	}
	e.firOnly = fir && !pli
	e.m.est = newEstimator()
	e.down.estimate = e.m.est.Bitrate()
	if cfg.SSRCRewriting {
		e.audioSlots = slots.New(slots.MaxAudio, e.freshSSRC)
		e.videoSlots = slots.New(slots.MaxVideo, e.freshSSRC)
	}
	e.t = newTransport(e)
	sh.join(e)
	c.s.count.inc(cEndpoints)
	return e, nil
}

// freshSSRC draws an SSRC that nobody in the conference uses. Control goroutine.
func (e *Endpoint) freshSSRC() uint32 {
	for {
		v := randomSSRC()
		if v != e.conf.fbAudio && v != e.conf.fbVideo && e.conf.trackOf(v) == nil && e.sends[v] == nil {
			return v
		}
	}
}

// LocalTransport is our side: credentials, fingerprint, and all candidates at once.
func (e *Endpoint) LocalTransport(context.Context) (Transport, error) { return e.t.local() }

// SetRemote takes the peer's side. Credentials start ICE, a fingerprint starts DTLS; later calls may add candidates or,
// after RestartICE, bring new credentials. Without candidates the peer's own checks are answered.
func (e *Endpoint) SetRemote(t Transport) error {
	err := e.t.setRemote(t)
	if err == nil && t.Ufrag != "" {
		e.conf.post(e.t.ctx, func() { e.conf.foresee(e, e.conf.s.now()) })
	}
	return err
}

// RestartICE makes new ICE credentials with the next generation. DTLS and media go on; SetRemote brings the peer's new ones.
func (e *Endpoint) RestartICE(context.Context) (Transport, error) { return e.t.restart() }

// SetSources replaces all sources that the endpoint sends. Errors: ErrSources, ErrClosed.
func (e *Endpoint) SetSources(list []Source) error {
	err := ErrClosed
	e.conf.do(func() {
		if e.removed {
			return
		}
		err = e.setSources(list)
	})
	return err
}

func (e *Endpoint) setSources(list []Source) error {
	if err := e.checkSources(list); err != nil {
		return err
	}
	old := e.sources
	e.sources = make(map[string]*source, len(list))
	for i := range list {
		s := &list[i]
		if o := old[s.Name]; o != nil && o.same(s) {
			o.video = s.Video
			e.sources[s.Name] = o
			delete(old, s.Name)
			continue
		}
		e.sources[s.Name] = newSource(e, s)
	}
	for name, o := range old {
		e.conf.dropSource(name, o)
		delete(e.constraint, name)
		delete(e.unwanted, name)
	}
	for name, src := range e.sources {
		e.conf.sources[name] = src
	}
	e.nameSources()
	e.installTracks()
	e.conf.publishTracks()
	e.conf.dirty, e.conf.fansDirty = true, true
	return nil
}

// checkSources refuses SSRCs that are zero, doubled, too many, or somebody else's.
func (e *Endpoint) checkSources(list []Source) error {
	seen := map[uint32]bool{}
	names := map[string]bool{}
	count := map[string]int{} // by owner
	for i := range list {
		s := &list[i]
		if s.Name == "" || names[s.Name] || len(s.SSRCs) == 0 || (s.Kind != Audio && s.Kind != Video) || len(s.RTX) > len(s.SSRCs) {
			return fmt.Errorf("%w: %q", ErrSources, s.Name)
		}
		names[s.Name] = true
		if err := e.checkOwner(s); err != nil {
			return err
		}
		if o := e.conf.sources[s.Name]; o != nil && o.ep != e {
			return fmt.Errorf("%w: %q belongs to %q", ErrSources, s.Name, o.ep.id)
		}
		if x := s.FEC; x != 0 && (seen[x] || e.conf.trackOf(x) != nil) {
			return fmt.Errorf("%w: SSRC %d of %q", ErrSources, x, s.Name)
		}
		seen[s.FEC] = true
		for j, ssrc := range slices.Concat(s.SSRCs, s.RTX) {
			if ssrc == 0 && j >= len(s.SSRCs) {
				continue
			}
			if count[s.Owner]++; count[s.Owner] > e.conf.s.cfg.MaxSSRCs {
				return fmt.Errorf("%w: more than %d SSRCs", ErrSources, e.conf.s.cfg.MaxSSRCs)
			}
			tr := e.conf.trackOf(ssrc)
			if ssrc == 0 || seen[ssrc] || ssrc == e.conf.fbAudio || ssrc == e.conf.fbVideo || (tr != nil && tr.ep != e) {
				return fmt.Errorf("%w: SSRC %d of %q", ErrSources, ssrc, s.Name)
			}
			seen[ssrc] = true
		}
	}
	return nil
}

func newSource(e *Endpoint, s *Source) *source {
	src := &source{ep: e, by: e.voiceOf(s.Owner), name: s.Name, kind: s.Kind, fec: s.FEC, video: s.Video, created: e.conf.s.now()}
	for i, ssrc := range s.SSRCs {
		tr := &track{ep: e, src: src, ssrc: ssrc, layer: i}
		if i < len(s.RTX) {
			tr.rtx = s.RTX[i]
		}
		src.tracks = append(src.tracks, tr)
	}
	return src
}

// same says that s describes the same flows.
func (src *source) same(s *Source) bool {
	if src.kind != s.Kind || src.ep.cfg.Relay && src.by.id != s.Owner || src.fec != s.FEC || len(src.tracks) != len(s.SSRCs) {
		return false
	}
	for i, tr := range src.tracks {
		var rtx uint32
		if i < len(s.RTX) {
			rtx = s.RTX[i]
		}
		if tr.ssrc != s.SSRCs[i] || tr.rtx != rtx {
			return false
		}
	}
	return true
}

// installTracks gives the packet path the SSRCs of the present sources.
func (e *Endpoint) installTracks() {
	tracks := map[uint32]*track{}
	var list []*track
	for _, src := range e.sources {
		for _, tr := range src.tracks {
			tracks[tr.ssrc] = tr
			list = append(list, tr)
			if tr.rtx != 0 {
				tracks[tr.rtx] = &track{ep: e, src: src, ssrc: tr.rtx, media: tr}
			}
		}
	}
	e.sh.mu.Lock()
	defer e.sh.mu.Unlock()
	for ssrc, tr := range tracks {
		if o := e.m.tracks[ssrc]; o != nil && o.media != nil && o.media == tr.media {
			tracks[ssrc] = o // keeps its statistics
		}
	}
	e.m.tracks, e.m.newest, e.m.list = tracks, nil, list
}

// SetVideoType says what a source of this endpoint shows now.
func (e *Endpoint) SetVideoType(name string, t VideoType) error {
	err := ErrClosed
	e.conf.do(func() {
		src := e.sources[name]
		if src == nil {
			err = fmt.Errorf("%w: no source %q", ErrSources, name)
			return
		}
		err = nil
		if src.video != t {
			src.video = t
			src.retyped = true
			e.conf.dirty = true
		}
	})
	return err
}

// SetConstraints says what the endpoint wants to see. Before the first call it gets no video.
func (e *Endpoint) SetConstraints(v VideoConstraints) {
	w := &alloc.Want{
		LastN: v.LastN, OnStage: slices.Clone(v.OnStage), Selected: slices.Clone(v.Selected),
		Default: alloc.Limit{MaxHeight: v.Default.MaxHeight, MaxFPS: v.Default.MaxFrameRate},
		Per:     make(map[string]alloc.Limit, len(v.Sources)),
	}
	for name, l := range v.Sources {
		w.Per[name] = alloc.Limit{MaxHeight: l.MaxHeight, MaxFPS: l.MaxFrameRate}
	}
	e.conf.do(func() {
		if e.want == nil {
			e.conf.retell = true
		}
		e.want, e.conf.dirty = w, true
		e.stir()
		e.conf.foresee(e, e.conf.s.now())
	})
}

// SetReady says that the endpoint has a channel by which it learns of mappings, or is not going to get one. With SSRC rewriting it gets no audio before:
// it could not tell whose it is.
func (e *Endpoint) SetReady() {
	e.conf.do(func() {
		e.ready = true
		e.stir()
	})
}

// SetAudioSubscription chooses the audio that the endpoint gets.
func (e *Endpoint) SetAudioSubscription(a AudioSubscription) {
	a.Include, a.Exclude = slices.Clone(a.Include), slices.Clone(a.Exclude)
	e.conf.do(func() {
		e.audio = a
		e.stir()
	})
}

// SetForceMute drops what the endpoint sends of a kind.
func (e *Endpoint) SetForceMute(audio, video bool) {
	e.sh.mu.Lock()
	defer e.sh.mu.Unlock()
	e.m.muted[Audio], e.m.muted[Video] = audio, video
}

// SendMessage queues a text message on the bridge channel. Errors: ErrNoChannel, ErrChannelFull, ErrTooLong.
func (e *Endpoint) SendMessage(msg []byte) error {
	out := e.outbox.Load()
	if out == nil {
		return ErrNoChannel
	}
	if len(msg) > e.conf.s.cfg.MaxMessage {
		return ErrTooLong
	}
	select {
	case *out <- slices.Clone(msg):
		return nil
	default:
		e.sh.count.inc(cChannelRefused)
		return ErrChannelFull
	}
}

// Close takes the endpoint out of its conference and ends its transport.
func (e *Endpoint) Close() {
	e.conf.do(func() {
		if e.removed {
			return
		}
		e.removed = true
		e.conf.remove(e)
		e.conf.s.count.add(cEndpoints, ^uint64(0))
	})
	e.t.close()
}

// report tells a change of the transport in the control goroutine.
func (e *Endpoint) report(st TransportState) {
	e.conf.post(e.t.ctx, func() { e.become(st) })
}

// become notes and tells a change of the transport. Control goroutine.
func (e *Endpoint) become(st TransportState) {
	if e.removed || e.state == st {
		return
	}
	e.state = st
	e.connected = st == TransportConnected
	if e.connected && e.connectedAt == 0 {
		e.connectedAt = e.conf.s.now()
		e.conf.foreseeSpeakers(e, e.connectedAt)
	}
	e.conf.dirty = true // others' sources may be wanted by one more
	e.stir()
	e.conf.ev.Transport(e.id, st)
}

// watchPath looks for what has become of ICE since the last look.
func (e *Endpoint) watchPath() {
	st := ice.State(e.t.iceState.Load())
	if st == e.path {
		return
	}
	e.path = st
	switch {
	case st == ice.Failed:
		e.conf.s.count.inc(cICEFailed)
		e.become(TransportFailed)
	case st == ice.Connected && e.state == TransportFailed && e.keyed():
		e.become(TransportConnected) // by an ICE restart, or the peer came back; DTLS is as before
	}
}

func (e *Endpoint) keyed() bool {
	e.sh.mu.Lock()
	defer e.sh.mu.Unlock()
	return e.m.sealer != nil
}

// channel tells that the bridge channel opened or closed.
func (e *Endpoint) channel(open bool) {
	e.conf.post(e.t.ctx, func() {
		switch {
		case e.removed || e.channelOpen == open:
		case open:
			e.channelOpen = true
			e.ready = true
			e.stir()
			e.conf.ev.ChannelOpen(e.id)
		default:
			e.channelOpen = false
			e.conf.ev.ChannelClosed(e.id)
		}
	})
}

func (e *Endpoint) message(msg []byte) {
	if !e.removed {
		e.conf.ev.ChannelMessage(e.id, msg)
	}
}

// activity tells when the endpoint fell silent or is back.
func (e *Endpoint) activity(now int64) {
	silent := now - e.t.heard.Load()
	limit := int64(e.conf.s.cfg.InactivityTimeout)
	if now-e.created < int64(activityGrace) && !e.connected {
		limit = max(limit, int64(activityGrace))
	}
	if active := silent < limit; active != e.active {
		e.active = active
		e.conf.ev.Active(e.id, active)
	}
}

// ownNames are the names of the endpoint's sources in order.
func (e *Endpoint) ownNames() []string { return slices.Sorted(maps.Keys(e.sources)) }
