package stanza

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// expat is Expat, the parser of most clients and of other servers, as a process that answers questions. Its owner is one test.
type expat struct {
	in  io.Writer
	out *bufio.Reader
}

// newExpat starts Python, whose parser is Expat; without it the test is skipped.
func newExpat(t testing.TB) *expat {
	t.Helper()
	const python = "/usr/bin/python3"
	cmd := exec.Command(python, "testdata/expat.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("Expat is asked through Debian's python3: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error("expat:", err)
		}
	})
	return &expat{in, bufio.NewReader(out)}
}

// read is the document's root element as Expat sees it, or why it refuses the document.
func (x *expat) read(t testing.TB, doc []byte) (*Element, error) {
	t.Helper()
	if _, err := x.in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(doc))), doc...)); err != nil {
		t.Fatal("expat:", err)
	}
	line, err := x.out.ReadBytes('\n')
	if err != nil {
		t.Fatal("expat:", err)
	}
	var answer struct {
		Element
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatal("expat:", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return &answer.Element, nil
}

const streamRoot = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

// inStream puts text where a client finds it, and gives what Expat reads there.
func (x *expat) inStream(t testing.TB, root string, text []byte) (*Element, error) {
	t.Helper()
	e, err := x.read(t, slices.Concat([]byte(root), text, []byte("</stream:stream>")))
	if err != nil {
		return nil, err
	}
	if c := e.Children(); len(c) == 1 {
		return c[0], nil
	}
	return nil, errors.New("not one element")
}

// same tells whether two elements say the same: names, namespaces, attributes in order, text.
func same(a, b *Element) bool {
	if a.Name != b.Name || !slices.Equal(a.Attrs, b.Attrs) || len(a.Nodes) != len(b.Nodes) {
		return false
	}
	for i, n := range a.Nodes {
		m := b.Nodes[i]
		if n.Text != m.Text || (n.Elem == nil) != (m.Elem == nil) || n.Elem != nil && !same(n.Elem, m.Elem) {
			return false
		}
	}
	return true
}

// agree holds what in means to us, and all forms in which it would go out, to what Expat reads. It tells whether we let it through at all.
func (x *expat) agree(t testing.TB, in []byte) bool {
	t.Helper()
	lim := Limits{Bytes: 1 << 16, Depth: 20, Elements: 1000, Attrs: 20, Bindings: 20}
	it, err := (&scanner{lim: lim, deflt: NSClient}).one(in)
	var je *JIDError
	if err != nil && !errors.As(err, &je) {
		return false
	}
	tree, err := (&scanner{lim: lim, deflt: NSClient}).oneElement(in)
	if err != nil {
		t.Fatalf("accepted as stanza, refused as element: %v in %q", err, in)
	}
	check := func(what string, want, got *Element, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s of %q: Expat says %v", what, in, err)
		}
		if !same(want, got) {
			t.Fatalf("%s of %q: Expat reads %s, we %s", what, in, got.AppendXML(nil, ""), want.AppendXML(nil, ""))
		}
	}
	got, err := x.inStream(t, streamRoot, in)
	check("input", tree, got, err)
	if it.Elem != nil {
		got, err = x.inStream(t, streamRoot, it.Elem.AppendXML(nil, NSClient))
		check("element in a stream", tree, got, err)
		got, err = x.read(t, it.Elem.AppendXML(nil, ""))
		check("element alone", tree, got, err)
		return true
	}
	want := asSent(it.Stanza, tree)
	got, err = x.inStream(t, streamRoot, it.Stanza.AppendXML(nil, NSClient, false))
	check("stanza in a stream", want, got, err)
	got, err = x.read(t, it.Stanza.AppendXML(nil, NSClient, true))
	check("stanza in a frame", want, got, err)
	server, err := x.inStream(t, strings.Replace(streamRoot, NSClient, NSServer, 1), it.Stanza.AppendXML(nil, NSServer, false))
	check("stanza to a server", inSpace(want, NSServer), server, err)
	wrapped := NewElement("urn:xmpp:forward:0", "forwarded").Add(it.Stanza.AsElement())
	got, err = x.inStream(t, streamRoot, wrapped.AppendXML(nil, NSClient))
	check("stanza in a stanza", wrapped, got, err)
	return true
}

