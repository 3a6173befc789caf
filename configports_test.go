package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMistakes: settings that cannot work are found before anything is opened, and the message says which and what would do.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"domain: a b":                               `domain: "a b" is no domain`,
		"xmpp: {port: 5222, tls_port: 5222}":        "xmpp.tls_port: 5222 is xmpp.port already",
		"http: {port: 5222}":                        "xmpp.port: 5222 is http.port already",
		"turn: {port: 10000}":                       "media.port: 10000 is turn.port already",
		"proxy: {port: 65536}":                      "proxy.port: 65536 is no port",
		"xmpp: {admins: [nobody]}":                  `xmpp.admins: "nobody" is no address of a person: write it like admin@example.org`,
		"http: {port: many}":                        `line 1: http.port: "many" is not a whole number`,
		"http: {port: 0}\nxmpp: {tls_port: 0}":      "",
		"turn: {port: 0, tls_port: 5222}":           "",
		"xmpp: {components: {port: 5222}}":          "", // there are none
		"domain: BÜCHER.example":                    "",
		"domain: example.org\nlisten: [0.0.0.0, x]": `listen: "x" is no IP address`,
	} {
		file := filepath.Join(t.TempDir(), "konzil.yaml")
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := loadConfig(file)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestForeignDomain: a domain with letters that DNS does not have is written in addresses as people do, and in DNS, certificates and URLs in its other form.
func TestForeignDomain(t *testing.T) {
	c := DefaultConfig()
	c.Domain = "BÜCHER.example"
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	if c.Domain != "bücher.example" || c.publicURL() != "https://xn--bcher-kva.example:8443/" {
		t.Errorf("%s at %s", c.Domain, c.publicURL())
	}
	for _, r := range c.records() {
		if !strings.HasSuffix(r.Name, "xn--bcher-kva.example") || !strings.HasSuffix(r.Value, "xn--bcher-kva.example.") {
			t.Errorf("%v", r)
		}
	}
	c.Host = "chat.example.net"
	if c.publicURL() != "https://chat.example.net:8443/" {
		t.Error(c.publicURL())
	}
	c.Domain = "xn--bcher-kva.example"
	if err := c.check(); err != nil || c.Domain != "bücher.example" {
		t.Error(c.Domain, err)
	}
}
