package stanza

import (
	"bytes"
	"encoding/xml"
	"strings"
	"unicode/utf8"
)

// nsXMLNS is bound to the prefix xmlns, which nobody may declare (Namespaces in XML 1.0 §3).
const nsXMLNS = "http://www.w3.org/2000/xmlns/"

// Limits bound what one top-level element may cost its reader. Zero fields mean no limit.
type Limits struct {
	Bytes    int // of one stanza or stream header, as it is on the wire
	Depth    int // nested elements, the stanza itself is 1
	Elements int // in one stanza
	Attrs    int // on one element, namespace declarations included
	Bindings int // prefixes declared at one time: each look-up walks them
}

// SyntaxError is input that ends a stream: Condition is the stream error of RFC 6120 §4.9.3.
type SyntaxError struct {
	Condition string
	Text      string
}

func (e *SyntaxError) Error() string { return "stanza: " + e.Condition + ": " + e.Text }

func notWellFormed(text string) error { return &SyntaxError{"not-well-formed", text} }
func restricted(text string) error    { return &SyntaxError{"restricted-xml", text} }
func tooMuch(text string) error       { return &SyntaxError{"policy-violation", text} }
func badPrefix(text string) error     { return &SyntaxError{"bad-namespace-prefix", text} }

type token uint8

const (
	tokEOF token = iota
	tokStart
	tokEnd
	tokText
)

type binding struct{ prefix, uri string }

type openElem struct {
	raw   []byte // name as written, to compare with the end tag
	space string // its namespace
	deflt string // the default namespace inside
	binds int    // bindings to keep when it closes
}

// rawAttr is an attribute whose value is still as on the wire.
type rawAttr struct {
	prefix, local, raw []byte
	classes            uint8 // of raw
	space              string
}

// plain tells that the value is the same decoded, and the same encoded again.
func (a *rawAttr) plain() bool { return a.classes&attrCare == 0 }

// scanner is a strict, namespace-aware pull tokenizer over bytes that are complete. It accepts the XML that RFC 6120 §11 allows and no
// more; what it accepts, Expat and libxml2 accept too. It is used by one goroutine.
type scanner struct {
	b     []byte
	i     int
	lim   Limits
	open  []openElem
	binds []binding
	base  int    // bindings that the stream header made
	deflt string // default namespace at depth 0
	// content is a namespace that is read as NSClient (jabber:server and the like), so that stanzas of all streams look alike.
	content string

	elements int
	attrs    []rawAttr
	space    string // of the tokStart
	local    []byte // of the tokStart
	text     []byte // of the tokText, raw
	cdata    bool   // tokText came from a CDATA section
	closing  bool   // the start was self-closed: a tokEnd follows
	scratch  []byte
	w        writer
}

// reset prepares for the next top-level element; bindings of the header stay.
func (s *scanner) reset(b []byte) error {
	s.b, s.i, s.elements, s.closing = b, 0, 0, false
	s.open, s.binds = s.open[:0], s.binds[:s.base]
	if s.lim.Bytes > 0 && len(b) > s.lim.Bytes {
		return tooMuch("stanza too big")
	}
	if !utf8.Valid(b) {
		return notWellFormed("not UTF-8")
	}
	return nil
}

// next gives the next token. At depth 0 white space is passed over and other text refused.
func (s *scanner) next() (token, error) {
	if s.closing {
		s.closing = false
		s.pop()
		return tokEnd, nil
	}
	for {
		if s.i >= len(s.b) {
			if len(s.open) > 0 {
				return 0, notWellFormed("input ends inside an element")
			}
			return tokEOF, nil
		}
		if s.b[s.i] == '<' {
			break
		}
		n := bytes.IndexByte(s.b[s.i:], '<')
		if n < 0 {
			n = len(s.b) - s.i
		}
		raw := s.b[s.i : s.i+n]
		s.i += n
		if len(s.open) == 0 {
			if !isSpace(raw) {
				return 0, notWellFormed("text outside of a stanza")
			}
			continue
		}
		if bytes.Contains(raw, []byte("]]>")) {
			return 0, notWellFormed("]]> in text")
		}
		s.text, s.cdata = raw, false
		return tokText, nil
	}
	if s.i+1 >= len(s.b) {
		return 0, notWellFormed("input ends in a tag")
	}
	switch s.b[s.i+1] {
	case '/':
		return tokEnd, s.endTag()
	case '!':
		return tokText, s.cdataSection()
	case '?':
		return 0, restricted("processing instruction")
	}
	return tokStart, s.startTag()
}

