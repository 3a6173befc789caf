package jingle

import (
	"fmt"
	"strconv"

	"konzil/xmpp/stanza"
)

// addSourceXML writes set's sources and groups of media m into a description (XEP-0339). Each source names its owner, which
// XML clients insist on.
func addSourceXML(d *stanza.Element, owner string, set SourceSet, m Media) {
	for _, s := range set.Sources {
		if s.Media != m {
			continue
		}
		d.Add(s.Element().Add(stanza.NewElement(NSJitmeet, "ssrc-info", "owner", owner)))
	}
	for _, g := range set.Groups {
		if g.Media == m {
			d.Add(g.Element())
		}
	}
}

// Element is the <source/> of XEP-0339 §3.
func (s Source) Element() *stanza.Element {
	el := stanza.NewElement(NSSSMA, "source", "ssrc", formatSSRC(s.SSRC), "name", s.Name, "videoType", s.VideoType)
	if s.MSID != "" {
		el.Add(stanza.NewElement(NSSSMA, "parameter", "name", "msid", "value", s.MSID))
	}
	return el
}

// Element is the <ssrc-group/> of XEP-0339 §4.
func (g Group) Element() *stanza.Element {
	el := stanza.NewElement(NSSSMA, "ssrc-group", "semantics", g.Semantics)
	for _, x := range g.SSRCs {
		el.Add(stanza.NewElement(NSSSMA, "source", "ssrc", formatSSRC(x)))
	}
	return el
}

func formatSSRC(s uint32) string { return strconv.FormatUint(uint64(s), 10) }

func parseSSRC(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("bad ssrc %q", clip(s))
	}
	return uint32(n), nil
}

// Parse adds the sources and groups in d, all of one kind of media, to the set.
func (set *SourceSet) Parse(d *stanza.Element, m Media) error {
	for _, el := range d.Children() {
		if el.Space != NSSSMA {
			continue
		}
		switch el.Local {
		case "source":
			if el.Attr("rid") != "" && el.Attr("ssrc") == "" {
				continue // a rid layer: its packets carry their SSRC and are not signalled
			}
			ssrc, err := parseSSRC(el.Attr("ssrc"))
			if err != nil {
				return err
			}
			set.Sources = append(set.Sources, Source{SSRC: ssrc, Media: m, Name: el.Attr("name"), MSID: msidOf(el), VideoType: el.Attr("videoType")})
		case "ssrc-group":
			g := Group{Media: m, Semantics: el.Attr("semantics")}
			for _, x := range el.ChildrenNamed(NSSSMA, "source") {
				ssrc, err := parseSSRC(x.Attr("ssrc"))
				if err != nil {
					return err
				}
				g.SSRCs = append(g.SSRCs, ssrc)
			}
			set.Groups = append(set.Groups, g)
		}
		if err := checkSize(set); err != nil {
			return err
		}
	}
	return nil
}

func msidOf(el *stanza.Element) string {
	for _, p := range el.ChildrenNamed(NSSSMA, "parameter") {
		if p.Attr("name") == "msid" {
			return p.Attr("value")
		}
	}
	return ""
}

// clip shortens foreign text for an error message.
func clip(s string) string {
	const max = 40
	if len(s) > max {
		return s[:max] + "..."
	}
	return s
}
