package xmpp

import (
	"context"
	"time"

	"konzil/xmpp/stanza"
)

// Router delivers a stanza to whoever owns its To address: a session, a mounted Handler, a hook. From must be set. It never
// blocks: a full outbox closes its session. What cannot be delivered is answered with a stanza error to From.
type Router interface {
	Route(st *stanza.Stanza)
}

// Handler owns a whole domain (a MUC service, the focus, a component); Server.Mount gives it one. HandleStanza runs on
// the sender's goroutine: it must not block, and must not hold a lock while it calls Route.
type Handler interface {
	HandleStanza(st *stanza.Stanza)
}

// HandlerFunc is a function as Handler.
type HandlerFunc func(st *stanza.Stanza)

// HandleStanza calls f.
func (f HandlerFunc) HandleStanza(st *stanza.Stanza) { f(st) }

// Accounts answers for people's passwords; internal/auth implements it. Errors other than ErrNoAccount are answered as
// temporary-auth-failure.
type Accounts interface {
	// SCRAM gives the stored keys for hash "SHA-1", "SHA-256" or "SHA-512" (RFC 5802 §3). For an unknown account it gives stable fake
	// salts and ok false, so that a stranger learns nothing. user is as typed: a localpart or a mail address.
	SCRAM(ctx context.Context, user, hash string) (salt []byte, iterations int, storedKey, serverKey []byte, ok bool, err error)
	// CheckPassword is for PLAIN: it takes the same time for an unknown account. It gives the localpart the user is known by (a mail address
	// may have been typed).
	CheckPassword(ctx context.Context, user, password string) (localpart string, ok bool, err error)
	// Localpart tells whose session a name as typed is for, once its password or token was right; an error for nobody's.
	Localpart(ctx context.Context, user string) (string, error)
	// Enabled tells whether localpart is an account that may log in, for who shows something else than its password: a token, a certificate.
	Enabled(ctx context.Context, localpart string) (bool, error)
	// Exists tells whether localpart is an account; presence and messages to others are refused as if they were not there.
	Exists(ctx context.Context, localpart string) (bool, error)
	// Mechanisms lists what all accounts can do, of SCRAM-SHA-512, SCRAM-SHA-256, SCRAM-SHA-1, PLAIN (a directory can do PLAIN alone).
	Mechanisms() []string
}

// Upgrades takes keys of further hashes from clients that know the password (XEP-0480); internal/auth implements it.
type Upgrades interface {
	// Missing lists the hashes of SCRAM that there are no keys for, though passwords of new accounts have them.
	Missing(ctx context.Context, localpart string) (hashes []string, err error)
	// UpgradeSalt makes up what the client salts its password with for one hash.
	UpgradeSalt() (salt []byte, iterations int)
	// Upgrade stores the keys that come of a salted password (RFC 5802 §3), if there are still none for hash.
	Upgrade(ctx context.Context, localpart, hash string, salt []byte, iterations int, salted []byte) error
}

// Tokens keeps the tokens of FAST (XEP-0484), two for each client of an account; internal/auth implements it.
type Tokens interface {
	// IssueToken makes a token of a client (the id of its user agent) for one mechanism. It takes the place of one that was issued and never used.
	IssueToken(ctx context.Context, localpart, client, mechanism string) (token string, expiry time.Time, err error)
	// CheckToken looks through the client's tokens for that mechanism that have not expired. The one that matches becomes the current one,
	// older ones go. count, when it is not 0, must be greater than any before. invalidate removes the token. rotate: it is time for a new one.
	CheckToken(ctx context.Context, localpart, client, mechanism string, count uint64, invalidate bool, matches func(token string) bool) (ok, rotate bool, err error)
}
