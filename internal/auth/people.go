package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/store"
)

// PeopleEvents are what others do about a change of the directory. They are called without a lock, from Run, Sync and logins.
type PeopleEvents struct {
	// Left: the account may not be used any more, from now on.
	Left func(localpart string)
	// Expired deletes all that belongs to an account whose grace has run out.
	Expired func(ctx context.Context, localpart string) error
	// Grouped: people are in other groups than before.
	Grouped func(localparts []string)
}

// People remembers who of the directory has used the service, so that what they leave behind can be deleted, and who is in which group.
type People struct {
	dir *LDAP
	db  *store.DB
	cfg PeopleConfig
	log *slog.Logger
	now func() time.Time

	events PeopleEvents // set before the first use

	syncing sync.Mutex // held by the one that reads the directory
	groups  atomic.Pointer[Groups]

	syncs, failures, left, returned, expired atomic.Uint64
}

// NewPeople gives the people in db. Use starts with Follow.
func NewPeople(db *store.DB, dir *LDAP, log *slog.Logger) *People {
	p := &People{dir: dir, db: db, cfg: dir.cfg.People, log: log, now: time.Now}
	p.groups.Store(&Groups{})
	return p
}

// Follow sets what is done about changes, before the first use.
func (p *People) Follow(e PeopleEvents) { p.events = e }

// Groups are those of the last time that the directory was read.
func (p *People) Groups() *Groups { return p.groups.Load() }

// state is what is remembered of one person.
type state struct {
	known, disabled bool
	gone            int64
}

func (p *People) state(ctx context.Context, localpart string) (s state, err error) {
	err = p.db.Read().QueryRowContext(ctx, "SELECT gone, disabled FROM directory_people WHERE localpart = ?", localpart).Scan(&s.gone, &s.disabled)
	if errors.Is(err, sql.ErrNoRows) {
		return state{}, nil
	}
	s.known = err == nil
	return s, err
}

// loggedIn remembers somebody whose password was right. ok is false for an account that the operator has disabled.
func (p *People) loggedIn(ctx context.Context, localpart string) (ok bool, err error) {
	s, err := p.state(ctx, localpart)
	if err != nil || s.disabled {
		return false, err
	}
	if s.gone != 0 {
		p.returned.Add(1)
		p.log.Info("somebody who had left is back", "account", localpart)
	}
	now := p.now().Unix()
	return true, p.exec(ctx, `INSERT INTO directory_people (localpart, since, seen) VALUES (?1, ?2, ?2)
		ON CONFLICT (localpart) DO UPDATE SET seen = ?2, gone = 0`, localpart, now)
}

// missing is told of a name that the directory does not have any more, or that may not log in: whoever had it has left.
func (p *People) missing(ctx context.Context, localpart string) error {
	s, err := p.state(ctx, localpart)
	if err != nil || !s.known || s.gone != 0 {
		return err
	}
	return p.leave(ctx, localpart)
}

// leave shuts an account out.
func (p *People) leave(ctx context.Context, localpart string) error {
	if err := p.db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("UPDATE directory_people SET gone = ? WHERE localpart = ?", p.now().Unix(), localpart); err != nil {
			return err
		}
		return dropTokens(tx, localpart)
	}); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	p.left.Add(1)
	p.log.Info("somebody has left the directory", "account", localpart, "deleted_after", p.cfg.Grace)
	p.dir.remember(localpart, false)
	if p.events.Left != nil {
		p.events.Left(localpart)
	}
	return nil
}

// Disable keeps somebody of the directory from logging in here, or lets them again. It works for people who never have, too.
func (p *People) Disable(ctx context.Context, localpart string, disabled bool) error {
	if there, err := p.dir.Exists(ctx, localpart); err != nil || !there {
		if s, serr := p.state(ctx, localpart); serr != nil || !s.known {
			return errors.Join(serr, err, fmt.Errorf("%w: %s", ErrNoAccount, localpart))
		}
	}
	now := p.now().Unix()
	return p.db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`INSERT INTO directory_people (localpart, since, seen, disabled) VALUES (?1, ?2, ?2, ?3)
			ON CONFLICT (localpart) DO UPDATE SET disabled = ?3`, localpart, now, disabled); err != nil {
			return err
		}
		return dropTokens(tx, localpart)
	})
}

// Forget removes what is remembered of a person.
func (p *People) Forget(ctx context.Context, localpart string) error {
	return p.db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("DELETE FROM directory_people WHERE localpart = ?", localpart); err != nil {
			return err
		}
		return dropTokens(tx, localpart)
	})
}

// Known is one row of List.
type Known struct {
	Localpart   string
	Since, Seen time.Time
	Gone        time.Time // zero: has not left
	Disabled    bool
}

// List gives all who have used the service, in the order of their names.
func (p *People) List(ctx context.Context) ([]Known, error) {
	rows, err := p.db.Read().QueryContext(ctx, "SELECT localpart, since, seen, gone, disabled FROM directory_people ORDER BY localpart")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []Known
	for rows.Next() {
		var k Known
		var since, seen, gone int64
		if err := rows.Scan(&k.Localpart, &since, &seen, &gone, &k.Disabled); err != nil {
			return nil, err
		}
		k.Since, k.Seen = time.Unix(since, 0), time.Unix(seen, 0)
		if gone != 0 {
			k.Gone = time.Unix(gone, 0)
		}
		out = append(out, k)
	}
	return out, rows.Err()
}

// NewPhoto tells whether a picture is another than the one noted last, and notes it.
func (p *People) NewPhoto(ctx context.Context, localpart string, sum []byte) (fresh bool, err error) {
	err = p.db.Write(ctx, func(tx *sql.Tx) error {
		n, err := affected(tx.Exec("UPDATE directory_people SET photo = ?1 WHERE localpart = ?2 AND photo IS NOT ?1", sum, localpart))
		fresh = n == 1
		return err
	})
	return fresh, err
}

func (p *People) exec(ctx context.Context, query string, args ...any) error {
	return p.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
}

// Stats are counters since the start.
func (p *People) Stats() map[string]uint64 {
	return map[string]uint64{
		"directory_syncs": p.syncs.Load(), "directory_sync_failures": p.failures.Load(), "directory_left": p.left.Load(),
		"directory_returned": p.returned.Load(), "directory_expired": p.expired.Load(),
	}
}
