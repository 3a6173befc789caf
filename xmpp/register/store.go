package register

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"konzil/xmpp/stanza"
)

// ErrNoInvitation is for tokens that nobody has made, or that are used or over.
var ErrNoInvitation = errors.New("register: no such invitation, or it is over")

// Invitation is a token with what it is good for.
type Invitation struct {
	Token   string
	Inviter stanza.JID // who becomes a contact; zero: the operator, nobody does
	Name    string     // the localpart that is kept for it, "" for any
	Account bool       // it makes an account
	Until   time.Time
}

// URI is the link that clients open (XEP-0401 §4.1, XEP-0445 §2).
func (i *Invitation) URI(domain string) string {
	token := url.QueryEscape(i.Token)
	switch {
	case i.Inviter.IsZero() && i.Name != "":
		return "xmpp:" + i.Name + "@" + domain + "?register;preauth=" + token
	case i.Inviter.IsZero():
		return "xmpp:" + domain + "?register;preauth=" + token
	case i.Account:
		return "xmpp:" + i.Inviter.String() + "?roster;preauth=" + token + ";ibr=y"
	}
	return "xmpp:" + i.Inviter.String() + "?roster;preauth=" + token
}

// Invite makes an invitation of the operator, or with an inviter of theirs. name may be empty.
func (v *Service) Invite(ctx context.Context, inviter stanza.JID, name string, account bool) (*Invitation, error) {
	i := &Invitation{Token: rand.Text(), Inviter: inviter, Account: account, Until: v.now().Add(v.opt.Life).Truncate(time.Second)}
	if name != "" {
		var err error
		if i.Name, err = v.accounts.Prepare(name); err != nil {
			return nil, err
		}
		if taken, err := v.accounts.Taken(ctx, i.Name); err != nil {
			return nil, err
		} else if taken {
			return nil, fmt.Errorf("register: there is an account %s already", i.Name)
		}
	}
	return i, v.db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM invitations WHERE until <= ?`, v.now().Unix()); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO invitations (token, inviter, name, account, until) VALUES (?, ?, ?, ?, ?)`, i.Token, inviter.String(), i.Name, account, i.Until.Unix())
		return err
	})
}

// Find gives the invitation of a token. The error is ErrNoInvitation, or the store's.
func (v *Service) Find(ctx context.Context, token string) (*Invitation, error) {
	i := &Invitation{Token: token}
	var inviter string
	var until int64
	err := v.db.Read().QueryRowContext(ctx, `SELECT inviter, name, account, until FROM invitations WHERE token = ? AND until > ?`, token, v.now().Unix()).
		Scan(&inviter, &i.Name, &i.Account, &until)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoInvitation
	}
	if err != nil {
		return nil, err
	}
	i.Until = time.Unix(until, 0)
	if inviter != "" {
		i.Inviter, err = stanza.ParseJID(inviter)
	}
	return i, err
}

// spend takes an invitation that makes an account; false: somebody else was quicker. It is not asked for its time: who began in time may end (XEP-0445 §4).
func (v *Service) spend(ctx context.Context, token string) (ok bool, err error) {
	err = v.db.Write(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec(`DELETE FROM invitations WHERE token = ?`, token)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		ok = n == 1
		return err
	})
	return ok, err
}

// reserved tells whether a name is kept for another invitation than token's.
func (v *Service) reserved(ctx context.Context, name, token string) (bool, error) {
	var n int
	err := v.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM invitations WHERE name = ? AND token != ? AND until > ?`, name, token, v.now().Unix()).Scan(&n)
	return n > 0, err
}

// Forget removes the invitations of an account.
func (v *Service) Forget(ctx context.Context, owner stanza.JID) error {
	return v.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM invitations WHERE inviter = ?`, owner.String())
		return err
	})
}
