package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	// manyLeave and manyLeaveShare: more leavers at once than both is taken for a mistake in the directory or its settings, and nobody is shut out.
	manyLeave      = 10
	manyLeaveShare = 5 // one of so many who are known
	// firstSync is how long after the start the directory is read: clients that come back have their turn first.
	firstSync = 5 * time.Second
)

// ErrManyLeft is what Sync gives when it does not believe how many have left.
var ErrManyLeft = errors.New("auth: too many people are missing in the directory at once")

// Group is one of the directory with what it gives its members.
type Group struct {
	Name, Title string
	Members     []string // localparts, sorted
	Roster      bool     // its members are in each other's contact list
	Room        bool     // it has a room
	Hat         string   // what its members are called in rooms, "" for nothing
}

// Groups are all that give their members something. They do not change.
type Groups struct {
	All   []*Group            // by name
	of    map[string][]*Group // by member
	names map[string]string   // what people are called, of members of contact lists
}

// Of are the groups of a person.
func (g *Groups) Of(localpart string) []*Group { return g.of[localpart] }

// Called is the name of a person, "" if it is not known.
func (g *Groups) Called(localpart string) string { return g.names[localpart] }

// Report is what Sync has found and done.
type Report struct {
	People, Groups int // who may log in; groups that give something
	Left           []string
	Expired        []string
}

// Run reads the directory soon and then regularly, until ctx ends.
func (p *People) Run(ctx context.Context) {
	if p.cfg.Sync <= 0 {
		return
	}
	for wait := firstSync; ; wait = p.cfg.Sync {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if _, err := p.Sync(ctx, false); err != nil && ctx.Err() == nil {
			p.log.Error("directory not read", "err", err)
		}
	}
}

// Sync reads the directory: who has left is shut out, whose grace has run out is deleted, groups are as they are now. force believes also
// that many have left.
func (p *People) Sync(ctx context.Context, force bool) (r Report, err error) {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	p.syncs.Add(1)
	defer func() {
		if err != nil {
			p.failures.Add(1)
		}
	}()
	here := map[string]string{} // localpart to name
	byDN := map[string]string{}
	if err := p.dir.all(ctx, func(q *Person) {
		here[q.Localpart] = q.Get("FN")
		byDN[foldDN(q.DN)] = q.Localpart
	}); err != nil {
		return r, err
	}
	r.People = len(here)
	if r.Left, err = p.leavers(ctx, here, force); err != nil {
		return r, err
	}
	groups, err := p.dir.readGroups(ctx, here, byDN)
	if err != nil {
		return r, err
	}
	r.Groups = len(groups.All)
	old := p.groups.Swap(groups)
	if moved := moved(old, groups); len(moved) > 0 && p.events.Grouped != nil {
		p.events.Grouped(moved)
	}
	r.Expired, err = p.expire(ctx)
	return r, err
}

