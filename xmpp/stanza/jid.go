package stanza

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"mellium.im/xmpp/jid"
)

// JID is a canonical XMPP address (RFC 7622): comparable, so it is its own map key. The zero value is "no address".
type JID struct {
	s     string // localpart@domainpart/resourcepart
	at    uint16 // length of the localpart; 0: none
	slash uint16 // index of '/' in s; len(s) when there is no resourcepart. Three parts of 1023 bytes at most (RFC 7622 §3.1) fit
}

// ParseJID canonicalises s (RFC 7622 §3). Plain lower-case ASCII takes a path without allocation; all else goes
// through PRECIS. The error is for a jid-malformed stanza error.
func ParseJID(s string) (JID, error) {
	if simpleJID(s) {
		if j := split(s); simpleDomain(j.Domain()) {
			return j, nil
		}
	}
	local, domain, resource, err := jid.SplitString(s)
	if err != nil {
		return JID{}, err
	}
	return NewJID(local, domain, resource)
}

var errEmptyLabel = errors.New("stanza: a label of the domainpart is empty")

// NewJID builds an address of its parts, any but domain may be empty.
func NewJID(local, domain, resource string) (JID, error) {
	tenants, plain := tenantDomain(domain)
	if tenants == "" {
		plain = domain
	}
	j, err := jid.New(local, plain, resource)
	if err != nil {
		return JID{}, err
	}
	out := split(j.String())
	if d := out.Domain(); strings.HasPrefix(d, ".") || strings.Contains(d, "..") { // RFC 7622 §3.2: labels are not empty
		return JID{}, errEmptyLabel
	}
	if tenants != "" {
		out.s = out.s[:int(out.slash)-len(plain)] + tenants + out.s[out.slash:]
	}
	return out, nil
}

// tenantDomain is a domain as jitsi-meet makes it of a tenant's name, which IDNA would refuse: a dot inside of the name is an underscore, and
// what is not ASCII is %xx (conference.big_school.example.org). With it comes a plain name of the same length; "": d is none of these.
func tenantDomain(d string) (canonical, plain string) {
	if !strings.ContainsAny(d, "_%") {
		return "", ""
	}
	canonical = strings.ToLower(d)
	plain = strings.Map(func(c rune) rune {
		switch {
		case c == '_', c == '%':
			return 'x'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.':
			return c
		}
		return ' ' // no domain has it
	}, canonical)
	if strings.Contains(plain, " ") || !simpleDomain(plain) {
		return "", ""
	}
	return canonical, plain
}

// MustJID is ParseJID for addresses known good at compile time; it panics on others.
func MustJID(s string) JID {
	j, err := ParseJID(s)
	if err != nil {
		panic("stanza: bad address " + s + ": " + err.Error())
	}
	return j
}

func split(s string) JID {
	j := JID{s: s, slash: uint16(len(s))}
	if i := strings.IndexByte(s, '/'); i >= 0 {
		j.slash = uint16(i)
	}
	if i := strings.IndexByte(s[:j.slash], '@'); i > 0 {
		j.at = uint16(i)
	}
	return j
}

// simpleJID tells whether s is certainly canonical as it stands.
func simpleJID(s string) bool {
	const maxPart = 1023
	part, inResource, seenAt := 0, false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.' && part > 0:
		case c == '_' && (inResource || !seenAt && strings.IndexByte(s[i:], '@') > 0):
		case inResource && 'A' <= c && c <= 'Z':
		case c == '@' && !inResource && !seenAt && part > 0:
			seenAt, part = true, -1
		case c == '/' && !inResource && part > 0 && s[i-1] != '.':
			inResource, part = true, -1
		default:
			return false
		}
		if part++; part > maxPart {
			return false
		}
	}
	return part > 0 && (inResource || s[len(s)-1] != '.')
}

// simpleDomain tells whether IDNA leaves the domainpart d, of letters, digits, dots and hyphens, as it is.
func simpleDomain(d string) bool {
	const maxLabel = 63
	label := 0
	for i := 0; i < len(d); i++ {
		switch c := d[i]; {
		case c == '.' && label == 0, c == '-' && (label == 0 || i+1 == len(d) || d[i+1] == '.' || d[i+1] == '-'), c == '_':
			return false
		case c == '.':
			label = -1
		}
		if label++; label > maxLabel {
			return false
		}
	}
	return label > 0
}

// String is the canonical text, "" for the zero value.
func (j JID) String() string { return j.s }

// IsZero tells that there is no address.
func (j JID) IsZero() bool { return j.s == "" }

// Local is the localpart, "" if there is none.
func (j JID) Local() string { return j.s[:j.at] }

// Domain is the domainpart.
func (j JID) Domain() string {
	if j.at > 0 {
		return j.s[j.at+1 : j.slash]
	}
	return j.s[:j.slash]
}

// Resource is the resourcepart, "" if there is none.
func (j JID) Resource() string {
	if j.IsBare() {
		return ""
	}
	return j.s[j.slash+1:]
}

// Bare is the address without its resourcepart.
func (j JID) Bare() JID { return JID{s: j.s[:j.slash], at: j.at, slash: j.slash} }

// IsBare tells that there is no resourcepart.
func (j JID) IsBare() bool { return int(j.slash) == len(j.s) }

// WithResource replaces the resourcepart; r is canonicalised.
func (j JID) WithResource(r string) (JID, error) {
	if r == "" {
		return j.Bare(), nil
	}
	return ParseJID(j.s[:j.slash] + "/" + r)
}

// DNSName is a domain as DNS and certificates have it: IDNA's A-labels (RFC 7622 §3.2, RFC 6120 §13.7.1.1). What has no such form is given back as it is.
func DNSName(domain string) string {
	if !strings.ContainsFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }) {
		return domain
	}
	name, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return domain
	}
	return name
}
