package stanza

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// JIDError tells that an address attribute of a stanza is no JID: the answer is jid-malformed (RFC 6120 §8.3.3.8).
type JIDError struct {
	Attr  string // to or from
	Value string // as it was written
	Err   error
}

func (e *JIDError) Error() string { return "stanza: bad address in " + e.Attr + ": " + e.Err.Error() }

// Near is who an error about the address comes from: what is left of it without its resourcepart, or the zero value.
func (e *JIDError) Near() JID {
	bare, _, _ := strings.Cut(e.Value, "/")
	j, _ := ParseJID(bare)
	return j
}

// Item is one first-level element of a stream: a stanza or something else (SASL, stream management, ...), never both.
type Item struct {
	Stanza *Stanza
	Elem   *Element
	Bytes  int // length on the wire
}

// Parse reads exactly one stanza that declares its own namespace or none (then jabber:client is assumed). A bad address gives the stanza
// without it and a *JIDError; anything else is a *SyntaxError.
func Parse(b []byte) (*Stanza, error) {
	s := &scanner{deflt: NSClient}
	it, err := s.one(b)
	if it.Stanza == nil && err == nil {
		return nil, &SyntaxError{"unsupported-stanza-type", "no stanza"}
	}
	return it.Stanza, err
}

// ParseElement reads exactly one element; without a declaration it is in no namespace.
func ParseElement(b []byte) (*Element, error) {
	s := &scanner{}
	return s.oneElement(b)
}

// ParseFrame reads the one element of a WebSocket message (RFC 7395 §3.3) within lim. Errors are as for Parse.
func ParseFrame(b []byte, lim Limits) (Item, error) {
	s := &scanner{lim: lim}
	return s.one(b)
}

// ReadDocument reads a document whose root holds elements, as a body of BOSH does (XEP-0124): the root's start tag within lim, then with visit each element in it, within what
// root says. A bad address of a stanza is given to visit; all other errors are as for Parse. An error of root or visit ends the reading and is returned.
func ReadDocument(b []byte, lim Limits, root func(*Header) (Limits, error), visit func(it Item, bad *JIDError) error) error {
	src := bytes.NewReader(b)
	r := NewReader(src, lim)
	r.whole = true
	h, err := r.Header()
	if err != nil {
		return endedEarly(err)
	}
	if lim, err = root(h); err != nil {
		return err
	}
	r.SetLimits(lim)
	for !r.ended {
		it, err := r.Next()
		var bad *JIDError
		switch {
		case err == ErrStreamEnd: // of Next itself
			r.ended = true
			continue
		case err != nil && !errors.As(err, &bad):
			return endedEarly(err)
		}
		if err := visit(it, bad); err != nil {
			return err
		}
	}
	if rest := bytes.TrimSpace(b[len(b)-src.Len()-r.Buffered():]); len(rest) > 0 {
		return notWellFormed("something after the end of the document")
	}
	return nil
}

// endedEarly makes the end of the bytes an error of form.
func endedEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return notWellFormed("the document ends too early")
	}
	return err
}

func (s *scanner) oneElement(b []byte) (*Element, error) {
	if err := s.begin(b); err != nil {
		return nil, err
	}
	e, err := s.element()
	if err != nil {
		return nil, err
	}
	return e, s.finish()
}

// begin scans the start tag of the one top-level element.
func (s *scanner) begin(b []byte) error {
	if err := s.reset(b); err != nil {
		return err
	}
	switch t, err := s.next(); {
	case err != nil:
		return err
	case t != tokStart:
		return notWellFormed("no element")
	}
	return nil
}

func (s *scanner) finish() error {
	t, err := s.next()
	if err == nil && t != tokEOF {
		err = notWellFormed("more than one element")
	}
	return err
}

func kindOf(space string, local []byte) Kind {
	if space != NSClient {
		return 0
	}
	switch string(local) {
	case "message":
		return Message
	case "presence":
		return Presence
	case "iq":
		return IQ
	}
	return 0
}

