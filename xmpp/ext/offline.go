package ext

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsDelay      = "urn:xmpp:delay"
	nsHints      = "urn:xmpp:hints"
	nsChatStates = "http://jabber.org/protocol/chatstates"

	maxOffline      = 500     // messages that wait for one account
	maxOfflineBytes = 4 << 20 // their size
)

// OfflineMessage is one that waits.
type OfflineMessage struct {
	ID    int64
	Stamp time.Time
	XML   []byte // with its namespace declared
}

// OfflineStore keeps messages in their order. Changes are durable before nil is returned.
type OfflineStore interface {
	// AddOffline keeps a message, or gives ErrFull when there would be more than maxCount or maxBytes of owner's. One whose id in the archive, where
	// that is not empty, is that of a message that waits already is not kept again.
	AddOffline(ctx context.Context, owner stanza.JID, at time.Time, archive string, xml []byte, maxCount, maxBytes int) error
	// Offline gives what waits, oldest first.
	Offline(ctx context.Context, owner stanza.JID) ([]OfflineMessage, error)
	// HasOffline tells whether a message with that id in the archive waits.
	HasOffline(ctx context.Context, owner stanza.JID, archive string) (bool, error)
	// OfflineOwners are those for whom something waits.
	OfflineOwners(ctx context.Context) ([]stanza.JID, error)
	// DeleteOffline removes those up to an ID.
	DeleteOffline(ctx context.Context, owner stanza.JID, upTo int64) error
}

// Offline keeps messages for people who are not there (XEP-0160).
//
// A message stays on disk until the client has it: acknowledged (XEP-0198), or written where the client does not acknowledge. So it is never lost. It does not
// come a second time either, whenever the server is killed: the session remembers the last message that it was given, and the last that the client has
// acknowledged (Session.LastKept), until these are removed.
type Offline struct {
	srv   *xmpp.Server
	store OfflineStore
	log   *slog.Logger

	mu    sync.Mutex // guards boxes; taken before or without the lock of a box
	boxes map[stanza.JID]*box

	removing sync.WaitGroup

	stored, refused, delivered, failures atomic.Uint64
}

// box is an account one of whose clients takes what waits.
type box struct {
	mu   sync.Mutex // guards all below, and keeps messages in order; held while the store is asked
	to   *xmpp.Session
	upTo int64 // the last message that was handed to it

	have     atomic.Int64 // the last message that a client has
	gone     atomic.Int64 // the last message that is removed
	removing atomic.Bool  // a goroutine does that
}

// AttachOffline adds offline messages to s. They are handed to the first client that becomes available with a priority of 0 or more, and when that one
// ends without having them, to the next.
func AttachOffline(s *xmpp.Server, store OfflineStore, log *slog.Logger) *Offline {
	o := &Offline{srv: s, store: store, log: log, boxes: map[stanza.JID]*box{}}
	s.Hooks().Feature(xmpp.ToServer, "msgoffline")
	s.Hooks().Offline(o.keep)
	s.Hooks().Outbound(o.present)
	s.Hooks().Closed(o.closed)
	s.Hooks().Restored(o.restored)
	s.Hooks().Signed(o.signed)
	return o
}

// Wait ends when all that clients have is removed. It comes after the server's Shutdown and before the store is closed.
func (o *Offline) Wait() { o.removing.Wait() }

// Forget removes what waits for an account that is no more.
func (o *Offline) Forget(ctx context.Context, owner stanza.JID) error {
	return o.store.DeleteOffline(ctx, owner, math.MaxInt64)
}

// Counters are numbers for metrics.
func (o *Offline) Counters() map[string]uint64 {
	return map[string]uint64{
		"stored_total": o.stored.Load(), "refused_total": o.refused.Load(), "delivered_total": o.delivered.Load(), "store_errors_total": o.failures.Load(),
	}
}

