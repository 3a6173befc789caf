// Package sasl is the server's side of SASL as XMPP uses it (RFC 6120 §6): SCRAM with and without channel binding (RFC 5802, RFC 7677,
// RFC 9266) and with a hash of what was offered (XEP-0474), PLAIN (RFC 4616) and ANONYMOUS (RFC 4505).
//
// The path of a login: the stream picks a constructor by the mechanism's name → Step with each response of the client (base64 already
// removed) → done, then Identity. All of it runs on the stream's goroutine; nothing here starts one or keeps a secret longer
// than its exchange.
package sasl

import (
	"context"
	"strings"
)

// Failure is a refused exchange; Condition is an element of RFC 6120 §6.5.
type Failure struct {
	Condition string
	Text      string
	// Guess tells that a wrong name or password may have been the reason: it counts for the back-off.
	Guess bool
	// Binding tells that the client wanted a channel binding we do not have on this connection.
	Binding bool
}

func (f *Failure) Error() string { return "sasl: " + f.Condition + ": " + f.Text }

func malformed(text string) *Failure { return &Failure{Condition: "malformed-request", Text: text} }

// notAuthorized is one for all reasons that depend on the account, so that nobody learns which accounts there are (RFC 6120 §13.11).
func notAuthorized() *Failure { return &Failure{Condition: "not-authorized", Guess: true} }

func temporary() *Failure { return &Failure{Condition: "temporary-auth-failure"} }

// Identity is who logged in.
type Identity struct {
	User    string // as the account system knows it; empty for ANONYMOUS
	Authzid string // as the client sent it; the caller compares it with the bare JID
}

// Mechanism is one exchange.
type Mechanism interface {
	// Step takes a response and gives the challenge, or with done the additional data of success. The error is a *Failure. A response that is
	// nil is no initial response, which is something else than an empty one (RFC 6120 §6.4.2).
	Step(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity is valid when Step said done.
	Identity() Identity
	// Name is the user name tried, for the back-off; "" while unknown.
	Name() string
}

// Plain is PLAIN; check compares the password and gives the name the user is known by.
type Plain struct {
	Check func(ctx context.Context, user, password string) (name string, ok bool, err error)
	id    Identity
	tried string
}

// Step reads "authzid NUL authcid NUL password" (RFC 4616 §2).
func (p *Plain) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return nil, false, malformed("not a PLAIN message")
	}
	p.tried = parts[1]
	name, ok, err := p.Check(ctx, parts[1], parts[2])
	switch {
	case err != nil:
		return nil, false, temporary()
	case !ok:
		return nil, false, notAuthorized()
	}
	p.id = Identity{User: name, Authzid: parts[0]}
	return nil, true, nil
}

// Identity is who logged in.
func (p *Plain) Identity() Identity { return p.id }

// Name is the user name tried.
func (p *Plain) Name() string { return p.tried }

// Anonymous is ANONYMOUS: whatever trace the client sends is ignored.
type Anonymous struct{}

// Step accepts at once; an absent initial response is as good as an empty one.
func (Anonymous) Step(context.Context, []byte) ([]byte, bool, error) { return nil, true, nil }

// Identity is empty: the server makes up a name.
func (Anonymous) Identity() Identity { return Identity{} }

// Name is empty.
func (Anonymous) Name() string { return "" }
