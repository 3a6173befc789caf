package upload

import (
	"context"
	"database/sql"
	"errors"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// meta is what is known of a file. Times are Unix seconds.
type meta struct {
	name, typ        string
	size             int64
	created, expires int64 // expires 0: never
}

// quotaError is for what has no room.
type quotaError struct{ text string }

func (e quotaError) Error() string { return e.text }

// file looks up one.
func (s *Service) file(ctx context.Context, id string) (m meta, there bool, err error) {
	err = s.db.Read().QueryRowContext(ctx, `SELECT name, type, size, created, coalesce(expires, 0) FROM uploads WHERE id = ?`, id).
		Scan(&m.name, &m.typ, &m.size, &m.created, &m.expires)
	if errors.Is(err, sql.ErrNoRows) {
		return meta{}, false, nil
	}
	return m, err == nil, err
}

// querier is a transaction, or the readers.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// fits tells by a quotaError that an account's files, or all, would take too much with so many bytes more.
func (s *Service) fits(ctx context.Context, q querier, owner string, more int64) error {
	var own int64
	if err := q.QueryRowContext(ctx, `SELECT coalesce(sum(size), 0) FROM uploads WHERE owner = ?`, owner).Scan(&own); err != nil {
		return err
	}
	switch {
	case s.cfg.Quota > 0 && own+more > s.cfg.Quota:
		return quotaError{"your files would take more room than they may"}
	case s.cfg.MaxTotal > 0 && s.count.bytes.Load()+more > s.cfg.MaxTotal:
		return quotaError{"there is no room for more files"}
	}
	return nil
}

// enter makes a file that is on disk known.
func (s *Service) enter(ctx context.Context, t ticket) error {
	now := s.cfg.now()
	var expires any
	switch {
	case t.purpose == purposes["ephemeral"]:
		expires = now.Add(keepEphemeral).Unix()
	case t.purpose == purposes["message"] && s.cfg.Keep > 0:
		expires = now.Add(s.cfg.Keep).Unix()
	}
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		if err := s.fits(ctx, tx, t.owner, t.size); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO uploads (id, owner, name, type, size, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			t.id, t.owner, t.name, t.typ, t.size, now.Unix(), expires)
		return err
	})
	if err == nil {
		s.count.files.Add(1)
		s.count.bytes.Add(t.size)
	}
	return err
}

// measure counts what there is.
func (s *Service) measure() error {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	var n, size int64
	if err := s.db.Read().QueryRowContext(ctx, `SELECT count(*), coalesce(sum(size), 0) FROM uploads`).Scan(&n, &size); err != nil {
		return err
	}
	s.count.files.Store(n)
	s.count.bytes.Store(size)
	return nil
}

// nextExpiry is when the first of an account's files goes, 0 for never.
func (s *Service) nextExpiry(ctx context.Context, owner string) (at int64, err error) {
	err = s.db.Read().QueryRowContext(ctx, `SELECT coalesce(min(expires), 0) FROM uploads WHERE owner = ?`, owner).Scan(&at)
	return at, err
}

// Forget removes all files of an account.
func (s *Service) Forget(ctx context.Context, owner stanza.JID) error {
	return s.remove(ctx, `owner = ?`, owner.Bare().String())
}

// remove takes rows out, and then their files; where that fails the next sweep does it.
func (s *Service) remove(ctx context.Context, where string, args ...any) error {
	var ids []string
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query(`DELETE FROM uploads WHERE `+where+` RETURNING id`, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		s.unlink(s.place(id))
	}
	s.count.removed.Add(uint64(len(ids)))
	return s.measure()
}
