package pubsub

import (
	"time"

	"konzil/xmpp/stanza"
)

const (
	nsPubSub = "http://jabber.org/protocol/pubsub"
	nsOwner  = nsPubSub + "#owner"
	nsEvent  = nsPubSub + "#event"
	nsErrors = nsPubSub + "#errors"
	nsData   = "jabber:x:data"
	nsRSM    = "http://jabber.org/protocol/rsm"
	nsDelay  = "urn:xmpp:delay"
	nsCaps   = "http://jabber.org/protocol/caps"
	nsInfo   = "http://jabber.org/protocol/disco#info"
	nsItems  = "http://jabber.org/protocol/disco#items"

	formConfig    = nsPubSub + "#node_config"
	formOptions   = nsPubSub + "#publish-options"
	formMeta      = nsPubSub + "#meta-data"
	formAuthorize = nsPubSub + "#subscribe_authorization"
)

// Limits: against accounts used as file stores, and against listings that fill a client's queue.
const (
	maxNodesAccount = 500       // clients make some dozens; old OMEMO makes one for each device
	maxNodesService = 20_000    // their settings are in memory while the service is used
	maxNodesCreator = 200       // of the service's, made by one account
	maxItems        = 2000      // of one node; "max" means this: a bookmark or a displayed marker for each chat
	maxItemBytes    = 192 << 10 // one payload: an avatar; the largest stanza is not much longer
	maxBytesAccount = 16 << 20  // all payloads of an account
	maxBytesService = 1 << 30   // all payloads of the service
	maxName         = 1024      // bytes of a node's name or an item's id
	maxSubs         = 5000      // subscriptions, and affiliations, of one node
	maxListed       = 500       // entries of a listing without a wish
	maxAnswerLocal  = 1 << 20   // bytes of items in one answer to a client of ours
	maxAnswerRemote = 200 << 10 // and to another server, which may refuse longer stanzas
)

// item is what is published.
type Item struct {
	ID        string
	Publisher stanza.JID // bare
	Stamp     time.Time
	XML       []byte // the payload with its namespace declared; empty for none
}

// affiliation is what an address is to a node (XEP-0060 §4.1); higher is more.
type affiliation string

const (
	affOwner       affiliation = "owner"
	affPublisher   affiliation = "publisher"
	affPublishOnly affiliation = "publish-only"
	affMember      affiliation = "member"
	affNone        affiliation = "none"
	affOutcast     affiliation = "outcast"
)

func (a affiliation) valid() bool {
	switch a {
	case affOwner, affPublisher, affPublishOnly, affMember, affNone, affOutcast:
		return true
	}
	return false
}

// The states of a subscription (XEP-0060 §4.2).
const (
	subscribed = "subscribed"
	pending    = "pending"
)

type subscription struct {
	JID   stanza.JID
	State string // "": none
	ID    string
	subOptions
}

// fault makes an error with a condition of XEP-0060.
func fault(base *stanza.Error, condition string) *stanza.Error {
	return base.With("", stanza.NewElement(nsErrors, condition))
}

func unsupported(feature string) *stanza.Error {
	return stanza.ErrFeatureNotImplemented.With("", stanza.NewElement(nsErrors, "unsupported", "feature", feature))
}

// Nodes that are kept in step with something else.
const (
	nsBookmarks      = "urn:xmpp:bookmarks:1"
	nodeOldBookmarks = "storage:bookmarks"
)
