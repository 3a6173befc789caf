// Package hostile has the XML that attackers send. The tests of each way into the server, over TCP, WebSocket, BOSH, from other servers and from
// components, send the same: limits that hold on one way only have been a hole before (CVE-2022-0217).
package hostile

import (
	"fmt"
	"strings"
)

// Case is what is sent and the stream error that it has to end in (RFC 6120 §4.9.3).
type Case struct{ In, Condition string }

// Size is a text longer than any stanza may be.
const Size = 1200 << 10

// Corpus is what must end a stream in any state, by name. ns is the content namespace.
func Corpus(ns string) map[string]Case {
	msg := func(s string) string { return "<message xmlns='" + ns + "'>" + s + "</message>" }
	return map[string]Case{
		"doctype":         {"<!DOCTYPE a [<!ENTITY b 'c'>]><message xmlns='" + ns + "'/>", "restricted-xml"},
		"entities":        {"<!DOCTYPE a [<!ENTITY b 'cc'><!ENTITY d '&b;&b;'>]>" + msg("&d;"), "restricted-xml"}, // CVE-2011-1753
		"comment":         {msg("<!-- x -->"), "restricted-xml"},
		"instruction":     {msg("<?x y?>"), "restricted-xml"},
		"entity":          {msg("&lol;"), "restricted-xml"},
		"bad UTF-8":       {msg("\xc3("), "not-well-formed"},
		"NUL":             {msg("&#0;"), "not-well-formed"},
		"CDATA end":       {msg("]]>"), "not-well-formed"},
		"mismatch":        {msg("<a></b>"), "not-well-formed"},
		"attribute twice": {msg("<a b='1' b='2'/>"), "not-well-formed"},
		"unbound prefix":  {msg("<p:a/>"), "bad-namespace-prefix"},
		"reserved prefix": {msg("<a xmlns:xml='urn:x'/>"), "not-well-formed"},
		"elements":        {msg(strings.Repeat("<a/>", 20_000)), "policy-violation"}, // CVE-2026-43507
		"attributes":      {msg("<a " + many("a%d='' ", 10_000) + "/>"), "policy-violation"},
		"namespaces":      {msg("<a " + many("xmlns:a%d='u' ", 5000) + "/>"), "policy-violation"},
		"depth":           {msg(strings.Repeat("<a>", 5000) + strings.Repeat("</a>", 5000)), "policy-violation"},
		"size":            {msg(strings.Repeat("x", Size)), "policy-violation"},
		"attribute size":  {msg("<a b='" + strings.Repeat("x", Size) + "'/>"), "policy-violation"},
		"text":            {"hello", "not-well-formed"},
	}
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
