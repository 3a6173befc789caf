package main

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"konzil/internal/store"
	"konzil/xmpp/stanza"
)

// keepLoginsEvery is how often logins go to disk. They are many, and a few that a crash loses are no harm.
const keepLoginsEvery = 10 * time.Second

// logins is when each account logged in last.
type logins struct {
	db *store.DB

	mu    sync.Mutex // guards these
	at    map[stanza.JID]time.Time
	dirty map[stanza.JID]struct{} // not on disk yet
}

// openLogins reads what is known and keeps what changes, until the server stops.
func (s *server) openLogins() (*logins, error) {
	l := &logins{db: s.db, at: map[stanza.JID]time.Time{}, dirty: map[stanza.JID]struct{}{}}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	s.lastLogins = l
	running, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for running.Err() == nil {
			select {
			case <-running.Done():
			case <-time.After(keepLoginsEvery):
			}
			if err := l.keep(); err != nil {
				s.log.Error("logins not stored", "err", err)
			}
		}
	})
	s.onStop(func(context.Context) { stop(); wg.Wait() })
	return l, nil
}

func (l *logins) load(ctx context.Context) error {
	rows, err := l.db.Read().QueryContext(ctx, `SELECT account, at FROM logins`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var account string
		var at int64
		if err := rows.Scan(&account, &at); err != nil {
			return err
		}
		if j, err := stanza.ParseJID(account); err == nil {
			l.at[j] = time.Unix(at, 0)
		}
	}
	return rows.Err()
}

// keep writes what is not on disk yet.
func (l *logins) keep() error {
	l.mu.Lock()
	now := map[stanza.JID]time.Time{}
	for j := range l.dirty {
		now[j] = l.at[j]
	}
	clear(l.dirty)
	l.mu.Unlock()
	if len(now) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return l.db.Write(ctx, func(tx *sql.Tx) error {
		for j, at := range now {
			if _, err := tx.Exec(`INSERT OR REPLACE INTO logins (account, at) VALUES (?, ?)`, j.String(), at.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Login notes one, and tells whether it is the account's first.
func (l *logins) Login(account stanza.JID) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.at[account]
	l.at[account] = time.Now()
	l.dirty[account] = struct{}{}
	return !known
}

// LastLogin is when an account logged in last; zero: never.
func (l *logins) LastLogin(account stanza.JID) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[account]
}

// Forget removes an account.
func (l *logins) Forget(ctx context.Context, account stanza.JID) error {
	l.mu.Lock()
	delete(l.at, account)
	delete(l.dirty, account)
	l.mu.Unlock()
	return l.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM logins WHERE account = ?`, account.String())
		return err
	})
}
