package main

import (
	"context"
	"crypto/sha1" // tells pictures apart (XEP-0084 §4.2.1)
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"konzil/internal/auth"
	"konzil/xmpp"
	"konzil/xmpp/ext"
	"konzil/xmpp/muc"
	"konzil/xmpp/roster"
	"konzil/xmpp/stanza"
)

const (
	nsVCard = "vcard-temp"

	// cardTime bounds the wait for a directory entry when a vcard is asked for.
	cardTime = 5 * time.Second
	// maxPhotos is how many pictures are read for avatars at a time; who logs in beyond that has it done next time.
	maxPhotos = 4
)

// attachDirectory lets features have what the directory says of people. It comes after all of them.
func (s *server) attachDirectory() {
	if s.people == nil {
		return
	}
	s.roster.Share(s.sharedContacts)
	s.vcards.Overlay = s.organisationCard
	s.search = ext.NewSearch(s.xmpp, s.searchPeople, s.log.With("part", "directory"))
	s.xmpp.Mount("search."+s.cfg.Domain, s.search)
	s.photos = make(chan struct{}, maxPhotos)
	s.xmpp.Hooks().Bound(s.takePhoto)
	s.people.Follow(auth.PeopleEvents{
		Left: func(localpart string) {
			if owner, err := s.account(localpart); err == nil {
				s.shutOut(owner, "this account is not in the directory any more")
			}
		},
		Expired: s.deleteAccount,
		Grouped: s.regroup,
	})
}

// followDirectory reads the directory now and then, until the server stops.
func (s *server) followDirectory(context.Context) error {
	if s.people == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.people.Run(ctx) })
	s.onStop(func(context.Context) { cancel(); wg.Wait() })
	return nil
}

// sharedContacts are the other members of one's groups.
func (s *server) sharedContacts(owner stanza.JID) []roster.Shared {
	if owner.Domain() != s.cfg.Domain {
		return nil
	}
	groups := s.people.Groups()
	by := map[string]*roster.Shared{}
	for _, g := range groups.Of(owner.Local()) {
		if !g.Roster {
			continue
		}
		for _, m := range g.Members {
			c := by[m]
			if c == nil {
				j, err := s.account(m)
				if err != nil || j == owner {
					continue
				}
				c = &roster.Shared{JID: j, Name: groups.Called(m)}
				by[m] = c
			}
			c.Groups = append(c.Groups, g.Title)
		}
	}
	out := make([]roster.Shared, 0, len(by))
	for _, c := range by {
		out = append(out, *c)
	}
	return out
}

// hats are what the groups of a person are called in rooms.
func (s *server) hats(_, bare stanza.JID) (out []muc.Hat) {
	if s.people == nil || bare.Domain() != s.cfg.Domain {
		return nil
	}
	for _, g := range s.people.Groups().Of(bare.Local()) {
		if g.Hat != "" {
			out = append(out, muc.Hat{URI: "urn:konzil:group:" + url.PathEscape(g.Name), Title: g.Hat})
		}
	}
	return out
}

// regroup carries on that people are in other groups.
func (s *server) regroup(localparts []string) {
	var people []stanza.JID
	for _, l := range localparts {
		if j, err := s.account(l); err == nil {
			people = append(people, j)
		}
	}
	s.roster.Regroup(people)
	for _, p := range people {
		s.meetings.rooms.RefreshHats(p)
	}
	var rooms []muc.Provided
	for _, g := range s.people.Groups().All {
		if !g.Room {
			continue
		}
		name, err := auth.PrepareLocalpart(strings.ReplaceAll(g.Name, " ", "-"))
		if err != nil {
			s.log.Warn("a group has no name for a room", "group", g.Name, "err", err)
			continue
		}
		room, err := stanza.NewJID(name, s.meetings.rooms.Domain(), "")
		if err != nil {
			continue // as above: the name is no localpart
		}
		p := muc.Provided{Room: room, Title: g.Title}
		for _, m := range g.Members {
			if j, err := s.account(m); err == nil {
				p.Members = append(p.Members, j)
			}
		}
		rooms = append(rooms, p)
	}
	s.meetings.rooms.Provide(rooms)
}

