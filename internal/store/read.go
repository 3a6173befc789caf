package store

import (
	"context"
	"database/sql"
	"sync"
)

// maxStatements bounds the statements that are kept prepared. The program has fewer; those beyond, made of parts, are prepared for each use.
const maxStatements = 256

// Reader is a pool of connections that can only read. It keeps statements prepared: to parse one costs more than to look up a row.
type Reader struct {
	*sql.DB

	mu         sync.RWMutex // guards statements
	statements map[string]*sql.Stmt
}

func newReader(db *sql.DB) *Reader { return &Reader{DB: db, statements: map[string]*sql.Stmt{}} }

// statement gives a prepared one; nil: it has to do without, or cannot be prepared.
func (r *Reader) statement(ctx context.Context, query string) *sql.Stmt {
	r.mu.RLock()
	st, full := r.statements[query], len(r.statements) >= maxStatements
	r.mu.RUnlock()
	if st != nil || full {
		return st
	}
	st, err := r.PrepareContext(ctx, query)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.statements[query]; other != nil || len(r.statements) >= maxStatements { // somebody was quicker
		_ = st.Close()
		return other
	}
	r.statements[query] = st
	return st
}

// QueryContext is that of sql.DB.
func (r *Reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if st := r.statement(ctx, query); st != nil {
		return st.QueryContext(ctx, args...)
	}
	return r.DB.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of sql.DB.
func (r *Reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if st := r.statement(ctx, query); st != nil {
		return st.QueryRowContext(ctx, args...)
	}
	return r.DB.QueryRowContext(ctx, query, args...)
}

// Close closes the statements and the pool.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range r.statements {
		_ = st.Close()
	}
	clear(r.statements)
	return r.DB.Close()
}