func (s *scanner) cdataSection() error {
	const begin = "<![CDATA["
	rest := s.b[s.i:]
	if len(rest) < len(begin) || string(rest[:len(begin)]) != begin {
		return restricted("comment or document type")
	}
	if len(s.open) == 0 {
		return notWellFormed("text outside of a stanza")
	}
	n := bytes.Index(rest[len(begin):], []byte("]]>"))
	if n < 0 {
		return notWellFormed("CDATA section without end")
	}
	s.text, s.cdata = rest[len(begin):len(begin)+n], true
	s.i += len(begin) + n + 3
	return nil
}

func (s *scanner) pop() {
	e := s.open[len(s.open)-1]
	s.binds = s.binds[:e.binds]
	s.open = s.open[:len(s.open)-1]
}

func (s *scanner) endTag() error {
	s.i += 2
	if len(s.open) == 0 {
		return notWellFormed("end tag without start")
	}
	name := s.open[len(s.open)-1].raw
	if !bytes.HasPrefix(s.b[s.i:], name) {
		return notWellFormed("end tag does not match")
	}
	s.i += len(name)
	s.skipSpace()
	if s.i >= len(s.b) || s.b[s.i] != '>' {
		return notWellFormed("end tag does not match")
	}
	s.i++
	s.pop()
	return nil
}

// startTag reads from '<' to '>' and resolves the namespaces.
func (s *scanner) startTag() error {
	if s.elements++; s.lim.Elements > 0 && s.elements > s.lim.Elements {
		return tooMuch("too many elements")
	}
	if s.lim.Depth > 0 && len(s.open) >= s.lim.Depth {
		return tooMuch("elements nested too deep")
	}
	s.i++
	begin := s.i
	prefix, local, err := s.qname()
	if err != nil {
		return err
	}
	e := openElem{raw: s.b[begin:s.i], binds: len(s.binds), deflt: s.deflt}
	if len(s.open) > 0 {
		e.deflt = s.open[len(s.open)-1].deflt
	}
	if err := s.attributes(&e); err != nil {
		return err
	}
	if len(prefix) == 0 {
		e.space = e.deflt
	} else if e.space, err = s.lookup(prefix); err != nil {
		return err
	}
	for k := range s.attrs {
		a := &s.attrs[k]
		if len(a.prefix) > 0 {
			if a.space, err = s.lookup(a.prefix); err != nil {
				return err
			}
		}
		for _, o := range s.attrs[:k] {
			if bytes.Equal(o.local, a.local) && o.space == a.space {
				return notWellFormed("attribute twice")
			}
		}
	}
	s.space, s.local = e.space, local
	if s.content != "" && s.space == s.content {
		s.space = NSClient
	}
	s.open = append(s.open, e)
	return nil
}

// attributes reads up to and including '>' or '/>'; declarations go to binds, the rest to attrs.
func (s *scanner) attributes(e *openElem) error {
	s.attrs = s.attrs[:0]
	declared := false
	for count := 1; ; count++ {
		spaced := s.skipSpace()
		if s.i >= len(s.b) {
			return notWellFormed("input ends in a tag")
		}
		switch s.b[s.i] {
		case '>':
			s.i++
			return nil
		case '/':
			if s.i+1 >= len(s.b) || s.b[s.i+1] != '>' {
				return notWellFormed("stray / in a tag")
			}
			s.i += 2
			s.closing = true
			return nil
		}
		if !spaced {
			return notWellFormed("no space before an attribute")
		}
		if s.lim.Attrs > 0 && count > s.lim.Attrs {
			return tooMuch("too many attributes")
		}
		prefix, local, err := s.qname()
		if err != nil {
			return err
		}
		raw, k, err := s.attrValue()
		if err != nil {
			return err
		}
		switch {
		case len(prefix) == 0 && string(local) == "xmlns":
			if declared {
				return notWellFormed("attribute twice")
			}
			declared = true
			if e.deflt, err = s.namespace(raw, k); err != nil {
				return err
			}
		case string(prefix) == "xmlns":
			if err := s.bind(e, local, raw, k); err != nil {
				return err
			}
		default:
			s.attrs = append(s.attrs, rawAttr{prefix: prefix, local: local, raw: raw, classes: k})
		}
	}
}

