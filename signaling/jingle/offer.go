package jingle

import (
	"strconv"

	"konzil/xmpp/stanza"
)

// Offer is everything of a session-initiate.
type Offer struct {
	SID       string
	Initiator string       // full JID of the focus
	Audio     *Description // nil: no such content
	Video     *Description
	Data      bool      // offer an SCTP association for the bridge channel
	Transport Transport // of the bridge; repeated in every content
	Sources   []Owned   // the bridge's own first
	JSON      bool      // the client reads JSON sources

	StartAudioMuted, StartVideoMuted bool

	BridgeSession string // id of the allocation, echoed by the client on restart
	Region        string
}

// Element is the <jingle/> of the session-initiate.
func (o *Offer) Element() *stanza.Element {
	j := stanza.NewElement(NS, "jingle", "action", "session-initiate", "sid", o.SID, "initiator", o.Initiator)
	group := stanza.NewElement(NSGrouping, "group", "semantics", "BUNDLE")
	if o.Audio != nil {
		j.Add(o.content(o.Audio))
		group.Add(stanza.NewElement(NSGrouping, "content", "name", "audio"))
	}
	if o.Video != nil {
		j.Add(o.content(o.Video))
		group.Add(stanza.NewElement(NSGrouping, "content", "name", "video"))
	}
	if o.Data {
		d := stanza.NewElement(NSRTP, "description", "media", "application").Add(stanza.NewElement(NSRTP, "rtcp-mux"))
		j.Add(contentElement("data").Add(d, o.Transport.Element(true)))
		group.Add(stanza.NewElement(NSGrouping, "content", "name", "data"))
	}
	j.Add(group)
	if o.StartAudioMuted || o.StartVideoMuted {
		j.Add(stanza.NewElement(NSStartMuted, "startmuted",
			"audio", strconv.FormatBool(o.StartAudioMuted), "video", strconv.FormatBool(o.StartVideoMuted)))
	}
	if o.BridgeSession != "" {
		j.Add(stanza.NewElement(NSFocus, "bridge-session", "id", o.BridgeSession, "region", o.Region))
	}
	if o.JSON {
		j.Add(jsonElement(o.Sources))
	}
	return j
}

func contentElement(name string) *stanza.Element {
	return stanza.NewElement(NS, "content", "creator", "initiator", "name", name, "senders", "both")
}

func (o *Offer) content(d *Description) *stanza.Element {
	el := d.element()
	if !o.JSON {
		for _, s := range o.Sources {
			addSourceXML(el, s.Owner, s.SourceSet, d.Media)
		}
	}
	return contentElement(string(d.Media)).Add(el, o.Transport.Element(false))
}

// element is the <description/> without sources.
func (d *Description) element() *stanza.Element {
	el := stanza.NewElement(NSRTP, "description", "media", string(d.Media))
	if d.Media == Audio {
		el.SetAttr("maxptime", "60")
	}
	el.Add(d.Elements()...)
	return el.Add(stanza.NewElement(NSHdrExt, "extmap-allow-mixed"), stanza.NewElement(NSRTP, "rtcp-mux"))
}

// Elements are the payload types and header extensions of a description, which COLIBRI2 has without the rest.
func (d *Description) Elements() []*stanza.Element {
	var out []*stanza.Element
	for _, p := range d.Payloads {
		pt := stanza.NewElement(NSRTP, "payload-type", "id", strconv.Itoa(int(p.ID)), "name", p.Name,
			"clockrate", strconv.FormatUint(uint64(p.ClockRate), 10))
		if p.Channels > 1 {
			pt.SetAttr("channels", strconv.Itoa(p.Channels))
		}
		for _, x := range p.Params {
			pt.Add(stanza.NewElement(NSRTP, "parameter", "name", x.Name, "value", x.Value))
		}
		for _, f := range p.Feedback {
			pt.Add(stanza.NewElement(NSRTCPFB, "rtcp-fb", "type", f.Type, "subtype", f.Subtype))
		}
		out = append(out, pt)
	}
	for _, x := range d.HdrExts {
		out = append(out, stanza.NewElement(NSHdrExt, "rtp-hdrext", "id", strconv.Itoa(int(x.ID)), "uri", x.URI))
	}
	return out
}

