package ext

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"konzil/internal/store"
	"konzil/xmpp/stanza"
)

// SQLStore implements the stores of this package in the server's database.
type SQLStore struct{ DB *store.DB }

var (
	_ VCardStore   = SQLStore{}
	_ PrivateStore = SQLStore{}
	_ OfflineStore = SQLStore{}
	_ BlockStore   = SQLStore{}
)

// blob reads one value, nil if there is no row.
func (s SQLStore) blob(ctx context.Context, query string, args ...any) ([]byte, error) {
	var b []byte
	err := s.DB.Read().QueryRowContext(ctx, query, args...).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return b, err
}

func (s SQLStore) exec(ctx context.Context, query string, args ...any) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
}

// VCard implements VCardStore.
func (s SQLStore) VCard(ctx context.Context, owner stanza.JID) ([]byte, error) {
	return s.blob(ctx, `SELECT xml FROM vcards WHERE owner = ?`, owner.String())
}

// SetVCard implements VCardStore.
func (s SQLStore) SetVCard(ctx context.Context, owner stanza.JID, xml []byte) error {
	return s.exec(ctx, `INSERT OR REPLACE INTO vcards (owner, xml) VALUES (?, ?)`, owner.String(), xml)
}

// ForgetVCard implements VCardStore.
func (s SQLStore) ForgetVCard(ctx context.Context, owner stanza.JID) error {
	return s.exec(ctx, `DELETE FROM vcards WHERE owner = ?`, owner.String())
}

// Private implements PrivateStore.
func (s SQLStore) Private(ctx context.Context, owner stanza.JID, name stanza.Name) ([]byte, error) {
	return s.blob(ctx, `SELECT xml FROM private_xml WHERE owner = ? AND space = ? AND local = ?`, owner.String(), name.Space, name.Local)
}

// SetPrivate implements PrivateStore.
func (s SQLStore) SetPrivate(ctx context.Context, owner stanza.JID, name stanza.Name, xml []byte, max int) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`INSERT OR REPLACE INTO private_xml (owner, space, local, xml) VALUES (?, ?, ?, ?)`,
			owner.String(), name.Space, name.Local, xml); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM private_xml WHERE owner = ?`, owner.String()).Scan(&n); err != nil {
			return err
		}
		if n > max {
			return ErrFull // undoes the insertion
		}
		return nil
	})
}

// AllPrivate implements PrivateStore.
func (s SQLStore) AllPrivate(ctx context.Context, owner stanza.JID) (out [][]byte, err error) {
	rows, err := s.DB.Read().QueryContext(ctx, `SELECT xml FROM private_xml WHERE owner = ? ORDER BY space, local`, owner.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, rows.Err()
}

// ForgetPrivate implements PrivateStore.
func (s SQLStore) ForgetPrivate(ctx context.Context, owner stanza.JID) error {
	return s.exec(ctx, `DELETE FROM private_xml WHERE owner = ?`, owner.String())
}

// AddOffline implements OfflineStore.
func (s SQLStore) AddOffline(ctx context.Context, owner stanza.JID, at time.Time, archive string, xml []byte, maxCount, maxBytes int) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		var n, size int
		if err := tx.QueryRow(`SELECT count(*), coalesce(sum(length(xml)), 0) FROM offline_messages WHERE owner = ?`, owner.String()).Scan(&n, &size); err != nil {
			return err
		}
		if n >= maxCount || size+len(xml) > maxBytes {
			return ErrFull
		}
		_, err := tx.Exec(`INSERT INTO offline_messages (owner, stamp, xml, archive) VALUES (?, ?, ?, nullif(?, '')) ON CONFLICT (owner, archive) DO NOTHING`,
			owner.String(), at.UnixMilli(), xml, archive)
		return err
	})
}

// Offline implements OfflineStore.
func (s SQLStore) Offline(ctx context.Context, owner stanza.JID) ([]OfflineMessage, error) {
	rows, err := s.DB.Read().QueryContext(ctx, `SELECT id, stamp, xml FROM offline_messages WHERE owner = ? ORDER BY id`, owner.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []OfflineMessage
	for rows.Next() {
		var m OfflineMessage
		var stamp int64
		if err := rows.Scan(&m.ID, &stamp, &m.XML); err != nil {
			return nil, err
		}
		m.Stamp = time.UnixMilli(stamp)
		out = append(out, m)
	}
	return out, rows.Err()
}

// HasOffline implements OfflineStore.
func (s SQLStore) HasOffline(ctx context.Context, owner stanza.JID, archive string) (has bool, err error) {
	err = s.DB.Read().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM offline_messages WHERE owner = ? AND archive = ?)`, owner.String(), archive).Scan(&has)
	return has, err
}

// OfflineOwners implements OfflineStore.
func (s SQLStore) OfflineOwners(ctx context.Context) ([]stanza.JID, error) {
	return s.jids(ctx, `SELECT DISTINCT owner FROM offline_messages`)
}

// DeleteOffline implements OfflineStore.
func (s SQLStore) DeleteOffline(ctx context.Context, owner stanza.JID, upTo int64) error {
	return s.exec(ctx, `DELETE FROM offline_messages WHERE owner = ? AND id <= ?`, owner.String(), upTo)
}

// Blocked implements BlockStore.
func (s SQLStore) Blocked(ctx context.Context, owner stanza.JID) ([]stanza.JID, error) {
	return s.jids(ctx, `SELECT jid FROM block_lists WHERE owner = ?`, owner.String())
}

// jids are what a query for one column of addresses finds.
func (s SQLStore) jids(ctx context.Context, query string, args ...any) ([]stanza.JID, error) {
	rows, err := s.DB.Read().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []stanza.JID
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		j, err := stanza.ParseJID(text)
		if err != nil {
			return nil, err
		}
		out = append(out, j)
	}
	return out, rows.Err()
}

// SetBlocked implements BlockStore.
func (s SQLStore) SetBlocked(ctx context.Context, owner stanza.JID, jids []stanza.JID) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM block_lists WHERE owner = ?`, owner.String()); err != nil {
			return err
		}
		for _, j := range jids {
			if _, err := tx.Exec(`INSERT INTO block_lists (owner, jid) VALUES (?, ?)`, owner.String(), j.String()); err != nil {
				return err
			}
		}
		return nil
	})
}
