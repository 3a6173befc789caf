package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	// maxFits is how many entries are looked at for one name: more than a few mean that the attributes do not name people.
	maxFits = 10
	// pageSize is the number of entries of one answer when the whole directory is read (RFC 2696).
	pageSize = 500
	// maxFound bounds what a search for people gives.
	maxFound = 50
)

// Person is an entry of the directory as far as we use it.
type Person struct {
	DN        string
	Localpart string
	Fields    []Field // of the vcard, in its order; PHOTO is not among them
	Photo     []byte  // as it is in the directory, JPEG as a rule
}

// Field is a value of a vcard: its name is a path of elements of vcard-temp, like N.FAMILY.
type Field struct{ Name, Value string }

// Get gives the value of a field, "" without one.
func (p *Person) Get(name string) string {
	for _, f := range p.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// localpart makes the part before the @ of an entry's XMPP address: of a mail address in one of our mail domains what is before its @, of
// anything else all of it, escaped where it has what no address can have (XEP-0106).
func (d *LDAP) localpart(entry *ldap.Entry) (string, error) {
	value := strings.TrimSpace(entry.GetEqualFoldAttributeValue(d.cfg.Localpart))
	if name, domain, ok := strings.Cut(value, "@"); ok && d.isMailDomain(domain) {
		value = name
	}
	return PrepareLocalpart(escapeLocalpart(value))
}

func (d *LDAP) isMailDomain(domain string) bool {
	return slices.ContainsFunc(d.mailDomains, func(m string) bool { return strings.EqualFold(m, domain) })
}

// typed are the values that a name as typed may have in a login attribute.
func (d *LDAP) typed(user string) []string {
	out := []string{user}
	name, domain, mail := strings.Cut(user, "@")
	switch {
	case !mail:
		if plain := unescapeLocalpart(user); plain != user { // a client that was given an escaped address
			out = append(out, plain)
		}
		for _, m := range d.mailDomains {
			out = append(out, user+"@"+m)
		}
	case d.isMailDomain(domain):
		out = append(out, name)
	}
	return out
}

// find gives the one entry that a login is for; nil when there is none, or when nobody can say which: then whose address it is comes first.
func (d *LDAP) find(c *ldap.Conn, user string, attributes ...string) (*ldap.Entry, string, error) {
	return d.findIn(c, d.cfg.LoginAttributes, d.typed(user), user, attributes)
}

// findLocalpart gives the entry whose XMPP address has that localpart.
func (d *LDAP) findLocalpart(c *ldap.Conn, local string, attributes ...string) (*ldap.Entry, error) {
	entry, got, err := d.findIn(c, []string{d.cfg.Localpart}, d.typed(local), local, attributes)
	if got != local {
		return nil, err
	}
	return entry, err
}

func (d *LDAP) findIn(c *ldap.Conn, names, values []string, user string, attributes []string) (entry *ldap.Entry, localpart string, err error) {
	found, err := d.search(c, d.cfg.filter(names, values...), maxFits, attributes)
	if err != nil {
		return nil, "", err
	}
	bare, _, _ := strings.Cut(user, "@")
	fits := 0
	for _, e := range found {
		local, err := d.localpart(e)
		if err != nil {
			d.log.Warn("a directory entry has no usable localpart", "dn", e.DN, "attribute", d.cfg.Localpart)
			continue
		}
		if strings.EqualFold(local, user) || strings.EqualFold(local, bare) && d.isMailDomain(user[min(len(user), len(bare)+1):]) {
			return e, local, nil
		}
		entry, localpart = e, local
		fits++
	}
	if fits > 1 {
		d.log.Warn("a login fits several directory entries, so none", "login", user)
		return nil, "", nil
	}
	return entry, localpart, nil
}

// search gives the entries below base_dn that fit, with the attributes named and that of the localpart.
func (d *LDAP) search(c *ldap.Conn, filter string, limit int, attributes []string) ([]*ldap.Entry, error) {
	res, err := c.Search(ldap.NewSearchRequest(d.cfg.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, limit, d.seconds(), false,
		filter, append(slices.Clone(attributes), d.cfg.Localpart), nil))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return res.Entries, nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		d.log.Warn("auth.ldap.base_dn is not in the directory", "base_dn", d.cfg.BaseDN)
		return nil, nil
	case err != nil:
		return nil, err
	}
	return res.Entries, nil
}

