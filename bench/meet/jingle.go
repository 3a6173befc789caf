package meet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Session is a Jingle session as the focus describes it (XEP-0166, XEP-0167, XEP-0176 and Jitsi's extensions).
type Session struct {
	SID, Initiator string
	BridgeID       string
	Contents       []Content
	Sources        []Source // of all contents and of the JSON form
	Groups         []Group
	Video          string // codec to use, "": VP8
}

// Content is one media of a session.
type Content struct {
	Name      string // audio, video, data
	Media     string // audio, video, application
	Codecs    []Codec
	Exts      []HdrExt
	Transport Transport
	SCTPPort  int // of data, else 0
}

// Codec is a payload type.
type Codec struct {
	ID       uint8
	Name     string
	Clock    uint32
	Channels int
	Params   []string // name=value, or the bare value of a nameless parameter
	FB       []string // type, or "type subtype"
}

// HdrExt is an RTP header extension.
type HdrExt struct {
	ID  int
	URI string
}

// Transport is ICE, DTLS and the bridge's WebSocket.
type Transport struct {
	Ufrag, Pwd  string
	Hash, Print string
	Setup       string
	Candidates  []Candidate
	WebSocket   string
}

// Candidate is an ICE candidate.
type Candidate struct {
	Foundation, Component, Protocol, Priority, IP, Port, Type, RelAddr, RelPort, TCPType string
}

// Source is a media source of somebody.
type Source struct {
	SSRC    uint32
	Name    string
	Owner   string
	MSID    string
	Desktop bool
	Kind    string // audio, video
}

// Group binds SSRCs: FID (media, repair) or SIM (layers low to high).
type Group struct {
	Semantics string
	SSRCs     []uint32
}

// parseJingle reads a <jingle/> element.
func parseJingle(j *Element) (*Session, error) {
	s := &Session{SID: j.Attr("sid"), Initiator: j.Attr("initiator"), BridgeID: j.Child(nsFocus, "bridge-session").attrOf("id")}
	for _, c := range j.All(nsJingle, "content") {
		ct, err := s.content(c)
		if err != nil {
			return nil, err
		}
		s.Contents = append(s.Contents, ct)
	}
	for _, m := range j.All(nsJitmeet, "json-message") {
		if err := s.jsonSources(m.Text); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (e *Element) attrOf(name string) string {
	if e == nil {
		return ""
	}
	return e.Attr(name)
}

func (s *Session) content(c *Element) (Content, error) {
	d := c.Child(nsRTP, "description")
	ct := Content{Name: c.Attr("name"), Media: d.attrOf("media")}
	if ct.Media == "" {
		ct.Media = ct.Name
	}
	for _, p := range d.All(nsRTP, "payload-type") {
		id, err := strconv.ParseUint(p.Attr("id"), 10, 7)
		if err != nil {
			return ct, fmt.Errorf("meet: payload type %q", p.Attr("id"))
		}
		clock, _ := strconv.ParseUint(p.Attr("clockrate"), 10, 32)
		ch, _ := strconv.Atoi(p.Attr("channels"))
		codec := Codec{ID: uint8(id), Name: p.Attr("name"), Clock: uint32(clock), Channels: ch}
		for _, q := range p.All(nsRTP, "parameter") {
			if n := q.Attr("name"); n != "" {
				codec.Params = append(codec.Params, n+"="+q.Attr("value"))
			} else {
				codec.Params = append(codec.Params, q.Attr("value"))
			}
		}
		for _, q := range p.All(nsFB, "rtcp-fb") {
			codec.FB = append(codec.FB, strings.TrimSpace(q.Attr("type")+" "+q.Attr("subtype")))
		}
		ct.Codecs = append(ct.Codecs, codec)
	}
	for _, x := range d.All(nsHdrExt, "rtp-hdrext") {
		id, err := strconv.Atoi(x.Attr("id"))
		if err != nil {
			return ct, fmt.Errorf("meet: header extension %q", x.Attr("id"))
		}
		ct.Exts = append(ct.Exts, HdrExt{id, x.Attr("uri")})
	}
	if err := s.xmlSources(ct.Media, d); err != nil {
		return ct, err
	}
	return ct, ct.transport(c.Child(nsICE, "transport"))
}

func (ct *Content) transport(t *Element) error {
	if t == nil {
		return nil
	}
	tr := &ct.Transport
	tr.Ufrag, tr.Pwd = t.Attr("ufrag"), t.Attr("pwd")
	if f := t.Child(nsDTLS, "fingerprint"); f != nil {
		tr.Hash, tr.Print, tr.Setup = f.Attr("hash"), strings.TrimSpace(f.Text), f.Attr("setup")
	}
	for _, c := range t.All(nsICE, "candidate") {
		tr.Candidates = append(tr.Candidates, Candidate{c.Attr("foundation"), c.Attr("component"), c.Attr("protocol"), c.Attr("priority"),
			c.Attr("ip"), c.Attr("port"), c.Attr("type"), c.Attr("rel-addr"), c.Attr("rel-port"), c.Attr("tcptype")})
	}
	tr.WebSocket = t.Child(nsColibri, "web-socket").attrOf("url")
	if m := t.Child(nsSCTP, "sctpmap"); m != nil {
		n, err := strconv.Atoi(m.Attr("number"))
		if err != nil {
			return fmt.Errorf("meet: SCTP port %q", m.Attr("number"))
		}
		ct.SCTPPort = n
	}
	return nil
}

// xmlSources reads sources in their XML form (XEP-0339 with Jitsi's attributes).
func (s *Session) xmlSources(kind string, d *Element) error {
	for _, x := range d.All(nsSSMA, "source") {
		ssrc, err := strconv.ParseUint(x.Attr("ssrc"), 10, 32)
		if err != nil || ssrc == 0 {
			return fmt.Errorf("meet: SSRC %q", x.Attr("ssrc"))
		}
		src := Source{SSRC: uint32(ssrc), Name: x.Attr("name"), Desktop: x.Attr("videoType") == "desktop", Kind: kind}
		for _, p := range x.All("", "parameter") {
			if p.Attr("name") == "msid" {
				src.MSID = p.Attr("value")
			}
		}
		src.Owner = x.Child(nsJitmeet, "ssrc-info").attrOf("owner")
		s.Sources = append(s.Sources, src)
	}
	for _, g := range d.All(nsSSMA, "ssrc-group") {
		grp := Group{Semantics: g.Attr("semantics")}
		for _, x := range g.All(nsSSMA, "source") {
			ssrc, err := strconv.ParseUint(x.Attr("ssrc"), 10, 32)
			if err != nil {
				return fmt.Errorf("meet: SSRC %q in a group", x.Attr("ssrc"))
			}
			grp.SSRCs = append(grp.SSRCs, uint32(ssrc))
		}
		s.Groups = append(s.Groups, grp)
	}
	return nil
}

// jsonSources reads sources in their compact form: {"sources":{owner:[video sources, video groups, audio sources, audio groups]}}.
func (s *Session) jsonSources(text string) error {
	var m struct {
		Sources map[string][]json.RawMessage `json:"sources"`
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return fmt.Errorf("meet: JSON sources: %w", err)
	}
	owners := make([]string, 0, len(m.Sources))
	for o := range m.Sources {
		owners = append(owners, o)
	}
	slices.Sort(owners)
	for _, owner := range owners {
		for i, raw := range m.Sources[owner] {
			kind := "video"
			if i >= 2 {
				kind = "audio"
			}
			var err error
			if i%2 == 0 {
				err = s.jsonSource(owner, kind, raw)
			} else {
				err = s.jsonGroups(raw)
			}
			if err != nil {
				return fmt.Errorf("meet: JSON sources of %s: %w", owner, err)
			}
		}
	}
	return nil
}

func (s *Session) jsonSource(owner, kind string, raw json.RawMessage) error {
	var list []struct {
		S uint32 `json:"s"`
		N string `json:"n"`
		M string `json:"m"`
		V string `json:"v"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, x := range list {
		s.Sources = append(s.Sources, Source{SSRC: x.S, Name: x.N, Owner: owner, MSID: x.M, Desktop: x.V == "d", Kind: kind})
	}
	return nil
}

func (s *Session) jsonGroups(raw json.RawMessage) error {
	var list [][]any
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, x := range list {
		if len(x) < 2 {
			return fmt.Errorf("group of %d", len(x))
		}
		g := Group{Semantics: map[any]string{"f": "FID", "s": "SIM"}[x[0]]}
		for _, v := range x[1:] {
			n, ok := v.(float64)
			if !ok || n < 1 || n > 1<<32-1 {
				return fmt.Errorf("SSRC %v in a group", v)
			}
			g.SSRCs = append(g.SSRCs, uint32(n))
		}
		s.Groups = append(s.Groups, g)
	}
	return nil
}

// Content returns the content with that name, nil when there is none.
func (s *Session) Content(name string) *Content {
	for i := range s.Contents {
		if s.Contents[i].Name == name {
			return &s.Contents[i]
		}
	}
	return nil
}

// Remote is a source as a receiver sees it: one SSRC and its repair flow.
type Remote struct {
	Source
	RTX uint32
}

// Remotes lists what can be received: the first SSRC of each simulcast group, no repair flows of their own.
func (s *Session) Remotes() []Remote {
	rtx := map[uint32]uint32{}
	skip := map[uint32]bool{}
	for _, g := range s.Groups {
		switch {
		case g.Semantics == "FID" && len(g.SSRCs) == 2:
			rtx[g.SSRCs[0]] = g.SSRCs[1]
			skip[g.SSRCs[1]] = true
		case g.Semantics == "SIM":
			for _, x := range g.SSRCs[1:] {
				skip[x] = true
			}
		}
	}
	var out []Remote
	for _, src := range s.Sources {
		if !skip[src.SSRC] {
			out = append(out, Remote{Source: src, RTX: rtx[src.SSRC]})
		}
	}
	return out
}
