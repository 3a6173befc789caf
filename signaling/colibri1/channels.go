package colibri1

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"konzil/internal/random"
	"konzil/sfu/translator"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// defaultExpire is the silence after which a channel ends when nobody says otherwise (XEP-0340 §5).
const defaultExpire = 60 * time.Second

// group is a content: its channels get each other's media.
type group struct {
	name     string
	media    *translator.Group
	ssrc     uint32 // of the bridge, which sends nothing of its own
	channels map[string]*line
}

// line is a channel, or an <sctpconnection/>.
type line struct {
	id        string
	endpoint  string
	bundle    *bundle // nil: its transport is its own
	sctp      bool
	initiator bool
	ice, mux  bool
	expire    time.Duration
	sends     bool // the end does
	receives  bool
	media     *translator.Channel
}

// apply does a request and describes the channels that it named, in its order: clients match them by place.
func (s *Service) apply(c *conference, r *request) (*stanza.Element, *stanza.Error) {
	answer := stanza.NewElement(NS, "conference", "id", c.id)
	for _, ct := range r.contents {
		g, err := s.group(c, ct)
		if err != nil {
			return nil, err
		}
		el := stanza.NewElement(NS, "content", "name", ct.name)
		for _, ask := range ct.channels {
			l, err := s.line(c, g, ask)
			if err != nil {
				return nil, err
			}
			el.Add(s.describe(g, l))
			if l.expire == 0 {
				s.drop(c, g, l)
			}
		}
		answer.Add(el)
	}
	return answer, s.bundles(c, r, answer)
}

// group finds a content, or makes it.
func (s *Service) group(c *conference, ct content) (*group, *stanza.Error) {
	if g := c.contents[ct.name]; g != nil {
		return g, nil
	}
	if len(c.contents) >= maxContents {
		return nil, stanza.ErrResourceConstraint.With("there are too many contents")
	}
	g := &group{name: ct.name, ssrc: rand.Uint32(), channels: map[string]*line{}}
	open := s.engine.OpenTranslator
	for _, other := range c.contents { // bundles are shared among them
		open = other.media.Open
		break
	}
	media, err := open(c.id+"/"+ct.name, listener{s, c, g})
	if err != nil {
		return nil, s.failure(err)
	}
	g.media = media
	c.contents[ct.name] = g
	return g, nil
}

func (s *Service) failure(err error) *stanza.Error {
	switch {
	case errors.Is(err, translator.ErrMixed):
		return stanza.ErrNotAcceptable.With("the channels of a content are all with DTLS, or none is")
	case errors.Is(err, translator.ErrBundle):
		return stanza.ErrNotAcceptable.With(err.Error())
	case errors.Is(err, translator.ErrRemote):
		return stanza.ErrBadRequest.With(err.Error())
	case errors.Is(err, translator.ErrClosed):
		return stanza.ErrItemNotFound
	}
	s.log.Warn("no channel", "err", err)
	if errors.Is(err, translator.ErrLimit) || errors.Is(err, translator.ErrPorts) {
		return stanza.ErrResourceConstraint
	}
	return stanza.ErrInternal
}

// line finds a channel, or makes it, and changes it as asked.
func (s *Service) line(c *conference, g *group, ask channel) (*line, *stanza.Error) {
	l := g.find(&ask)
	if l == nil {
		if ask.id != "" {
			return nil, stanza.ErrItemNotFound.With("there is no channel " + ask.id)
		}
		if ask.expire != nil && *ask.expire == 0 {
			return nil, stanza.ErrBadRequest.With("a new channel cannot be closed")
		}
		var err *stanza.Error
		if l, err = s.open(c, g, ask); err != nil {
			return nil, err
		}
	}
	if ask.bundle != "" && (l.bundle == nil || l.bundle.id != ask.bundle) {
		return nil, stanza.ErrNotAcceptable.With("the transport of a channel cannot change")
	}
	if ask.endpoint != "" {
		l.endpoint = ask.endpoint
	}
	l.media.SetMedia(ask.payloads, ask.ssrcs)
	if ask.expire != nil {
		l.expire = *ask.expire
		l.media.SetExpire(l.expire)
	}
	if ask.sends != nil {
		l.sends, l.receives = *ask.sends, *ask.receives
		l.media.SetDirection(l.sends, l.receives)
	}
	return l, s.connect(l, ask.transport)
}

// find gives the channel that is asked for, nil: it is to be made. An <sctpconnection/> has no id with old clients, and an end has one.
func (g *group) find(ask *channel) *line {
	if ask.id != "" || !ask.sctp {
		return g.channels[ask.id]
	}
	for _, l := range g.channels {
		if l.sctp && l.endpoint == ask.endpoint {
			return l
		}
	}
	return nil
}

// open allocates the ports of a channel, or joins it to those of its bundle.
func (s *Service) open(c *conference, g *group, ask channel) (*line, *stanza.Error) {
	l := &line{id: random.Hex(8), sctp: ask.sctp, expire: defaultExpire, sends: true, receives: true}
	if ask.initiator != nil {
		l.initiator = *ask.initiator
	}
	if ask.expire != nil {
		l.expire = *ask.expire
	}
	if t := ask.transport; t != nil {
		l.ice, l.mux = t.ice, t.mux
	}
	cfg := translator.ChannelConfig{ID: l.id, Controlling: l.initiator, Expire: l.expire, Data: l.sctp}
	if ask.bundle != "" || l.sctp {
		if t := ask.transport; t != nil && !t.ice {
			return nil, stanza.ErrNotAcceptable.With("bundles and SCTP are by ICE")
		}
		l.ice, l.mux, cfg.Bundle = true, true, true
		if b := c.bundles[ask.bundle]; b != nil {
			cfg.With = b.lines[0].media
		}
	}
	cfg.ICE = l.ice
	media, err := g.media.Add(cfg)
	if err != nil {
		return nil, s.failure(err)
	}
	l.media = media
	g.channels[l.id] = l
	if ask.bundle != "" {
		c.join(ask.bundle, l)
	}
	s.now.channels.Add(1)
	return l, nil
}