// asSent is what goes out of a stanza that came as tree: the attributes that RFC 6120 §8.1 knows, and the children without what is between them.
func asSent(st *Stanza, tree *Element) *Element {
	e := &Element{Name: tree.Name}
	for _, a := range []Attr{{"", "to", st.To.String()}, {"", "from", st.From.String()}, {"", "id", st.ID}, {"", "type", st.Type}, {NSXML, "lang", st.Lang}} {
		if a.Value != "" {
			e.Attrs = append(e.Attrs, a)
		}
	}
	return e.Add(tree.Children()...)
}

// inSpace is a stanza with its own elements, down to the first of another namespace, in another content namespace (RFC 6120 §4.8.3).
func inSpace(e *Element, space string) *Element {
	if e.Space != NSClient {
		return e
	}
	c := &Element{Name: Name{space, e.Local}, Attrs: e.Attrs}
	for _, n := range e.Nodes {
		if n.Elem != nil {
			n.Elem = inSpace(n.Elem, space)
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

// TestExpat: what must end a stream is refused by Expat too, and what goes through means the same to it (RFC 6120 §11.3, Namespaces in XML 1.0).
func TestExpat(t *testing.T) {
	x := newExpat(t)
	for _, c := range refused {
		if x.agree(t, []byte(c.in)) && c.cond == "not-well-formed" {
			t.Errorf("%q goes through", c.in)
		}
	}
	if e, err := x.read(t, []byte("<a xmlns='u' b='1'>x<c xmlns=''/></a>")); err != nil || !reflect.DeepEqual(e, &Element{Name: Name{"u", "a"}, Attrs: []Attr{{"", "b", "1"}},
		Nodes: []Node{{Text: "x"}, {Elem: &Element{Name: Name{"", "c"}, Attrs: []Attr{}, Nodes: []Node{}}}}}) {
		t.Fatalf("%+v %v", e, err)
	}
	if _, err := x.read(t, []byte("<a><b></a>")); err == nil {
		t.Fatal("Expat accepts everything")
	}
	for _, in := range smuggled {
		if !x.agree(t, []byte(in)) {
			t.Errorf("%q was to go through", in)
		}
	}
}

// smuggled are well-formed and hard: what is text to one parser must be text to the next one.
var smuggled = []string{
	`<message to='a@b'><x:y xmlns:x='u' x:z='&#10;&amp;'>a<![CDATA[b]]>c</x:y></message>`,
	`<message><body><![CDATA[</body></message><message from='evil@b'><body>]]></body></message>`,
	`<message><body>]]&gt;&lt;!--&#x9;&#xD;&#xA;</body></message>`,
	"<message><body>a\r\nb\rc\n\u0085\u2028</body></message>",
	"<presence xml:lang='de'>\r\n<äö é='ü'/><a\r\nb='\r\n\t'>\r</a></presence>",
	`<message><a xmlns='urn:a' xmlns:p='urn:a' p:b='1' b='2'><p:c xmlns:p='urn:p'/><c xmlns=''/></a></message>`,
	`<message xmlns:stream='urn:other'><stream:error/></message>`,
	`<message><stream:stream xmlns:stream='http://etherx.jabber.org/streams'/></message>`,
	"<message><body>\U0010ffff\ue000\ufffd\U0001f600</body></message>",
	`<message><a xmlns='u&amp;v&apos;&#x9;'/></message>`,
	`<message id='&apos;/&gt;&lt;iq/&gt;' type='"'><a b="'&quot;&#x27;"/></message>`,
	`<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@b' name="x'y"><group>g &amp; h</group></item></query></iq>`,
	`<p:x xmlns:p='urn:x'><p:y xmlns='jabber:client'><message/></p:y></p:x>`,
}

// FuzzExpat: whatever we let through means the same to Expat, as it came and as it goes out.
func FuzzExpat(f *testing.F) {
	x := newExpat(f)
	for _, c := range refused {
		f.Add([]byte(c.in))
	}
	for _, in := range smuggled {
		f.Add([]byte(in))
	}
	f.Add([]byte(streamText))
	f.Fuzz(func(t *testing.T, in []byte) { x.agree(t, in) })
}