// organisationCard puts what the directory says of somebody over what they say themselves; their own photo stays. People of this house are
// told, and contacts of the person; strangers are not.
func (s *server) organisationCard(owner, asker stanza.JID, card *stanza.Element) *stanza.Element {
	if owner.Domain() != s.cfg.Domain || asker.Domain() != s.cfg.Domain && !s.roster.Subscribed(owner, asker) {
		return card
	}
	ctx, cancel := context.WithTimeout(context.Background(), cardTime)
	defer cancel()
	p, err := s.directory.Person(ctx, owner.Local())
	if err != nil {
		s.log.Warn("directory entry not read for a vcard", "account", owner.Local(), "err", err)
	}
	if p == nil {
		return card
	}
	out := stanza.NewElement(nsVCard, "vCard")
	for _, f := range p.Fields {
		addField(out, f)
	}
	said := map[string]bool{}
	for _, c := range out.Children() {
		said[c.Local] = true
	}
	for _, c := range card.Children() {
		if !said[c.Local] {
			out.Add(c)
		}
	}
	if len(p.Photo) > 0 && out.Child(nsVCard, "PHOTO") == nil {
		out.Add(photoElement(p.Photo))
	}
	return out
}

// addField adds a value at a path of elements like ORG.ORGUNIT (XEP-0054 §3.3).
func addField(card *stanza.Element, f auth.Field) {
	name, below, nested := strings.Cut(f.Name, ".")
	switch {
	case f.Name == "EMAIL":
		card.Add(stanza.NewElement(nsVCard, name).Add(stanza.NewElement(nsVCard, "INTERNET"), stanza.NewElement(nsVCard, "WORK"), stanza.TextElement(nsVCard, "USERID", f.Value)))
	case f.Name == "TEL":
		card.Add(stanza.NewElement(nsVCard, name).Add(stanza.NewElement(nsVCard, "WORK"), stanza.NewElement(nsVCard, "VOICE"), stanza.TextElement(nsVCard, "NUMBER", f.Value)))
	case !nested:
		card.Add(stanza.TextElement(nsVCard, name, f.Value))
	default:
		parent := card.Child(nsVCard, name)
		if parent == nil {
			parent = stanza.NewElement(nsVCard, name)
			card.Add(parent)
		}
		parent.Add(stanza.TextElement(nsVCard, below, f.Value))
	}
}

func photoElement(image []byte) *stanza.Element {
	return stanza.NewElement(nsVCard, "PHOTO").Add(stanza.TextElement(nsVCard, "TYPE", http.DetectContentType(image)),
		stanza.TextElement(nsVCard, "BINVAL", base64.StdEncoding.EncodeToString(image)))
}

// takePhoto makes the picture in the directory the avatar of somebody who logs in, when it is a new one. They may put another in its place.
func (s *server) takePhoto(x *xmpp.Session) {
	if x.Guest() {
		return
	}
	select {
	case s.photos <- struct{}{}:
	default:
		return
	}
	s.background.Go(func() {
		defer func() { <-s.photos }()
		owner := x.JID().Bare()
		ctx, cancel := context.WithTimeout(context.Background(), cardTime)
		defer cancel()
		p, err := s.directory.Person(ctx, owner.Local())
		if err != nil || p == nil || len(p.Photo) == 0 {
			return // an avatar is worth no more than that
		}
		sum := sha1.Sum(p.Photo)
		fresh, err := s.people.NewPhoto(ctx, owner.Local(), sum[:])
		if err != nil || !fresh {
			return
		}
		s.avatars.CardSet(owner, stanza.NewElement(nsVCard, "vCard").Add(photoElement(p.Photo)))
	})
}

// searchPeople finds people who let themselves be found (XEP-0055).
func (s *server) searchPeople(ctx context.Context, w ext.Wanted) (out []ext.Found, err error) {
	found, err := s.directory.Search(ctx, []auth.Field{{Value: w.Name}, {Name: "N.GIVEN", Value: w.First}, {Name: "N.FAMILY", Value: w.Last}, {Name: "EMAIL", Value: w.Email}})
	for _, p := range found {
		j, jerr := s.account(p.Localpart)
		if jerr != nil {
			continue // nobody with an address
		}
		out = append(out, ext.Found{JID: j, Name: p.Get("FN"), First: p.Get("N.GIVEN"), Last: p.Get("N.FAMILY"), Email: p.Get("EMAIL")})
	}
	slices.SortFunc(out, func(a, b ext.Found) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}
