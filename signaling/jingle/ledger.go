package jingle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits per participant; a client with a camera and a screen in three layers each needs 13 SSRCs and 8 groups.
const (
	MaxSources = 20
	maxGroups  = 20
)

// checkSize stops a message early that cannot be accepted anyhow.
func checkSize(s *SourceSet) error {
	if len(s.Sources) > 4*MaxSources || len(s.Groups) > 4*maxGroups {
		return fmt.Errorf("too many sources")
	}
	for _, g := range s.Groups {
		if len(g.SSRCs) > MaxSources {
			return fmt.Errorf("too many sources in a group")
		}
	}
	return nil
}

// Ledger knows who owns which SSRC in a conference. It belongs to one goroutine.
type Ledger struct {
	owners map[string]*SourceSet
	ssrcs  map[uint32]string
}

// NewLedger makes an empty one.
func NewLedger() *Ledger {
	return &Ledger{owners: map[string]*SourceSet{}, ssrcs: map[uint32]string{}}
}

// Reserve marks SSRCs of the bridge itself, so that nobody can claim them.
func (l *Ledger) Reserve(ssrc uint32) { l.ssrcs[ssrc] = BridgeOwner }

// Of is what owner has. Read only.
func (l *Ledger) Of(owner string) SourceSet {
	if s := l.owners[owner]; s != nil {
		return *s
	}
	return SourceSet{}
}

// Add checks and takes new sources of owner. It gives back what was added, with missing names filled in; on error nothing has
// changed. The rules: SSRCs are unique in the conference; at most MaxSources and maxGroups; grouped SSRCs exist; FID has two; grouped
// sources have one msid in common that no other source of theirs has; names begin with the owner's id.
func (l *Ledger) Add(owner string, add SourceSet) (SourceSet, error) {
	add = add.Clone()
	for i := range add.Sources {
		if err := l.checkSource(owner, &add, i); err != nil {
			return SourceSet{}, err
		}
	}
	all := l.Of(owner).Clone()
	all.Sources = append(all.Sources, add.Sources...)
	var newGroups []Group
	for _, g := range add.Groups {
		if !all.hasGroup(g) {
			all.Groups = append(all.Groups, g)
			newGroups = append(newGroups, g)
		}
	}
	add.Groups = newGroups
	if len(all.Sources) > MaxSources {
		return SourceSet{}, fmt.Errorf("more than %d sources", MaxSources)
	}
	if len(all.Groups) > maxGroups {
		return SourceSet{}, fmt.Errorf("more than %d groups", maxGroups)
	}
	if err := checkGroups(all); err != nil {
		return SourceSet{}, err
	}
	for _, s := range add.Sources {
		l.ssrcs[s.SSRC] = owner
	}
	l.owners[owner] = &all
	return add, nil
}

func (l *Ledger) checkSource(owner string, add *SourceSet, i int) error {
	s := &add.Sources[i]
	if s.SSRC == 0 {
		return fmt.Errorf("ssrc 0")
	}
	if o, taken := l.ssrcs[s.SSRC]; taken {
		return fmt.Errorf("ssrc %d is in use by %s", s.SSRC, o)
	}
	for _, x := range add.Sources[:i] {
		if x.SSRC == s.SSRC {
			return fmt.Errorf("ssrc %d twice", s.SSRC)
		}
	}
	if s.Name == "" {
		s.Name = defaultName(owner, s.Media)
	}
	if !validName(owner, s.Name, s.Media) {
		return fmt.Errorf("source name %q is not of %s", clip(s.Name), owner)
	}
	return nil
}

// defaultName is for clients older than source names: they have one source of each kind.
func defaultName(owner string, m Media) string {
	if m == Audio {
		return owner + "-a0"
	}
	return owner + "-v0"
}

