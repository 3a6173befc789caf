package ext

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"konzil/internal/cache"
	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsBlocking    = "urn:xmpp:blocking"
	nsBlockErrors = "urn:xmpp:blocking:errors"

	maxBlocked      = 1000   // addresses of one account
	maxCachedBlocks = 50_000 // lists in memory; above, all are forgotten and read again
)

// BlockStore keeps block lists. SetBlocked replaces one and is durable before it returns nil.
type BlockStore interface {
	Blocked(ctx context.Context, owner stanza.JID) ([]stanza.JID, error)
	SetBlocked(ctx context.Context, owner stanza.JID, jids []stanza.JID) error
}

type blockSet map[stanza.JID]bool

// Blocking holds the block lists of all accounts.
type Blocking struct {
	srv     *xmpp.Server
	store   BlockStore
	visible Visible
	log     *slog.Logger
	report  func(Report) // nil: nobody wants them

	change sync.Mutex // held while a list is read from the store or written to it, so that no older one overwrites a newer
	lists  *cache.Cache[stanza.JID, blockSet]
}

// blockNote is where a session notes that it has asked for the list.
const blockNote = "blocking"

// AttachBlocking lets people refuse messages, presence and iqs of others (XEP-0191). It has to be attached before the roster and whatever else
// looks at stanzas. visible is the roster's answer who gets presence.
func AttachBlocking(s *xmpp.Server, store BlockStore, visible Visible, log *slog.Logger) *Blocking {
	b := &Blocking{srv: s, store: store, visible: visible, log: log, lists: cache.New[stanza.JID, blockSet](maxCachedBlocks)}
	h := s.Hooks()
	h.Feature(xmpp.ToServer, nsBlocking)
	h.Feature(xmpp.ToAccount, nsBlocking)
	h.IQ(xmpp.ToAccount, nsBlocking, "blocklist", b.list)
	h.IQ(xmpp.ToAccount, nsBlocking, "block", b.block)
	h.IQ(xmpp.ToAccount, nsBlocking, "unblock", b.unblock)
	h.Outbound(b.outbound)
	h.Inbound(b.inbound)
	h.AccountIQ(b.iq)
	return b
}

// Refuses tells whether owner has blocked peer.
func (b *Blocking) Refuses(owner, peer stanza.JID) bool { return b.get(owner.Bare()).has(peer) }

// Forget removes the list of an account that is no more.
func (b *Blocking) Forget(ctx context.Context, owner stanza.JID) error {
	return b.replace(ctx, owner, nil)
}

// replace stores another list; it is read again when it is needed.
func (b *Blocking) replace(ctx context.Context, owner stanza.JID, list []stanza.JID) error {
	b.change.Lock()
	defer b.change.Unlock()
	if err := b.store.SetBlocked(ctx, owner, list); err != nil {
		return err
	}
	b.lists.Delete(owner)
	return nil
}

// get is the list of owner, from memory or from the store. Who cannot be read has none: messages are not held up by that.
func (b *Blocking) get(owner stanza.JID) blockSet {
	set, ok := b.lists.Get(owner)
	if ok {
		return set
	}
	b.change.Lock()
	defer b.change.Unlock()
	set, err := b.load(owner)
	if err != nil {
		b.log.Error("block list not read", "owner", owner.String(), "err", err)
	}
	return set
}

// load is called with b.change.
func (b *Blocking) load(owner stanza.JID) (blockSet, error) {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	jids, err := b.store.Blocked(ctx, owner)
	if err != nil {
		return nil, err
	}
	set := blockSet{}
	for _, j := range jids {
		set[j] = true
	}
	b.lists.Put(owner, set)
	return set, nil
}

// has tells whether an address is refused: itself, its account, or its whole domain (§3.1).
func (s blockSet) has(j stanza.JID) bool {
	if len(s) == 0 {
		return false
	}
	if s[j] || s[j.Bare()] {
		return true
	}
	for _, d := range []string{j.Domain(), j.Domain() + "/" + j.Resource()} {
		if dj, err := stanza.ParseJID(strings.TrimSuffix(d, "/")); err == nil && s[dj] {
			return true
		}
	}
	return false
}

