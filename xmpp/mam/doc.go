// Package mam is the archive of messages (XEP-0313): of each account, and of rooms for the package that serves them.
//
// The path of a message into the archive of an account:
//
//  1. Service.Keep (keep.go, the sending stream's goroutine) gets each message of a local session before it goes on. What belongs into an archive
//     (keepable) is appended to the sender's and, where that is a local account, to the recipient's; the message gets the stanza-id (XEP-0359)
//     by which the recipient's archive has it. The server carries on once it is on disk.
//  2. Service.inbound (keep.go) gets what comes from elsewhere (rooms, other servers), keeps it and routes it again once it is on disk. What is for several sessions
//     of an account (stanza.ForAll) is kept once.
//
// The path of a query: Service.query (query.go, the asking stream's goroutine) reads form and result set (form.go), asks konzil/internal/archive,
// sends one message for each result and then the answer. Preferences (XEP-0441) are in prefs.go, rooms in rooms.go, conversations (XEP-0430)
// in inbox.go.
package mam

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"konzil/internal/archive"
	"konzil/internal/cache"
	"konzil/internal/ledger"
	"konzil/internal/slots"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsMAM      = "urn:xmpp:mam:2"
	nsExtended = "urn:xmpp:mam:2#extended"
	nsFulltext = "urn:xmpp:fulltext:0"
	nsSID      = "urn:xmpp:sid:0"
	nsForward  = "urn:xmpp:forward:0"
	nsDelay    = "urn:xmpp:delay"
	nsRSM      = "http://jabber.org/protocol/rsm"
	nsData     = "jabber:x:data"
	nsHints    = "urn:xmpp:hints"
	nsCarbons  = "urn:xmpp:carbons:2"
	nsMUCUser  = "http://jabber.org/protocol/muc#user"
)

// ioTimeout bounds one question to the store; a search through the whole of a long archive needs seconds.
const ioTimeout = 30 * time.Second

func ioContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), ioTimeout)
}

// Options are what the service asks of others; nil functions say no.
type Options struct {
	// Refused tells whether owner takes no messages of peer (XEP-0191): these are in no archive of owner.
	Refused func(owner, peer stanza.JID) bool
	// Contact tells whether peer is in owner's roster, for the preference "roster".
	Contact func(owner, peer stanza.JID) bool
	// Displayed gives the ids of the last messages that owner has seen on any client (XEP-0490), by the bare address of the conversation.
	Displayed func(owner stanza.JID) map[string]string
	// Rooms gives the rooms with an archive of Service.Rooms that owner belongs to, for its list of conversations.
	Rooms func(owner stanza.JID) []Room
	// Waits tells whether a message waits for owner to come, by its id in the archive.
	Waits func(ctx context.Context, owner stanza.JID, id string) (bool, error)
	// Ledger remembers what is on its way from the archive to those who get it; nil: a kill leaves that to queries.
	Ledger *ledger.Ledger
}

// Service keeps archives. Use Attach.
type Service struct {
	srv     *xmpp.Server
	archive *archive.Archive
	store   PrefsStore
	opt     Options
	log     *slog.Logger

	searching *slots.Slots[stanza.JID]
	keeping   keeping
	prefs     *cache.Cache[stanza.JID, prefs]

	queries, results, failures, redelivered atomic.Uint64
}

// Attach makes s keep archives in a. It goes before all features but blocking, which decides what reaches them.
func Attach(s *xmpp.Server, a *archive.Archive, store PrefsStore, opt Options, log *slog.Logger) *Service {
	m := &Service{
		srv: s, archive: a, store: store, opt: opt, log: log,
		searching: slots.New[stanza.JID](maxSearches, maxSearchesEach), prefs: cache.New[stanza.JID, prefs](maxPrefsCache),
	}
	h := s.Hooks()
	for _, t := range []xmpp.Target{xmpp.ToAccount, xmpp.ToServer} {
		h.Feature(t, nsMAM, nsExtended, nsFulltext, nsSID, nsInbox)
	}
	h.IQ(xmpp.ToAccount, nsMAM, "query", m.query)
	h.IQ(xmpp.ToAccount, nsMAM, "metadata", m.metadata)
	h.IQ(xmpp.ToAccount, nsMAM, "prefs", m.preferences)
	h.IQ(xmpp.ToAccount, nsInbox, "inbox", m.inbox)
	h.BoundInfo(m.bound)
	h.Keeper(m)
	h.Inbound(m.inbound)
	return m
}

// Counters are numbers for metrics.
func (m *Service) Counters() map[string]uint64 {
	return map[string]uint64{"queries_total": m.queries.Load(), "results_total": m.results.Load(), "store_errors_total": m.failures.Load(), "redelivered_total": m.redelivered.Load(),
		"searches_refused_total": m.searching.Refused()}
}

// own tells that an iq for an account comes from a client of that account which has an archive.
func (m *Service) own(s *xmpp.Session, iq *stanza.Stanza) bool {
	return s != nil && !s.Guest() && (iq.To.IsZero() || iq.To.Bare() == s.JID().Bare())
}

// failed logs an error of the store and is the answer to iq.
func (m *Service) failed(iq *stanza.Stanza, what string, err error) *stanza.Stanza {
	m.failures.Add(1)
	m.log.Error(what, "from", iq.From.String(), "err", err)
	return iq.ErrorReply(stanza.ErrInternal)
}

// isMAM tells names of the archive's own protocol.
func isMAM(n stanza.Name) bool { return strings.HasPrefix(n.Space, "urn:xmpp:mam:") }
