// Package portable reads and writes what servers hand over to each other: accounts with all that belongs to them, as XML (XEP-0227).
//
// The path of an import: Read goes through the file (prosody-migrator and ejabberdctl write such) → an account at a time is in memory, with its
// children as elements → the caller gives them to the features that keep such things. Of an export: Writer puts one account after the
// other, as the caller gives them.
package portable

import (
	"bufio"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"konzil/xmpp/stanza"
)

// Namespaces of the format. The older one is what exports of XEP-0227 before 1.0 have.
const (
	NS      = "urn:xmpp:pie:0"
	nsSCRAM = "urn:xmpp:pie:0#scram"
	NSMAM   = "urn:xmpp:pie:0#mam"

	oldNS    = "http://www.xmpp.org/extensions/xep-0227.html#ns"
	xinclude = "http://www.w3.org/2001/XInclude"
)

const (
	maxDepth    = 100 // of elements below a user: what clients send is bounded to less
	maxIncludes = 3   // files in files: host, user
)

// User is an account.
type User struct {
	Host, Name string
	Password   string            // "" if it is not known
	Keys       []string          // of SCRAM, in the form of RFC 5803 §2
	Data       []*stanza.Element // everything else, in the order of the file
}

// Child is the first element of that name, nil without one.
func (u *User) Child(space, local string) *stanza.Element {
	for _, e := range u.Data {
		if e.Space == space && e.Local == local {
			return e
		}
	}
	return nil
}

// Read gives each account of a file to each, which ends the reading by an error. open opens a file that is named by an XInclude (XEP-0227
// §5); nil: there are none.
func Read(r io.Reader, open func(href string) (io.ReadCloser, error), each func(*User) error) error {
	return (&reader{open: open, each: each}).file(r, "", 0)
}

type reader struct {
	open func(string) (io.ReadCloser, error)
	each func(*User) error
}

// file reads one: the whole, or what an include has of a host or user.
func (r *reader) file(in io.Reader, host string, included int) error {
	d := xml.NewDecoder(in)
	found := false
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && found {
			return nil
		}
		if err != nil {
			return fmt.Errorf("portable: %w", err)
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		found = true
		switch {
		case isInclude(start):
			if err := r.include(start, host, included); err != nil {
				return err
			}
		case ours(start, "server-data"):
		case ours(start, "host"):
			host = attr(start, "jid")
		case ours(start, "user"):
			u, err := readUser(d, start, host)
			if err != nil {
				return err
			}
			if err := r.each(u); err != nil {
				return err
			}
		default:
			if err := d.Skip(); err != nil {
				return fmt.Errorf("portable: %w", err)
			}
		}
	}
}

func (r *reader) include(start xml.StartElement, host string, included int) error {
	href := attr(start, "href")
	if r.open == nil || included >= maxIncludes || href == "" || attr(start, "parse") != "" || attr(start, "xpointer") != "" {
		return fmt.Errorf("portable: the file %q cannot be included", href)
	}
	f, err := r.open(href)
	if err != nil {
		return fmt.Errorf("portable: %w", err)
	}
	defer func() { _ = f.Close() }()
	return r.file(f, host, included+1)
}

func isInclude(e xml.StartElement) bool {
	return e.Name == xml.Name{Space: xinclude, Local: "include"}
}

func ours(e xml.StartElement, local string) bool {
	return e.Name.Local == local && (e.Name.Space == NS || e.Name.Space == oldNS)
}

