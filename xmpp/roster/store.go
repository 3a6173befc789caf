package roster

import (
	"context"

	"konzil/xmpp/stanza"
)

// Store keeps contact lists. Methods are called from several goroutines; Save for one owner by one at a time.
type Store interface {
	// Load gives the list of an account (empty if there is none) and its version.
	Load(ctx context.Context, owner stanza.JID) (items []Item, version int64, err error)
	// Save replaces (or adds) changed, deletes removed, and stores version; all or nothing, durable before it returns nil.
	Save(ctx context.Context, owner stanza.JID, version int64, changed []Item, removed []stanza.JID) error
	// Forget removes the list of an account that is no more.
	Forget(ctx context.Context, owner stanza.JID) error
}

// Subscription is who sees whose presence, seen from the owner of the list (RFC 6121 §2.1.2.5).
type Subscription uint8

// The bits of a subscription: Both is To and From.
const (
	None Subscription = 0
	To   Subscription = 1 // the owner sees the contact
	From Subscription = 2 // the contact sees the owner
	Both              = To | From
)

func (s Subscription) String() string { return [...]string{"none", "to", "from", "both"}[s&Both] }

// Item is a contact. An item with Listed false is not shown: it holds a request that waits for an answer, or an approval.
type Item struct {
	JID          stanza.JID // bare, or full as RFC 6121 §2.1.2.3 allows
	Name         string
	Groups       []string
	Subscription Subscription
	Ask          bool   // we asked and wait for an answer ("pending out")
	PendingIn    bool   // the contact asked and waits for ours
	Request      []byte // its stanza, to be shown again at each login
	Approved     bool   // the next request is granted unasked (RFC 6121 §3.4)
	Listed       bool

	shared bool // it is in the list by a group of the organisation (shared.go)
}

// empty tells that there is nothing to remember.
func (i Item) empty() bool {
	return !i.Listed && !i.PendingIn && !i.Approved && !i.Ask && i.Subscription == None
}
