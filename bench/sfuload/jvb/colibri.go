package jvb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"konzil/bench/sfuload"
)

// requestTime bounds one request to the bridge, maxBody its answer.
const (
	requestTime = 20 * time.Second
	maxBody     = 4 << 20
)

// modify is a ConferenceModify in the JSON form of COLIBRI2, modified its answer.
type modify struct {
	Meeting   string     `json:"meeting-id,omitempty"`
	Name      string     `json:"name,omitempty"`
	Create    bool       `json:"create,omitempty"`
	Expire    bool       `json:"expire,omitempty"`
	Endpoints []endpoint `json:"endpoints,omitempty"`
}

type modified struct {
	Endpoints []endpoint `json:"endpoints"`
}

type endpoint struct {
	ID           string        `json:"id"`
	Create       bool          `json:"create,omitempty"`
	Expire       bool          `json:"expire,omitempty"`
	StatsID      string        `json:"stats-id,omitempty"`
	Medias       []media       `json:"medias,omitempty"`
	Transport    *outer        `json:"transport,omitempty"`
	Sources      []mediaSource `json:"sources,omitempty"`
	Capabilities []string      `json:"capabilities,omitempty"`
}

type outer struct {
	Controlling bool   `json:"ice-controlling,omitempty"`
	Inner       *inner `json:"transport,omitempty"`
}

// inner is XEP-0176's transport in JSON.
type inner struct {
	XMLNS        string        `json:"xmlns"`
	Ufrag        string        `json:"ufrag"`
	Pwd          string        `json:"pwd"`
	Fingerprints []fingerprint `json:"fingerprints"`
	Candidates   []candidate   `json:"candidates,omitempty"`
	WebSockets   []string      `json:"web-sockets,omitempty"`
	RTCPMux      bool          `json:"rtcp-mux"`
}

type fingerprint struct {
	Fingerprint string `json:"fingerprint"`
	Setup       string `json:"setup"`
	Hash        string `json:"hash"`
}

type candidate struct {
	Component  string `json:"component"`
	Foundation string `json:"foundation"`
	Generation string `json:"generation"`
	ID         string `json:"id"`
	Network    string `json:"network"`
	Priority   string `json:"priority"`
	Protocol   string `json:"protocol"`
	Type       string `json:"type"`
	IP         string `json:"ip"`
	Port       string `json:"port"`
}

type media struct {
	Type     string        `json:"type"`
	Payloads []payloadType `json:"payload-types"`
	Exts     []headerExt   `json:"rtp-hdrexts"`
	Mixed    bool          `json:"extmap-allow-mixed"`
}

type payloadType struct {
	Name      string            `json:"name"`
	ID        string            `json:"id"`
	Clock     string            `json:"clockrate"`
	Channels  string            `json:"channels,omitempty"`
	Params    map[string]string `json:"parameters,omitempty"`
	Feedbacks []feedback        `json:"rtcp-fbs,omitempty"`
}

type feedback struct {
	Type    string `json:"type"`
	Subtype string `json:"subtype,omitempty"`
}

type headerExt struct {
	URI string `json:"uri"`
	ID  int    `json:"id"`
}

type mediaSource struct {
	Type    string   `json:"type"`
	ID      string   `json:"id"`
	Sources []source `json:"sources"`
	Groups  []group  `json:"ssrc-groups,omitempty"`
}

type source struct {
	SSRC uint32 `json:"ssrc"`
	Name string `json:"name"`
}

type group struct {
	Semantics string   `json:"semantics"`
	Sources   []uint32 `json:"sources"`
}

// codecs are what every endpoint is allocated with.
var codecs = map[sfuload.Kind][]string{sfuload.Audio: {"opus"}, sfuload.Video: {"VP8", "VP9"}}

// section is the numbers in use for a kind of media: a bridge has no mid and no rid, layers are known by their SSRCs.
func section(k sfuload.Kind) *sfuload.Media {
	m := &sfuload.Media{Kind: k, Direction: "sendrecv"}
	for _, c := range codecs[k] {
		m.Codecs = append(m.Codecs, sfuload.DefaultCodecs(c)...)
	}
	for _, e := range sfuload.DefaultExts(k) {
		switch e.URI {
		case sfuload.ExtMID, sfuload.ExtRID, sfuload.ExtRepairedRID:
		default:
			m.Exts = append(m.Exts, e)
		}
	}
	return m
}

