package roster

import (
	"context"
	"database/sql"
	"encoding/json"

	"konzil/internal/store"
	"konzil/xmpp/stanza"
)

// SQLStore keeps contact lists in the server's database.
type SQLStore struct{ DB *store.DB }

// Load implements Store.
func (s SQLStore) Load(ctx context.Context, owner stanza.JID) ([]Item, int64, error) {
	var version int64
	err := s.DB.Read().QueryRowContext(ctx, `SELECT version FROM roster_versions WHERE owner = ?`, owner.String()).Scan(&version)
	if err != nil && err != sql.ErrNoRows {
		return nil, 0, err
	}
	rows, err := s.DB.Read().QueryContext(ctx,
		`SELECT jid, name, groups, subscription, ask, pending_in, request, approved, listed FROM roster_items WHERE owner = ?`, owner.String())
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rows.Close() }()
	var items []Item
	for rows.Next() {
		var i Item
		var jid, groups string
		if err := rows.Scan(&jid, &i.Name, &groups, &i.Subscription, &i.Ask, &i.PendingIn, &i.Request, &i.Approved, &i.Listed); err != nil {
			return nil, 0, err
		}
		if i.JID, err = stanza.ParseJID(jid); err != nil {
			return nil, 0, err
		}
		if err := json.Unmarshal([]byte(groups), &i.Groups); err != nil {
			return nil, 0, err
		}
		items = append(items, i)
	}
	return items, version, rows.Err()
}

// Save implements Store.
func (s SQLStore) Save(ctx context.Context, owner stanza.JID, version int64, changed []Item, removed []stanza.JID) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		for _, i := range changed {
			groups, err := json.Marshal(i.Groups)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT OR REPLACE INTO roster_items
				(owner, jid, name, groups, subscription, ask, pending_in, request, approved, listed) VALUES (?,?,?,?,?,?,?,?,?,?)`,
				owner.String(), i.JID.String(), i.Name, string(groups), i.Subscription, i.Ask, i.PendingIn, i.Request, i.Approved, i.Listed); err != nil {
				return err
			}
		}
		for _, j := range removed {
			if _, err := tx.Exec(`DELETE FROM roster_items WHERE owner = ? AND jid = ?`, owner.String(), j.String()); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT INTO roster_versions (owner, version) VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET version = excluded.version`,
			owner.String(), version)
		return err
	})
}

// Forget implements Store.
func (s SQLStore) Forget(ctx context.Context, owner stanza.JID) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		for _, statement := range []string{`DELETE FROM roster_items WHERE owner = ?`, `DELETE FROM roster_versions WHERE owner = ?`} {
			if _, err := tx.Exec(statement, owner.String()); err != nil {
				return err
			}
		}
		return nil
	})
}
