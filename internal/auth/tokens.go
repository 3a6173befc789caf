package auth

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"time"

	"konzil/internal/store"
)

// Life of tokens: a client that was not seen for tokenLife needs its password again; one that comes after tokenRotate gets a new token.
const (
	tokenLife   = 30 * 24 * time.Hour
	tokenRotate = 24 * time.Hour
	tokenBytes  = 32
	maxClients  = 50 // clients with tokens of one account; the oldest lose theirs
)

// Tokens keeps what clients log in with instead of a password (XEP-0484), for local accounts and those of the directory alike.
type Tokens struct {
	db  *store.DB
	now func() time.Time
}

// NewTokens gives the tokens in db.
func NewTokens(db *store.DB) *Tokens { return &Tokens{db: db, now: time.Now} }

// IssueToken makes a token for one client and mechanism; it takes the place of one that was issued and never used.
func (t *Tokens) IssueToken(ctx context.Context, localpart, client, mechanism string) (string, time.Time, error) {
	token := base64.RawURLEncoding.EncodeToString(randomBytes(tokenBytes))
	now := t.now()
	expiry := now.Add(tokenLife)
	err := t.db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM fast_tokens WHERE localpart = ? AND expiry <= ?`, localpart, now.Unix()); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT OR REPLACE INTO fast_tokens (localpart, client, current, mechanism, token, issued, expiry) VALUES (?, ?, 0, ?, ?, ?, ?)`,
			localpart, client, mechanism, token, now.Unix(), expiry.Unix()); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM fast_tokens WHERE localpart = ?1 AND client NOT IN
			(SELECT client FROM fast_tokens WHERE localpart = ?1 GROUP BY client ORDER BY max(issued) DESC, client LIMIT ?2)`, localpart, maxClients)
		return err
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("auth: %w", err)
	}
	return token, expiry, nil
}

// CheckToken looks for a token of the client, made for that mechanism and not expired, which matches tells. It becomes the current one and the other
// goes; with invalidate it goes itself. A count that is not 0 must be higher than any before (XEP-0484 §3.4). rotate: it is old enough for a new one.
func (t *Tokens) CheckToken(ctx context.Context, localpart, client, mechanism string, count uint64, invalidate bool, matches func(string) bool) (ok, rotate bool, err error) {
	rows, err := t.db.Read().QueryContext(ctx, `SELECT current, token, issued, count FROM fast_tokens
		WHERE localpart = ? AND client = ? AND mechanism = ? AND expiry > ? ORDER BY current`, localpart, client, mechanism, t.now().Unix())
	if err != nil {
		return false, false, fmt.Errorf("auth: %w", err)
	}
	type slot struct {
		current       int
		token         string
		issued, count int64
	}
	var found *slot
	for rows.Next() {
		var s slot
		if err := rows.Scan(&s.current, &s.token, &s.issued, &s.count); err != nil {
			_ = rows.Close()
			return false, false, fmt.Errorf("auth: %w", err)
		}
		if matches(s.token) && found == nil {
			found = &s
		}
	}
	if err := rows.Close(); err != nil {
		return false, false, fmt.Errorf("auth: %w", err)
	}
	if found == nil || count != 0 && int64(count) <= found.count {
		return false, false, nil
	}
	err = t.db.Write(ctx, func(tx *sql.Tx) error {
		if invalidate {
			_, err := tx.Exec(`DELETE FROM fast_tokens WHERE localpart = ? AND client = ?`, localpart, client)
			return err
		}
		if found.current == 0 {
			if _, err := tx.Exec(`DELETE FROM fast_tokens WHERE localpart = ? AND client = ? AND current = 1`, localpart, client); err != nil {
				return err
			}
		}
		res, err := tx.Exec(`UPDATE fast_tokens SET current = 1, count = max(count, ?) WHERE localpart = ? AND client = ? AND token = ? AND (? = 0 OR count < ?)`,
			int64(count), localpart, client, found.token, int64(count), int64(count))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		found = nil // used or revoked at the same moment
		return nil
	})
	if err != nil {
		return false, false, fmt.Errorf("auth: %w", err)
	}
	if found == nil {
		return false, false, nil
	}
	return true, t.now().Unix()-found.issued >= int64(tokenRotate/time.Second), nil
}

// Client is a client that can log in without a password.
type Client struct {
	ID             string
	Mechanism      string
	Issued, Expiry time.Time
}

// Clients lists those of an account.
func (t *Tokens) Clients(ctx context.Context, localpart string) ([]Client, error) {
	rows, err := t.db.Read().QueryContext(ctx, `SELECT client, mechanism, max(issued), max(expiry) FROM fast_tokens
		WHERE localpart = ? AND expiry > ? GROUP BY client ORDER BY client`, localpart, t.now().Unix())
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Client
	for rows.Next() {
		var c Client
		var issued, expiry int64
		if err := rows.Scan(&c.ID, &c.Mechanism, &issued, &expiry); err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
		c.Issued, c.Expiry = time.Unix(issued, 0), time.Unix(expiry, 0)
		out = append(out, c)
	}
	return out, rows.Err()
}

// Revoke takes the tokens of one client of an account, or with client "" of all.
func (t *Tokens) Revoke(ctx context.Context, localpart, client string) error {
	return t.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM fast_tokens WHERE localpart = ? AND (? = '' OR client = ?)`, localpart, client, client)
		return err
	})
}
