package mam

import (
	"context"
	"database/sql"
	"errors"

	"konzil/internal/store"
	"konzil/xmpp/stanza"
)

// SQLStore keeps preferences in the server's database.
type SQLStore struct{ DB *store.DB }

var _ PrefsStore = SQLStore{}

// Prefs implements PrefsStore.
func (s SQLStore) Prefs(ctx context.Context, owner stanza.JID) (b []byte, err error) {
	err = s.DB.Read().QueryRowContext(ctx, `SELECT prefs FROM archive_prefs WHERE owner = ?`, owner.String()).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return b, err
}

// SetPrefs implements PrefsStore.
func (s SQLStore) SetPrefs(ctx context.Context, owner stanza.JID, b []byte) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) (err error) {
		if b == nil {
			_, err = tx.Exec(`DELETE FROM archive_prefs WHERE owner = ?`, owner.String())
		} else {
			_, err = tx.Exec(`INSERT OR REPLACE INTO archive_prefs (owner, prefs) VALUES (?, ?)`, owner.String(), b)
		}
		return err
	})
}
