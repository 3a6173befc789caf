package upload

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsUpload  = "urn:xmpp:http:upload:0"
	nsPurpose = "urn:xmpp:http:upload:purpose:0"
	nsData    = "jabber:x:data"
)

// purposes are what a file is for (XEP-0363 §4.1), as one letter in tickets. A file for a message is kept as the operator says.
var purposes = map[string]byte{"message": 'm', "profile": 'p', "permanent": 'p', "ephemeral": 'e'}

func features() []string {
	return []string{nsUpload, nsPurpose + "#message", nsPurpose + "#profile", nsPurpose + "#ephemeral", nsPurpose + "#permanent"}
}

// limitForm tells the largest file (XEP-0363 §3).
func limitForm(n int64) *stanza.Element {
	value := func(s string) *stanza.Element { return stanza.TextElement(nsData, "value", s) }
	return stanza.NewElement(nsData, "x", "type", "result").Add(
		stanza.NewElement(nsData, "field", "var", "FORM_TYPE", "type", "hidden").Add(value(nsUpload)),
		stanza.NewElement(nsData, "field", "var", "max-file-size").Add(value(strconv.FormatInt(n, 10))))
}

// ticket is what a slot grants.
type ticket struct {
	id, name, typ, owner string // typ may be empty: any
	size                 int64
	purpose              byte
	until                int64 // Unix seconds
}

// answer is for a request of a slot (XEP-0363 §4).
func (s *Service) answer(iq *stanza.Stanza) *stanza.Stanza {
	if iq.Type != "get" || !iq.Has(nsUpload, "request") {
		return nil
	}
	t, bad := s.grant(iq)
	if bad != nil {
		s.count.refused.Add(1)
		return iq.ErrorReply(bad)
	}
	s.count.slots.Add(1)
	get := s.cfg.URL + t.id + "/" + url.PathEscape(t.name)
	return iq.Result(stanza.NewElement(nsUpload, "slot").Add(
		stanza.NewElement(nsUpload, "put", "url", get+"?ticket="+t.sign(s.cfg.Secret)),
		stanza.NewElement(nsUpload, "get", "url", get)))
}

// grant checks a request.
func (s *Service) grant(iq *stanza.Stanza) (ticket, *stanza.Error) {
	req := iq.Child(nsUpload, "request")
	if !s.cfg.May(iq.From.Bare()) {
		return ticket{}, stanza.ErrNotAllowed.With("Only people with an account here may upload files")
	}
	size, err := strconv.ParseInt(req.Attr("size"), 10, 64)
	if err != nil || size <= 0 {
		return ticket{}, stanza.ErrBadRequest.With("The size is a number of bytes, 1 or more")
	}
	if size > s.cfg.MaxFile {
		limit := strconv.FormatInt(s.cfg.MaxFile, 10)
		return ticket{}, stanza.ErrNotAcceptable.With("File too large. The maximum file size is "+limit+" bytes",
			stanza.NewElement(nsUpload, "file-too-large").Add(stanza.TextElement(nsUpload, "max-file-size", limit)))
	}
	t := ticket{name: cleanName(req.Attr("filename")), typ: req.Attr("content-type"), owner: iq.From.Bare().String(), size: size, purpose: purposes["message"]}
	if t.name == "" {
		return ticket{}, stanza.ErrBadRequest.With("No file name")
	}
	if t.typ != "" && (len(t.typ) > maxType || mediaType(t.typ) == "") {
		return ticket{}, stanza.ErrBadRequest.With("This is no media type")
	}
	for name, p := range purposes {
		if req.Child(nsPurpose, name) != nil {
			t.purpose = p
		}
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	switch err := s.fits(ctx, s.db.Read(), t.owner, s.underWay(t.owner)+size); {
	case errors.As(err, new(quotaError)):
		return ticket{}, s.quotaReached(ctx, t)
	case err != nil:
		s.failed("quota not read", err)
		return ticket{}, stanza.ErrInternal
	}
	t.until = s.cfg.now().Add(slotLife).Unix()
	t.id = random.ID()
	return t, nil
}

// quotaReached tells when it may work again: when the oldest file goes (XEP-0363 §5).
func (s *Service) quotaReached(ctx context.Context, t ticket) *stanza.Error {
	const text = "Your files take all the room that they may take"
	at, err := s.nextExpiry(ctx, t.owner)
	if err != nil || at == 0 {
		return stanza.ErrResourceConstraint.With(text)
	}
	return stanza.ErrResourceConstraint.With(text, stanza.NewElement(nsUpload, "retry", "stamp", time.Unix(at, 0).UTC().Format("2006-01-02T15:04:05Z")))
}

// validID tells what random.ID may have made.
func validID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}

// cleanName is the last part of a path, without what has a meaning in paths, URLs or headers; the ending is kept when it is cut.
func cleanName(name string) string {
	name = strings.ToValidUTF8(name[strings.LastIndexAny(name, `/\`)+1:], "")
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1 // controls, and those that turn the direction of writing: "exe.png" could be "gnp.exe"
		}
		return r
	}, name)
	if name == "." || name == ".." {
		return ""
	}
	if len(name) <= maxName {
		return name
	}
	end := ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 && len(name)-dot <= 16 {
		end = name[dot:]
	}
	name = name[:maxName-len(end)]
	for !utf8.ValidString(name) {
		name = name[:len(name)-1]
	}
	return name + end
}

// mediaType is type/subtype of a Content-Type in lower case, "" if it is none.
func mediaType(s string) string {
	typ, _, err := mime.ParseMediaType(s)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || !strings.Contains(typ, "/") {
		return ""
	}
	return typ
}

// errTicket is for a ticket that is not ours, or for another file.
var errTicket = errors.New("upload: not a slot of this server")

// sign is the ticket as text for a URL. Id and name are in the URL itself.
func (t ticket) sign(secret []byte) string {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(strings.Join([]string{strconv.FormatInt(t.until, 10), strconv.FormatInt(t.size, 10), string(t.purpose), t.owner, t.typ}, "\n")))
	return text + "." + enc.EncodeToString(t.mac(secret, text))
}

func (t ticket) mac(secret []byte, text string) []byte {
	m := hmac.New(sha256.New, secret)
	fmt.Fprintf(m, "konzil upload\n%s\n%s\n%s", t.id, text, t.name) // neither id nor text has a line break
	return m.Sum(nil)
}

// readTicket is the reverse, for the file that a URL names.
func readTicket(secret []byte, id, name, signed string) (ticket, error) {
	t := ticket{id: id, name: name}
	enc := base64.RawURLEncoding.Strict()
	text, sum, _ := strings.Cut(signed, ".")
	mac, err := enc.DecodeString(sum)
	if err != nil || !validID(id) || !hmac.Equal(mac, t.mac(secret, text)) {
		return ticket{}, errTicket
	}
	b, err := enc.DecodeString(text)
	parts := strings.SplitN(string(b), "\n", 5)
	if err != nil || len(parts) != 5 || len(parts[2]) != 1 {
		return ticket{}, errTicket
	}
	t.purpose, t.owner, t.typ = parts[2][0], parts[3], parts[4]
	if t.until, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
		return ticket{}, errTicket
	}
	if t.size, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
		return ticket{}, errTicket
	}
	return t, nil
}