// Component is the <transport/> of a channel that is in no bundle; mux says whether RTCP comes on the first component.
func (t *Transport) Component(mux bool) *stanza.Element {
	el := stanza.NewElement(NSICE, "transport", "ufrag", t.Ufrag, "pwd", t.Pwd)
	if t.Generation > 0 {
		el.SetAttr("ice-generation", strconv.Itoa(t.Generation))
	}
	if mux {
		el.Add(stanza.NewElement(NSICE, "rtcp-mux"))
	}
	for _, f := range t.Fingerprints {
		el.Add(stanza.TextElement(NSDTLS, "fingerprint", f.Value, "hash", f.Hash, "setup", f.Setup))
	}
	for i, c := range t.Candidates {
		el.Add(c.element(i + 1))
	}
	return el
}

// Element is the <transport/> of a bundle; sctp adds the map that makes a content the data content.
func (t *Transport) Element(sctp bool) *stanza.Element {
	el := t.Component(true)
	for _, u := range t.WebSockets {
		el.Add(stanza.NewElement(NSColibri, "web-socket", "url", u))
	}
	if sctp {
		port := t.SCTPPort
		if port == 0 {
			port = 5000
		}
		el.Add(stanza.NewElement(NSSCTP, "sctpmap", "number", strconv.Itoa(port), "protocol", "webrtc-datachannel", "streams", "1024"))
	}
	return el
}

func (c *Candidate) element(n int) *stanza.Element {
	el := stanza.NewElement(NSICE, "candidate",
		"component", strconv.Itoa(c.Component), "foundation", c.Foundation, "generation", strconv.Itoa(c.Generation),
		"id", "c"+strconv.Itoa(n), "network", "0", "ip", c.Addr.Addr().Unmap().WithZone("").String(), "port", strconv.Itoa(int(c.Addr.Port())),
		"priority", strconv.FormatUint(uint64(c.Priority), 10), "protocol", c.Protocol, "type", c.Type)
	if c.Related.IsValid() {
		el.SetAttr("rel-addr", c.Related.Addr().Unmap().WithZone("").String()).SetAttr("rel-port", strconv.Itoa(int(c.Related.Port())))
	}
	if c.TCPType != "" {
		el.SetAttr("tcptype", c.TCPType)
	}
	return el
}

// SourceChange is the <jingle/> of a source-add or source-remove.
func SourceChange(action, sid, initiator string, sources []Owned, json bool) *stanza.Element {
	j := stanza.NewElement(NS, "jingle", "action", action, "sid", sid, "initiator", initiator)
	if json {
		return j.Add(jsonElement(sources))
	}
	for _, m := range []Media{Audio, Video} {
		d := stanza.NewElement(NSRTP, "description", "media", string(m))
		for _, s := range sources {
			addSourceXML(d, s.Owner, s.SourceSet, m)
		}
		if len(d.Nodes) > 0 {
			j.Add(contentElement(string(m)).Add(d))
		}
	}
	return j
}

// TransportInfo is the <jingle/> that tells new ICE credentials after an in-place restart.
func TransportInfo(sid, initiator string, t Transport) *stanza.Element {
	t.Fingerprints, t.WebSockets = nil, nil
	return stanza.NewElement(NS, "jingle", "action", "transport-info", "sid", sid, "initiator", initiator).
		Add(contentElement("audio").Add(t.Element(false)))
}

// Terminate is the <jingle/> that ends a session; reason is an element name of XEP-0166 §7.4.
func Terminate(sid, initiator, reason, text string) *stanza.Element {
	r := stanza.NewElement(NS, "reason").Add(stanza.NewElement(NS, reason))
	if text != "" {
		r.Add(stanza.TextElement(NS, "text", text))
	}
	return stanza.NewElement(NS, "jingle", "action", "session-terminate", "sid", sid, "initiator", initiator).Add(r)
}
