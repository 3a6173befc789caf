package stanza

import (
	"unicode/utf8"
)

// Classes of bytes, to find out in one look what needs care.
const (
	nameStart   = 1 << iota // may begin a name (all bytes beyond ASCII are checked again)
	nameChar                // may be in a name
	textCare                // character data with it cannot be copied as it is
	attrCare                // nor an attribute value
	forbidden               // no XML character
	maybeNonXML             // first byte of U+FFFE and U+FFFF
	markup                  // '<', which no attribute value has
	beyondASCII
)

var class = makeClass()

func makeClass() (t [256]uint8) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c >= utf8.RuneSelf:
			t[c] |= nameStart | nameChar
		case '0' <= c && c <= '9', c == '-', c == '.':
			t[c] |= nameChar
		case c == '\t', c == '\n':
			t[c] |= attrCare
		case c == '\r', c == '&', c == '<', c == '>':
			t[c] |= textCare | attrCare
		case c == '\'':
			t[c] |= attrCare
		case c < ' ':
			t[c] |= forbidden
		}
	}
	t['<'] |= markup
	for c := utf8.RuneSelf; c < len(t); c++ {
		t[c] |= beyondASCII
	}
	t[0xEF] |= maybeNonXML
	return t
}

// classes is all that some byte of raw is: mostly it tells that nothing needs care, in one pass without branches.
func classes(raw []byte) (k uint8) {
	for _, c := range raw {
		k |= class[c]
	}
	return k
}

// check refuses what is no XML character, and '<' in an attribute. raw is valid UTF-8, k what its bytes are.
func check(raw []byte, k uint8, attr bool) error {
	if k&(forbidden|maybeNonXML|markup) == 0 {
		return nil
	}
	for i, c := range raw {
		if class[c]&forbidden != 0 {
			return notWellFormed("control character")
		}
		if c == '<' && attr {
			return notWellFormed("< in an attribute value")
		}
		if c == 0xEF && raw[i+1] == 0xBF && raw[i+2] >= 0xBE {
			return notWellFormed("character not allowed")
		}
	}
	return nil
}

// appendDecoded resolves references and normalises line ends (XML 1.0 §2.11) and, in attributes, white space (§3.3.3).
func appendDecoded(dst, raw []byte, attr bool) ([]byte, error) {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '\r':
			if i+1 < len(raw) && raw[i+1] == '\n' {
				i++
			}
			if attr {
				dst = append(dst, ' ')
			} else {
				dst = append(dst, '\n')
			}
		case '\n', '\t':
			if attr {
				c = ' '
			}
			dst = append(dst, c)
		case '&':
			n := 0
			var err error
			if dst, n, err = appendReference(dst, raw[i:]); err != nil {
				return nil, err
			}
			i += n - 1
		default:
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// appendCDATA only normalises line ends: there are no references in a CDATA section.
func appendCDATA(dst, raw []byte) []byte {
	for i, c := range raw {
		if c == '\r' {
			if i+1 < len(raw) && raw[i+1] == '\n' {
				continue
			}
			c = '\n'
		}
		dst = append(dst, c)
	}
	return dst
}

// appendReference resolves what stands at the beginning of raw ("&...;") and gives its length.
func appendReference(dst, raw []byte) ([]byte, int, error) {
	const longest = len("&#x0000000010FFFF;") // leading zeros are legal, endless ones are not worth the look
	end := 1
	for end < len(raw) && end < longest && raw[end] != ';' {
		end++
	}
	if end >= len(raw) || raw[end] != ';' {
		return nil, 0, notWellFormed("bad reference")
	}
	name := raw[1:end]
	switch string(name) {
	case "amp":
		return append(dst, '&'), end + 1, nil
	case "lt":
		return append(dst, '<'), end + 1, nil
	case "gt":
		return append(dst, '>'), end + 1, nil
	case "apos":
		return append(dst, '\''), end + 1, nil
	case "quot":
		return append(dst, '"'), end + 1, nil
	}
	if len(name) < 2 || name[0] != '#' {
		if nameOK(name, false) {
			return nil, 0, restricted("entity reference")
		}
		return nil, 0, notWellFormed("bad reference")
	}
	r, ok := charRef(name[1:])
	if !ok {
		return nil, 0, notWellFormed("bad character reference")
	}
	return utf8.AppendRune(dst, r), end + 1, nil
}

func charRef(digits []byte) (rune, bool) {
	base := rune(10)
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	var r rune
	for _, c := range digits {
		var d rune
		switch {
		case '0' <= c && c <= '9':
			d = rune(c - '0')
		case base == 16 && 'a' <= c && c <= 'f':
			d = rune(c-'a') + 10
		case base == 16 && 'A' <= c && c <= 'F':
			d = rune(c-'A') + 10
		default:
			return 0, false
		}
		if r = r*base + d; r > utf8.MaxRune {
			return 0, false
		}
	}
	return r, len(digits) > 0 && isChar(r)
}

// isChar is the Char production of XML 1.0.
func isChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
}
