package main

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"konzil/internal/token"
	"konzil/xmpp"
	"konzil/xmpp/muc"
	"konzil/xmpp/stanza"
)

// claimsKey is where a session keeps the claims of its token.
type claimsKey struct{}

// followers is the domain to which those open their streams who have no token and follow others into meetings, "" if nobody comes so. It is not the one
// of guests' addresses, which those with a token have too: who is refused at a room under an address of hosts.anonymousdomain has come the wrong way
// for lib-jitsi-meet, and is not told why (ChatRoom.onPresenceError).
func (c *Config) followers() string {
	if !c.Tokens.Enabled() || c.Tokens.AllowEmpty || c.Meetings.RequireToken || !c.XMPP.Guests {
		return ""
	}
	return "anonymous." + c.Domain
}

// anonymousDomain is where Jitsi clients without token and password shall come in, "" for the main domain.
func (c *Config) anonymousDomain() string {
	if c.Tokens.Enabled() || !c.XMPP.Guests {
		return c.followers()
	}
	return c.guestDomain()
}

// guestDomain is where guests have their addresses.
func (c *Config) guestDomain() string { return "guest." + c.Domain }

// needsToken tells whether guests who open a stream to a domain have to show a token. The domains that are for guests alone ask for none.
func (c *Config) needsToken(domain string) bool {
	return c.Meetings.RequireToken || domain == c.Domain && !c.Tokens.AllowEmpty
}

// admit checks the token of who comes as a guest; people with an account have a password.
func (s *server) admit(ctx context.Context, l xmpp.Login) (func(*xmpp.Session), error) {
	text := l.Params.Get("token")
	if !l.Guest || text == "" && !s.cfg.needsToken(l.Domain) {
		return nil, nil
	}
	claims, err := s.jwt.Verify(ctx, text)
	if err != nil {
		return nil, err
	}
	return func(x *xmpp.Session) {
		// A new token on resumption has to be for the room that the session was let in for; else the old one holds.
		if old, ok := x.Get(claimsKey{}).(*token.Claims); ok && claims.Room != "*" && !strings.EqualFold(old.Room, claims.Room) {
			return
		}
		x.Set(claimsKey{}, claims)
	}, nil
}

// claims are those of the session with that address, nil if it has none.
func (s *server) claims(real stanza.JID) *token.Claims {
	if s.jwt == nil {
		return nil
	}
	x := s.xmpp.Session(real)
	if x == nil {
		return nil
	}
	c, _ := x.Get(claimsKey{}).(*token.Claims)
	return c
}

// authenticated tells whether somebody may begin meetings: with an account, or a token.
func (s *server) authenticated(real stanza.JID) bool {
	return real.Domain() == s.cfg.Domain || s.claims(real) != nil
}

// ownsMeetings tells whether somebody authenticated is made moderator of all meetings: a token can say, else auto_owner does.
func (s *server) ownsMeetings(real stanza.JID) bool {
	if c := s.claims(real); c != nil {
		owner, said := c.Owner()
		return owner || !said && s.cfg.Meetings.AutoOwner
	}
	return s.authenticated(real)
}

// bearer is the token in a request's Authorization header, "" without one.
func bearer(r *http.Request) string {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return text
}

// authenticatedRequest is authenticated for a conference request over HTTP.
func (s *server) authenticatedRequest(r *http.Request) bool {
	if s.jwt == nil || bearer(r) == "" {
		return false
	}
	_, err := s.jwt.Verify(r.Context(), bearer(r))
	return err == nil
}

// loginURL is where somebody gets a token for a room, "" if the client shall ask for a password.
func (s *server) loginURL(room stanza.JID) string {
	if s.jwt == nil {
		return ""
	}
	return s.jwt.LoginURL(room.Local(), s.tenantOf(room.Domain()))
}

// tenantOf is TENANT of a domain conference.TENANT.example.org, "" for conference.example.org.
func (s *server) tenantOf(domain string) string {
	t, ok := strings.CutSuffix(domain, "."+s.cfg.Domain)
	if !ok {
		return ""
	}
	_, t, _ = strings.Cut(t, ".")
	return t
}

// tokenGuard holds the token of a newcomer against the room, and makes moderators as it says.
func (s *server) tokenGuard(j muc.Join) muc.Verdict {
	c := s.claims(j.Real)
	if c == nil || !j.Meeting {
		return muc.Verdict{}
	}
	room := j.Room
	if main, ok := s.meetings.breakout.Main(room); ok {
		room = main
	}
	if !s.jwt.Admits(c, room.Local(), s.tenantOf(room.Domain()), s.cfg.Domain) {
		return muc.Verdict{Refuse: stanza.ErrNotAllowed.With("Room and token mismatched")}
	}
	switch owner, _ := c.Owner(); {
	case owner:
		return muc.Verdict{Affiliation: "owner"}
	case c.Affiliation == "member":
		return muc.Verdict{Affiliation: "member"}
	}
	return muc.Verdict{}
}

const nsJitMeet = "http://jitsi.org/jitmeet"

// usualFeatures are what moderators may use whose token does not say.
var usualFeatures = []string{"livestreaming", "recording", "transcription", "outbound-call", "create-polls", "send-groupchat", "send-private-message", "flip",
	"file-upload", "live-translation"}

// decorate adds to an occupant's presence who it is by its token, and tells it what it may do unless its token did.
func (s *server) decorate(_, real stanza.JID, moderator bool) (all, own []*stanza.Element) {
	c := s.claims(real)
	if c != nil && (c.User != nil || c.Group != "") {
		all = append(all, identityElement(c))
	}
	if moderator && (c == nil || c.Features == nil) {
		p := stanza.NewElement(nsJitMeet, "permissions")
		for _, f := range usualFeatures {
			p.Add(stanza.NewElement(nsJitMeet, "p", "name", f, "val", "true"))
		}
		own = append(own, p)
	}
	return all, own
}

// identityElement is the user and group of a token as clients read them.
func identityElement(c *token.Claims) *stanza.Element {
	user := stanza.NewElement(stanza.NSClient, "user")
	for _, k := range slices.Sorted(maps.Keys(c.User)) {
		user.Add(stanza.TextElement(stanza.NSClient, k, c.User[k]))
	}
	el := stanza.NewElement(stanza.NSClient, "identity").Add(user)
	if c.Group != "" {
		el.Add(stanza.TextElement(stanza.NSClient, "group", c.Group))
	}
	return el
}

// mayUse tells whether who is in a room may use a feature: as the token says, or as moderator.
func (s *server) mayUse(feature string) func(room, real stanza.JID) bool {
	return func(room, real stanza.JID) bool {
		_, moderator := s.meetings.all.Standing(room, real)
		return s.claims(real).Allows(feature, moderator)
	}
}

// mayPoll tells who may make polls: everybody, unless a moderator has restricted it (metadata permissions).
func (s *server) mayPoll(room, real stanza.JID) bool {
	restricted := strings.Contains(string(s.meetings.metadata.Get(room)["permissions"]), `"pollCreationRestricted":true`)
	return !restricted || s.mayUse("create-polls")(room, real)
}