// one reads a whole top-level element, as stanza when it is one.
func (s *scanner) one(b []byte) (Item, error) {
	if err := s.begin(b); err != nil {
		return Item{}, err
	}
	it := Item{Bytes: len(b)}
	kind := kindOf(s.space, s.local)
	if kind == 0 {
		e, err := s.element()
		if err != nil {
			return Item{}, err
		}
		it.Elem = e
		return it, s.finish()
	}
	p := &parsed{}
	st := &p.Stanza
	st.Kind, st.tree, st.Names = kind, &p.box, p.names[:0]
	jerr, err := s.head(st)
	if err != nil {
		return Item{}, err
	}
	if err := s.body(st); err != nil {
		return Item{}, err
	}
	if err := s.finish(); err != nil {
		return Item{}, err
	}
	it.Stanza = st
	if jerr != nil {
		return it, jerr
	}
	return it, nil
}

// head takes the attributes of the stanza that the scanner stands on.
func (s *scanner) head(st *Stanza) (jerr *JIDError, err error) {
	for i := range s.attrs {
		a := &s.attrs[i]
		v, err := s.value(a)
		if err != nil {
			return nil, err
		}
		if a.space == NSXML && string(a.local) == "lang" {
			st.Lang = intern(v)
		}
		if a.space != "" {
			continue
		}
		var bad error
		switch string(a.local) {
		case "id":
			st.ID = string(v)
		case "type":
			st.Type = intern(v)
		case "to":
			st.To, bad = addr(string(v))
		case "from":
			st.From, bad = addr(string(v))
		}
		if bad != nil {
			jerr = &JIDError{intern(a.local), string(v), bad}
		}
	}
	return jerr, nil
}

// parsed is a stanza that was read with what nearly each one needs besides: one piece of memory.
type parsed struct {
	Stanza
	box   treeBox
	names [usualChildren]Name
}

func addr(v string) (JID, error) {
	if v == "" { // an empty `to` is what some clients write for none
		return JID{}, nil
	}
	return ParseJID(v)
}

// value is the decoded value of an attribute, good until the next one is asked for.
func (s *scanner) value(a *rawAttr) ([]byte, error) {
	if a.plain() {
		return a.raw, nil
	}
	dec, err := appendDecoded(s.scratch[:0], a.raw, true)
	if err != nil {
		return nil, err
	}
	s.scratch = dec
	return dec, nil
}

// textValue is the decoded text of a tokText.
func (s *scanner) textValue() (string, error) {
	k := classes(s.text)
	if err := check(s.text, k, false); err != nil {
		return "", err
	}
	if s.cdata {
		s.scratch = appendCDATA(s.scratch[:0], s.text)
		return string(s.scratch), nil
	}
	if k&textCare == 0 {
		return string(s.text), nil
	}
	dec, err := appendDecoded(s.scratch[:0], s.text, false)
	if err != nil {
		return "", err
	}
	s.scratch = dec
	return string(dec), nil
}

// usualChildren is how many a message of today's clients has.
const usualChildren = 4

// body writes the children in canonical form, without a tree in between. It must write what Element.AppendXML writes: a test compares.
func (s *scanner) body(st *Stanza) error {
	depth := len(s.open)
	if s.closing { // <presence/>
		_, err := s.next()
		return err
	}
	w := &s.w
	w.out, w.open, w.pending = make([]byte, 0, len(s.b)-s.i), w.open[:0], false // mostly as long as it came
	for {
		t, err := s.next()
		if err != nil {
			return err
		}
		switch t {
		case tokStart:
			if len(s.open) == depth+1 {
				st.Names = append(st.Names, Name{s.space, intern(s.local)})
			}
			if err := w.start(s, len(s.open) == depth+1); err != nil {
				return err
			}
		case tokEnd:
			if len(s.open) < depth {
				st.inner, w.out = w.out, nil
				return nil
			}
			w.end()
		case tokText:
			if len(s.open) == depth { // no character data directly in a stanza (RFC 6120 §8): indentation mostly
				if _, err := s.textValue(); err != nil {
					return err
				}
				continue
			}
			if err := w.text(s); err != nil {
				return err
			}
		}
	}
}

// writer makes canonical bytes of tokens.
type writer struct {
	out     []byte
	pending bool // the last start tag still lacks its '>' or '/>'
	open    []written
}

type written struct {
	local []byte
	space string
}

