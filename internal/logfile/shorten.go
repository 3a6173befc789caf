package logfile

import (
	"bytes"
	"io"
	"net/netip"
)

// prefix6 is what remains of an IPv6 address; less is one customer (RFC 6177 §2). Of IPv4 three octets remain.
const prefix6 = 64

// shorten gives line with each network address in it shortened: 192.0.2.x, 2001:db8::x, without port or zone. Addresses of the machine itself stay. The
// result has the length of line, filled up with blanks before its end; it is line itself where there is nothing to shorten.
func shorten(line []byte) []byte {
	var out []byte
	done := 0 // of line, in out
	for i := 0; i < len(line); {
		n := run(line[i:])
		if n == 0 {
			i++
			continue
		}
		if short, used := shortened(line, i, n); short != "" {
			out = append(append(out, line[done:i]...), short...)
			i += used
			done = i
		} else {
			i += n
		}
	}
	if out == nil {
		return line
	}
	rest := line[done:]
	body := bytes.TrimRight(rest, "\r\n")
	out = append(out, body...)
	for len(out) < len(line)-len(rest)+len(body) {
		out = append(out, ' ')
	}
	return append(out, rest[len(body):]...)
}

// run is how many bytes at the beginning of b may be of an address.
func run(b []byte) (n int) {
	for n < len(b) && (isHex(b[n]) || b[n] == ':' || b[n] == '.') {
		n++
	}
	return n
}

func isHex(c byte) bool { return c-'0' < 10 || c|0x20-'a' < 6 }

func isWord(c byte) bool { return c-'0' < 10 || c|0x20-'a' < 26 || c == '_' }

// shortened looks at the run of n bytes at i: what to put in place of used bytes there, "" for nothing.
func shortened(line []byte, i, n int) (short string, used int) {
	if i > 0 && isWord(line[i-1]) || i+n < len(line) && isWord(line[i+n]) {
		return "", 0
	}
	text := line[i : i+n]
	for len(text) > 0 && (text[len(text)-1] == '.' || text[len(text)-1] == ':' && !bytes.HasSuffix(text, []byte("::"))) { // the sentence's
		text = text[:len(text)-1]
	}
	used = len(text)
	a, err := netip.ParseAddr(string(text))
	if err != nil {
		ap, err := netip.ParseAddrPort(string(text)) // of IPv4: another one is in brackets
		if err != nil {
			return "", 0
		}
		a = ap.Addr()
	} else if !a.Is4() {
		used += zone(line[i+used:])
	}
	if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() {
		return "", 0
	}
	if a.Is4() {
		b := a.As4()
		b[3] = 0
		short = netip.AddrFrom4(b).String()
		short = short[:len(short)-1] + "x"
	} else {
		p, _ := a.Prefix(prefix6) // it is within range
		short = p.Addr().WithZone("").String() + "x"
	}
	if rest := line[i+used:]; i > 0 && line[i-1] == '[' && len(rest) > 0 && rest[0] == ']' {
		return short + "]", used + 1 + port(rest[1:])
	}
	return short, used
}

// zone is how many bytes the zone of an IPv6 address takes (RFC 4007 §11).
func zone(rest []byte) (n int) {
	if len(rest) > 0 && rest[0] == '%' {
		for n = 1; n < len(rest) && isWord(rest[n]); n++ {
		}
	}
	return n
}

// port is how many bytes a port behind a bracket takes.
func port(rest []byte) (n int) {
	if len(rest) > 1 && rest[0] == ':' && rest[1]-'0' < 10 {
		for n = 1; n < len(rest) && rest[n]-'0' < 10; n++ {
		}
	}
	return n
}

// Shortener shortens the addresses of what goes through it.
type Shortener struct{ To io.Writer }

// Write takes one or more whole lines.
func (s Shortener) Write(b []byte) (int, error) { return s.To.Write(shorten(b)) }
