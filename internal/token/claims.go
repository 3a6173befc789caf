package token

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// Claims are what a token says of a person.
type Claims struct {
	Subject string // tenant or domain, * for any
	Room    string // * for any
	Expires time.Time

	User        map[string]string // of context.user, scalars as text: id, name, email, avatar and what else there is
	Group       string
	Moderator   *bool  // context.user.moderator; nil: the token does not say
	Affiliation string // context.user.affiliation: owner, member
	Hidden      bool   // context.user.hidden-from-recorder

	Features map[string]bool // nil: the token has none
}

// Allows tells whether the holder may use a feature. A token without features leaves that to other, the usual rule.
func (c *Claims) Allows(feature string, other bool) bool {
	if c == nil || c.Features == nil {
		return other
	}
	return c.Features[feature]
}

// Owner tells whether the token makes its holder moderator; said is false if it leaves that open.
func (c *Claims) Owner() (owner, said bool) {
	switch {
	case c.Affiliation != "":
		return c.Affiliation == "owner", true
	case c.Moderator != nil:
		return *c.Moderator, true
	}
	return false, false
}

// raw is the private claims as they come: values are of any type.
type raw struct {
	Room    string `json:"room"`
	Context struct {
		User     map[string]any `json:"user"`
		Group    any            `json:"group"`
		Features map[string]any `json:"features"`
	} `json:"context"`
}

// maxValue bounds what is kept of one value: it is in each presence.
const maxValue = 2048

func (r *raw) claims(std jwt.Claims) *Claims {
	c := &Claims{Subject: std.Subject, Room: r.Room, Group: text(r.Context.Group)}
	if std.Expiry != nil {
		c.Expires = std.Expiry.Time()
	}
	for k, v := range r.Context.User {
		switch s := text(v); {
		case k == "moderator":
			yes := truth(v)
			c.Moderator = &yes
		case k == "affiliation":
			c.Affiliation = s
		case k == "hidden-from-recorder":
			c.Hidden = truth(v)
		case s != "" && elementName(k):
			if c.User == nil {
				c.User = map[string]string{}
			}
			c.User[k] = s
		}
	}
	if r.Context.Features != nil {
		c.Features = map[string]bool{}
		for k, v := range r.Context.Features {
			c.Features[k] = truth(v)
		}
	}
	return c
}

// elementName tells whether k can be the name of an XML element.
func elementName(k string) bool {
	for i, r := range k {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_':
		case i > 0 && (r >= '0' && r <= '9' || r == '-'):
		default:
			return false
		}
	}
	return k != "" && len(k) <= 64 && !strings.HasPrefix(strings.ToLower(k), "xml")
}

// truth reads booleans and the strings "true" and "false".
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return strings.EqualFold(v, "true")
	}
	return false
}

// text is a scalar as text, "" for anything else.
func text(v any) string {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case bool, float64:
		b, err := json.Marshal(v)
		if err != nil { // an infinity cannot come out of JSON
			return ""
		}
		s = string(b)
	}
	if len(s) > maxValue {
		return ""
	}
	return s
}