// attrValue reads an attribute's value, as it is on the wire, and tells what its bytes are.
func (s *scanner) attrValue() (raw []byte, k uint8, err error) {
	s.skipSpace()
	if s.i >= len(s.b) || s.b[s.i] != '=' {
		return nil, 0, notWellFormed("attribute without value")
	}
	s.i++
	s.skipSpace()
	if s.i >= len(s.b) || s.b[s.i] != '\'' && s.b[s.i] != '"' {
		return nil, 0, notWellFormed("attribute value not quoted")
	}
	q := s.b[s.i]
	s.i++
	n := bytes.IndexByte(s.b[s.i:], q)
	if n < 0 {
		return nil, 0, notWellFormed("attribute value without end")
	}
	raw = s.b[s.i : s.i+n]
	s.i += n + 1
	k = classes(raw)
	return raw, k, check(raw, k, true)
}

// namespace decodes the value of a declaration, of bytes of classes k.
func (s *scanner) namespace(raw []byte, k uint8) (string, error) {
	dec, err := s.value(&rawAttr{raw: raw, classes: k})
	if err != nil {
		return "", err
	}
	uri := intern(dec)
	if uri == NSXML || uri == nsXMLNS {
		return "", notWellFormed("reserved namespace declared")
	}
	return uri, nil
}

// bind declares a prefix (Namespaces in XML 1.0 §3, §5).
func (s *scanner) bind(e *openElem, local, raw []byte, k uint8) error {
	if string(local) == "xml" {
		if string(raw) != NSXML {
			return notWellFormed("prefix xml rebound")
		}
		return nil
	}
	uri, err := s.namespace(raw, k)
	if err != nil {
		return err
	}
	if uri == "" || string(local) == "xmlns" {
		return notWellFormed("prefix bound to nothing or reserved")
	}
	for _, b := range s.binds[e.binds:] {
		if b.prefix == string(local) {
			return notWellFormed("attribute twice")
		}
	}
	if s.lim.Bindings > 0 && len(s.binds) >= s.lim.Bindings {
		return tooMuch("too many namespaces")
	}
	s.binds = append(s.binds, binding{intern(local), uri})
	return nil
}

func (s *scanner) lookup(prefix []byte) (string, error) {
	for i := len(s.binds) - 1; i >= 0; i-- {
		if s.binds[i].prefix == string(prefix) {
			return s.binds[i].uri, nil
		}
	}
	if string(prefix) == "xml" {
		return NSXML, nil
	}
	return "", badPrefix("prefix not declared")
}

func (s *scanner) skipSpace() bool {
	from := s.i
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
	return s.i > from
}

// qname reads a qualified name.
func (s *scanner) qname() (prefix, local []byte, err error) {
	from, colon := s.i, -1
	ascii := true
	for ; s.i < len(s.b); s.i++ {
		c := s.b[s.i]
		if c == ':' {
			if colon >= 0 {
				return nil, nil, notWellFormed("two colons in a name")
			}
			colon = s.i
			continue
		}
		if class[c]&nameChar == 0 {
			break
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	local = s.b[from:s.i]
	if colon >= 0 {
		prefix, local = s.b[from:colon], s.b[colon+1:s.i]
		if !nameOK(prefix, ascii) {
			return nil, nil, notWellFormed("bad name")
		}
	}
	if !nameOK(local, ascii) {
		return nil, nil, notWellFormed("bad name")
	}
	return prefix, local, nil
}

// nameOK checks an NCName. Names beyond ASCII are rare and go by the tables of encoding/xml, which are those of XML 1.0's fourth edition
// and so what Expat accepts.
func nameOK(n []byte, ascii bool) bool {
	if len(n) == 0 || class[n[0]]&nameStart == 0 {
		return false
	}
	if ascii {
		return true
	}
	t, err := xml.NewDecoder(strings.NewReader("<" + string(n) + "/>")).RawToken()
	_, ok := t.(xml.StartElement)
	return err == nil && ok
}

func isSpace(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
