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
	maxExpire   = time.Hour
)

// request is a <conference/>.
type request struct {
	id       string // "": make one
	contents []content
}

type content struct {
	name     string
	channels []channel
}

// channel is what is asked of one; nil fields keep what they were.
type channel struct {
	id        string // "": make one
	endpoint  string
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
		for _, x := range c.ChildrenNamed(NS, "channel") {
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
	return r, nil
}

func parseChannel(el *stanza.Element) (ch channel, err *stanza.Error) {
	ch.id, ch.endpoint = el.Attr("id"), el.Attr("endpoint")
	if len(ch.id) > maxID || len(ch.endpoint) > 3*maxID {
		return ch, stanza.ErrBadRequest.With("the id of a channel or endpoint is too long")
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
