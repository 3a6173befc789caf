package stanza

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// ErrStreamEnd is the peer's </stream:stream>.
var ErrStreamEnd = errors.New("stanza: end of stream")

// Header is the start tag of a stream (RFC 6120 §4.7).
type Header struct {
	Name           // {NSStream}stream where it is one
	Content string // default namespace: jabber:client, jabber:server, ...
	Attrs   []Attr
}

// Attr is the value of an unprefixed attribute, "" if absent.
func (h *Header) Attr(local string) string { return (&Element{Attrs: h.Attrs}).Attr(local) }

// Lang is xml:lang.
func (h *Header) Lang() string {
	for _, a := range h.Attrs {
		if a.Space == NSXML && a.Local == "lang" {
			return a.Value
		}
	}
	return ""
}

// Buffers lends Readers what they read into while an element is under way. The zero value is ready; safe for concurrent use.
type Buffers struct{ pool sync.Pool }

func (p *Buffers) get() []byte {
	if b, ok := p.pool.Get().(*[readChunk]byte); ok {
		return b[:]
	}
	return new([readChunk]byte)[:]
}

func (p *Buffers) put(b []byte) { p.pool.Put((*[readChunk]byte)(b)) }

// Reader cuts a byte stream into its header and first-level elements. It is used by one goroutine and blocks in Read of its source. It
// has no buffer while nothing is under way: most streams of a server are idle.
type Reader struct {
	src io.Reader
	own *Buffers
	buf []byte
	lo  int // buf[lo:hi] was read and not used
	hi  int
	s   scanner
	fr  framer

	partial bool // the last read failed within an element: the framer goes on
	whole   bool // one document, whose root may be empty; set by ReadDocument
	ended   bool // the root was empty
}

const (
	readChunk  = 8 << 10   // of a pooled buffer, and the least that one of our own grows to; a TLS record holds at most 16 KiB
	maxElement = 256 << 20 // in case of no limit
)

// NewReader reads from src within lim.
func NewReader(src io.Reader, lim Limits) *Reader {
	return (&Buffers{}).NewReader(src, lim)
}

// NewReader makes a Reader that borrows from p.
func (p *Buffers) NewReader(src io.Reader, lim Limits) *Reader {
	return &Reader{src: src, own: p, s: scanner{lim: lim}}
}

// SetLimits changes what the next element may cost.
func (r *Reader) SetLimits(lim Limits) { r.s.lim = lim }

// Reset starts over on src, for the stream restart after STARTTLS and SASL. Bytes that came too early are dropped after
// STARTTLS (they were not encrypted: RFC 6120 §5.4.3.3) and kept otherwise.
func (r *Reader) Reset(src io.Reader, keep bool) {
	if !keep {
		r.lo, r.hi = 0, 0
	}
	r.src = src
	r.fr, r.partial = framer{}, false
	r.s = scanner{lim: r.s.lim}
}

// Buffered tells how many bytes were read and not used.
func (r *Reader) Buffered() int { return r.hi - r.lo }

// SkipSpace drops the white space that was read and not used.
func (r *Reader) SkipSpace() {
	for r.lo < r.hi && isSpace(r.buf[r.lo:r.lo+1]) {
		r.consume(1)
	}
}

// Header reads an optional XML declaration and the start tag of the stream.
func (r *Reader) Header() (*Header, error) {
	r.fr.restart(true)
	raw, err := r.frame()
	if err != nil {
		return nil, err
	}
	defer r.consume(len(raw))
	if raw, err = stripDeclaration(raw); err != nil {
		return nil, err
	}
	s := &r.s
	s.base, s.deflt = 0, ""
	if err := s.begin(raw); err != nil {
		return nil, err
	}
	if s.closing && !r.whole {
		return nil, notWellFormed("stream closed by its start tag")
	}
	attrs, err := s.attrList()
	if err != nil {
		return nil, err
	}
	h := &Header{Name: Name{s.space, intern(s.local)}, Content: s.open[0].deflt, Attrs: attrs}
	r.ended, s.closing = s.closing, false
	s.base, s.deflt, s.open = len(s.binds), h.Content, s.open[:0]
	if h.Content != NSClient {
		s.content = h.Content
	}
	r.fr.restart(false)
	return h, nil
}

// Next reads the next first-level element. White space between them (keep-alives) is passed over. The errors are ErrStreamEnd, *SyntaxError,
// *JIDError (with the stanza: the stream goes on), and those of the source, after which it may be called again where the source may be.
func (r *Reader) Next() (Item, error) {
	if !r.partial {
		r.fr.restart(false)
	}
	raw, err := r.frame()
	if r.partial = err != nil; err != nil {
		return Item{}, err
	}
	defer r.consume(len(raw))
	if len(raw) > 1 && raw[0] == '<' && raw[1] == '/' {
		return Item{}, ErrStreamEnd
	}
	return r.s.one(raw)
}

