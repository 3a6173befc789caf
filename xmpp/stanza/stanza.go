// Package stanza is the currency of the messaging room: addresses, stanzas and the elements inside them.
//
// A Stanza is immutable bytes with a parsed head. Routing changes only the head (To, From) and shares the inner bytes, so
// a message to a room of a thousand is parsed once and its payload copied only into outgoing buffers. Who needs the payload
// calls Payload or Element. What comes out of AppendXML is canonical whatever came in (RFC 6120 §11, restricted XML).
package stanza

import "sync"

// Namespaces of the core (RFC 6120).
const (
	NSClient  = "jabber:client"
	NSServer  = "jabber:server"
	NSStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
	NSStream  = "http://etherx.jabber.org/streams"
	NSStreams = "urn:ietf:params:xml:ns:xmpp-streams"
	NSXML     = "http://www.w3.org/XML/1998/namespace"
)

// Kind is which of the three stanzas it is.
type Kind uint8

// The three stanza kinds (RFC 6120 §8).
const (
	Message Kind = iota + 1
	Presence
	IQ
)

var kindNames = [...]string{"", "message", "presence", "iq"}

func (k Kind) String() string { return kindNames[k] }

// Stanza is one message, presence or iq. Treat it as immutable: make a changed copy with WithTo, WithFrom and the like.
// Copying the struct is how that is done and is cheap.
type Stanza struct {
	Kind Kind
	Type string // "" where the attribute is absent
	ID   string
	Lang string // xml:lang
	From JID
	To   JID
	also *[]JID // further recipients; nil: none. A pointer, since stanzas are copied often
	// Names of the child elements in order: enough for hooks to choose by without decoding.
	Names []Name

	archive string // under which id archives have it; no part of the XML
	owner   JID    // the recipient whose archive has it; zero: only the sender's
	origin  Origin // where it came from

	inner []byte   // canonical XML of the children, in the scope of xmlns='jabber:client'
	tree  *treeBox // children decoded, once and shared by all copies
}

type treeBox struct {
	once  sync.Once // guards nodes, err
	nodes []Node
	err   error
}

// NewMessage, NewPresence and NewIQ build stanzas of our own.
func NewMessage(typ string, from, to JID, payload ...*Element) *Stanza {
	return build(Message, typ, "", from, to, payload)
}

// NewPresence builds a presence; typ "" is available.
func NewPresence(typ string, from, to JID, payload ...*Element) *Stanza {
	return build(Presence, typ, "", from, to, payload)
}

// NewIQ builds an iq; typ is get, set, result or error.
func NewIQ(typ, id string, from, to JID, payload ...*Element) *Stanza {
	return build(IQ, typ, id, from, to, payload)
}

func build(kind Kind, typ, id string, from, to JID, payload []*Element) *Stanza {
	s := &Stanza{Kind: kind, Type: typ, ID: id, From: from, To: to}
	s.setPayload(payload)
	return s
}

func (s *Stanza) setPayload(payload []*Element) {
	s.Names, s.inner, s.tree = nil, nil, &treeBox{}
	nodes := make([]Node, 0, len(payload))
	for _, e := range payload {
		if e == nil {
			continue
		}
		nodes = append(nodes, Node{Elem: e})
		s.Names = append(s.Names, e.Name)
		s.inner = e.AppendXML(s.inner, NSClient)
	}
	s.tree.once.Do(func() { s.tree.nodes = nodes })
}

// WithPayload is a copy with other children (to decode, change and replace: only what is changed is paid for).
func (s *Stanza) WithPayload(payload ...*Element) *Stanza {
	c := *s
	c.setPayload(payload)
	return &c
}

// WithAdded is a copy with one more child at the end; the others are not decoded.
func (s *Stanza) WithAdded(e *Element) *Stanza {
	c := *s
	c.Names = append(s.Names[:len(s.Names):len(s.Names)], e.Name)
	c.inner = e.AppendXML(append(make([]byte, 0, len(s.inner)+sizeHint), s.inner...), NSClient)
	c.tree = &treeBox{}
	return &c
}

// sizeHint is about the size of a small child.
const sizeHint = 128

// WithArchive is a copy that remembers under which id archives have it, among them that of owner. It is not part of the XML.
func (s *Stanza) WithArchive(id string, owner JID) *Stanza {
	c := *s
	c.archive, c.owner = id, owner
	return &c
}

// Archive is the id under which archives have the stanza, "" for none.
func (s *Stanza) Archive() string { return s.archive }

// ArchivedFor tells whether the archive of owner, a bare address, has the stanza.
func (s *Stanza) ArchivedFor(owner JID) bool { return s.archive != "" && s.owner == owner }

// Origin names a stanza by the channel that it came on (a session, another server) and its number there. The zero Origin is none.
type Origin struct {
	Channel, Number uint32
	Part            bool // for one of several recipients, and not the last: when it has it the stanza is not handled yet
}

