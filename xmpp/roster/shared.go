package roster

import (
	"context"
	"encoding/hex"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	"konzil/xmpp/stanza"
)

// Shared is a contact that somebody has because both are in a group of the organisation: they see each other's presence without having asked.
type Shared struct {
	JID    stanza.JID
	Name   string
	Groups []string
}

// Share has f give the shared contacts of people, before serving; it must not wait. Regroup tells of changes.
func (r *Roster) Share(f func(owner stanza.JID) []Shared) { r.cache.shared = f }

// Regroup takes up that people have other shared contacts now: their clients are told, and who is new to each other sees each other.
func (r *Roster) Regroup(owners []stanza.JID) {
	for _, owner := range owners {
		if len(r.srv.Sessions(owner)) == 0 {
			r.cache.drop(owner)
			continue
		}
		var pushed []pushing
		var met, parted []stanza.JID
		_ = r.with(owner, func(_ context.Context, l *list) error {
			old := l.shared
			l.shared = r.cache.sharedOf(owner)
			for j := range union(old, l.shared) {
				was, is := l.merge(j, old), l.item(j)
				if same(was, is) {
					continue
				}
				pushed = append(pushed, pushing{is, l.ver(), !is.Listed})
				switch {
				case was.Subscription&From == 0 && is.Subscription&From != 0:
					met = append(met, j)
				case was.Subscription&From != 0 && is.Subscription&From == 0:
					parted = append(parted, j)
				}
			}
			return nil
		}) // logged: the next login has it
		for _, p := range pushed {
			r.push(owner, p)
		}
		for _, j := range met {
			r.appear(owner, j)
		}
		for _, j := range parted {
			r.vanish(owner, j)
		}
	}
}

func union(a, b map[stanza.JID]Shared) map[stanza.JID]Shared {
	out := maps.Clone(a)
	if out == nil {
		out = map[stanza.JID]Shared{}
	}
	maps.Copy(out, b)
	return out
}

func same(a, b Item) bool {
	return a.Name == b.Name && a.Subscription == b.Subscription && a.Listed == b.Listed && a.Ask == b.Ask && slices.Equal(a.Groups, b.Groups)
}

// sharedOf are the shared contacts of owner by address.
func (c *cache) sharedOf(owner stanza.JID) map[stanza.JID]Shared {
	if c.shared == nil {
		return nil
	}
	list := c.shared(owner)
	if len(list) == 0 {
		return nil
	}
	out := make(map[stanza.JID]Shared, len(list))
	for _, s := range list {
		out[s.JID] = s
	}
	return out
}

// item is a contact as the owner sees it: what is stored, and what the shared groups say.
func (l *list) item(j stanza.JID) Item { return l.merge(j, l.shared) }

func (l *list) merge(j stanza.JID, shared map[stanza.JID]Shared) Item {
	i, known := l.items[j]
	s, ok := shared[j]
	if !ok {
		i.JID = j
		return i
	}
	if !known || i.Name == "" {
		i.Name = s.Name
	}
	i.JID, i.Listed, i.Subscription, i.Ask, i.PendingIn, i.shared = j, true, Both, false, false, true
	i.Groups = slices.Clone(i.Groups)
	for _, g := range s.Groups {
		if !slices.Contains(i.Groups, g) {
			i.Groups = append(i.Groups, g)
		}
	}
	return i
}

// has tells whether j is a contact of any kind.
func (l *list) has(j stanza.JID) bool {
	_, stored := l.items[j]
	_, shared := l.shared[j]
	return stored || shared
}

// ver is the version of the list (RFC 6121 §2.6): of what is stored, and of what is shared.
func (l *list) ver() string {
	v := strconv.FormatInt(l.version, 10)
	if len(l.shared) == 0 {
		return v
	}
	h := fnv.New64a()
	for _, s := range slices.SortedFunc(maps.Values(l.shared), func(a, b Shared) int { return compare(a.JID, b.JID) }) {
		for _, text := range append([]string{s.JID.String(), s.Name}, s.Groups...) {
			_, _ = h.Write(append([]byte(text), 0)) // never fails
		}
	}
	return v + "-" + hex.EncodeToString(h.Sum(nil))
}
