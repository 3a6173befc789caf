package auth

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// Missing lists the hashes that an account has no keys of, the best first: it was imported with others, or made by an older konzil. Nil for
// no local account.
func (l *Local) Missing(ctx context.Context, localpart string) ([]string, error) {
	rows, err := l.db.Read().QueryContext(ctx, "SELECT hash FROM account_keys WHERE localpart = ?", localpart)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	defer func() { _ = rows.Close() }()
	missing := slices.Clone(hashes[:])
	for rows.Next() {
		var hash string
		if err := rows.Scan(&hash); err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
		missing = slices.DeleteFunc(missing, func(h string) bool { return h == hash })
	}
	if len(missing) == len(hashes) { // not an account of ours
		missing = nil
	}
	return missing, rows.Err()
}

// UpgradeSalt makes up what a client salts its password with (XEP-0480 §3).
func (l *Local) UpgradeSalt() (salt []byte, iterations int) {
	return randomBytes(saltLen), l.iterations
}

// Upgrade stores keys made of a password that the client has salted, if there are none for hash.
func (l *Local) Upgrade(ctx context.Context, localpart, hash string, salt []byte, iterations int, salted []byte) error {
	h, err := newHash(hash)
	if err != nil {
		return err
	}
	if len(salted) != h().Size() {
		return fmt.Errorf("%w: %d bytes are no password salted with %s", ErrPassword, len(salted), hash)
	}
	return l.addKeys(ctx, localpart, map[string]keys{hash: keysOf(h, salted, salt, iterations)})
}

// complete makes the keys that an account lacks, of a password that was right.
func (l *Local) complete(ctx context.Context, localpart, password string) error {
	missing, err := l.Missing(ctx, localpart)
	if err != nil || len(missing) == 0 {
		return err
	}
	all := make(map[string]keys, len(missing))
	for _, hash := range missing {
		if all[hash], err = l.deriveBounded(ctx, hash, password, keys{salt: randomBytes(saltLen), iterations: l.iterations}); err != nil {
			return err
		}
	}
	return l.addKeys(ctx, localpart, all)
}

// addKeys stores keys of hashes that an account has none of.
func (l *Local) addKeys(ctx context.Context, localpart string, all map[string]keys) error {
	return l.changeKeys(ctx, func(tx *sql.Tx) error {
		for hash, k := range all {
			if _, err := tx.Exec(`INSERT INTO account_keys (localpart, hash, salt, iterations, stored_key, server_key)
				SELECT localpart, ?, ?, ?, ?, ? FROM accounts WHERE localpart = ? ON CONFLICT DO NOTHING`,
				hash, k.salt, k.iterations, k.stored, k.server, localpart); err != nil {
				return err
			}
		}
		return nil
	})
}