// WithOrigin is a copy that remembers where it came from; what is made of the copy by With does too. It is not part of the XML.
func (s *Stanza) WithOrigin(o Origin) *Stanza { c := *s; c.origin = o; return &c }

// Origin is what WithOrigin said.
func (s *Stanza) Origin() Origin { return s.origin }

// Part is a copy for one of several recipients, and not the last of them (Origin.Part).
func (s *Stanza) Part() *Stanza {
	c := *s
	c.origin.Part = true
	return &c
}

// Inner is the first byte of the children as they are written, which copies share; nil where there are none. It tells copies by.
func (s *Stanza) Inner() *byte {
	if len(s.inner) == 0 {
		return nil
	}
	return &s.inner[0]
}

// WithTo is a copy addressed to another; the inner bytes are shared.
func (s *Stanza) WithTo(to JID) *Stanza { c := *s; c.To, c.also = to, nil; return &c }

// ForAll is a copy for several sessions of one account, all of which get it while its archive has it once: addressed to the first, and Also has the others.
func (s *Stanza) ForAll(to []JID) *Stanza {
	c, rest := *s, to[1:]
	c.To, c.also = to[0], &rest
	return &c
}

// Also are the recipients of ForAll but the first one, nil for what ForAll has not made.
func (s *Stanza) Also() []JID {
	if s.also == nil {
		return nil
	}
	return *s.also
}

// WithFrom is a copy from another; the inner bytes are shared.
func (s *Stanza) WithFrom(from JID) *Stanza { c := *s; c.From = from; return &c }

// WithFromTo is WithFrom and WithTo in one.
func (s *Stanza) WithFromTo(from, to JID) *Stanza {
	c := *s
	c.From, c.To, c.also = from, to, nil
	return &c
}

// WithID is a copy with another id.
func (s *Stanza) WithID(id string) *Stanza { c := *s; c.ID = id; return &c }

// WithType is a copy with another type.
func (s *Stanza) WithType(typ string) *Stanza { c := *s; c.Type = typ; return &c }

// Has tells whether a child with that name is there, without decoding.
func (s *Stanza) Has(space, local string) bool {
	for _, n := range s.Names {
		if n.Local == local && n.Space == space {
			return true
		}
	}
	return false
}

// First is the name of the first child, zero if there is none: the payload's name for an iq.
func (s *Stanza) First() Name {
	if len(s.Names) == 0 {
		return Name{}
	}
	return s.Names[0]
}

// Payload are the decoded children; they are shared between copies: read only.
func (s *Stanza) Payload() []*Element {
	var out []*Element
	for _, n := range s.nodes() {
		if n.Elem != nil {
			out = append(out, n.Elem)
		}
	}
	return out
}

// Child is the first child with that name decoded, or nil. Read only.
func (s *Stanza) Child(space, local string) *Element {
	if !s.Has(space, local) {
		return nil
	}
	for _, n := range s.nodes() {
		if n.Elem != nil && n.Elem.Local == local && n.Elem.Space == space {
			return n.Elem
		}
	}
	return nil
}

func (s *Stanza) nodes() []Node {
	if s.tree == nil {
		return nil
	}
	s.tree.once.Do(func() { s.tree.nodes, s.tree.err = decodeInner(s.inner) })
	return s.tree.nodes
}

// AppendXML appends the stanza. ns is the stream's content namespace: with declare it is written on the element, as
// RFC 7395 §3.3.3 wants; without, the stream header has declared it.
func (s *Stanza) AppendXML(dst []byte, ns string, declare bool) []byte {
	dst = append(dst, '<')
	dst = append(dst, s.Kind.String()...)
	if declare {
		dst = AppendAttr(dst, "xmlns", ns)
	}
	if !s.To.IsZero() {
		dst = AppendAttr(dst, "to", s.To.s)
	}
	if !s.From.IsZero() {
		dst = AppendAttr(dst, "from", s.From.s)
	}
	if s.ID != "" {
		dst = AppendAttr(dst, "id", s.ID)
	}
	if s.Type != "" {
		dst = AppendAttr(dst, "type", s.Type)
	}
	if s.Lang != "" {
		dst = AppendAttr(dst, "xml:lang", s.Lang)
	}
	if len(s.inner) == 0 {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	dst = append(dst, s.inner...)
	dst = append(dst, '<', '/')
	dst = append(dst, s.Kind.String()...)
	return append(dst, '>')
}

// Size is about how many bytes AppendXML will add: queues count with it.
func (s *Stanza) Size() int { return len(s.inner) + len(s.From.s) + len(s.To.s) + len(s.ID) + 64 }

// String is the XML, for logs and tests.
func (s *Stanza) String() string { return string(s.AppendXML(nil, NSClient, false)) }

// Result is the empty or filled answer to an iq (RFC 6120 §8.2.3), addressed back.
func (s *Stanza) Result(payload ...*Element) *Stanza {
	return build(IQ, "result", s.ID, s.To, s.From, payload)
}
