package stanza

import (
	"strings"
	"unicode/utf8"
)

// Name is an expanded element name: namespace and local part.
type Name struct{ Space, Local string }

// Attr is one attribute; Space is the namespace of a prefixed one (xml:lang has Space NSXML). Namespace declarations
// are no attributes.
type Attr struct{ Space, Local, Value string }

// Node is an element or a run of character data, in document order.
type Node struct {
	Elem *Element // nil for text
	Text string   // unescaped
}

// Element is a decoded element, for those who need a payload. It is built or decoded by one goroutine and not changed
// once it has gone into a Stanza.
type Element struct {
	Name
	Attrs []Attr
	Nodes []Node
}

// NewElement makes an element; attrs are name, value pairs, and a pair whose value is "" is left out.
func NewElement(space, local string, attrs ...string) *Element {
	e := &Element{Name: Name{space, local}}
	if len(attrs) > 1 {
		e.Attrs = make([]Attr, 0, len(attrs)/2)
	}
	for i := 0; i+1 < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			e.Attrs = append(e.Attrs, Attr{Local: attrs[i], Value: attrs[i+1]})
		}
	}
	return e
}

// TextElement makes an element that holds text only.
func TextElement(space, local, text string, attrs ...string) *Element {
	return NewElement(space, local, attrs...).AddText(text)
}

// Add appends children (nil ones are passed over) and returns e.
func (e *Element) Add(children ...*Element) *Element {
	for _, c := range children {
		if c != nil {
			e.Nodes = append(e.Nodes, Node{Elem: c})
		}
	}
	return e
}

// AddText appends character data and returns e.
func (e *Element) AddText(s string) *Element {
	if s != "" {
		e.Nodes = append(e.Nodes, Node{Text: s})
	}
	return e
}

// SetAttr sets an unprefixed attribute and returns e.
func (e *Element) SetAttr(local, value string) *Element {
	for i := range e.Attrs {
		if e.Attrs[i].Space == "" && e.Attrs[i].Local == local {
			e.Attrs[i].Value = value
			return e
		}
	}
	e.Attrs = append(e.Attrs, Attr{Local: local, Value: value})
	return e
}

// Attr is the value of an unprefixed attribute, "" if absent. It accepts a nil element.
func (e *Element) Attr(local string) string {
	if e == nil {
		return ""
	}
	for i := range e.Attrs {
		if e.Attrs[i].Space == "" && e.Attrs[i].Local == local {
			return e.Attrs[i].Value
		}
	}
	return ""
}

// Child is the first child with that name, or nil. It accepts a nil element, so look-ups chain.
func (e *Element) Child(space, local string) *Element {
	if e == nil {
		return nil
	}
	for _, n := range e.Nodes {
		if n.Elem != nil && n.Elem.Local == local && n.Elem.Space == space {
			return n.Elem
		}
	}
	return nil
}

// Children are the child elements in order.
func (e *Element) Children() []*Element {
	if e == nil {
		return nil
	}
	var out []*Element
	for _, n := range e.Nodes {
		if n.Elem != nil {
			out = append(out, n.Elem)
		}
	}
	return out
}

// ChildrenNamed are the child elements with that name in order.
func (e *Element) ChildrenNamed(space, local string) []*Element {
	var out []*Element
	for _, c := range e.Children() {
		if c.Local == local && c.Space == space {
			out = append(out, c)
		}
	}
	return out
}

// Text is the concatenated character data directly inside e. It accepts a nil element.
func (e *Element) Text() string {
	if e == nil {
		return ""
	}
	var b strings.Builder
	for _, n := range e.Nodes {
		b.WriteString(n.Text)
	}
	return b.String()
}