func attr(e xml.StartElement, local string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// readUser reads up to the end of a user.
func readUser(d *xml.Decoder, start xml.StartElement, host string) (*User, error) {
	el, err := element(d, start, 0)
	if err != nil {
		return nil, fmt.Errorf("portable: %w", err)
	}
	u := &User{Host: host, Name: el.Attr("name"), Password: el.Attr("password")}
	if u.Name == "" {
		return nil, errors.New("portable: a user has no name")
	}
	if key, ok := oldKey(u.Password); ok { // as ejabberd wrote them before XEP-0227 had a form
		u.Password, u.Keys = "", []string{key}
	}
	for _, c := range el.Children() {
		if c.Space == nsSCRAM && c.Local == "scram-credentials" {
			u.Keys = append(u.Keys, keyText(c))
			continue
		}
		if c.Space == oldNS {
			c.Space = NS
		}
		u.Data = append(u.Data, c)
	}
	return u, nil
}

// keyText is SCRAM credentials in the form of RFC 5803.
func keyText(c *stanza.Element) string {
	twice := encodedTwice(c.Child(nsSCRAM, "stored-key").Text(), c.Attr("mechanism"))
	text := func(local string) string {
		s := strings.TrimSpace(c.Child(nsSCRAM, local).Text())
		if b, err := base64.StdEncoding.DecodeString(s); err == nil && twice && local != "iter-count" {
			s = string(b)
		}
		return s
	}
	return c.Attr("mechanism") + "$" + text("iter-count") + ":" + text("salt") + "$" + text("stored-key") + ":" + text("server-key")
}

// encodedTwice tells that a key is base64 of base64, as ejabberd 23.01 writes them.
func encodedTwice(key, mechanism string) bool {
	once, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	if err != nil {
		return false
	}
	inner, err := base64.StdEncoding.DecodeString(string(once))
	size := map[string]int{"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32, "SCRAM-SHA-512": 64}[mechanism]
	return err == nil && len(inner) == size && len(once) != size
}

// oldKey is a password attribute scram:StoredKey,ServerKey,Salt,Iterations, of SHA-1 unless it says otherwise behind the word.
func oldKey(password string) (string, bool) {
	rest, ok := strings.CutPrefix(password, "scram:")
	f := strings.Split(rest, ",")
	mechanism := "SCRAM-SHA-1"
	if ok && len(f) == 5 { // with the hash in front: sha, sha256, sha512
		mechanism = map[string]string{"sha": "SCRAM-SHA-1", "sha256": "SCRAM-SHA-256", "sha512": "SCRAM-SHA-512"}[f[0]]
		f = f[1:]
	}
	if !ok || len(f) != 4 || mechanism == "" {
		return "", false
	}
	return mechanism + "$" + f[3] + ":" + f[2] + "$" + f[0] + ":" + f[1], true
}

// element reads up to the end of an element.
func element(d *xml.Decoder, start xml.StartElement, depth int) (*stanza.Element, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("elements are nested more than %d deep", maxDepth)
	}
	e := stanza.NewElement(start.Name.Space, start.Name.Local)
	for _, a := range start.Attr {
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
		case a.Name.Space == "xml":
			e.Attrs = append(e.Attrs, stanza.Attr{Space: stanza.NSXML, Local: a.Name.Local, Value: a.Value})
		default:
			e.Attrs = append(e.Attrs, stanza.Attr{Space: a.Name.Space, Local: a.Name.Local, Value: a.Value})
		}
	}
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			child, err := element(d, t, depth+1)
			if err != nil {
				return nil, err
			}
			e.Add(child)
		case xml.CharData:
			e.AddText(string(t))
		case xml.EndElement:
			return e, nil
		}
	}
}

// Writer writes accounts of one host.
type Writer struct{ w *bufio.Writer }

// NewWriter begins a file.
func NewWriter(w io.Writer, host string) *Writer {
	b := bufio.NewWriter(w)
	begin := stanza.AppendAttr([]byte("<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='"+NS+"'>\n<host"), "jid", host)
	_, _ = b.Write(append(begin, ">\n"...)) // an error stays until Close
	return &Writer{b}
}

// User writes one; archive gives the results of its archive, one after the other, until it returns: archives are long.
func (w *Writer) User(u *User, archive func(add func(*stanza.Element)) error) error {
	_, _ = w.w.Write(append(stanza.AppendAttr(stanza.AppendAttr([]byte("<user"), "name", u.Name), "password", u.Password), ">\n"...))
	add := func(e *stanza.Element) { _, _ = w.w.Write(append(e.AppendXML(nil, NS), '\n')) }
	for _, k := range u.Keys {
		if e := credentials(k); e != nil {
			add(e)
		}
	}
	for _, e := range u.Data {
		add(e)
	}
	_, _ = w.w.WriteString("<archive xmlns='" + NSMAM + "'>\n")
	err := archive(add)
	_, werr := w.w.WriteString("</archive>\n</user>\n")
	return errors.Join(err, werr)
}

// credentials undoes keyText; nil for what is none.
func credentials(key string) *stanza.Element {
	f := strings.FieldsFunc(key, func(r rune) bool { return r == '$' || r == ':' })
	if len(f) != 5 {
		return nil
	}
	for _, b := range f[2:] {
		if _, err := base64.StdEncoding.DecodeString(b); err != nil {
			return nil
		}
	}
	return stanza.NewElement(nsSCRAM, "scram-credentials", "mechanism", f[0]).Add(
		stanza.TextElement(nsSCRAM, "iter-count", f[1]), stanza.TextElement(nsSCRAM, "salt", f[2]),
		stanza.TextElement(nsSCRAM, "server-key", f[4]), stanza.TextElement(nsSCRAM, "stored-key", f[3]))
}

// Close ends the file.
func (w *Writer) Close() error {
	_, err := w.w.WriteString("</host>\n</server-data>\n")
	return errors.Join(err, w.w.Flush())
}
