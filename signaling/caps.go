package signaling

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"
	"sync"

	"konzil/xmpp/stanza"
)

// Features that decide about the offer.
const (
	featAudio     = "urn:xmpp:jingle:apps:rtp:audio"
	featVideo     = "urn:xmpp:jingle:apps:rtp:video"
	featSCTP      = "urn:xmpp:jingle:transports:dtls-sctp:1"
	featJSON      = "http://jitsi.org/json-encoded-sources"
	featRewriting = "http://jitsi.org/ssrc-rewriting-1"
	featMIDDemux  = "http://jitsi.org/rtp-mid-demux"
	featTCC       = "http://jitsi.org/tcc"
	featREMB      = "http://jitsi.org/remb"
	featRTX       = "urn:ietf:rfc:4588"
	featRED       = "http://jitsi.org/opus-red"
	featFEC       = "urn:x-konzil:flexfec"            // repair packets (flexfec-03) of sources are told in FEC-FR groups
	featApplied   = "urn:x-konzil:source-add-applied" // a source-add is answered when its sources can be received
)

// fallbackFeatures are assumed of clients that do not answer.
var fallbackFeatures = []string{featAudio, featVideo, featSCTP}

// capsRef is an entity capabilities mark in presence (XEP-0115).
type capsRef struct{ node, hash, ver string }

func (c capsRef) key() string { return c.node + "#" + c.ver }

// maxCaps cached: one per client version in the wild. When full, the cache starts anew.
const maxCaps = 1024

// capsCache remembers verified capabilities for all meetings.
type capsCache struct {
	mu sync.Mutex // guards m
	m  map[string]map[string]bool
}

func newCapsCache() *capsCache { return &capsCache{m: map[string]map[string]bool{}} }

func (c *capsCache) get(ref capsRef) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[ref.key()]
}

func (c *capsCache) put(ref capsRef, features map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxCaps {
		clear(c.m)
	}
	c.m[ref.key()] = features
}

// discoverAll asks every member who is not known for what it can do.
func (m *meeting) discoverAll() {
	for _, mem := range m.sorted(func(mem *member) bool { return mem.features == nil && !mem.asking }) {
		m.discover(mem)
	}
}

// discover fills in a member's features, from the cache or by disco#info to the occupant.
func (m *meeting) discover(mem *member) {
	ref := mem.caps
	if ref.ver != "" {
		if f := m.f.caps.get(ref); f != nil {
			mem.features = f
			return
		}
	}
	q := stanza.NewElement(nsDiscoInfo, "query")
	if ref.node != "" && ref.ver != "" {
		q.SetAttr("node", ref.key())
	}
	mem.asking = true
	m.sendIQ("get", mem.occ, q, m.f.cfg.DiscoTimeout, func(r *stanza.Stanza) {
		mem.asking = false
		if mem.left {
			return
		}
		var query *stanza.Element
		if r != nil && r.Type == "result" {
			query = r.Child(nsDiscoInfo, "query")
		}
		if query == nil {
			if r == nil {
				m.f.count.discoTimeouts.Add(1)
			}
			mem.features = set(fallbackFeatures)
		} else {
			mem.features = featuresOf(query)
			if ref.hash == "sha-1" && ref.ver != "" && capsHash(query) == ref.ver {
				m.f.caps.put(ref, mem.features)
			}
		}
		m.review()
	})
}

func set(vars []string) map[string]bool {
	out := make(map[string]bool, len(vars))
	for _, v := range vars {
		out[v] = true
	}
	return out
}

func featuresOf(query *stanza.Element) map[string]bool {
	out := map[string]bool{}
	for _, f := range query.ChildrenNamed(nsDiscoInfo, "feature") {
		out[f.Attr("var")] = true
	}
	return out
}

// capsHash is the verification string of XEP-0115 §5.1 over a disco#info answer, hashed with SHA-1; "" for an answer that is ill-formed by §5.4.
func capsHash(query *stanza.Element) string {
	var ids, vars, forms []string
	for _, c := range query.Children() {
		switch {
		case c.Space == nsDiscoInfo && c.Local == "identity":
			ids = append(ids, c.Attr("category")+"/"+c.Attr("type")+"/"+xmlLang(c)+"/"+c.Attr("name"))
		case c.Space == nsDiscoInfo && c.Local == "feature":
			vars = append(vars, c.Attr("var"))
		case c.Space == nsForm && c.Local == "x":
			if f := formString(c); f != "" {
				forms = append(forms, f)
			}
		}
	}
	for _, l := range [][]string{ids, vars, forms} {
		slices.Sort(l)
		if len(slices.Compact(slices.Clone(l))) != len(l) {
			return ""
		}
	}
	var b strings.Builder
	for _, s := range append(ids, vars...) {
		b.WriteString(s)
		b.WriteByte('<')
	}
	for _, s := range forms {
		b.WriteString(s)
	}
	sum := sha1.Sum([]byte(b.String()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func xmlLang(el *stanza.Element) string {
	for _, a := range el.Attrs {
		if a.Space == stanza.NSXML && a.Local == "lang" {
			return a.Value
		}
	}
	return ""
}

// formString is a form's part of the verification string; forms without FORM_TYPE do not count (§5.4 3.6).
func formString(x *stanza.Element) string {
	formType := ""
	var fields []string
	for _, f := range x.ChildrenNamed(nsForm, "field") {
		var values []string
		for _, v := range f.ChildrenNamed(nsForm, "value") {
			values = append(values, v.Text())
		}
		slices.Sort(values)
		if f.Attr("var") == "FORM_TYPE" {
			if len(values) > 0 {
				formType = values[0]
			}
			continue
		}
		s := f.Attr("var") + "<"
		for _, v := range values {
			s += v + "<"
		}
		fields = append(fields, s)
	}
	if formType == "" {
		return ""
	}
	slices.Sort(fields)
	return formType + "<" + strings.Join(fields, "")
}