// AppendXML appends the one canonical form of e: no prefixes on elements, xmlns only where it differs from parentSpace,
// empty elements self-closed, attributes in order. Prefixed attributes get a declaration on the element that has them.
func (e *Element) AppendXML(dst []byte, parentSpace string) []byte {
	dst = append(dst, '<')
	dst = append(dst, e.Local...)
	if e.Space != parentSpace {
		dst = AppendAttr(dst, "xmlns", e.Space)
	}
	dst = appendAttrs(dst, e.Attrs)
	if len(e.Nodes) == 0 {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	for _, n := range e.Nodes {
		if n.Elem != nil {
			dst = n.Elem.AppendXML(dst, e.Space)
		} else {
			dst = AppendText(dst, n.Text)
		}
	}
	dst = append(dst, '<', '/')
	dst = append(dst, e.Local...)
	return append(dst, '>')
}

func appendAttrs(dst []byte, attrs []Attr) []byte {
	for i, a := range attrs {
		switch a.Space {
		case "":
			dst = AppendAttr(dst, a.Local, a.Value)
		case NSXML:
			dst = AppendAttr(dst, "xml:"+a.Local, a.Value)
		default:
			p := prefixFor(attrs[:i], a.Space)
			if p == "" {
				p = "ns" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
				dst = AppendAttr(dst, "xmlns:"+p, a.Space)
			}
			dst = AppendAttr(dst, p+":"+a.Local, a.Value)
		}
	}
	return dst
}

// prefixFor is the prefix that an earlier attribute of the same element already declared for space, or "".
func prefixFor(earlier []Attr, space string) string {
	for i, a := range earlier {
		if a.Space == space {
			return "ns" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		}
	}
	return ""
}

// AppendAttr appends an attribute with its value escaped, as " name='value'".
func AppendAttr(dst []byte, name, value string) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=', '\'')
	dst = appendEscaped(dst, value, true)
	return append(dst, '\'')
}

// AppendText appends s escaped as character data.
func AppendText(dst []byte, s string) []byte { return appendEscaped(dst, s, false) }

// appendEscaped replaces what is no XML character by U+FFFD: one such byte would end the receiver's stream.
func appendEscaped(dst []byte, s string, attr bool) []byte {
	care := uint8(textCare | forbidden | beyondASCII)
	if attr {
		care |= attrCare
	}
	last := 0
	for i := 0; i < len(s); i++ {
		if class[s[i]]&care == 0 {
			continue
		}
		esc, width := escape(s[i:], attr)
		if esc == "" {
			i += width - 1
			continue
		}
		dst = append(dst, s[last:i]...)
		dst = append(dst, esc...)
		i += width - 1
		last = i + 1
	}
	return append(dst, s[last:]...)
}

func attrEscape(c byte) string {
	switch c {
	case '\n':
		return "&#xA;"
	case '\t':
		return "&#x9;"
	}
	return "&apos;"
}

// escape tells what to write for the first character of s, "" for itself, and its length.
func escape(s string, attr bool) (esc string, width int) {
	switch c := s[0]; c {
	case '&':
		return "&amp;", 1
	case '<':
		return "&lt;", 1
	case '>':
		return "&gt;", 1
	case '\r':
		return "&#xD;", 1
	case '\'', '\n', '\t':
		if !attr {
			return "", 1
		}
		return attrEscape(c), 1
	}
	r, width := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && width == 1 || !isChar(r) {
		return "\uFFFD", width
	}
	return "", width
}

// AsElement is the stanza as an element, to be wrapped in another one (XEP-0297).
func (s *Stanza) AsElement() *Element {
	e := NewElement(NSClient, s.Kind.String(), "from", s.From.String(), "to", s.To.String(), "id", s.ID, "type", s.Type).Add(s.Payload()...)
	if s.Lang != "" {
		e.Attrs = append(e.Attrs, Attr{Space: NSXML, Local: "lang", Value: s.Lang})
	}
	return e
}

// FromElement is the stanza that was wrapped, strict as from a stream.
func FromElement(e *Element) (*Stanza, error) { return Parse(e.AppendXML(nil, "")) }