// keep takes a message that no client can take. False: the sender is told that it did not arrive.
func (o *Offline) keep(st *stanza.Stanza) bool {
	switch {
	case st.To.Domain() != o.srv.Domain(): // guests do not come back
		return false
	case st.Type == "groupchat" || st.Type == "headline" || st.Type == "error": // XEP-0160 §3; an unknown type is normal (RFC 6121 §5.2.2)
		return false
	case trifling(st):
		return true // taken and forgotten: nobody needs an error for it
	}
	owner := st.To.Bare()
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	err := o.store.AddOffline(ctx, owner, time.Now(), st.Archive(), st.AppendXML(nil, stanza.NSClient, true), maxOffline, maxOfflineBytes)
	switch {
	case errors.Is(err, ErrFull):
		o.refused.Add(1)
		return false
	case err != nil:
		o.failures.Add(1)
		o.log.Error("offline message not stored", "to", owner.String(), "err", err)
		return false
	}
	o.stored.Add(1)
	// A client may have become available between the router's look at the sessions and the write.
	for _, y := range o.srv.Sessions(owner) {
		if takes(y) && o.handOver(owner, y) {
			break
		}
	}
	return true
}

// trifling tells messages that mean nothing later: chat states without words (XEP-0085 §5.1), what asks not to be stored (XEP-0334), and copies.
func trifling(st *stanza.Stanza) bool {
	if st.Has(nsHints, "no-store") || st.Has(nsHints, "no-permanent-store") || st.Has(nsCarbons, "sent") || st.Has(nsCarbons, "received") {
		return true
	}
	for _, n := range st.Names {
		switch {
		case n.Space == nsChatStates, n.Space == nsHints, n == (stanza.Name{Space: stanza.NSClient, Local: "thread"}):
		default:
			return false
		}
	}
	return true
}

// takes tells whether s is a client that wants messages to the bare address.
func takes(s *xmpp.Session) bool { return !s.Guest() && s.Presence() != nil && s.Priority() >= 0 }

// present hands over what waits when a client becomes available (XEP-0160 §3, RFC 6121 §8.5.2.1.1).
func (o *Offline) present(s *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind == stanza.Presence && st.Type == "" && st.To.IsZero() && takes(s) {
		o.handOver(s.JID().Bare(), s)
	}
	return false
}

// closed gives what a client did not get to another one of the account.
func (o *Offline) closed(s *xmpp.Session) {
	owner := s.JID().Bare()
	b := o.boxOf(owner)
	if b == nil {
		return
	}
	o.removeAll(owner, b) // the session, which would tell a restart what its client has, is about to be forgotten
	b.mu.Lock()
	mine := b.to == s
	if mine {
		b.to = nil
	}
	b.mu.Unlock()
	if !mine {
		return
	}
	for _, y := range o.srv.Sessions(owner) {
		if y != s && takes(y) && o.handOver(owner, y) {
			return
		}
	}
	o.mu.Lock()
	if o.boxes[owner] == b && len(o.srv.Sessions(owner)) == 0 && b.have.Load() == b.gone.Load() {
		delete(o.boxes, owner)
	}
	o.mu.Unlock()
}

// handOver gives what waits for owner to s, or to the client that is getting it already. False: that one has ended meanwhile.
func (o *Offline) handOver(owner stanza.JID, s *xmpp.Session) bool {
	b := o.box(owner)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.to == nil || o.srv.Session(b.to.JID()) != b.to {
		b.to, b.upTo = s, b.have.Load()
	}
	ok, err := o.deliver(b, owner)
	if err != nil {
		o.failures.Add(1)
		o.log.Error("offline messages", "of", owner.String(), "err", err)
	}
	return ok || err != nil // another client would meet the same error
}

// boxOf gives that of an account, nil when there is none.
func (o *Offline) boxOf(owner stanza.JID) *box {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.boxes[owner]
}

// box gives that of an account, and makes it.
func (o *Offline) box(owner stanza.JID) *box {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.boxes[owner]
	if b == nil {
		b = &box{}
		o.boxes[owner] = b
	}
	return b
}