// leavers shuts out who is known and not here.
func (p *People) leavers(ctx context.Context, here map[string]string, force bool) (left []string, err error) {
	known, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	active := 0
	for _, k := range known {
		if !k.Gone.IsZero() {
			continue
		}
		active++
		if _, ok := here[k.Localpart]; !ok {
			left = append(left, k.Localpart)
		}
	}
	if n := len(left); n > manyLeave && n > active/manyLeaveShare && !force {
		return nil, fmt.Errorf("%w: %d of %d: if that is so, run konzil ldap sync force", ErrManyLeft, n, active)
	}
	for _, localpart := range left {
		if err := p.leave(ctx, localpart); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// expire deletes who has been gone for longer than the grace.
func (p *People) expire(ctx context.Context) (out []string, err error) {
	if p.cfg.Grace <= 0 || p.events.Expired == nil {
		return nil, nil
	}
	known, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range known {
		if k.Gone.IsZero() || p.now().Sub(k.Gone) < p.cfg.Grace {
			continue
		}
		if err := p.events.Expired(ctx, k.Localpart); err != nil {
			return out, err
		}
		if err := p.Forget(ctx, k.Localpart); err != nil {
			return out, err
		}
		p.expired.Add(1)
		p.log.Info("deleted what belonged to somebody who had left", "account", k.Localpart, "left", k.Gone)
		out = append(out, k.Localpart)
	}
	return out, nil
}

// readGroups reads those that give their members something. here are the people with their names.
func (d *LDAP) readGroups(ctx context.Context, here, byDN map[string]string) (*Groups, error) {
	cfg := d.cfg.People.Groups
	out := &Groups{of: map[string][]*Group{}, names: map[string]string{}}
	if cfg.BaseDN == "" {
		return out, nil
	}
	attributes := []string{cfg.Name, cfg.Member}
	if cfg.Title != "" {
		attributes = append(attributes, cfg.Title)
	}
	err := d.ask(ctx, func(c *ldap.Conn) error {
		return d.pages(c, cfg.BaseDN, cmp.Or(cfg.Filter, "(objectClass=*)"), attributes, func(e *ldap.Entry) {
			if g := cfg.group(e); g != nil {
				g.Members = d.members(e.GetEqualFoldAttributeValues(cfg.Member), here, byDN)
				g.Roster = g.Roster && len(g.Members) <= cfg.RosterSize
				out.All = append(out.All, g)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out.All, func(a, b *Group) int { return strings.Compare(a.Name, b.Name) })
	for _, g := range out.All {
		for _, m := range g.Members {
			out.of[m] = append(out.of[m], g)
			if g.Roster {
				out.names[m] = here[m]
			}
		}
	}
	return out, nil
}

// group makes one of an entry, without its members; nil for one that gives nothing.
func (c GroupsConfig) group(e *ldap.Entry) *Group {
	g := &Group{Name: e.GetEqualFoldAttributeValue(c.Name)}
	if g.Name == "" {
		return nil
	}
	if c.Title != "" {
		g.Title = e.GetEqualFoldAttributeValue(c.Title)
	}
	g.Title = cmp.Or(g.Title, g.Name)
	g.Roster, g.Room = fits(c.Rosters, g.Name), fits(c.Rooms, g.Name)
	for _, h := range c.Hats {
		if name, title := splitPair(h); fits([]string{name}, g.Name) {
			g.Hat = cmp.Or(title, g.Title)
			break
		}
	}
	if !g.Roster && !g.Room && g.Hat == "" {
		return nil
	}
	return g
}

// members resolves DNs or names to localparts of people who are here.
func (d *LDAP) members(values []string, here, byDN map[string]string) []string {
	var out []string
	for _, v := range values {
		local, ok := byDN[foldDN(v)]
		if !ok {
			local, _ = d.localpart(&ldap.Entry{Attributes: []*ldap.EntryAttribute{{Name: d.cfg.Localpart, Values: []string{v}}}})
		}
		if _, ok := here[local]; ok {
			out = append(out, local)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// foldDN gives DNs that mean the same (RFC 4518, as far as spaces and case go) one form.
func foldDN(s string) string {
	dn, err := ldap.ParseDN(s)
	if err != nil {
		return s
	}
	return strings.ToLower(dn.String())
}

// moved are the people of whom the groups or their titles are others now.
func moved(old, now *Groups) []string {
	people := map[string]struct{}{}
	was := map[string]*Group{}
	for _, g := range old.All {
		was[g.Name] = g
	}
	for _, g := range now.All {
		o := was[g.Name]
		delete(was, g.Name)
		if o != nil && o.Title == g.Title && o.Roster == g.Roster && o.Room == g.Room && o.Hat == g.Hat && slices.Equal(o.Members, g.Members) {
			continue
		}
		for _, m := range g.Members {
			people[m] = struct{}{}
		}
		if o != nil {
			for _, m := range o.Members {
				people[m] = struct{}{}
			}
		}
	}
	for _, g := range was {
		for _, m := range g.Members {
			people[m] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(people))
}
