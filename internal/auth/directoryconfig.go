package auth

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// PeopleConfig is what is made of directory entries beyond the login.
type PeopleConfig struct {
	Sync         time.Duration `yaml:"sync" doc:"how often the directory is read for people who have left, and for groups; 0: at logins alone, and no groups"`
	Grace        time.Duration `yaml:"grace" doc:"who has left cannot log in from that moment, and loses everything kept here after this time; 0: it is kept until konzil user delete"`
	SearchFilter string        `yaml:"search_filter" doc:"people who let themselves be found by others (XEP-0055), for example (chatVisible=TRUE); empty: nobody is"`
	VCard        []string      `yaml:"vcard" doc:"what vcards have from the directory, as FIELD=attribute; further attributes after a comma are taken where the ones before are missing; empty list: nothing"`
	Groups       GroupsConfig  `yaml:"groups" doc:"groups of the directory as contact lists, rooms and hats; off while base_dn is empty"`
}

// GroupsConfig says where groups are and what they give their members.
type GroupsConfig struct {
	BaseDN     string   `yaml:"base_dn" doc:"subtree in which groups are"`
	Filter     string   `yaml:"filter" doc:"which entries are groups"`
	Name       string   `yaml:"name_attribute" doc:"attribute with the short name of a group, by which the lists below name it"`
	Title      string   `yaml:"title_attribute" doc:"attribute with what people see; the name where it is missing"`
	Member     string   `yaml:"member_attribute" doc:"attribute with the members: their DNs (member, uniqueMember), or values of the localpart attribute (memberUid)"`
	Rosters    []string `yaml:"rosters" doc:"groups whose members are in each other's contact list, by name; * stands for any text"`
	RosterSize int      `yaml:"roster_size" doc:"groups with more members are in no contact list"`
	Rooms      []string `yaml:"rooms" doc:"groups that have a members-only room of the same name, by name"`
	Hats       []string `yaml:"hats" doc:"what members are called in rooms (XEP-0317), as NAME=Title: NAME is a group, or with *; the title may be left out for that of the group"`
}

// vcardFields are those that a directory may fill, in the order of vcard-temp.
var vcardFields = []string{"FN", "N.FAMILY", "N.GIVEN", "NICKNAME", "PHOTO", "TEL", "EMAIL", "TITLE", "ROLE", "ORG.ORGNAME", "ORG.ORGUNIT", "ADR.LOCALITY", "URL", "DESC"}

// defaultPeopleConfig reads the directory each hour and has vcards by inetOrgPerson (RFC 2798).
func defaultPeopleConfig() PeopleConfig {
	return PeopleConfig{
		Sync: time.Hour, Grace: 30 * 24 * time.Hour,
		VCard: []string{"FN=displayName,cn", "N.FAMILY=sn", "N.GIVEN=givenName", "EMAIL=mail", "TEL=telephoneNumber", "TITLE=title", "ORG.ORGNAME=o", "ORG.ORGUNIT=ou", "PHOTO=jpegPhoto"},
		Groups: GroupsConfig{
			Filter: "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))",
			Name:   "cn", Title: "description", Member: "member", RosterSize: 200,
		},
	}
}

func (c PeopleConfig) validate(bad func(setting, what, do string) error) error {
	for _, f := range []struct{ setting, filter string }{{"search_filter", c.SearchFilter}, {"groups.filter", c.Groups.Filter}} {
		if f.filter == "" {
			continue
		}
		if _, err := ldap.CompileFilter(f.filter); err != nil {
			return bad(f.setting, fmt.Sprintf("%q is not a filter", f.filter), "write it in brackets, like (objectClass=person)")
		}
	}
	for _, entry := range c.VCard {
		field, attributes := splitPair(entry)
		if !slices.Contains(vcardFields, field) || len(attributes) == 0 || !areAttributes(strings.Split(attributes, ",")) {
			return bad("vcard", fmt.Sprintf("has %q", entry), "write FIELD=attribute with a field of "+strings.Join(vcardFields, ", "))
		}
	}
	g := c.Groups
	if g.BaseDN == "" {
		return nil
	}
	if _, err := ldap.ParseDN(g.BaseDN); err != nil {
		return bad("groups.base_dn", fmt.Sprintf("%q is not a DN", g.BaseDN), "write it like ou=groups,dc=example,dc=org")
	}
	if !areAttributes([]string{g.Name, g.Member}) || g.Title != "" && !isAttribute(g.Title) {
		return bad("groups", "has a name_attribute, title_attribute or member_attribute that is none", "name attributes by letters, digits and hyphens")
	}
	for _, p := range slices.Concat(g.Rosters, g.Rooms, names(g.Hats)) {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return bad("groups", fmt.Sprintf("has the name %q", p), "name a group, or use * for any text")
		}
	}
	if g.RosterSize < 0 {
		return bad("groups.roster_size", "is negative", "give a number of members")
	}
	return nil
}

// splitPair cuts NAME=value.
func splitPair(s string) (name, value string) {
	name, value, _ = strings.Cut(s, "=")
	return strings.TrimSpace(name), strings.TrimSpace(value)
}

func names(pairs []string) []string {
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i], _ = splitPair(p)
	}
	return out
}

func areAttributes(list []string) bool {
	return !slices.ContainsFunc(list, func(a string) bool { return !isAttribute(strings.TrimSpace(a)) })
}

// fits tells whether a group is named by one of patterns.
func fits(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// mapping is one entry of VCard.
type mapping struct {
	field      string
	attributes []string // in order of preference
}

func (c PeopleConfig) mappings() []mapping {
	out := make([]mapping, 0, len(c.VCard))
	for _, entry := range c.VCard {
		field, attributes := splitPair(entry)
		m := mapping{field: field}
		for a := range strings.SplitSeq(attributes, ",") {
			m.attributes = append(m.attributes, strings.TrimSpace(a))
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b mapping) int { return slices.Index(vcardFields, a.field) - slices.Index(vcardFields, b.field) })
	return out
}
