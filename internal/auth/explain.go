package auth

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// explanation tells step by step what is asked and what comes of it.
type explanation struct {
	out io.Writer
	bad int
}

func (e *explanation) ok(format string, args ...any) {
	fmt.Fprintf(e.out, "ok    "+format+"\n", args...)
}

// fails tells what is wrong and, where it is known, what to do.
func (e *explanation) fails(do, format string, args ...any) {
	e.bad++
	fmt.Fprintf(e.out, "FAIL  "+format+"\n", args...)
	if do != "" {
		fmt.Fprintf(e.out, "      %s\n", do)
	}
}

func (e *explanation) note(format string, args ...any) {
	fmt.Fprintf(e.out, "      "+format+"\n", args...)
}

// Explain goes through a login of user and tells each step; with a password that is tried too. The error says only that it went wrong.
func (d *LDAP) Explain(ctx context.Context, out io.Writer, user, password string) error {
	e := &explanation{out: out}
	c := d.explainServers(ctx, e)
	if c != nil {
		defer func() { _ = c.Close() }()
		d.explainLogin(c, e, user, password)
	}
	if e.bad > 0 {
		return fmt.Errorf("ldap: %s cannot log in: see the lines with FAIL", user)
	}
	return nil
}

// explainServers tries each server; it gives a connection to the first that works.
func (d *LDAP) explainServers(ctx context.Context, e *explanation) (use *ldap.Conn) {
	var failed []string
	for _, url := range d.cfg.URLs {
		begin := time.Now()
		c, err := d.pool.dial(ctx, url)
		if err != nil {
			failed = append(failed, url)
			fmt.Fprintf(e.out, "      %s: %v\n      %s\n", url, err, dialAdvice(err))
			continue
		}
		secured := "without TLS, on this machine"
		if state, ok := c.TLSConnectionState(); ok {
			secured = tls.VersionName(state.Version) + ", certificate of " + state.PeerCertificates[0].Subject.String() + " until " + state.PeerCertificates[0].NotAfter.Format(time.DateOnly)
		}
		e.ok("%s answers in %v (%s)", url, time.Since(begin).Round(time.Millisecond), secured)
		if use == nil {
			use = c
		} else {
			_ = c.Close()
		}
	}
	switch who := d.cfg.BindDN; {
	case use == nil:
		e.fails("", "no server can be used")
	case who == "":
		e.ok("searches anonymously (auth.ldap.bind_dn is empty)")
	default:
		e.ok("searches as %s", who)
	}
	if use != nil && len(failed) > 0 {
		e.note("others do while these do not answer: %s", strings.Join(failed, ", "))
	}
	return use
}

// ServerCheck is what is known of one server of the directory.
type ServerCheck struct {
	URL string
	Err error  // nil: it can be used
	Do  string // what the operator can do about it
}

// Check connects to each server, binds as the searching account and looks for the base.
func (d *LDAP) Check(ctx context.Context) (out []ServerCheck) {
	for _, url := range d.cfg.URLs {
		s := ServerCheck{URL: url}
		c, err := d.pool.dial(ctx, url)
		if err == nil {
			_, err = c.Search(ldap.NewSearchRequest(d.cfg.BaseDN, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, d.seconds(), false, "(objectClass=*)", []string{"1.1"}, nil))
			_ = c.Close()
		}
		if s.Err = err; err != nil {
			s.Do = dialAdvice(err)
		}
		out = append(out, s)
	}
	return out
}

// dialAdvice says what to do about a connection that failed.
func dialAdvice(err error) string {
	text := err.Error()
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials):
		return "correct auth.ldap.bind_dn and auth.ldap.bind_password: the directory refuses them"
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return "correct auth.ldap.base_dn: the directory has no such entry, or bind_dn may not see it"
	case ldap.IsErrorWithCode(err, ldap.LDAPResultConfidentialityRequired):
		return "set auth.ldap.starttls to true, or use ldaps://"
	case strings.Contains(text, "certificate signed by unknown authority"):
		return "set auth.ldap.ca_file to the PEM file of the authority that signed the directory's certificate"
	case strings.Contains(text, "certificate is valid for"), strings.Contains(text, "not valid for any names"), strings.Contains(text, "doesn't contain any IP SANs"):
		return "name the server in auth.ldap.urls as its certificate does"
	case strings.Contains(text, "certificate has expired"):
		return "the directory's certificate has expired: its operator must renew it"
	case strings.Contains(text, "connection refused"):
		return "nothing listens there: correct host and port in auth.ldap.urls, or start the directory"
	case strings.Contains(text, "no such host"):
		return "the name is not in DNS: correct it in auth.ldap.urls"
	case strings.Contains(text, "timeout"):
		return "nothing answers: is a firewall in between?"
	case strings.Contains(text, "StartTLS"):
		return "the server does not do StartTLS: use ldaps://, or set it up there"
	}
	return "see what the directory's log says"
}