// connect tells the channel what was signalled of its end.
func (s *Service) connect(l *line, t *transport) *stanza.Error {
	switch {
	case t == nil:
		return nil
	case t.ice != l.ice:
		return stanza.ErrNotAcceptable.With("the transport of a channel cannot change")
	case t.ice && t.ufrag == "" && t.pwd == "" && len(t.prints) == 0, !t.ice && len(t.addrs) == 0:
		return nil // the end is not known yet
	}
	l.mux = l.mux || t.mux
	err := l.media.SetRemote(translator.Remote{Addrs: t.addrs, Ufrag: t.ufrag, Pwd: t.pwd, Fingerprints: t.prints, Setup: t.setup})
	if err == nil {
		return nil
	}
	return s.failure(err)
}

// drop closes a channel.
func (s *Service) drop(c *conference, g *group, l *line) {
	if g.channels[l.id] == l {
		delete(g.channels, l.id)
		c.leave(l)
		s.now.channels.Add(^uint64(0))
		l.media.Close()
	}
}

// describe is a channel as its focus is told.
func (s *Service) describe(g *group, l *line) *stanza.Element {
	expire, initiator := strconv.Itoa(int(l.expire/time.Second)), strconv.FormatBool(l.initiator)
	if l.sctp {
		el := stanza.NewElement(NS, "sctpconnection", "id", l.id, "endpoint", l.endpoint, "expire", expire, "initiator", initiator, "port", sctpPort)
		s.transport(el, l)
		return el
	}
	el := stanza.NewElement(NS, "channel", "id", l.id, "endpoint", l.endpoint, "expire", expire,
		"initiator", initiator, "rtp-level-relay-type", "translator", "direction", direction(l))
	el.Add(stanza.NewElement(jingle.NSSSMA, "source", "ssrc", strconv.FormatUint(uint64(g.ssrc), 10)))
	s.transport(el, l)
	for _, x := range l.media.Stats().Sources {
		el.Add(stanza.TextElement(NS, "ssrc", strconv.FormatUint(uint64(x), 10)))
	}
	return el
}

// transport tells of a channel's ports, or of its bundle, whose ports are told beside.
func (s *Service) transport(el *stanza.Element, l *line) {
	if l.bundle != nil {
		el.SetAttr("channel-bundle-id", l.bundle.id)
		return
	}
	if l.ice {
		el.Add(s.iceTransport(l))
		return
	}
	rtp, rtcp, _, _ := l.media.Local()
	// clients from before XEP-0177 in COLIBRI read these
	el.SetAttr("host", rtp.Addr().String()).SetAttr("rtpport", strconv.Itoa(int(rtp.Port()))).SetAttr("rtcpport", strconv.Itoa(int(rtcp.Port())))
	el.Add(rawTransport(s.candidates(l, rtp, rtcp)))
}

func (s *Service) iceTransport(l *line) *stanza.Element {
	rtp, rtcp, ufrag, pwd := l.media.Local()
	t := jingle.Transport{Ufrag: ufrag, Pwd: pwd, Candidates: s.candidates(l, rtp, rtcp),
		Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: l.media.Setup(), Value: l.media.Fingerprint()}}}
	return t.Component(l.mux)
}

func direction(l *line) string {
	switch {
	case l.sends && l.receives:
		return "sendrecv"
	case l.sends:
		return "recvonly"
	case l.receives:
		return "sendonly"
	}
	return "inactive"
}

// candidates are the ports of a channel, and where NAT 1:1 shows them.
func (s *Service) candidates(l *line, rtp, rtcp netip.AddrPort) []jingle.Candidate {
	var out []jingle.Candidate
	add := func(component int, typ string, pref uint32, a, base netip.AddrPort) {
		c := jingle.Candidate{Foundation: strconv.Itoa(1 + len(out)/2), Component: component, Protocol: "udp", Type: typ, Addr: a,
			Priority: pref<<24 | 65535<<8 | uint32(256-component)}
		if typ != "host" {
			c.Related = base
		}
		out = append(out, c)
	}
	both := []netip.AddrPort{rtp, rtcp}
	if l.mux {
		both = both[:1]
	}
	for i, a := range both {
		add(i+1, "host", 126, a, a)
	}
	for _, pub := range s.cfg.Advertise {
		if pub.Is4() != rtp.Addr().Unmap().Is4() || slices.ContainsFunc(both, func(a netip.AddrPort) bool { return a.Addr() == pub }) {
			continue
		}
		for i, a := range both {
			add(i+1, "srflx", 100, netip.AddrPortFrom(pub, a.Port()), a)
		}
	}
	return out
}

// rawTransport is a transport without ICE (XEP-0177 §4.2).
func rawTransport(list []jingle.Candidate) *stanza.Element {
	el := stanza.NewElement(nsRaw, "transport")
	for i, c := range list {
		el.Add(stanza.NewElement(nsRaw, "candidate", "component", strconv.Itoa(c.Component), "generation", "0", "id", "r"+strconv.Itoa(i+1),
			"ip", c.Addr.Addr().String(), "port", strconv.Itoa(int(c.Addr.Port())), "type", c.Type))
	}
	return el
}
