// Package register lets people change their password and give up their account (XEP-0077), and makes accounts and contacts of
// invitations (XEP-0379, XEP-0401, XEP-0445). Without an invitation nobody registers.
//
// The path of an invitation:
//
//  1. Somebody who may makes one: by the ad-hoc command urn:xmpp:invite#invite (command.go), or the operator by Service.Invite.
//  2. Who opens the link sends its token before login (Strangers hook) → Service.stranger (stranger.go) → the form → an account is made, and where
//     somebody has invited, both are contacts of each other.
//  3. Or, with an account anywhere, a subscription with the token (Inbound hook) → Service.inbound (contact.go), which comes before the
//     roster → both are contacts.
//
// All of it runs on the goroutine of the stream that sent the stanza. Tokens are in the database (store.go): a token for an account works once.
package register

import (
	"context"
	"log/slog"
	"time"

	"konzil/internal/store"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsRegister = "jabber:iq:register"
	nsFeature  = "http://jabber.org/features/iq-register"
	nsToken    = "urn:xmpp:ibr-token:0"
	nsPreAuth  = "urn:xmpp:pars:0"
	nsInvite   = "urn:xmpp:invite"
	nsData     = "jabber:x:data"
	nsOOB      = "jabber:x:oob"
)

// Accounts are those that can be made and changed here.
type Accounts interface {
	// Create makes an account; Taken tells whether there is one of that name already, here or in a directory.
	Create(ctx context.Context, localpart, password string) error
	Taken(ctx context.Context, localpart string) (bool, error)
	// Local tells whether password and account are kept here, so that their owner may change them.
	Local(ctx context.Context, localpart string) (bool, error)
	SetPassword(ctx context.Context, localpart, password string) error
	// Delete removes an account with all that is kept of it. It ends its sessions.
	Delete(ctx context.Context, localpart string) error
	// Prepare gives a name the form in which it is an address, or an error.
	Prepare(localpart string) (string, error)
}

// Options is what the operator decides.
type Options struct {
	Users    bool          // people with an account may invite contacts
	Accounts bool          // and what they send makes an account here for who has none
	Life     time.Duration // of an invitation
	Page     string        // URL before the token of the page that explains an invitation; "" for none
	Identity string        // URL where people of a directory manage their account; "" for none

	Admin func(who stanza.JID) bool // tells administrators, who may invite to accounts in any case
	// Befriend makes a contact: it sees the owner, and with both the owner sees it too, else has asked to.
	Befriend func(owner, contact stanza.JID, both bool) error
}

// Service is the feature.
type Service struct {
	srv      *xmpp.Server
	db       *store.DB
	accounts Accounts
	opt      Options
	log      *slog.Logger
	now      func() time.Time
}

// Attach adds it to s, before the roster.
func Attach(s *xmpp.Server, db *store.DB, accounts Accounts, opt Options, log *slog.Logger) *Service {
	v := &Service{srv: s, db: db, accounts: accounts, opt: opt, log: log, now: time.Now}
	h := s.Hooks()
	h.Strangers(v.stranger, stanza.NewElement(nsToken, "register"), stanza.NewElement(nsFeature, "register"))
	h.Feature(xmpp.ToServer, nsRegister)
	h.IQ(xmpp.ToServer, nsRegister, "query", v.manage)
	h.IQ(xmpp.ToAccount, nsRegister, "query", v.manage)
	h.Inbound(v.inbound)
	for _, c := range v.commands() {
		h.Command(c)
	}
	return v
}

func (v *Service) failed(iq *stanza.Stanza, what string, err error) *stanza.Stanza {
	v.log.Error(what, "err", err)
	return iq.ErrorReply(stanza.ErrInternal)
}
