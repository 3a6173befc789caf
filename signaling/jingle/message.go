package jingle

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"konzil/xmpp/stanza"
)

// Message is a <jingle/> that a client sent.
type Message struct {
	Action  string
	SID     string
	Sources SourceSet // over all contents, or from JSON
	// Transport is merged over all contents: they are one bundle, so the first ufrag counts and candidates add up.
	Transport Transport
	Payloads  map[Media][]PayloadType
	HdrExts   []HdrExt
	LastN     *int // initial-last-n

	Reason, ReasonText string
	IceState           string
	BridgeSession      *BridgeSession
}

// BridgeSession is the echo of an allocation's id with what the client wants of it.
type BridgeSession struct {
	ID                  string
	Restart, ICERestart bool
}

// maxCandidates bounds what one message may carry; browsers send well under 50.
const maxCandidates = 200

// maxWebSockets bounds how many places a bridge may name for its channel.
const maxWebSockets = 8

// Parse reads a <jingle/>. It is lenient about what it does not need and strict about what it takes: an error means bad-request.
func Parse(el *stanza.Element) (*Message, error) {
	if el == nil || el.Space != NS || el.Local != "jingle" {
		return nil, errors.New("no jingle element")
	}
	m := &Message{Action: el.Attr("action"), SID: el.Attr("sid"), Payloads: map[Media][]PayloadType{}}
	if m.Action == "" || m.SID == "" {
		return nil, errors.New("action and sid are required")
	}
	for _, c := range el.Children() {
		var err error
		switch c.Name {
		case stanza.Name{Space: NS, Local: "content"}:
			err = m.parseContent(c)
		case stanza.Name{Space: NS, Local: "reason"}:
			m.parseReason(c)
		case stanza.Name{Space: NSFocus, Local: "bridge-session"}:
			m.BridgeSession = &BridgeSession{ID: c.Attr("id"), Restart: c.Attr("restart") == "true", ICERestart: c.Attr("ice-restart") == "true"}
		case stanza.Name{Space: NSFocus, Local: "ice-state"}:
			m.IceState = c.Text()
		case stanza.Name{Space: NSJitmeet, Local: "json-message"}:
			err = m.parseJSON(c)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Message) parseJSON(c *stanza.Element) error {
	owned, err := parseJSON([]byte(c.Text()))
	if err != nil {
		return err
	}
	for _, o := range owned {
		m.Sources.Sources = append(m.Sources.Sources, o.Sources...)
		m.Sources.Groups = append(m.Sources.Groups, o.Groups...)
	}
	return checkSize(&m.Sources)
}

func (m *Message) parseReason(c *stanza.Element) {
	for _, r := range c.Children() {
		if r.Local == "text" {
			m.ReasonText = r.Text()
		} else if m.Reason == "" {
			m.Reason = r.Local
		}
	}
}

func (m *Message) parseContent(c *stanza.Element) error {
	media := Media(c.Attr("name"))
	if d := c.Child(NSRTP, "description"); d != nil {
		if x := d.Attr("media"); x == "audio" || x == "video" {
			media = Media(x)
		}
		if media == Audio || media == Video {
			if err := m.Sources.Parse(d, media); err != nil {
				return err
			}
			if err := m.parseDescription(d, media); err != nil {
				return err
			}
			m.lastN(d)
		}
	}
	m.lastN(c)
	if t := c.Child(NSICE, "transport"); t != nil {
		return m.Transport.Parse(t)
	}
	return nil
}

// lastN reads initial-last-n, which clients put in the video content or its description.
func (m *Message) lastN(el *stanza.Element) {
	x := el.Child(NSColibri2, "initial-last-n")
	if x == nil {
		return
	}
	if n, err := strconv.Atoi(x.Attr("value")); err == nil && n >= -1 {
		m.LastN = &n
	}
}

// maxPayloads bounds a description: there are only 128 payload types.
const maxPayloads = 128

func (m *Message) parseDescription(el *stanza.Element, media Media) error {
	d := Description{Payloads: m.Payloads[media], HdrExts: m.HdrExts}
	err := d.Parse(el)
	m.Payloads[media], m.HdrExts = d.Payloads, d.HdrExts
	return err
}

// Parse adds the payload types and header extensions in el to d.
func (d *Description) Parse(el *stanza.Element) error {
	for _, x := range el.ChildrenNamed(NSRTP, "payload-type") {
		p, err := parsePayloadType(x)
		if err != nil {
			return err
		}
		if len(d.Payloads) >= maxPayloads {
			return errors.New("too many payload types")
		}
		d.Payloads = append(d.Payloads, p)
	}
	for _, x := range el.ChildrenNamed(NSHdrExt, "rtp-hdrext") {
		id, err := strconv.ParseUint(x.Attr("id"), 10, 8)
		if err != nil || id == 0 {
			return fmt.Errorf("bad header extension id %q", clip(x.Attr("id")))
		}
		if len(d.HdrExts) < 255 {
			d.HdrExts = append(d.HdrExts, HdrExt{uint8(id), x.Attr("uri")})
		}
	}
	return nil
}

// parsePayloadType reads one <payload-type/>.
func parsePayloadType(el *stanza.Element) (PayloadType, error) {
	id, err := strconv.ParseUint(el.Attr("id"), 10, 7)
	if err != nil {
		return PayloadType{}, fmt.Errorf("bad payload type %q", clip(el.Attr("id")))
	}
	p := PayloadType{ID: uint8(id), Name: el.Attr("name")}
	if s := el.Attr("clockrate"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return PayloadType{}, fmt.Errorf("bad clock rate %q", clip(s))
		}
		p.ClockRate = uint32(n)
	}
	if n, err := strconv.Atoi(el.Attr("channels")); err == nil && n > 1 && n < 256 {
		p.Channels = n
	}
	for _, x := range el.ChildrenNamed(NSRTP, "parameter") {
		p.Params = append(p.Params, Param{x.Attr("name"), x.Attr("value")})
	}
	for _, x := range el.ChildrenNamed(NSRTCPFB, "rtcp-fb") {
		p.Feedback = append(p.Feedback, Feedback{x.Attr("type"), x.Attr("subtype")})
	}
	return p, nil
}

// Parse merges one <transport/> into t.
func (t *Transport) Parse(el *stanza.Element) error {
	if t.Ufrag == "" {
		t.Ufrag, t.Pwd = el.Attr("ufrag"), el.Attr("pwd")
	}
	if n, err := strconv.Atoi(el.Attr("ice-generation")); err == nil && n > t.Generation {
		t.Generation = n
	}
	for _, c := range el.Children() {
		switch c.Name {
		case stanza.Name{Space: NSDTLS, Local: "fingerprint"}:
			f := Fingerprint{Hash: c.Attr("hash"), Setup: c.Attr("setup"), Value: c.Text()}
			if f.Hash == "" || f.Value == "" {
				return errors.New("fingerprint without hash or value")
			}
			if !hasFingerprint(t.Fingerprints, f) && len(t.Fingerprints) < 16 {
				t.Fingerprints = append(t.Fingerprints, f)
			}
		case stanza.Name{Space: NSICE, Local: "candidate"}:
			cand, ok := parseCandidate(c)
			if ok && !hasCandidate(t.Candidates, cand) {
				if len(t.Candidates) >= maxCandidates {
					return errors.New("too many candidates")
				}
				t.Candidates = append(t.Candidates, cand)
			}
		case stanza.Name{Space: NSColibri, Local: "web-socket"}:
			if u := c.Attr("url"); u != "" && len(t.WebSockets) < maxWebSockets {
				t.WebSockets = append(t.WebSockets, u)
			}
		}
	}
	return nil
}

func hasFingerprint(list []Fingerprint, f Fingerprint) bool {
	for _, x := range list {
		if x == f {
			return true
		}
	}
	return false
}

func hasCandidate(list []Candidate, c Candidate) bool {
	for _, x := range list {
		if x.Addr == c.Addr && x.Protocol == c.Protocol && x.Type == c.Type {
			return true
		}
	}
	return false
}

// parseCandidate reads a candidate; one that cannot be used (a name for an address, an unknown protocol) is passed over.
func parseCandidate(el *stanza.Element) (Candidate, bool) {
	ip, err := netip.ParseAddr(el.Attr("ip"))
	if err != nil || ip.Zone() != "" {
		return Candidate{}, false
	}
	port, err := strconv.ParseUint(el.Attr("port"), 10, 16)
	if err != nil {
		return Candidate{}, false
	}
	prio, err := strconv.ParseUint(el.Attr("priority"), 10, 32)
	if err != nil {
		return Candidate{}, false
	}
	c := Candidate{Foundation: el.Attr("foundation"), Component: 1, Protocol: el.Attr("protocol"), Priority: uint32(prio),
		Addr: netip.AddrPortFrom(ip, uint16(port)), Type: el.Attr("type"), TCPType: el.Attr("tcptype")}
	if n, err := strconv.Atoi(el.Attr("component")); err == nil && n == 2 {
		c.Component = 2
	}
	if n, err := strconv.Atoi(el.Attr("generation")); err == nil && n >= 0 {
		c.Generation = n
	}
	if rel, err := netip.ParseAddr(el.Attr("rel-addr")); err == nil && rel.Zone() == "" {
		if p, err := strconv.ParseUint(el.Attr("rel-port"), 10, 16); err == nil {
			c.Related = netip.AddrPortFrom(rel, uint16(p))
		}
	}
	switch c.Type {
	case "host", "srflx", "prflx", "relay":
	default:
		return Candidate{}, false
	}
	return c, c.Protocol == "udp" || c.Protocol == "tcp"
}
