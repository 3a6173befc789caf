package xmppload

import (
	"bytes"
	"errors"
)

// errBroken is input that no XMPP server may send.
var errBroken = errors.New("xmppload: the server's output is not well-formed")

// maxElement bounds what is kept of one unfinished element: larger than any server's own limit.
const maxElement = 8 << 20

// scanner cuts what a server sends into first-level elements, and judges no more of it than that takes. The stream header counts as an element of
// its own, as does the end of the stream.
type scanner struct {
	rest []byte // the beginning of an element whose end has not come yet
}

// feed calls f with each element that is complete; raw is only good during the call. known, if not nil, may take an element that it knows by itself: it
// tells how long that is, 0 when it knows none that b begins with.
func (s *scanner) feed(p []byte, known func(b []byte) int, f func(raw []byte)) error {
	b := p
	if len(s.rest) > 0 {
		s.rest = append(s.rest, p...)
		b = s.rest
	}
	for {
		for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
			b = b[1:]
		}
		if len(b) == 0 {
			s.rest = s.rest[:0]
			return nil
		}
		if known != nil {
			if n := known(b); n > 0 {
				b = b[n:]
				continue
			}
		}
		n, err := elementLen(b)
		if err != nil {
			return err
		}
		if n == 0 {
			if len(b) > maxElement {
				return errBroken
			}
			s.rest = append(s.rest[:0], b...) // b may lie in rest, further on: append copies forward
			return nil
		}
		f(b[:n])
		b = b[n:]
	}
}

// elementLen is the length of the element at the beginning of b, 0 when its end is not there.
func elementLen(b []byte) (int, error) {
	depth := 0
	for i := 0; i < len(b); {
		n := bytes.IndexByte(b[i:], '<')
		if n < 0 {
			return 0, nil
		}
		if depth == 0 && n > 0 {
			return 0, errBroken
		}
		if i += n; i+1 >= len(b) {
			return 0, nil
		}
		switch b[i+1] {
		case '/':
			if n = bytes.IndexByte(b[i:], '>'); n < 0 {
				return 0, nil
			}
			if i += n + 1; depth <= 1 { // of the element, or of the stream
				return i, nil
			}
			depth--
		case '?':
			if n = bytes.Index(b[i:], []byte("?>")); n < 0 {
				return 0, nil
			}
			return i + n + 2, nil
		case '!':
			return 0, errBroken
		default:
			end, closed := tagEnd(b, i)
			if end == 0 {
				return 0, nil
			}
			header := depth == 0 && bytes.HasPrefix(b[i:], []byte("<stream:stream"))
			if i = end; closed && depth == 0 || header {
				return i, nil
			}
			if !closed {
				depth++
			}
		}
	}
	return 0, nil
}

// tagEnd is where the start tag at b[i] ends, 0 when that is not there.
func tagEnd(b []byte, i int) (end int, closed bool) {
	for j := i + 1; j < len(b); j++ {
		switch c := b[j]; c {
		case '>':
			return j + 1, b[j-1] == '/'
		case '\'', '"':
			n := bytes.IndexByte(b[j+1:], c)
			if n < 0 {
				return 0, false
			}
			j += n + 1
		}
	}
	return 0, false
}

// elem is a first-level element with what is asked of its start tag, as written, found in one pass. Good as long as raw is.
type elem struct {
	raw, inner        []byte // all of it; what is behind the start tag
	name              []byte
	id, typ, to, from []byte // nil: is not there
}

func elemOf(raw []byte) elem {
	el := elem{raw: raw, name: name(raw)}
	key := 0 // where the attribute's name begins
	for i := 1 + len(el.name); i < len(raw); i++ {
		switch raw[i] {
		case ' ', '\t', '\r', '\n':
			key = i + 1
		case '>':
			el.inner = raw[i+1:]
			return el
		case '\'', '"':
			n := bytes.IndexByte(raw[i+1:], raw[i])
			if n < 0 || key >= i {
				return el
			}
			el.set(raw[key:i-1], raw[i+1:i+1+n])
			i += n + 1
		}
	}
	return el
}

// set keeps the attributes that are asked of.
func (el *elem) set(key, value []byte) {
	switch string(key) {
	case "id":
		el.id = value
	case "type":
		el.typ = value
	case "to":
		el.to = value
	case "from":
		el.from = value
	}
}

// name is the qualified name of the element as written.
func name(raw []byte) []byte {
	for i := 1; i < len(raw); i++ {
		switch raw[i] {
		case ' ', '>', '/', '\t', '\r', '\n':
			if i > 1 {
				return raw[1:i]
			}
		}
	}
	return nil
}

// attr is the value of an attribute of the element's start tag as written, nil if it is not there.
func attr(raw []byte, key string) []byte {
	end, _ := tagEnd(raw, 0)
	for j := 1; j < end; j++ {
		c := raw[j]
		if c != '\'' && c != '"' {
			continue
		}
		n := bytes.IndexByte(raw[j+1:end], c)
		if n < 0 {
			return nil
		}
		k := j - len(key) - 2 // the blank before the name
		if k > 0 && raw[j-1] == '=' && raw[k] == ' ' && string(raw[k+1:j-1]) == key {
			return raw[j+1 : j+1+n]
		}
		j += n + 1
	}
	return nil
}

// text is what stands in the first <tag> of the element that holds nothing but text, nil if there is none.
func text(raw []byte, tag string) []byte {
	for b := raw; ; {
		i := bytes.Index(b, []byte(tag))
		if i < 0 {
			return nil
		}
		after := b[i+len(tag):]
		if i > 0 && b[i-1] == '<' && len(after) > 0 && (after[0] == '>' || after[0] == ' ') {
			open := bytes.IndexByte(after, '>')
			if open < 0 {
				return nil
			}
			n := bytes.IndexByte(after[open+1:], '<')
			if n < 0 {
				return nil
			}
			return after[open+1 : open+1+n]
		}
		b = after
	}
}
