package auth

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Create makes an account that can log in by localpart or one of the mail addresses. Errors wrap ErrExists, ErrName or
// ErrPassword.
func (l *Local) Create(ctx context.Context, localpart, password string, aliases ...string) error {
	local, err := PrepareLocalpart(localpart)
	if err != nil {
		return err
	}
	all, err := l.deriveAll(ctx, password)
	if err != nil {
		return err
	}
	if aliases, err = prepareAliases(aliases); err != nil {
		return err
	}
	return l.changeKeys(ctx, func(tx *sql.Tx) error {
		n, err := affected(tx.Exec("INSERT INTO accounts (localpart, created) VALUES (?, ?) ON CONFLICT DO NOTHING", local, time.Now().Unix()))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: %s", ErrExists, local)
		}
		if err := putAliases(tx, local, aliases); err != nil {
			return err
		}
		return putKeys(tx, local, all)
	})
}

func putAliases(tx *sql.Tx, local string, aliases []string) error {
	for _, a := range aliases {
		n, err := affected(tx.Exec("INSERT INTO account_aliases (alias, localpart) VALUES (?, ?) ON CONFLICT DO NOTHING", a, local))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: with the address %s", ErrExists, a)
		}
	}
	return nil
}

// SetPassword replaces an account's password. Errors wrap ErrNoAccount or ErrPassword.
func (l *Local) SetPassword(ctx context.Context, localpart, password string) error {
	local, err := PrepareLocalpart(localpart)
	if err != nil {
		return err
	}
	all, err := l.deriveAll(ctx, password)
	if err != nil {
		return err
	}
	return l.changeKeys(ctx, func(tx *sql.Tx) error {
		n, err := affected(tx.Exec("DELETE FROM account_keys WHERE localpart = ?", local))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: %s", ErrNoAccount, local)
		}
		if err := dropTokens(tx, local); err != nil {
			return err
		}
		return putKeys(tx, local, all)
	})
}

// dropTokens ends logins without a password: it is another one now, or none.
func dropTokens(tx *sql.Tx, localpart string) error {
	_, err := tx.Exec("DELETE FROM fast_tokens WHERE localpart = ?", localpart)
	return err
}

// Delete removes an account with its keys and addresses. What other features keep of it is theirs to remove.
func (l *Local) Delete(ctx context.Context, localpart string) error {
	return l.change(ctx, localpart, "DELETE FROM accounts WHERE localpart = ?")
}

// Disable keeps an account from logging in, or lets it again.
func (l *Local) Disable(ctx context.Context, localpart string, disabled bool) error {
	if disabled {
		return l.change(ctx, localpart, "UPDATE accounts SET disabled = 1 WHERE localpart = ?")
	}
	return l.change(ctx, localpart, "UPDATE accounts SET disabled = 0 WHERE localpart = ?")
}

func (l *Local) change(ctx context.Context, localpart, statement string) error {
	local, err := PrepareLocalpart(localpart)
	if err != nil {
		return err
	}
	return l.changeKeys(ctx, func(tx *sql.Tx) error {
		n, err := affected(tx.Exec(statement, local))
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: %s", ErrNoAccount, local)
		}
		if err != nil {
			return err
		}
		return dropTokens(tx, local)
	})
}

// List gives all accounts in the order of their names.
func (l *Local) List(ctx context.Context) ([]Account, error) {
	rows, err := l.db.Read().QueryContext(ctx, `SELECT localpart, disabled, created,
		coalesce((SELECT group_concat(alias, ' ') FROM account_aliases a WHERE a.localpart = accounts.localpart), '')
		FROM accounts ORDER BY localpart`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Account
	for rows.Next() {
		var a Account
		var created int64
		var aliases string
		if err := rows.Scan(&a.Localpart, &a.Disabled, &created, &aliases); err != nil {
			return nil, err
		}
		a.Created, a.Aliases = time.Unix(created, 0), strings.Fields(aliases)
		all = append(all, a)
	}
	return all, rows.Err()
}

// deriveAll computes the keys for each hash, outside of any transaction because it takes long.
func (l *Local) deriveAll(ctx context.Context, password string) (map[string]keys, error) {
	prepared, err := preparePassword(password)
	if err != nil {
		return nil, err
	}
	all := make(map[string]keys, len(hashes))
	for _, hash := range hashes {
		k, err := l.deriveBounded(ctx, hash, prepared, keys{salt: randomBytes(saltLen), iterations: l.iterations})
		if err != nil {
			return nil, err
		}
		all[hash] = k
	}
	return all, nil
}

func putKeys(tx *sql.Tx, localpart string, all map[string]keys) error {
	for hash, k := range all {
		if _, err := tx.Exec("INSERT INTO account_keys (localpart, hash, salt, iterations, stored_key, server_key) VALUES (?, ?, ?, ?, ?, ?)",
			localpart, hash, k.salt, k.iterations, k.stored, k.server); err != nil {
			return err
		}
	}
	return nil
}

// changeKeys is a write after which accounts may have other hashes in common.
func (l *Local) changeKeys(ctx context.Context, f func(tx *sql.Tx) error) error {
	if err := l.db.Write(ctx, f); err != nil {
		return err
	}
	return l.findCommon(ctx)
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