// account tells whether j is of the kind that has a list.
func (b *Blocking) account(j stanza.JID) bool { return j.Domain() == b.srv.Domain() && j.Local() != "" }

func (b *Blocking) list(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if !own(s, iq) || iq.Type != "get" {
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	q := stanza.NewElement(nsBlocking, "blocklist")
	if !s.Guest() {
		s.SetNote(blockNote, "asked")
		q.Add(items(slices.Collect(maps.Keys(b.get(s.JID().Bare()))))...)
	}
	return iq.Result(q)
}

func items(jids []stanza.JID) []*stanza.Element {
	slices.SortFunc(jids, func(a, b stanza.JID) int { return strings.Compare(a.String(), b.String()) })
	var out []*stanza.Element
	for _, j := range jids {
		out = append(out, stanza.NewElement(nsBlocking, "item", "jid", j.String()))
	}
	return out
}

// asked reads the items of a request.
func asked(s *xmpp.Session, iq *stanza.Stanza, name string) ([]stanza.JID, *stanza.Error) {
	switch {
	case !own(s, iq) || iq.Type != "set":
		return nil, stanza.ErrForbidden
	case s.Guest():
		return nil, stanza.ErrNotAllowed.With("Guests have no block list")
	}
	var out []stanza.JID
	for _, it := range iq.Child(nsBlocking, name).ChildrenNamed(nsBlocking, "item") {
		j, err := stanza.ParseJID(it.Attr("jid"))
		if err != nil || j.IsZero() {
			return nil, stanza.ErrJIDMalformed
		}
		out = append(out, j)
	}
	return out, nil
}

// block adds to the list (§3.3). Who is blocked sees the owner leave.
func (b *Blocking) block(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	jids, serr := asked(s, iq, "block")
	if serr == nil && len(jids) == 0 {
		serr = stanza.ErrBadRequest
	}
	if serr != nil {
		return iq.ErrorReply(serr)
	}
	owner := s.JID().Bare()
	b.presence(owner, jids, func(x *xmpp.Session, to stanza.JID) *stanza.Stanza {
		return stanza.NewPresence("unavailable", x.JID(), to)
	})
	answer := b.edit(iq, owner, "block", jids, func(set blockSet) {
		for _, j := range jids {
			set[j] = true
		}
	})
	if answer.Type == "result" && b.report != nil {
		for _, r := range reports(owner, iq.Child(nsBlocking, "block").ChildrenNamed(nsBlocking, "item")) {
			b.report(r)
		}
	}
	return answer
}

// unblock takes from the list, or empties it (§3.4, §3.5). Those who are free again see the owner.
func (b *Blocking) unblock(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	jids, serr := asked(s, iq, "unblock")
	if serr != nil {
		return iq.ErrorReply(serr)
	}
	owner := s.JID().Bare()
	freed := jids
	if len(jids) == 0 {
		freed = slices.Collect(maps.Keys(b.get(owner)))
	}
	answer := b.edit(iq, owner, "unblock", jids, func(set blockSet) {
		for _, j := range freed {
			delete(set, j)
		}
	})
	if answer.Type == "result" {
		b.presence(owner, freed, func(x *xmpp.Session, to stanza.JID) *stanza.Stanza { return x.Presence().WithFromTo(x.JID(), to) })
	}
	return answer
}

// edit changes the list, in the store first, and shows it to the clients that have it.
func (b *Blocking) edit(iq *stanza.Stanza, owner stanza.JID, what string, shown []stanza.JID, f func(blockSet)) *stanza.Stanza {
	full, err := b.save(owner, f)
	if err != nil {
		return failed(b.log, iq, "block list not stored", err)
	}
	if full {
		return iq.ErrorReply(stanza.ErrResourceConstraint.With("The block list is full"))
	}
	push := stanza.NewIQ("set", "block"+random.Hex(8), owner, stanza.JID{}, stanza.NewElement(nsBlocking, what).Add(items(slices.Clone(shown))...))
	for _, x := range b.srv.Sessions(owner) {
		if x.Note(blockNote) != "" {
			x.Send(push.WithTo(x.JID()))
		}
	}
	return iq.Result()
}

func (b *Blocking) save(owner stanza.JID, f func(blockSet)) (full bool, err error) {
	b.change.Lock()
	defer b.change.Unlock()
	old, err := b.load(owner)
	if err != nil {
		return false, err
	}
	set := maps.Clone(old)
	f(set)
	if len(set) > maxBlocked {
		return true, nil
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	if err := b.store.SetBlocked(ctx, owner, slices.Collect(maps.Keys(set))); err != nil {
		return false, err
	}
	b.lists.Put(owner, set)
	return false, nil
}

// presence tells those of jids that may see owner what make makes of each available client.
func (b *Blocking) presence(owner stanza.JID, jids []stanza.JID, make func(*xmpp.Session, stanza.JID) *stanza.Stanza) {
	for _, j := range jids {
		if j.Local() == "" || b.visible == nil || !b.visible(owner, j.Bare()) {
			continue
		}
		for _, x := range b.srv.Sessions(owner) {
			if x.Presence() != nil {
				b.srv.Route(make(x, j))
			}
		}
	}
}

// outbound refuses what the owner sends to somebody on the list (§3.3).
func (b *Blocking) outbound(s *xmpp.Session, st *stanza.Stanza) bool {
	if st.To.IsZero() || s.Guest() || st.To.Bare() == s.JID().Bare() || !b.get(s.JID().Bare()).has(st.To) {
		return false
	}
	if st.Kind == stanza.Message || st.Type != "unavailable" {
		if r := st.ErrorReply(youBlocked()); r != nil {
			s.Send(r)
		}
	}
	return true
}

// inbound stops what comes from somebody on the owner's list, and presence that a local sender does not want to be seen there. A message is answered
// as if nobody were there (§3.3); not to a room, which would take that for the owner's end.
func (b *Blocking) inbound(st *stanza.Stanza) bool {
	if st.Kind == stanza.Presence && b.account(st.From) && st.Type != "unavailable" && b.get(st.From.Bare()).has(st.To) {
		return true
	}
	if !b.account(st.To) || st.From.Bare() == st.To.Bare() || !b.get(st.To.Bare()).has(st.From) {
		return false
	}
	if st.Kind == stanza.Message && st.Type != "groupchat" && !st.Has(nsMUCUser, "x") {
		if r := st.ErrorReply(stanza.ErrServiceUnavailable); r != nil {
			b.srv.Route(r)
		}
	}
	return true
}

// iq stops requests between people of whom one has blocked the other (§3.3), and answers of who is blocked. The owner's own answers pass: they belong
// to requests from before. A push of a block list never comes by this way: it
// is somebody's who wants to be believed.
func (b *Blocking) iq(st *stanza.Stanza) bool {
	n := st.First()
	if !st.To.IsBare() && st.Type == "set" && n.Space == nsBlocking {
		b.answer(st, stanza.ErrServiceUnavailable)
		return true
	}
	switch {
	case st.From.Bare() == st.To.Bare():
		return false
	case st.Type != "result" && st.Type != "error" && b.account(st.From) && b.get(st.From.Bare()).has(st.To):
		b.answer(st, youBlocked())
	case b.account(st.To) && b.get(st.To.Bare()).has(st.From):
		b.answer(st, stanza.ErrServiceUnavailable)
	default:
		return false
	}
	return true
}

// answer goes straight to the session that asked: on its way through the router it would look like an answer of the other one.
func (b *Blocking) answer(st *stanza.Stanza, err *stanza.Error) {
	r := st.ErrorReply(err)
	if r == nil {
		return
	}
	if x := b.srv.Session(r.To); x != nil {
		x.Send(r)
	} else {
		b.srv.Route(r)
	}
}

func youBlocked() *stanza.Error {
	return (&stanza.Error{Type: "cancel", Condition: "not-acceptable"}).With("You have blocked this address", stanza.NewElement(nsBlockErrors, "blocked"))
}
