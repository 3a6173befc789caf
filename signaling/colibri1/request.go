package colibri1

import (
	"net/netip"
	"strconv"
	"time"

	"konzil/sfu/keying"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// NS is the namespace of version 1; nsRaw that of transports without ICE (XEP-0177).
const (
	NS    = jingle.NSColibri
	nsRaw = "urn:xmpp:jingle:transports:raw-udp:1"
)

// Limits of one request.
const (
	maxContents = 8
	maxChannels = 100 // of one content in one request
	maxID       = 256 // bytes of names and ids
	maxBundles  = 100 // named in one request
	maxPayloads = 32  // payload types, and SSRCs, of one channel
	maxExpire   = time.Hour
)

// request is a <conference/>.
type request struct {
	id       string // "": make one
	contents []content
	bundles  []bundled
}

// bundled is a transport for a bundle.
type bundled struct {
	id        string
	transport *transport
}

type content struct {
	name     string
	channels []channel
}

// channel is what is asked of one, or of an <sctpconnection/>; nil fields keep what they were.
type channel struct {
	id        string // "": make one
	endpoint  string
	bundle    string // "": it has a transport of its own, or that of before
	sctp      bool
	payloads  []uint8
	ssrcs     []uint32
	initiator *bool
	expire    *time.Duration
	sends     *bool // direction, as the end sees it
	receives  *bool
	transport *transport
}

type transport struct {
	ice        bool // else raw
	mux        bool // RTCP comes on the first component
	ufrag, pwd string
	addrs      []netip.Addr
	prints     []keying.Fingerprint
	setup      string // role of DTLS, as signalled
}

// parse reads a <conference/>.
func parse(el *stanza.Element) (*request, *stanza.Error) {
	r := &request{id: el.Attr("id")}
	for _, c := range el.ChildrenNamed(NS, "content") {
		if len(r.contents) == maxContents {
			return nil, stanza.ErrNotAcceptable.With("there are too many contents")
		}
		ct := content{name: c.Attr("name")}
		if ct.name == "" || len(ct.name) > maxID {
			return nil, stanza.ErrBadRequest.With("a content needs a name")
		}
		for _, x := range c.Children() {
			if x.Space != NS || x.Local != "channel" && x.Local != "sctpconnection" {
				continue
			}
			if len(ct.channels) == maxChannels {
				return nil, stanza.ErrNotAcceptable.With("there are too many channels")
			}
			ch, err := parseChannel(x)
			if err != nil {
				return nil, err
			}
			ct.channels = append(ct.channels, ch)
		}
		r.contents = append(r.contents, ct)
	}
	for _, b := range el.ChildrenNamed(NS, "channel-bundle") {
		if len(r.bundles) == maxBundles {
			return nil, stanza.ErrNotAcceptable.With("there are too many bundles")
		}
		t, err := parseTransport(b)
		if err != nil {
			return nil, err
		}
		r.bundles = append(r.bundles, bundled{b.Attr("id"), t})
	}
	return r, nil
}

func parseChannel(el *stanza.Element) (ch channel, err *stanza.Error) {
	ch.id, ch.endpoint, ch.bundle, ch.sctp = el.Attr("id"), el.Attr("endpoint"), el.Attr("channel-bundle-id"), el.Local == "sctpconnection"
	if len(ch.id) > maxID || len(ch.endpoint) > 3*maxID || len(ch.bundle) > 3*maxID {
		return ch, stanza.ErrBadRequest.With("the id of a channel, bundle or endpoint is too long")
	}
	if ch.payloads, ch.ssrcs, err = parseMedia(el); err != nil {
		return ch, err
	}
	switch v := el.Attr("initiator"); v {
	case "":
	case "true", "false":
		yes := v == "true"
		ch.initiator = &yes
	default:
		return ch, stanza.ErrBadRequest.With("initiator is true or false")
	}
	if v := el.Attr("expire"); v != "" {
		n, bad := strconv.Atoi(v)
		if bad != nil || n < 0 {
			return ch, stanza.ErrBadRequest.With("expire is a number of seconds")
		}
		d := min(time.Duration(n)*time.Second, maxExpire)
		ch.expire = &d
	}
	if ch.sends, ch.receives, err = parseDirection(el.Attr("direction")); err != nil {
		return ch, err
	}
	switch el.Attr("rtp-level-relay-type") {
	case "", "translator":
	case "mixer":
		return ch, stanza.ErrFeatureNotImplemented.With("This bridge translates; it does not mix")
	default:
		return ch, stanza.ErrBadRequest.With("rtp-level-relay-type is translator or mixer")
	}
	ch.transport, err = parseTransport(el)
	return ch, err
}

// parseMedia reads payload types, which clients put into either namespace, and SSRCs.
func parseMedia(el *stanza.Element) (payloads []uint8, ssrcs []uint32, _ *stanza.Error) {
	for _, x := range el.Children() {
		switch {
		case len(payloads) == maxPayloads, len(ssrcs) == maxPayloads:
			return nil, nil, stanza.ErrNotAcceptable.With("there are too many payload types or sources")
		case x.Local == "payload-type" && (x.Space == NS || x.Space == jingle.NSRTP):
			n, err := strconv.ParseUint(x.Attr("id"), 10, 7)
			if err != nil {
				return nil, nil, stanza.ErrBadRequest.With("a payload type is a number below 128")
			}
			payloads = append(payloads, uint8(n))
		case x.Local == "source" && x.Space == jingle.NSSSMA:
			n, err := strconv.ParseUint(x.Attr("ssrc"), 10, 32)
			if err != nil {
				return nil, nil, stanza.ErrBadRequest.With("an SSRC is a number of 32 bits")
			}
			ssrcs = append(ssrcs, uint32(n))
		}
	}
	return payloads, ssrcs, nil
}

// parseDirection reads a direction as the bridge sees it: sendonly means that the bridge sends, and the end receives.
func parseDirection(v string) (sends, receives *bool, err *stanza.Error) {
	yes, no := true, false
	switch v {
	case "":
		return nil, nil, nil
	case "sendrecv":
		return &yes, &yes, nil
	case "sendonly":
		return &no, &yes, nil
	case "recvonly":
		return &yes, &no, nil
	case "inactive":
		return &no, &no, nil
	}
	return nil, nil, stanza.ErrBadRequest.With("direction is sendrecv, sendonly, recvonly or inactive")
}

func parseTransport(el *stanza.Element) (*transport, *stanza.Error) {
	if t := el.Child(jingle.NSICE, "transport"); t != nil {
		var j jingle.Transport
		if err := j.Parse(t); err != nil {
			return nil, stanza.ErrBadRequest.With(err.Error())
		}
		out := &transport{ice: true, mux: t.Child(jingle.NSICE, "rtcp-mux") != nil, ufrag: j.Ufrag, pwd: j.Pwd}
		out.fingerprints(j.Fingerprints)
		for _, c := range j.Candidates {
			out.addrs = append(out.addrs, c.Addr.Addr())
		}
		return out, nil
	}
	if t := el.Child(nsRaw, "transport"); t != nil {
		if t.Child(jingle.NSDTLS, "fingerprint") != nil {
			return nil, stanza.ErrFeatureNotImplemented.With("DTLS needs ICE: a raw channel passes plain RTP and what is keyed end to end")
		}
		out := &transport{}
		for _, c := range t.ChildrenNamed(nsRaw, "candidate") {
			if a, err := netip.ParseAddr(c.Attr("ip")); err == nil && len(out.addrs) < maxChannels {
				out.addrs = append(out.addrs, a)
			}
		}
		return out, nil
	}
	return nil, nil
}

// fingerprints takes those of a transport; their role is that of the first which has one.
func (t *transport) fingerprints(list []jingle.Fingerprint) {
	for _, f := range list {
		t.prints = append(t.prints, keying.Fingerprint{Hash: f.Hash, Value: f.Value})
		if t.setup == "" {
			t.setup = f.Setup
		}
	}
}
