package xmpp

import (
	"bytes"
	"crypto/sha1" // XEP-0124 §15 names it: the keys are a chain of its values
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"konzil/xmpp/stanza"
)

const (
	nsHTTPBind = "http://jabber.org/protocol/httpbind"
	nsXBOSH    = "urn:xmpp:xbosh"

	boshWrapping = 4 << 10   // bytes of a body besides stanzas
	boshMaxRID   = 1<<53 - 1 // XEP-0124 §14.1
)

// boshBody is a request as read.
type boshBody struct {
	*stanza.Header
	sid  string
	wire *boshWire // that sid names; nil: none
	rid  uint64
	size int // bytes

	in        []boshInput
	restart   bool          // a new stream (XEP-0206 §5)
	terminate bool          // the last one
	pause     time.Duration // 0: none is asked for
}

// boshInput is one thing for the stream to read: an element, the header of a new stream, or an error.
type boshInput struct {
	item   stanza.Item
	header *stanza.Header
	err    error // also beside an item, as of a bad address
}

var errBOSHBody = errors.New("xmpp: not a body of BOSH")

// readBOSH reads a body. A stanza in it that is not well-formed is an error for the stream, as it would be on any other transport; where not even the body can be read it is
// errBOSHBody.
func (s *Server) readBOSH(raw []byte) (*boshBody, error) {
	b := &boshBody{size: len(raw)}
	lim := s.cfg.Limits.PreAuth
	err := stanza.ReadDocument(raw, lim, func(h *stanza.Header) (stanza.Limits, error) {
		if h.Space != nsHTTPBind || h.Local != "body" {
			return lim, errBOSHBody
		}
		b.Header, b.sid = h, h.Attr("sid")
		if b.sid == "" {
			return lim, nil
		}
		if b.wire = s.bosh.get(b.sid); b.wire == nil {
			return lim, errBOSHBody
		}
		return b.wire.limits(), nil
	}, func(it stanza.Item, bad *stanza.JIDError) error {
		in := boshInput{item: it}
		if bad != nil {
			in.err = bad
		}
		b.in = append(b.in, in)
		return nil
	})
	switch {
	case b.Header == nil || b.attributes() != nil:
		return nil, errBOSHBody
	case b.sid != "" && b.wire == nil: // nobody reads what is in it
	case b.size > b.limits(lim).Bytes+boshWrapping:
		b.in = []boshInput{{err: &stanza.SyntaxError{Condition: "policy-violation", Text: "body too big"}}}
	case err != nil:
		b.in = append(b.in, boshInput{err: err})
	}
	return b, nil
}

func (b *boshBody) limits(usual stanza.Limits) stanza.Limits {
	if b.wire == nil {
		return usual
	}
	return b.wire.limits()
}

// attributes reads those that every body may have.
func (b *boshBody) attributes() (err error) {
	if b.rid, err = strconv.ParseUint(b.Attr("rid"), 10, 64); err != nil || b.rid > boshMaxRID || b.rid == 0 {
		return errBOSHBody
	}
	b.terminate = b.Attr("type") == "terminate"
	restart := b.extra("restart")
	b.restart = restart == "true" || restart == "1"
	b.pause = time.Duration(b.number("pause", 0)) * time.Second
	return nil
}

// extra is an attribute of XEP-0206.
func (b *boshBody) extra(local string) string {
	for _, a := range b.Attrs {
		if a.Local == local && a.Space == nsXBOSH {
			return a.Value
		}
	}
	return ""
}

// number is an attribute that is a number of seconds or requests, usual if it is none.
func (b *boshBody) number(local string, usual int) int {
	n, err := strconv.Atoi(b.Attr(local))
	if err != nil || n < 0 || n > 1<<20 {
		return usual
	}
	return n
}

// streamHeader is what the body says of a stream as the header of one (XEP-0206 §3).
func (b *boshBody) streamHeader() *stanza.Header {
	version := b.extra("version")
	if version == "" {
		version = "1.0"
	}
	h := &stanza.Header{Name: stanza.Name{Space: stanza.NSStream, Local: "stream"}, Content: stanza.NSClient}
	h.Attrs = []stanza.Attr{{Local: "to", Value: b.Attr("to")}, {Local: "from", Value: b.Attr("from")}, {Local: "version", Value: version}}
	if l := b.Lang(); l != "" {
		h.Attrs = append(h.Attrs, stanza.Attr{Space: stanza.NSXML, Local: "lang", Value: l})
	}
	return h
}

// boshKey is a step in the chain of keys (XEP-0124 §15.3).
func boshKey(key string) string {
	sum := sha1.Sum([]byte(key))
	return hex.EncodeToString(sum[:])
}

// boshTag is the start of a body of ours, with name, value pairs; empty values are left out.
func boshTag(attrs ...string) []byte {
	b := []byte("<body xmlns='" + nsHTTPBind + "'")
	for i := 0; i+1 < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			b = stanza.AppendAttr(b, attrs[i], attrs[i+1])
		}
	}
	return b
}

// wrapBOSH puts content into the body that tag begins.
func wrapBOSH(tag, content []byte) []byte {
	if len(content) == 0 {
		return append(tag, "/>"...)
	}
	tag = append(tag, '>')
	tag = append(tag, content...)
	return append(tag, "</body>"...)
}

// terminateBody ends a session; condition may be empty.
func terminateBody(condition string) []byte {
	return wrapBOSH(boshTag("type", "terminate", "condition", condition), nil)
}

// isStreamError tells raw bytes of ours that are a stream error (stream.xml).
func isStreamError(raw []byte) bool { return bytes.HasPrefix(raw, []byte("<stream:error")) }
