package roster

import (
	"context"
	"log/slog"
	"sync/atomic"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsRoster      = "jabber:iq:roster"
	nsVersioning  = "urn:xmpp:features:rosterver"
	nsPreApproval = "urn:xmpp:features:pre-approval"
)

// Limits of a list, against roster bombs; generous for people.
const (
	maxItems   = 2000
	maxName    = 1024 // bytes
	maxGroups  = 50   // of one contact
	maxGroup   = 1024 // bytes of a group's name
	maxRequest = 4096 // bytes of a subscription request that is kept; a longer one is kept without its words
	maxPending = 200  // requests that wait for an answer; more are dropped
)

// Roster is the feature; Attach makes it.
type Roster struct {
	srv   *xmpp.Server
	store Store
	log   *slog.Logger
	cache *cache

	granted []func(owner, contact stanza.JID) // written before serving only
	pushed  []func(owner stanza.JID, query *stanza.Element)

	count struct{ gets, sets, pushes, subscriptions, dropped, probes, broadcasts, errors, forged atomic.Uint64 }
}

// interestedNote is noted of a session over a restart.
const interestedNote = "roster"

// key is where a session keeps its clientState.
type key struct{}

// clientState is what the roster knows of a session.
type clientState struct {
	interested atomic.Bool // it asked for the list: it gets pushes (RFC 6121 §2.1.6)
	available  atomic.Bool // it sent initial presence
}

// Attach adds rosters and presence to s.
func Attach(s *xmpp.Server, store Store, log *slog.Logger) *Roster {
	r := &Roster{srv: s, store: store, log: log}
	r.cache = &cache{store: store, lists: map[stanza.JID]*list{}, online: func(j stanza.JID) bool { return len(s.Sessions(j)) > 0 }}
	h := s.Hooks()
	h.IQ(xmpp.ToAccount, nsRoster, "query", r.iq)
	h.StreamFeature(stanza.NewElement(nsVersioning, "ver"))
	h.StreamFeature(stanza.NewElement(nsPreApproval, "sub"))
	h.Outbound(r.outbound)
	h.Inbound(r.inbound)
	h.Closed(r.closed)
	h.Restored(r.restored)
	h.Resumed(r.resumed)
	h.AccountIQ(r.forgedPush)
	h.Covers(r.covers)
	return r
}

// Subscribed tells whether contact may see the presence of owner: subscribed, or the same account.
func (r *Roster) Subscribed(owner, contact stanza.JID) bool {
	owner, contact = owner.Bare(), contact.Bare()
	if owner == contact {
		return true
	}
	ok := false
	err := r.with(owner, func(_ context.Context, l *list) error {
		ok = l.item(contact).Subscription&From != 0
		return nil
	})
	return ok && err == nil
}

// Contact tells whether contact is in the roster of owner.
func (r *Roster) Contact(owner, contact stanza.JID) bool {
	ok := false
	err := r.with(owner.Bare(), func(_ context.Context, l *list) error {
		ok = l.has(contact.Bare())
		return nil
	})
	return ok && err == nil
}

// Groups are those that contact is in, in the list of owner.
func (r *Roster) Groups(owner, contact stanza.JID) (groups []string) {
	_ = r.with(owner.Bare(), func(_ context.Context, l *list) error {
		groups = l.item(contact.Bare()).Groups
		return nil
	}) // logged: in none
	return groups
}

// Peers are the contacts of owner with a subscription: From for who sees its presence, To for whose presence it sees.
func (r *Roster) Peers(owner stanza.JID, way Subscription) (out []stanza.JID) {
	_ = r.with(owner.Bare(), func(_ context.Context, l *list) error {
		for _, i := range l.sorted(func(i Item) bool { return i.Subscription&way != 0 }) {
			out = append(out, i.JID)
		}
		return nil
	}) // logged: none
	return out
}

// Granted calls f when a contact sees the presence of owner from now on, after it was sent; before serving.
func (r *Roster) Granted(f func(owner, contact stanza.JID)) { r.granted = append(r.granted, f) }

// Pushed calls f with each change of a list, as it is shown to the owner's clients; before serving.
func (r *Roster) Pushed(f func(owner stanza.JID, query *stanza.Element)) {
	r.pushed = append(r.pushed, f)
}

// Counters are numbers for metrics.
func (r *Roster) Counters() map[string]uint64 {
	c := &r.count
	return map[string]uint64{
		"gets_total": c.gets.Load(), "sets_total": c.sets.Load(), "pushes_total": c.pushes.Load(),
		"subscriptions_total": c.subscriptions.Load(), "requests_dropped_total": c.dropped.Load(),
		"probes_total": c.probes.Load(), "broadcasts_total": c.broadcasts.Load(), "store_errors_total": c.errors.Load(),
		"forged_pushes_total": c.forged.Load(),
	}
}

// with runs f on the locked list of owner, with a limit on time.
func (r *Roster) with(owner stanza.JID, f func(context.Context, *list) error) error {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	err := r.cache.with(ctx, owner, func(l *list) error { return f(ctx, l) })
	if err != nil {
		r.count.errors.Add(1)
		r.log.Error("roster", "owner", owner.String(), "err", err)
	}
	return err
}

func state(s *xmpp.Session) *clientState {
	if cs, ok := s.Get(key{}).(*clientState); ok {
		return cs
	}
	return nil
}

// stateFor is state, made at the first call. Only the stream's own goroutine calls it.
func stateFor(s *xmpp.Session) *clientState {
	cs := state(s)
	if cs == nil {
		cs = &clientState{}
		s.Set(key{}, cs)
	}
	return cs
}

// restored brings back what was known of a session before a restart.
func (r *Roster) restored(s *xmpp.Session) {
	if s.Guest() {
		return
	}
	cs := stateFor(s)
	cs.interested.Store(s.Note(interestedNote) != "")
	cs.available.Store(s.Presence() != nil)
}

// resumed tells a client what presences it may have missed over a restart.
func (r *Roster) resumed(s *xmpp.Session) {
	if s.Restarted() && s.Presence() != nil {
		r.probe(s)
	}
}

func (r *Roster) closed(s *xmpp.Session) {
	if s.Guest() {
		return
	}
	if cs := state(s); cs != nil && cs.available.Swap(false) {
		r.broadcast(s, stanza.NewPresence("unavailable", s.JID(), stanza.JID{}))
	}
	if bare := s.JID().Bare(); len(r.srv.Sessions(bare)) == 0 {
		r.cache.drop(bare)
	}
}