func (w *writer) start(s *scanner, top bool) error {
	if w.pending {
		w.out = append(w.out, '>')
	}
	parent := NSClient
	if !top {
		parent = w.open[len(w.open)-1].space
	}
	w.out = append(w.out, '<')
	w.out = append(w.out, s.local...)
	if s.space != parent {
		w.out = AppendAttr(w.out, "xmlns", s.space)
	}
	for i := range s.attrs {
		if a := &s.attrs[i]; a.space != "" && a.space != NSXML {
			return w.startPrefixed(s)
		}
	}
	for i := range s.attrs {
		a := &s.attrs[i]
		w.out = append(w.out, ' ')
		if a.space == NSXML {
			w.out = append(w.out, "xml:"...)
		}
		w.out = append(w.out, a.local...)
		w.out = append(w.out, '=', '\'')
		if a.plain() {
			w.out = append(w.out, a.raw...)
		} else {
			v, err := s.value(a)
			if err != nil {
				return err
			}
			w.out = appendEscaped(w.out, string(v), true)
		}
		w.out = append(w.out, '\'')
	}
	w.push(s)
	return nil
}

// startPrefixed is the rare start tag with attributes of other namespaces.
func (w *writer) startPrefixed(s *scanner) error {
	attrs, err := s.attrList()
	if err != nil {
		return err
	}
	w.out = appendAttrs(w.out, attrs)
	w.push(s)
	return nil
}

func (w *writer) push(s *scanner) {
	w.open = append(w.open, written{s.local, s.space})
	w.pending = true
}

func (w *writer) end() {
	e := w.open[len(w.open)-1]
	w.open = w.open[:len(w.open)-1]
	if w.pending {
		w.pending = false
		w.out = append(w.out, '/', '>')
		return
	}
	w.out = append(w.out, '<', '/')
	w.out = append(w.out, e.local...)
	w.out = append(w.out, '>')
}

func (w *writer) text(s *scanner) error {
	if len(s.text) == 0 {
		return nil
	}
	if w.pending {
		w.out = append(w.out, '>')
		w.pending = false
	}
	if k := classes(s.text); k&textCare == 0 {
		if err := check(s.text, k, false); err != nil {
			return err
		}
		w.out = append(w.out, s.text...)
		return nil
	}
	v, err := s.textValue()
	if err != nil {
		return err
	}
	w.out = AppendText(w.out, v)
	return nil
}

func (s *scanner) attrList() ([]Attr, error) {
	if len(s.attrs) == 0 {
		return nil, nil
	}
	attrs := make([]Attr, 0, len(s.attrs))
	for i := range s.attrs {
		a := &s.attrs[i]
		v, err := s.value(a)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, Attr{a.space, intern(a.local), intern(v)})
	}
	return attrs, nil
}

// element builds the tree of the element whose start was just scanned.
func (s *scanner) element() (*Element, error) {
	attrs, err := s.attrList()
	if err != nil {
		return nil, err
	}
	root := &Element{Name: Name{s.space, intern(s.local)}, Attrs: attrs}
	stack := []*Element{root}
	for {
		t, err := s.next()
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch t {
		case tokStart:
			attrs, err := s.attrList()
			if err != nil {
				return nil, err
			}
			e := &Element{Name: Name{s.space, intern(s.local)}, Attrs: attrs}
			top.Nodes = append(top.Nodes, Node{Elem: e})
			stack = append(stack, e)
		case tokEnd:
			if stack = stack[:len(stack)-1]; len(stack) == 0 {
				return root, nil
			}
		case tokText:
			v, err := s.textValue()
			if err != nil {
				return nil, err
			}
			top.appendText(v)
		}
	}
}

// appendText joins neighbouring runs, so that a tree does not depend on how its text was written.
func (e *Element) appendText(v string) {
	if v == "" {
		return
	}
	if n := len(e.Nodes); n > 0 && e.Nodes[n-1].Elem == nil {
		e.Nodes[n-1].Text += v
		return
	}
	e.Nodes = append(e.Nodes, Node{Text: v})
}

// decodeInner makes trees of the canonical children of a stanza. They passed the limits when they came in.
func decodeInner(b []byte) ([]Node, error) {
	if len(b) == 0 {
		return nil, nil
	}
	s := &scanner{deflt: NSClient}
	if err := s.reset(b); err != nil {
		return nil, err
	}
	var out []Node
	for {
		switch t, err := s.next(); {
		case err != nil:
			return nil, err
		case t == tokEOF:
			return out, nil
		case t != tokStart:
			return nil, notWellFormed("no element")
		}
		e, err := s.element()
		if err != nil {
			return nil, err
		}
		out = append(out, Node{Elem: e})
	}
}
