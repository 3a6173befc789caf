package ext

import (
	"context"
	"errors"
	"log/slog"
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
	// AddOffline keeps a message, or gives ErrFull when there would be more than maxCount or maxBytes of owner's.
	AddOffline(ctx context.Context, owner stanza.JID, at time.Time, xml []byte, maxCount, maxBytes int) error
	// Offline gives what waits, oldest first.
	Offline(ctx context.Context, owner stanza.JID) ([]OfflineMessage, error)
	// DeleteOffline removes those up to an ID.
	DeleteOffline(ctx context.Context, owner stanza.JID, upTo int64) error
}

// Offline keeps messages for people who are not there (XEP-0160).
type Offline struct {
	srv   *xmpp.Server
	store OfflineStore
	log   *slog.Logger

	mu   sync.Mutex // guards busy
	busy map[stanza.JID]bool

	stored, refused, delivered, failures atomic.Uint64
}

// offlineKey is where a session keeps that it has been given what waited.
type offlineKey struct{}

// AttachOffline adds offline messages to s. Each is handed once to the first client that becomes available with a priority of 0 or more, and
// removed from the disk after that: from then on it is in the outbox of that session, which gives it back (to other clients or to this store) if
// it cannot be written, or is not acknowledged where the client acknowledges (XEP-0198). A message can be lost only if the server itself is killed
// in between, and doubled only if it is killed between handing over and removal.
func AttachOffline(s *xmpp.Server, store OfflineStore, log *slog.Logger) *Offline {
	o := &Offline{srv: s, store: store, log: log, busy: map[stanza.JID]bool{}}
	s.Hooks().Feature(xmpp.ToServer, "msgoffline")
	s.Hooks().Offline(o.keep)
	s.Hooks().Outbound(o.present)
	return o
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
	case st.Type != "" && st.Type != "normal" && st.Type != "chat": // XEP-0160 §3
		return false
	case trifling(st):
		return true // taken and forgotten: nobody needs an error for it
	}
	owner := st.To.Bare()
	ctx, cancel := ioContext()
	defer cancel()
	err := o.store.AddOffline(ctx, owner, time.Now(), st.AppendXML(nil, stanza.NSClient, true), maxOffline, maxOfflineBytes)
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

// present hands over what waits when a client becomes available (XEP-0160 §3, RFC 6121 §8.5.2.1.1).
func (o *Offline) present(s *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind != stanza.Presence || st.Type != "" || !st.To.IsZero() || s.Guest() || s.Priority() < 0 || s.Get(offlineKey{}) != nil {
		return false
	}
	s.Set(offlineKey{}, true)
	owner := s.JID().Bare()
	o.mu.Lock()
	busy := o.busy[owner]
	o.busy[owner] = true
	o.mu.Unlock()
	if busy { // another client of this account is being given them
		return false
	}
	defer func() {
		o.mu.Lock()
		delete(o.busy, owner)
		o.mu.Unlock()
	}()
	if err := o.deliver(s, owner); err != nil {
		o.failures.Add(1)
		o.log.Error("offline messages", "of", owner.String(), "err", err)
	}
	return false
}

// deliver hands over until nothing waits: a message may have been stored while the client became available.
func (o *Offline) deliver(s *xmpp.Session, owner stanza.JID) error {
	ctx, cancel := ioContext()
	defer cancel()
	from, err := stanza.ParseJID(o.srv.Domain())
	if err != nil {
		return err
	}
	for {
		waiting, err := o.store.Offline(ctx, owner)
		if err != nil || len(waiting) == 0 {
			return err
		}
		for _, m := range waiting {
			st, err := stanza.Parse(m.XML)
			if err != nil {
				o.log.Error("offline message as stored", "of", owner.String(), "err", err)
				continue
			}
			s.Send(delayed(st, from, m.Stamp))
			o.delivered.Add(1)
		}
		if err := o.store.DeleteOffline(ctx, owner, waiting[len(waiting)-1].ID); err != nil || o.srv.Session(s.JID()) != s {
			return err // or it has gone: what was sent to it may be waiting again, for another
		}
	}
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