// frame reads until the framer has seen a whole element, and gives its bytes; leading white space is gone.
func (r *Reader) frame() ([]byte, error) {
	limit := r.s.lim.Bytes
	if limit <= 0 {
		limit = maxElement
	}
	for {
		if r.fr.pos == 0 { // keep-alives do not count
			for r.lo < r.hi && isSpace(r.buf[r.lo:r.lo+1]) {
				r.lo++
			}
		}
		done, err := r.fr.advance(r.buf[r.lo:r.hi])
		if err != nil {
			return nil, err
		}
		if done {
			if r.fr.pos > limit {
				return nil, tooMuch("stanza too big")
			}
			return r.buf[r.lo : r.lo+r.fr.pos], nil
		}
		if r.hi-r.lo > limit {
			return nil, tooMuch("stanza too big")
		}
		if r.s.lim.Depth > 0 && r.fr.depth > r.s.lim.Depth {
			return nil, tooMuch("elements nested too deep")
		}
		if err := r.fill(limit); err != nil {
			return nil, err
		}
	}
}

func (r *Reader) fill(limit int) error {
	if r.hi == len(r.buf) {
		if r.lo > 0 {
			r.hi = copy(r.buf, r.buf[r.lo:r.hi])
			r.lo = 0
		} else {
			r.grow(limit)
		}
	}
	n, err := r.src.Read(r.buf[r.hi:])
	r.hi += n
	if n > 0 || err == nil {
		return nil
	}
	r.release()
	if err == io.EOF && r.hi > r.lo {
		return io.ErrUnexpectedEOF
	}
	return err
}

// grow takes a pooled buffer, or makes one that is larger than what we have.
func (r *Reader) grow(limit int) {
	old := r.buf
	if old == nil {
		r.buf = r.own.get()
		return
	}
	r.buf = make([]byte, min(2*len(old), len(old)+limit))
	copy(r.buf, old[:r.hi])
	if len(old) == readChunk {
		r.own.put(old)
	}
}

// consume drops the first n bytes.
func (r *Reader) consume(n int) {
	if r.lo += n; r.lo < r.hi {
		return
	}
	if r.lo, r.hi = 0, 0; len(r.buf) > readChunk {
		r.buf = nil
	}
}

// release gives the buffer back if nothing is in it.
func (r *Reader) release() {
	if r.lo < r.hi {
		return
	}
	if len(r.buf) == readChunk {
		r.own.put(r.buf)
	}
	r.buf, r.lo, r.hi = nil, 0, 0
}

func stripDeclaration(raw []byte) ([]byte, error) {
	if !bytes.HasPrefix(raw, []byte("<?xml")) {
		return raw, nil
	}
	end := bytes.Index(raw, []byte("?>"))
	if end < 0 {
		return nil, notWellFormed("XML declaration without end")
	}
	return raw[end+2:], checkDeclaration(raw[5:end])
}

// checkDeclaration accepts version 1.0 and UTF-8 only (RFC 6120 §11.6).
func checkDeclaration(attrs []byte) error {
	s := &scanner{}
	doc := append(append([]byte("<xml"), attrs...), '/', '>')
	if err := s.begin(doc); err != nil {
		return notWellFormed("bad XML declaration")
	}
	for i, a := range s.attrs {
		switch {
		case i == 0 && string(a.local) == "version" && string(a.raw) == "1.0":
		case i > 0 && string(a.local) == "encoding":
			if !bytes.EqualFold(a.raw, []byte("utf-8")) {
				return &SyntaxError{"unsupported-encoding", "only UTF-8 is spoken here"}
			}
		case i > 0 && string(a.local) == "standalone":
		default:
			return notWellFormed("bad XML declaration")
		}
	}
	if len(s.attrs) == 0 {
		return notWellFormed("bad XML declaration")
	}
	return nil
}

// framer finds where a first-level element ends, with hardly a judgement of what is inside; it goes on where it stopped when more bytes come.
// What RFC 6120 §11.1 forbids is refused at once, and so is an end tag that does not match: the element might never end.
type framer struct {
	pos    int // bytes looked at
	depth  int
	tagAt  int      // where the tag begins that is being looked at
	names  []uint32 // where the names of the open elements begin, as deep as maxNames
	state  frameState
	quote  byte
	header bool // stop after the first start tag; an XML declaration may come first
}

// maxNames is how deep end tags are compared with start tags; below that the parser does it, once the element has ended.
const maxNames = 64

