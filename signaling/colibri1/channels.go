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

// line is a channel.
type line struct {
	id        string
	endpoint  string
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
				s.drop(g, l)
			}
		}
		answer.Add(el)
	}
	return answer, nil
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
	media, err := s.engine.OpenTranslator(c.id+"/"+ct.name, listener{s, c, g})
	if err != nil {
		return nil, s.failure(err)
	}
	g.media = media
	c.contents[ct.name] = g
	return g, nil
}

func (s *Service) failure(err error) *stanza.Error {
	s.log.Warn("no channel", "err", err)
	if errors.Is(err, translator.ErrLimit) || errors.Is(err, translator.ErrPorts) {
		return stanza.ErrResourceConstraint
	}
	return stanza.ErrInternal
}

// line finds a channel, or makes it, and changes it as asked.
func (s *Service) line(c *conference, g *group, ask channel) (*line, *stanza.Error) {
	l := g.channels[ask.id]
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
	if ask.endpoint != "" {
		l.endpoint = ask.endpoint
	}
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

// open allocates the ports of a channel.
func (s *Service) open(c *conference, g *group, ask channel) (*line, *stanza.Error) {
	l := &line{id: random.Hex(8), expire: defaultExpire, sends: true, receives: true}
	if ask.initiator != nil {
		l.initiator = *ask.initiator
	}
	if ask.expire != nil {
		l.expire = *ask.expire
	}
	if t := ask.transport; t != nil {
		l.ice, l.mux = t.ice, t.mux
	}
	media, err := g.media.Add(translator.ChannelConfig{ID: l.id, ICE: l.ice, Controlling: l.initiator, Expire: l.expire})
	if err != nil {
		return nil, s.failure(err)
	}
	l.media = media
	g.channels[l.id] = l
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
	switch {
	case err == nil:
		return nil
	case errors.Is(err, translator.ErrMixed):
		return stanza.ErrNotAcceptable.With("the channels of a content are all with DTLS, or none is")
	case errors.Is(err, translator.ErrRemote):
		return stanza.ErrBadRequest.With(err.Error())
	}
	return stanza.ErrItemNotFound
}

// drop closes a channel.
func (s *Service) drop(g *group, l *line) {
	if g.channels[l.id] == l {
		delete(g.channels, l.id)
		s.now.channels.Add(^uint64(0))
		l.media.Close()
	}
}

// describe is a channel as its focus is told.
func (s *Service) describe(g *group, l *line) *stanza.Element {
	el := stanza.NewElement(NS, "channel", "id", l.id, "endpoint", l.endpoint, "expire", strconv.Itoa(int(l.expire/time.Second)),
		"initiator", strconv.FormatBool(l.initiator), "rtp-level-relay-type", "translator", "direction", direction(l))
	rtp, rtcp, ufrag, pwd := l.media.Local()
	if !l.ice { // clients from before XEP-0177 in COLIBRI read these
		el.SetAttr("host", rtp.Addr().String()).SetAttr("rtpport", strconv.Itoa(int(rtp.Port()))).SetAttr("rtcpport", strconv.Itoa(int(rtcp.Port())))
	}
	el.Add(stanza.NewElement(jingle.NSSSMA, "source", "ssrc", strconv.FormatUint(uint64(g.ssrc), 10)))
	if l.ice {
		t := jingle.Transport{Ufrag: ufrag, Pwd: pwd, Candidates: s.candidates(l, rtp, rtcp),
			Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: l.media.Setup(), Value: l.media.Fingerprint()}}}
		el.Add(t.Component(l.mux))
	} else {
		el.Add(rawTransport(s.candidates(l, rtp, rtcp)))
	}
	for _, x := range l.media.Stats().Sources {
		el.Add(stanza.TextElement(NS, "ssrc", strconv.FormatUint(uint64(x), 10)))
	}
	return el
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

// listener takes what a relay tells of its channels, on the goroutines of the sfu.
type listener struct {
	s *Service
	c *conference
	g *group
}

// Latched tells nothing that a focus needs to know.
func (listener) Latched(*translator.Channel, int, netip.AddrPort) {}

// Source tells the focus that an end has begun to send: it shows a peer's video only then.
func (l listener) Source(ch *translator.Channel, _ uint32) {
	l.s.post(func() { l.s.notify(l.c, l.g, ch.ID()) })
}

// Expired tells the focus that a channel is no more.
func (l listener) Expired(ch *translator.Channel) {
	l.s.post(func() {
		if x := l.g.channels[ch.ID()]; x != nil && l.s.conferences[l.c.id] == l.c {
			l.s.count.expired.Add(1)
			x.expire = 0
			l.s.notify(l.c, l.g, x.id)
			l.s.drop(l.g, x)
			l.s.rest(l.c)
		}
	})
}

// notify sends the focus the state of a channel, unasked.
func (s *Service) notify(c *conference, g *group, id string) {
	l := g.channels[id]
	if l == nil || s.conferences[c.id] != c {
		return
	}
	el := stanza.NewElement(NS, "conference", "id", c.id).Add(stanza.NewElement(NS, "content", "name", g.name).Add(s.describe(g, l)))
	s.router.Route(stanza.NewIQ("set", "n"+random.Hex(4), s.self, c.focus, el))
}
