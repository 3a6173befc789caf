package auth

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/text/secure/precis"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNoAccount = errors.New("no such account")
	ErrExists    = errors.New("account exists already")
	ErrName      = errors.New("not a usable account name")
	ErrPassword  = errors.New("not a usable password")
)

const (
	maxLocalpart = 1023 // bytes, RFC 7622 §3.3
	maxAlias     = 254  // bytes, RFC 5321 §4.5.3.1.3 less the angle brackets
	maxPassword  = 1024 // bytes; ours: no person types more, and hashing more costs time
)

// PrepareLocalpart gives the form under which a localpart is stored and compared (RFC 7622 §3.3).
func PrepareLocalpart(s string) (string, error) {
	if len(s) > maxLocalpart {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrName, maxLocalpart)
	}
	p, err := precis.UsernameCaseMapped.String(s)
	if err != nil || p == "" || len(p) > maxLocalpart {
		return "", fmt.Errorf("%w: %q (RFC 7622 §3.3)", ErrName, s)
	}
	if i := strings.IndexAny(p, "\"&'/:<>@"); i >= 0 {
		return "", fmt.Errorf("%w: %q contains %q (RFC 7622 §3.3.1)", ErrName, s, p[i:i+1])
	}
	return p, nil
}

// escapes are the characters that no localpart can have, with their escaped form (XEP-0106 §3.3). The backslash is last: it is only escaped
// where it would look like an escape.
var escapes = []struct{ char, code string }{
	{" ", "\\20"}, {`"`, "\\22"}, {"&", "\\26"}, {"'", "\\27"}, {"/", "\\2f"}, {":", "\\3a"}, {"<", "\\3c"}, {">", "\\3e"}, {"@", "\\40"}, {"\\", "\\5c"},
}

// escapeLocalpart makes a localpart of any text (XEP-0106 §4.2).
func escapeLocalpart(s string) string {
	var b strings.Builder
	s = strings.Trim(s, " ") // none can begin or end with an escaped space
	for i := range len(s) {
		c := s[i : i+1]
		for _, e := range escapes {
			if c == e.char && (c != "\\" || isEscape(s[i:])) {
				c = e.code
				break
			}
		}
		b.WriteString(c)
	}
	return b.String()
}

// unescapeLocalpart undoes escapeLocalpart.
func unescapeLocalpart(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i : i+1]
		if isEscape(s[i:]) {
			for _, e := range escapes {
				if strings.HasPrefix(s[i:], e.code) {
					b.WriteString(e.char)
				}
			}
			i += 3
			continue
		}
		b.WriteString(c)
		i++
	}
	return b.String()
}

// isEscape tells that s begins with an escaped character.
func isEscape(s string) bool {
	for _, e := range escapes {
		if strings.HasPrefix(s, e.code) {
			return true
		}
	}
	return false
}

// prepareAlias gives the form of a mail address under which it is stored. An alias always has an @, and a localpart never
// has, so that no alias can pass for another account.
func prepareAlias(s string) (string, error) {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || len(s) > maxAlias || strings.ContainsAny(s, " \t\r\n\x00\"<>") || strings.Contains(domain, "@") {
		return "", fmt.Errorf("%w: %q is not a mail address", ErrName, s)
	}
	return strings.ToLower(s), nil
}

func prepareAliases(list []string) ([]string, error) {
	out := make([]string, len(list))
	for i, a := range list {
		var err error
		if out[i], err = prepareAlias(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// preparePassword enforces OpaqueString (RFC 8265 §4.2), the successor of the SASLprep that RFC 5802 names; for ASCII they
// are the same.
func preparePassword(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("%w: empty", ErrPassword)
	}
	if len(s) > maxPassword {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrPassword, maxPassword)
	}
	p, err := precis.OpaqueString.String(s)
	if err != nil {
		return "", fmt.Errorf("%w: it contains control characters (RFC 8265 §4.2)", ErrPassword)
	}
	return p, nil
}
