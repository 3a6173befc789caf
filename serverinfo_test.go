package main

import (
	"strings"
	"testing"
)

// TestServerInfo: other servers are named only if they want to be (XEP-0485 §8), their number is no secret.
func TestServerInfo(t *testing.T) {
	got := string(serverInfo("example.org", map[string][]string{"shy.example": {"incoming"}, "open.example": {"bidi", "outgoing"}},
		func(domain string) bool { return domain == "open.example" }).AppendXML(nil, ""))
	const want = "<domain name='example.org'><federation><remote-domain name='open.example'><connection type='bidi'/><connection type='outgoing'/></remote-domain>" +
		"<remote-domain><connection type='incoming'/></remote-domain></federation></domain>"
	if !strings.Contains(got, want) || strings.Contains(got, "shy") {
		t.Error(got)
	}
}