// validName wants <owner>-a<n> or <owner>-v<n>: names are keys of the whole conference.
func validName(owner, name string, m Media) bool {
	rest, ok := strings.CutPrefix(name, owner+"-"+string(m[0]))
	if !ok {
		return false
	}
	_, err := strconv.ParseUint(rest, 10, 16)
	return err == nil
}

// checkGroups holds a whole set of one owner against the rules about groups and msids.
func checkGroups(all SourceSet) error {
	byMSID := map[string]int{} // media and msid -> which cluster of grouped sources uses it
	cluster := map[uint32]int{}
	for i, s := range all.Sources {
		cluster[s.SSRC] = i
	}
	for _, g := range all.Groups {
		if err := checkGroup(all, g); err != nil {
			return err
		}
		for _, x := range g.SSRCs[1:] { // join the clusters
			from, to := cluster[x], cluster[g.SSRCs[0]]
			for k, v := range cluster {
				if v == from {
					cluster[k] = to
				}
			}
		}
	}
	for _, s := range all.Sources {
		if s.MSID == "" {
			continue
		}
		key := string(s.Media) + " " + s.MSID
		c := cluster[s.SSRC]
		if other, ok := byMSID[key]; ok && other != c {
			return fmt.Errorf("msid %q is used by two sources", clip(s.MSID))
		}
		byMSID[key] = c
	}
	return nil
}

func checkGroup(all SourceSet, g Group) error {
	switch {
	case len(g.SSRCs) == 0:
		return fmt.Errorf("empty %s group", clip(g.Semantics))
	case g.Semantics == FID && len(g.SSRCs) != 2:
		return fmt.Errorf("FID group of %d", len(g.SSRCs))
	}
	msid := ""
	for i, x := range g.SSRCs {
		j := slices.IndexFunc(all.Sources, func(s Source) bool { return s.SSRC == x && s.Media == g.Media })
		if j < 0 {
			return fmt.Errorf("%s group names ssrc %d, which is no source", clip(g.Semantics), x)
		}
		m := all.Sources[j].MSID
		if m == "" {
			return fmt.Errorf("grouped ssrc %d has no msid", x)
		}
		if i > 0 && m != msid {
			return fmt.Errorf("msids differ in a %s group", clip(g.Semantics))
		}
		msid = m
	}
	return nil
}

// Remove takes away what of del owner has, and groups that lose a member; it gives back what went. It never fails: a client that removes
// twice is right in the end.
func (l *Ledger) Remove(owner string, del SourceSet) SourceSet {
	cur := l.owners[owner]
	if cur == nil {
		return SourceSet{}
	}
	var gone, keep SourceSet
	for _, s := range cur.Sources {
		if del.Has(s.SSRC) {
			gone.Sources = append(gone.Sources, s)
			delete(l.ssrcs, s.SSRC)
		} else {
			keep.Sources = append(keep.Sources, s)
		}
	}
	for _, g := range cur.Groups {
		if del.hasGroup(g) || slices.ContainsFunc(g.SSRCs, gone.Has) {
			gone.Groups = append(gone.Groups, g)
		} else {
			keep.Groups = append(keep.Groups, g)
		}
	}
	l.owners[owner] = &keep
	if keep.Empty() {
		delete(l.owners, owner)
	}
	return gone
}

// RemoveOwner forgets an owner and gives back what it had.
func (l *Ledger) RemoveOwner(owner string) SourceSet {
	cur := l.owners[owner]
	if cur == nil {
		return SourceSet{}
	}
	for _, s := range cur.Sources {
		delete(l.ssrcs, s.SSRC)
	}
	delete(l.owners, owner)
	return *cur
}

// All lists everybody's sources but except's, sorted by owner.
func (l *Ledger) All(except string) []Owned {
	var out []Owned
	for o, s := range l.owners {
		if o != except {
			out = append(out, Owned{o, *s})
		}
	}
	slices.SortFunc(out, func(a, b Owned) int { return strings.Compare(a.Owner, b.Owner) })
	return out
}