func (d *LDAP) seconds() int { return int(d.cfg.Timeout/time.Second) + 1 }

// person reads what the vcard is made of.
func (d *LDAP) person(entry *ldap.Entry, localpart string) *Person {
	p := &Person{DN: entry.DN, Localpart: localpart}
	for _, m := range d.mappings {
		for _, a := range m.attributes {
			if m.field == "PHOTO" {
				if p.Photo = entry.GetEqualFoldRawAttributeValue(a); len(p.Photo) > 0 {
					break
				}
			} else if v := strings.TrimSpace(entry.GetEqualFoldAttributeValue(a)); v != "" {
				p.Fields = append(p.Fields, Field{m.field, v})
				break
			}
		}
	}
	return p
}

// attributes are those of the vcard, without the photo unless asked for.
func (d *LDAP) attributes(photo bool) (out []string) {
	for _, m := range d.mappings {
		if photo || m.field != "PHOTO" {
			out = append(out, m.attributes...)
		}
	}
	return out
}

// Person gives the entry of an account, nil if the directory has none.
func (d *LDAP) Person(ctx context.Context, localpart string) (p *Person, err error) {
	err = d.ask(ctx, func(c *ldap.Conn) error {
		entry, err := d.findLocalpart(c, localpart, d.attributes(true)...)
		if err == nil && entry != nil {
			p = d.person(entry, localpart)
		}
		return err
	})
	return p, err
}

// Search finds people who let themselves be found, by vcard fields that contain a text each; "" as the name of a field is any of them.
// At most maxFound are given.
func (d *LDAP) Search(ctx context.Context, wanted []Field) (out []*Person, err error) {
	filter := "(&" + d.cfg.wanted() + d.cfg.People.SearchFilter
	some := false
	for _, w := range wanted {
		if w.Value == "" {
			continue
		}
		var or strings.Builder
		for _, m := range d.mappings {
			if m.field == "PHOTO" || w.Name != "" && w.Name != m.field {
				continue
			}
			for _, a := range m.attributes {
				or.WriteString("(" + a + "=*" + ldap.EscapeFilter(w.Value) + "*)")
			}
		}
		if or.Len() == 0 {
			return nil, nil
		}
		filter, some = filter+"(|"+or.String()+")", true
	}
	if d.cfg.People.SearchFilter == "" || !some {
		return nil, nil
	}
	err = d.ask(ctx, func(c *ldap.Conn) error {
		found, err := d.search(c, filter+")", maxFound, d.attributes(false))
		for _, e := range found {
			if local, err := d.localpart(e); err == nil {
				out = append(out, d.person(e, local))
			}
		}
		return err
	})
	return out, err
}

// all reads everybody who may log in, a page at a time.
func (d *LDAP) all(ctx context.Context, each func(*Person)) error {
	return d.ask(ctx, func(c *ldap.Conn) error {
		return d.pages(c, d.cfg.BaseDN, d.cfg.wanted(), append(d.attributes(false), d.cfg.Localpart), func(e *ldap.Entry) {
			if local, err := d.localpart(e); err == nil {
				each(d.person(e, local))
			}
		})
	})
}

// pages reads a subtree by the control of RFC 2696.
func (d *LDAP) pages(c *ldap.Conn, base, filter string, attributes []string, each func(*ldap.Entry)) error {
	paging := ldap.NewControlPaging(pageSize)
	for {
		res, err := c.Search(ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, d.seconds(), false, filter, attributes, []ldap.Control{paging}))
		if err != nil {
			return err
		}
		for _, e := range res.Entries {
			each(e)
		}
		next, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return nil
		}
		paging.SetCookie(next.Cookie)
	}
}

// ask runs f on a connection that stays bound as the searching account.
func (d *LDAP) ask(ctx context.Context, f func(*ldap.Conn) error) error {
	err := d.pool.with(ctx, func(c *ldap.Conn) (bool, error) {
		err := f(c)
		return err == nil, err
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		d.failedN.Add(1)
		err = fmt.Errorf("auth: directory: %w", err)
	}
	return err
}
