package roster

import (
	"context"
	"slices"
	"strings"
	"sync"

	"konzil/xmpp/stanza"
)

// maxCached is how many contact lists of people who are not online may stay in memory; one has about 100 bytes for each contact.
const maxCached = 10_000

// list is one account's contacts.
type list struct {
	owner stanza.JID
	users int // goroutines at work with it; guarded by cache.mu

	mu      sync.Mutex // guards what follows; held while it is loaded and saved, never while anything is routed
	loaded  bool
	items   map[stanza.JID]Item   // as stored
	shared  map[stanza.JID]Shared // by the groups of the organisation
	version int64
}

// cache holds lists. A list that somebody works with, or whose owner is online, stays, so there is never more than one of an owner.
type cache struct {
	store  Store
	online func(stanza.JID) bool
	shared func(stanza.JID) []Shared // nil: nothing is

	mu    sync.Mutex // guards lists, and users of each
	lists map[stanza.JID]*list
}

// with runs f on the locked list of owner. f gets a list that is loaded.
func (c *cache) with(ctx context.Context, owner stanza.JID, f func(l *list) error) error {
	c.mu.Lock()
	l := c.lists[owner]
	if l == nil {
		l = &list{owner: owner}
		c.lists[owner] = l
	}
	l.users++
	c.mu.Unlock()
	defer c.release(l)

	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded {
		items, version, err := c.store.Load(ctx, owner)
		if err != nil {
			return err
		}
		l.items, l.version, l.loaded = make(map[stanza.JID]Item, len(items)), version, true
		for _, i := range items {
			l.items[i.JID] = i
		}
		l.shared = c.sharedOf(owner)
	}
	return f(l)
}

func (c *cache) release(l *list) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.users--
	if l.users == 0 && len(c.lists) > maxCached && !c.online(l.owner) {
		delete(c.lists, l.owner)
	}
}

// drop forgets the list of who has gone offline.
func (c *cache) drop(owner stanza.JID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lists[owner]; l != nil && l.users == 0 {
		delete(c.lists, owner)
	}
}

// put saves changed items and removals, then has them in memory. The list is locked.
func (l *list) put(ctx context.Context, store Store, changed []Item, removed []stanza.JID) error {
	for i := 0; i < len(changed); i++ {
		if changed[i].empty() {
			removed = append(removed, changed[i].JID)
			changed = slices.Delete(changed, i, i+1)
			i--
		}
	}
	if err := store.Save(ctx, l.owner, l.version+1, changed, removed); err != nil {
		return err
	}
	l.version++
	for _, i := range changed {
		l.items[i.JID] = i
	}
	for _, j := range removed {
		delete(l.items, j)
	}
	return nil
}

// sorted gives the items that pass, by address.
func (l *list) sorted(pass func(Item) bool) []Item {
	var out []Item
	for j := range l.items {
		if i := l.item(j); pass(i) {
			out = append(out, i)
		}
	}
	for j := range l.shared {
		if _, stored := l.items[j]; stored {
			continue
		}
		if i := l.item(j); pass(i) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b Item) int { return compare(a.JID, b.JID) })
	return out
}

func compare(a, b stanza.JID) int { return strings.Compare(a.String(), b.String()) }
