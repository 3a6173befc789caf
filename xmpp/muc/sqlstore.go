package muc

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"konzil/internal/store"
	"konzil/xmpp/stanza"
)

// SQLStore keeps rooms in the server's database.
type SQLStore struct{ DB *store.DB }

// Rooms implements Store.
func (s SQLStore) Rooms(ctx context.Context, domain string) ([]RoomRecord, error) {
	rows, err := s.DB.Read().QueryContext(ctx,
		`SELECT room, config, id_key, created, subject, subject_by, subject_at FROM muc_rooms WHERE domain = ? ORDER BY room`, domain)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []RoomRecord
	index := map[string]int{}
	for rows.Next() {
		var r RoomRecord
		var created, subjectAt int64
		if err := rows.Scan(&r.Room, &r.Config, &r.Key, &created, &r.Subject, &r.SubjectBy, &subjectAt); err != nil {
			return nil, err
		}
		r.Created, r.SubjectAt = time.UnixMilli(created), time.UnixMilli(subjectAt)
		index[r.Room] = len(out)
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return out, s.affiliations(ctx, domain, out, index)
}

func (s SQLStore) affiliations(ctx context.Context, domain string, rooms []RoomRecord, index map[string]int) error {
	rows, err := s.DB.Read().QueryContext(ctx, `SELECT a.room, a.jid, a.affiliation, a.nick, a.reason
		FROM muc_affiliations a JOIN muc_rooms r ON r.room = a.room WHERE r.domain = ?`, domain)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var room string
		var a AffiliationRecord
		if err := rows.Scan(&room, &a.JID, &a.Affiliation, &a.Nick, &a.Reason); err != nil {
			return err
		}
		if i, ok := index[room]; ok { // a room made since the first query has none of interest
			rooms[i].Affiliations = append(rooms[i].Affiliations, a)
		}
	}
	return rows.Err()
}

// SaveRoom implements Store.
func (s SQLStore) SaveRoom(ctx context.Context, r RoomRecord) error {
	jid, err := stanza.ParseJID(r.Room)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`INSERT INTO muc_rooms (room, domain, config, id_key, created, subject, subject_by, subject_at) VALUES (?,?,?,?,?,?,?,?)
			ON CONFLICT (room) DO UPDATE SET config = excluded.config, id_key = excluded.id_key, created = excluded.created,
			subject = excluded.subject, subject_by = excluded.subject_by, subject_at = excluded.subject_at`,
			r.Room, jid.Domain(), string(r.Config), r.Key, r.Created.UnixMilli(), r.Subject, r.SubjectBy, r.SubjectAt.UnixMilli()); err != nil {
			return err
		}
		if r.Affiliations == nil {
			return nil
		}
		if _, err := tx.Exec(`DELETE FROM muc_affiliations WHERE room = ?`, r.Room); err != nil {
			return err
		}
		return setAffiliations(tx, r.Room, r.Affiliations)
	})
}

// SetAffiliations implements Store.
func (s SQLStore) SetAffiliations(ctx context.Context, room string, changed []AffiliationRecord) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error { return setAffiliations(tx, room, changed) })
}

func setAffiliations(tx *sql.Tx, room string, changed []AffiliationRecord) error {
	for _, a := range changed {
		var err error
		if a.Affiliation == none.String() {
			_, err = tx.Exec(`DELETE FROM muc_affiliations WHERE room = ? AND jid = ?`, room, a.JID)
		} else {
			_, err = tx.Exec(`INSERT OR REPLACE INTO muc_affiliations (room, jid, affiliation, nick, reason) VALUES (?,?,?,?,?)`,
				room, a.JID, a.Affiliation, a.Nick, a.Reason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// VCard implements Store.
func (s SQLStore) VCard(ctx context.Context, room string) (xml []byte, err error) {
	err = s.DB.Read().QueryRowContext(ctx, `SELECT xml FROM muc_vcards WHERE room = ?`, room).Scan(&xml)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return xml, err
}

// SetVCard implements Store.
func (s SQLStore) SetVCard(ctx context.Context, room string, xml []byte) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) (err error) {
		if xml == nil {
			_, err = tx.Exec(`DELETE FROM muc_vcards WHERE room = ?`, room)
		} else {
			_, err = tx.Exec(`INSERT OR REPLACE INTO muc_vcards (room, xml) VALUES (?, ?)`, room, xml)
		}
		return err
	})
}

// DeleteRoom implements Store.
func (s SQLStore) DeleteRoom(ctx context.Context, room string) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{
			`DELETE FROM muc_vcards WHERE room = ?`, `DELETE FROM muc_affiliations WHERE room = ?`, `DELETE FROM muc_rooms WHERE room = ?`,
		} {
			if _, err := tx.Exec(q, room); err != nil {
				return err
			}
		}
		return nil
	})
}
