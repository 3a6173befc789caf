package auth

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"konzil/internal/oops"
)

// LDAPConfig says where the directory is and how a login is found in it.
type LDAPConfig struct {
	URLs            []string      `yaml:"urls" doc:"servers of the directory in order of preference: ldaps://host or ldap://host (with starttls)"`
	StartTLS        bool          `yaml:"starttls" doc:"secure ldap:// connections by StartTLS; without it ldap:// is only allowed to this machine itself"`
	CAFile          string        `yaml:"ca_file" doc:"PEM file with the authorities that sign the directory's certificate; empty: those of the system"`
	BindDN          string        `yaml:"bind_dn" doc:"account that may search; empty: search anonymously"`
	BindPassword    string        `yaml:"bind_password" doc:"its password"`
	BaseDN          string        `yaml:"base_dn" doc:"subtree in which people are, for example ou=people,dc=example,dc=org"`
	Filter          string        `yaml:"filter" doc:"only entries that match this may log in, for example (memberOf=cn=chat,ou=groups,dc=example,dc=org)"`
	Consent         string        `yaml:"consent_filter" doc:"for sites where each person must agree first: who matches filter but not this may not log in, and konzil ldap test says why; empty: nobody is asked"`
	LoginAttributes []string      `yaml:"login_attributes" doc:"attributes that hold what people type as their name; the mail address is also found without its domain when that is one of mail_domains"`
	Localpart       string        `yaml:"localpart_attribute" doc:"attribute whose value is the part of the XMPP address before the @: all of it, escaped where it must be (XEP-0106), or of a mail address in mail_domains what is before the @"`
	MailDomains     []string      `yaml:"mail_domains" doc:"domains of the mail addresses of this organisation, as clients put them into the stream: the service's own is always one"`
	Timeout         time.Duration `yaml:"timeout" doc:"for each connection, search or bind"`
	Connections     int           `yaml:"connections" doc:"connections at most; further logins wait"`
	MaxWrong        int           `yaml:"max_wrong" doc:"wrong passwords for one account within wrong_window after which the directory is not asked any more, so that nobody can lock an account there through us; 0: no limit"`
	WrongWindow     time.Duration `yaml:"wrong_window" doc:"see max_wrong"`
	People          PeopleConfig  `yaml:"people" doc:"leavers, vcards, search and groups"`
}

// defaultLDAPConfig has no servers, so it is off.
func defaultLDAPConfig() LDAPConfig {
	return LDAPConfig{
		StartTLS:        true,
		Filter:          "(objectClass=person)",
		LoginAttributes: []string{"uid", "mail"},
		Localpart:       "uid",
		Timeout:         5 * time.Second,
		Connections:     8,
		MaxWrong:        4, // directories lock at 5 or more as a rule
		WrongWindow:     15 * time.Minute,
		People:          defaultPeopleConfig(),
	}
}

// Enabled tells whether a directory is set.
func (c LDAPConfig) Enabled() bool { return len(c.URLs) > 0 }

// validate checks what the types cannot say; errors are for the operator.
func (c LDAPConfig) validate() error {
	bad := func(setting, what, do string) error {
		return oops.New("auth", "auth.ldap."+setting+" "+what, do, nil)
	}
	if !c.Enabled() {
		return nil
	}
	for _, raw := range c.URLs {
		u, err := url.Parse(raw)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "ldap" && u.Scheme != "ldaps":
			return bad("urls", fmt.Sprintf("has %q", raw), "write ldaps://host or ldap://host")
		case u.Scheme == "ldap" && !c.StartTLS && !isLoopback(u.Hostname()):
			return bad("starttls", fmt.Sprintf("is off, and passwords would cross the network in clear text to %s", u.Host), "set it to true, or use ldaps://")
		}
	}
	if c.BaseDN == "" {
		return bad("base_dn", "is empty", "set it to the subtree in which people are")
	}
	if _, err := ldap.ParseDN(c.BaseDN); err != nil {
		return bad("base_dn", fmt.Sprintf("%q is not a DN", c.BaseDN), "write it like ou=people,dc=example,dc=org")
	}
	for setting, filter := range map[string]string{"filter": c.Filter, "consent_filter": c.Consent} {
		if filter == "" {
			continue
		}
		if _, err := ldap.CompileFilter(filter); err != nil {
			return bad(setting, fmt.Sprintf("%q is not a filter", filter), "write it in brackets, like (objectClass=person)")
		}
	}
	for _, a := range append([]string{c.Localpart}, c.LoginAttributes...) {
		if !isAttribute(a) {
			return bad("login_attributes", fmt.Sprintf("or localpart_attribute has %q", a), "name attributes by letters, digits and hyphens")
		}
	}
	if len(c.LoginAttributes) == 0 {
		return bad("login_attributes", "is empty", "name at least one, like uid")
	}
	if c.Timeout <= 0 || c.Connections < 1 || c.Connections > 256 {
		return bad("timeout", "or connections is out of range", "set timeout above 0 and connections between 1 and 256")
	}
	if err := c.People.validate(func(setting, what, do string) error { return bad("people."+setting, what, do) }); err != nil {
		return err
	}
	_, err := c.tlsConfig()
	return err
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isAttribute allows a descr of RFC 4512 §1.4: it goes into filters unescaped.
func isAttribute(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return s != ""
}

// tlsConfig verifies the server's name and chain, always.
func (c LDAPConfig) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return cfg, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, oops.File("auth", c.CAFile, "set auth.ldap.ca_file to a PEM file", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(text) {
		return nil, oops.New("auth", c.CAFile+" holds no PEM certificate", "set auth.ldap.ca_file to a PEM file", nil)
	}
	return cfg, nil
}

// wanted finds the entries of all who may log in.
func (c LDAPConfig) wanted() string {
	if c.Filter+c.Consent == "" {
		return "(objectClass=*)"
	}
	return "(&" + c.Filter + c.Consent + ")"
}

// filter finds the entries of those who may log in with one of values in one of attributes.
func (c LDAPConfig) filter(attributes []string, values ...string) string {
	return "(&" + c.wanted() + anyOf(attributes, values) + ")"
}

// anyOf finds the entries with one of values in one of attributes. The values are escaped (RFC 4515 §3).
func anyOf(attributes, values []string) string {
	var b strings.Builder
	b.WriteString("(|")
	for _, v := range values {
		for _, a := range attributes {
			b.WriteString("(" + a + "=" + ldap.EscapeFilter(v) + ")")
		}
	}
	b.WriteString(")")
	return b.String()
}