// deliver hands over what b's client was not given yet; the lock of b is held. False: the client has ended.
func (o *Offline) deliver(b *box, owner stanza.JID) (bool, error) {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	from, err := stanza.ParseJID(o.srv.Domain())
	if err != nil {
		return false, err
	}
	waiting, err := o.store.Offline(ctx, owner)
	if err != nil || len(waiting) == 0 {
		return true, err
	}
	last := waiting[len(waiting)-1].ID
	var ready []*stanza.Stanza
	var refs []uint64
	for _, m := range waiting {
		if m.ID <= b.upTo {
			continue
		}
		st, err := stanza.Parse(m.XML)
		if err != nil { // it goes with the others: it will not get better
			o.failures.Add(1)
			o.log.Error("offline message as stored", "of", owner.String(), "err", err)
			continue
		}
		ready, refs = append(ready, delayed(st, from, m.Stamp)), append(refs, uint64(m.ID))
	}
	if len(ready) == 0 {
		if last > b.upTo {
			o.gotten(owner, b, last)
		}
		return true, nil
	}
	b.upTo = last
	refs[len(refs)-1] = uint64(last) // with what cannot be read behind it
	for i, st := range ready {
		if !b.to.SendKept(st, refs[i]) {
			return false, nil // closed sees to the rest, if it has not run yet
		}
		o.delivered.Add(1)
	}
	return true, nil
}

// signed is told that a client has a message and those before it.
func (o *Offline) signed(owner stanza.JID, ref uint64) {
	b := o.boxOf(owner)
	if b != nil {
		o.gotten(owner, b, int64(ref))
	}
}

// restored remembers, after a restart, what a client was given and what it has.
func (o *Offline) restored(s *xmpp.Session) {
	waiting, had := s.LastKept()
	if waiting == 0 && had == 0 {
		return
	}
	b := o.box(s.JID().Bare())
	b.mu.Lock()
	defer b.mu.Unlock()
	raise(&b.have, int64(had))
	if int64(waiting) > b.upTo {
		b.to, b.upTo = s, int64(waiting)
	}
}

// Resume ends a restart: what clients had is removed, and what waits goes to those that are found again, as none of them may say again that it is there.
func (o *Offline) Resume(ctx context.Context) error {
	owners, err := o.store.OfflineOwners(ctx)
	if err != nil {
		return err
	}
	for _, owner := range owners {
		if b := o.boxOf(owner); b != nil { // most of them have no session
			o.removeAll(owner, b)
		}
		for _, y := range o.srv.Sessions(owner) {
			if takes(y) && o.handOver(owner, y) {
				break
			}
		}
	}
	return nil
}

// Waits tells whether a message waits, by its id in the archive of owner.
func (o *Offline) Waits(ctx context.Context, owner stanza.JID, archive string) (bool, error) {
	return o.store.HasOffline(ctx, owner, archive)
}

// gotten notes that a client has the messages up to an ID. It blocks on nothing.
func (o *Offline) gotten(owner stanza.JID, b *box, upTo int64) {
	raise(&b.have, upTo)
	if b.removing.CompareAndSwap(false, true) {
		o.removing.Go(func() {
			b.removing.Store(false) // what a client gets from here on is for the next
			o.removeAll(owner, b)
		})
	}
}

// removeAll forgets messages that clients have.
func (o *Offline) removeAll(owner stanza.JID, b *box) {
	if upTo := b.have.Load(); upTo > b.gone.Load() {
		o.remove(owner, b, upTo)
	}
}

// raise sets v, which never falls: clients that take turns may tell of what they have in another order.
func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if old >= to || v.CompareAndSwap(old, to) {
			return
		}
	}
}

// remove forgets messages that the client has.
func (o *Offline) remove(owner stanza.JID, b *box, upTo int64) {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	if err := o.store.DeleteOffline(ctx, owner, upTo); err != nil {
		o.failures.Add(1)
		o.log.Error("offline messages not removed, they will come again", "of", owner.String(), "err", err)
		return
	}
	raise(&b.gone, upTo)
}

// delayed adds when a message came (XEP-0203), unless it says so already: it was handed over before and came back.
func delayed(st *stanza.Stanza, from stanza.JID, at time.Time) *stanza.Stanza {
	for _, e := range st.Payload() {
		if e.Space == nsDelay && e.Attr("from") == from.String() {
			return st
		}
	}
	stamp := at.UTC().Format("2006-01-02T15:04:05.000Z")
	return st.WithPayload(append(st.Payload(), stanza.NewElement(nsDelay, "delay", "from", from.String(), "stamp", stamp))...)
}