// explainLogin follows one name.
func (d *LDAP) explainLogin(c *ldap.Conn, e *explanation, login, password string) {
	user, ok := cleanLogin(login)
	if !ok {
		e.fails("", "%q is no name that anybody could have", login)
		return
	}
	cfg := d.cfg
	raw := anyOf(cfg.LoginAttributes, d.typed(user))
	e.note("looks below %s for %s", cfg.BaseDN, raw)
	entry := d.explainSearch(c, e, raw, user)
	if entry == nil {
		return
	}
	for _, f := range []struct{ setting, filter, what string }{{"filter", cfg.Filter, "entitled to use the service"}, {"consent_filter", cfg.Consent, "asked for it"}} {
		if f.filter == "" {
			continue
		}
		found, err := d.search(c, "(&"+f.filter+raw+")", maxFits, nil)
		if err != nil || !hasDN(found, entry.DN) {
			do := "change the entry, or auth.ldap." + f.setting
			if strings.Contains(strings.ToLower(f.filter), "memberof=") {
				do += "; OpenLDAP has memberOf in entries only with its overlay memberof, and of groups that were made or changed after that"
			}
			e.fails(do, "not %s: the entry does not match auth.ldap.%s %s", f.what, f.setting, f.filter)
			return
		}
		e.ok("%s: matches auth.ldap.%s %s", f.what, f.setting, f.filter)
	}
	local, err := d.localpart(entry)
	if err != nil {
		e.fails("give the entry one, or choose another auth.ldap.localpart_attribute", "no address: attribute %s is %q", cfg.Localpart, entry.GetEqualFoldAttributeValue(cfg.Localpart))
		return
	}
	e.ok("XMPP address %s@%s, by attribute %s", local, d.mailDomains[0], cfg.Localpart)
	if picked, _, err := d.find(c, user); err != nil || picked == nil || picked.DN != entry.DN {
		e.fails("let auth.ldap.login_attributes be such that each value is one person's", "a login would not find this entry alone")
		return
	}
	d.explainPerson(c, e, local)
	if password == "" {
		e.note("no password was given: it was not tried")
		return
	}
	if err := d.bind(c, entry.DN, password); err != nil {
		e.fails("", "the directory refuses the password: %v", err)
		return
	}
	e.ok("the password is right")
}

// explainSearch finds the entry without the filters, so that it can be told what they do.
func (d *LDAP) explainSearch(c *ldap.Conn, e *explanation, filter, user string) *ldap.Entry {
	found, err := d.search(c, filter, maxFits, d.cfg.LoginAttributes)
	switch {
	case err != nil:
		e.fails(dialAdvice(err), "the search fails: %v", err)
		return nil
	case len(found) == 0:
		e.fails("look whether auth.ldap.base_dn holds people, auth.ldap.login_attributes name the right attributes, and bind_dn may read them", "nobody found")
		return nil
	}
	for _, entry := range found {
		e.note("found %s", entry.DN)
	}
	if len(found) == 1 {
		e.ok("one entry")
		return found[0]
	}
	for _, entry := range found {
		if local, err := d.localpart(entry); err == nil && strings.EqualFold(local, user) {
			e.ok("%d entries; that one counts whose address it is", len(found))
			return entry
		}
	}
	e.fails("let auth.ldap.login_attributes be such that each value is one person's", "%d entries: nobody can say whose login it is", len(found))
	return nil
}

// explainPerson tells what else is made of the entry.
func (d *LDAP) explainPerson(c *ldap.Conn, e *explanation, local string) {
	entry, err := d.findLocalpart(c, local, d.attributes(true)...)
	if err != nil || entry == nil {
		e.fails("correct auth.ldap.localpart_attribute: its values must be what is searched for", "messages to %s would not find this entry (%v)", local, err)
		return
	}
	p := d.person(entry, local)
	for _, f := range p.Fields {
		e.note("vcard  %s: %s", f.Name, f.Value)
	}
	if len(p.Photo) > 0 {
		e.note("vcard  PHOTO: %d bytes", len(p.Photo))
	}
	people := d.cfg.People
	if people.SearchFilter == "" {
		e.note("cannot be found by others: auth.ldap.people.search_filter is empty")
	} else if found, err := d.search(c, "(&"+d.cfg.wanted()+people.SearchFilter+anyOf([]string{d.cfg.Localpart}, d.typed(local))+")", maxFits, nil); err == nil && hasDN(found, entry.DN) {
		e.note("can be found by others")
	} else {
		e.note("cannot be found by others: does not match auth.ldap.people.search_filter")
	}
	d.explainGroups(c, e, entry)
}

func (d *LDAP) explainGroups(c *ldap.Conn, e *explanation, entry *ldap.Entry) {
	cfg := d.cfg.People.Groups
	if cfg.BaseDN == "" {
		return
	}
	values := []string{entry.DN, entry.GetEqualFoldAttributeValue(d.cfg.Localpart)}
	err := d.pages(c, cfg.BaseDN, "(&"+cfg.Filter+anyOf([]string{cfg.Member}, values)+")", []string{cfg.Name, cfg.Title}, func(g *ldap.Entry) {
		gives := "nothing: auth.ldap.people.groups names it nowhere"
		if group := cfg.group(g); group != nil {
			var what []string
			if group.Roster {
				what = append(what, "contacts")
			}
			if group.Room {
				what = append(what, "a room")
			}
			if group.Hat != "" {
				what = append(what, "the hat "+group.Hat)
			}
			gives = strings.Join(what, ", ")
		}
		e.note("group  %s gives %s", g.GetEqualFoldAttributeValue(cfg.Name), gives)
	})
	if err != nil {
		e.fails("correct auth.ldap.people.groups", "groups cannot be read: %v", err)
	}
}

func hasDN(list []*ldap.Entry, dn string) bool {
	for _, e := range list {
		if e.DN == dn {
			return true
		}
	}
	return false
}