// restart makes f ready for the next element.
func (f *framer) restart(header bool) { *f = framer{header: header, names: f.names[:0]} }

// matches tells whether the end tag b[f.tagAt:end] is that of the innermost open element.
func (f *framer) matches(b []byte, end int) bool {
	if f.depth > maxNames {
		return true
	}
	at := int(f.names[f.depth-1])
	f.names = f.names[:f.depth-1]
	name := bytes.TrimRight(b[f.tagAt+2:end-1], " \t\r\n")
	if len(name) == 0 || at+len(name) >= len(b) || !bytes.Equal(b[at:at+len(name)], name) {
		return false
	}
	switch b[at+len(name)] {
	case ' ', '\t', '\r', '\n', '>', '/':
		return true
	}
	return false
}

type frameState uint8

const (
	inText frameState = iota
	inTag             // of a start tag
	inQuote
	inEndTag
	inCDATA
	inDeclaration
)

// advance looks at b from pos on; done means that the element ends at pos.
func (f *framer) advance(b []byte) (done bool, err error) {
	for f.pos < len(b) {
		rest := b[f.pos:]
		switch f.state {
		case inText:
			if more, err := f.text(rest); err != nil || more {
				return false, err
			}
		case inTag:
			if f.tag(b) {
				return true, nil
			}
		case inQuote:
			if n := bytes.IndexByte(rest, f.quote); n >= 0 {
				f.pos += n + 1
				f.state = inTag
			} else {
				f.pos = len(b)
			}
		case inEndTag:
			n := bytes.IndexByte(rest, '>')
			if n < 0 {
				f.pos = len(b)
				return false, nil
			}
			f.pos += n + 1
			if f.depth > 0 && !f.matches(b, f.pos) {
				return false, notWellFormed("end tag does not match")
			}
			f.depth--
			f.state = inText
			if f.depth <= 0 {
				return true, nil
			}
		case inCDATA, inDeclaration:
			mark := "]]>"
			if f.state == inDeclaration {
				mark = "?>"
			}
			n := bytes.Index(rest, []byte(mark))
			if n < 0 { // look again at what could be the beginning of the mark
				f.pos = max(f.pos, len(b)-len(mark)+1)
				return false, nil
			}
			f.pos += n + len(mark)
			f.state = inText
		}
	}
	return false, nil
}

// text looks for '<' and what it begins; more: not enough bytes to tell.
func (f *framer) text(rest []byte) (more bool, err error) {
	n := bytes.IndexByte(rest, '<')
	if f.depth == 0 && (n != 0) {
		if n < 0 {
			n = len(rest)
		}
		if !isSpace(rest[:n]) {
			return false, notWellFormed("text outside of a stanza")
		}
		f.pos += n
		return n == len(rest), nil
	}
	if n < 0 {
		f.pos += len(rest)
		return true, nil
	}
	tag := rest[n:]
	if len(tag) < 2 {
		f.pos += n
		return true, nil
	}
	switch tag[1] {
	case '/':
		f.state = inEndTag
	case '?':
		if !f.header || f.depth > 0 || f.pos+n > 0 {
			return false, restricted("processing instruction")
		}
		if len(tag) < 6 {
			return true, nil
		}
		if string(tag[:5]) != "<?xml" || !isSpace(tag[5:6]) {
			return false, restricted("processing instruction")
		}
		f.state = inDeclaration
	case '!':
		const begin = "<![CDATA["
		k := min(len(tag), len(begin))
		if string(tag[:k]) != begin[:k] {
			return false, restricted("comment or document type")
		}
		if k < len(begin) {
			f.pos += n
			return true, nil
		}
		if f.depth == 0 {
			return false, notWellFormed("text outside of a stanza")
		}
		f.pos += n + k
		f.state = inCDATA
		return false, nil
	default:
		if class[tag[1]]&nameStart == 0 {
			return false, notWellFormed("bad name")
		}
		f.state = inTag
	}
	f.tagAt = f.pos + n
	f.pos += n + 2
	return false, nil
}

// tag walks through a start tag; done: the element, or the header, ends here.
func (f *framer) tag(b []byte) (done bool) {
	for ; f.pos < len(b); f.pos++ {
		switch c := b[f.pos]; c {
		case '\'', '"':
			f.quote, f.state = c, inQuote
			f.pos++
			return false
		case '>':
			closed := b[f.pos-1] == '/'
			f.pos++
			f.state = inText
			if !closed {
				if f.depth < maxNames {
					f.names = append(f.names, uint32(f.tagAt+1)) // fits: maxElement
				}
				f.depth++
			}
			return f.header || f.depth == 0
		}
	}
	return false
}