// describe writes a section as COLIBRI2 wants it.
func describe(s *sfuload.Media) media {
	m := media{Type: string(s.Kind), Mixed: true}
	for _, c := range s.Codecs {
		p := payloadType{Name: c.Name, ID: strconv.Itoa(int(c.PT)), Clock: strconv.Itoa(int(c.Clock))}
		if c.Channels > 1 {
			p.Channels = strconv.Itoa(c.Channels)
		}
		for kv := range strings.SplitSeq(c.Params, ";") {
			if k, v, ok := strings.Cut(kv, "="); ok {
				if p.Params == nil {
					p.Params = map[string]string{}
				}
				p.Params[k] = v
			}
		}
		for _, f := range c.Feedback {
			t, sub, _ := strings.Cut(f, " ")
			p.Feedbacks = append(p.Feedbacks, feedback{t, sub})
		}
		m.Payloads = append(m.Payloads, p)
	}
	for _, e := range s.Exts {
		m.Exts = append(m.Exts, headerExt{e.URI, e.ID})
	}
	return m
}

// sourceName names a track as Jitsi does: endpoint, dash, track.
func sourceName(endpoint, track string) string { return endpoint + "-" + track }

// announce writes the SSRCs of a track and how they belong together.
func announce(endpoint string, t *sfuload.Track) mediaSource {
	name := sourceName(endpoint, t.Name)
	ms := mediaSource{Type: string(t.Kind), ID: name}
	var sim []uint32
	for _, l := range t.Layers {
		sim = append(sim, l.SSRC)
		ms.Sources = append(ms.Sources, source{l.SSRC, name})
		if l.RTX != 0 {
			ms.Sources = append(ms.Sources, source{l.RTX, name})
			ms.Groups = append(ms.Groups, group{"FID", []uint32{l.SSRC, l.RTX}})
		}
	}
	if len(sim) > 1 {
		ms.Groups = append(ms.Groups, group{"SIM", sim})
	}
	return ms
}

// ours is our half of the transport.
func ours(l sfuload.Local) *outer {
	return &outer{Inner: &inner{
		XMLNS: "urn:xmpp:jingle:transports:ice-udp:1", Ufrag: l.Ufrag, Pwd: l.Pwd, RTCPMux: true,
		Fingerprints: []fingerprint{{l.Print, "active", l.Hash}},
		Candidates: []candidate{{Component: "1", Foundation: "1", Generation: "0", ID: "1", Network: "0", Priority: "2130706431", Protocol: "udp", Type: "host",
			IP: l.Candidate.Addr().String(), Port: strconv.Itoa(int(l.Candidate.Port()))}},
	}}
}

// theirs reads the bridge's half. The bridge is the controlling agent, we begin DTLS.
func theirs(o *outer) (sfuload.Remote, error) {
	var r sfuload.Remote
	if o == nil || o.Inner == nil || o.Inner.Ufrag == "" || o.Inner.Pwd == "" || len(o.Inner.Fingerprints) == 0 {
		return r, errors.New("jvb: the bridge gave no transport")
	}
	t := o.Inner
	r = sfuload.Remote{Ufrag: t.Ufrag, Pwd: t.Pwd, Hash: strings.ToLower(t.Fingerprints[0].Hash), Print: strings.ToUpper(t.Fingerprints[0].Fingerprint)}
	for _, c := range t.Candidates {
		ip, err := netip.ParseAddr(c.IP)
		port, perr := strconv.ParseUint(c.Port, 10, 16)
		if err == nil && perr == nil && port != 0 && strings.EqualFold(c.Protocol, "udp") && c.Component == "1" {
			r.Candidates = append(r.Candidates, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		}
	}
	return r, nil
}

// call sends a request to the REST API: a new conference, or a change of one.
func (a *Adapter) call(ctx context.Context, meeting string, m modify) (*modified, error) {
	method, url := http.MethodPatch, a.rest+"/colibri/v2/conferences/"+meeting
	if m.Create {
		method, url = http.MethodPost, a.rest+"/colibri/v2/conferences"
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("jvb: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("jvb: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("jvb: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("jvb: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("jvb: %s: %s: %.200s", method, resp.Status, b)
	}
	return decode(b)
}

// decode reads an answer; that to an expiry may be empty.
func decode(b []byte) (*modified, error) {
	var out modified
	if len(bytes.TrimSpace(b)) == 0 {
		return &out, nil
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("jvb: %w", err)
	}
	return &out, nil
}
