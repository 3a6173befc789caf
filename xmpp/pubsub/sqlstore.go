package pubsub

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"konzil/internal/store"
	"konzil/xmpp/stanza"
)

// SQLStore keeps nodes in the server's database. Changes are on disk before they return nil.
type SQLStore struct{ DB *store.DB }

// nodeRow is a node as it is stored.
type nodeRow struct {
	id      int64
	name    string
	cfg     Config
	creator stanza.JID
	created time.Time
	affs    map[stanza.JID]affiliation
	subs    map[stanza.JID]subscription
}

// owners are all that have nodes.
func (s SQLStore) owners(ctx context.Context) (map[stanza.JID]struct{}, error) {
	rows, err := s.DB.Read().QueryContext(ctx, `SELECT DISTINCT owner FROM pubsub_nodes`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := map[stanza.JID]struct{}{}
	for rows.Next() {
		j, err := scanJID(rows)
		if err != nil {
			return nil, err
		}
		out[j] = struct{}{}
	}
	return out, rows.Err()
}

// scanJID scans a row whose first column is an address.
func scanJID(rows *sql.Rows, more ...any) (stanza.JID, error) {
	var text string
	if err := rows.Scan(append([]any{&text}, more...)...); err != nil {
		return stanza.JID{}, err
	}
	return stanza.ParseJID(text)
}

// load gives all nodes of an owner, and how many bytes its items have.
func (s SQLStore) load(ctx context.Context, owner stanza.JID) (nodes map[int64]*nodeRow, bytes int64, err error) {
	nodes = map[int64]*nodeRow{}
	rows, err := s.DB.Read().QueryContext(ctx, `SELECT creator, id, name, config, created FROM pubsub_nodes WHERE owner = ?`, owner.String())
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		n := &nodeRow{affs: map[stanza.JID]affiliation{}, subs: map[stanza.JID]subscription{}}
		var cfg string
		var created int64
		if n.creator, err = scanJID(rows, &n.id, &n.name, &cfg, &created); err != nil {
			return nil, 0, err
		}
		if err := json.Unmarshal([]byte(cfg), &n.cfg); err != nil {
			return nil, 0, err
		}
		n.created = time.UnixMilli(created)
		nodes[n.id] = n
	}
	if err := rows.Err(); err != nil || len(nodes) == 0 {
		return nodes, 0, err
	}
	if err := s.loadPeople(ctx, owner, nodes); err != nil {
		return nil, 0, err
	}
	err = s.DB.Read().QueryRowContext(ctx, `SELECT coalesce(sum(length(i.xml)), 0) FROM pubsub_items i JOIN pubsub_nodes n ON n.id = i.node WHERE n.owner = ?`,
		owner.String()).Scan(&bytes)
	return nodes, bytes, err
}

func (s SQLStore) loadPeople(ctx context.Context, owner stanza.JID, nodes map[int64]*nodeRow) error {
	affs, err := s.DB.Read().QueryContext(ctx,
		`SELECT a.jid, a.node, a.affiliation FROM pubsub_affiliations a JOIN pubsub_nodes n ON n.id = a.node WHERE n.owner = ?`, owner.String())
	if err != nil {
		return err
	}
	defer func() { _ = affs.Close() }()
	for affs.Next() {
		var id int64
		var a affiliation
		j, err := scanJID(affs, &id, &a)
		if err != nil {
			return err
		}
		if n := nodes[id]; n != nil {
			n.affs[j] = a
		}
	}
	if err := affs.Err(); err != nil {
		return err
	}
	subs, err := s.DB.Read().QueryContext(ctx,
		`SELECT u.jid, u.node, u.state, u.subid, u.options FROM pubsub_subscriptions u JOIN pubsub_nodes n ON n.id = u.node WHERE n.owner = ?`, owner.String())
	if err != nil {
		return err
	}
	defer func() { _ = subs.Close() }()
	for subs.Next() {
		var id int64
		var u subscription
		var options []byte
		if u.JID, err = scanJID(subs, &id, &u.State, &u.ID, &options); err != nil {
			return err
		}
		if len(options) > 0 {
			if err := json.Unmarshal(options, &u.subOptions); err != nil {
				return fmt.Errorf("options of a subscription: %w", err)
			}
		}
		if n := nodes[id]; n != nil {
			n.subs[u.JID] = u
		}
	}
	return subs.Err()
}

// create adds a node with its affiliations and sets its id.
func (s SQLStore) create(ctx context.Context, owner stanza.JID, n *nodeRow) error {
	cfg, err := json.Marshal(n.cfg)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		r, err := tx.Exec(`INSERT INTO pubsub_nodes (owner, name, config, creator, created) VALUES (?, ?, ?, ?, ?)`,
			owner.String(), n.name, string(cfg), n.creator.String(), n.created.UnixMilli())
		if err != nil {
			return err
		}
		if n.id, err = r.LastInsertId(); err != nil {
			return err
		}
		for j, a := range n.affs {
			if _, err := tx.Exec(`INSERT INTO pubsub_affiliations (node, jid, affiliation) VALUES (?, ?, ?)`, n.id, j.String(), string(a)); err != nil {
				return err
			}
		}
		return nil
	})
}

// configure changes the settings and removes what they keep no longer; it tells how many bytes were freed.
func (s SQLStore) configure(ctx context.Context, id int64, c Config) (freed int64, err error) {
	cfg, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	keep := c.MaxItems
	if !c.Persist {
		keep = 0
	}
	err = s.DB.Write(ctx, func(tx *sql.Tx) (err error) {
		if _, err = tx.Exec(`UPDATE pubsub_nodes SET config = ? WHERE id = ?`, string(cfg), id); err != nil {
			return err
		}
		freed, err = trim(tx, id, keep, 0)
		return err
	})
	return freed, err
}

// trim removes all but the newest keep items, and those from before a time (Unix ms); it tells how many bytes they had.
func trim(tx *sql.Tx, id int64, keep int, before int64) (freed int64, err error) {
	const old = `node = ? AND (stamp < ? OR seq <= coalesce((SELECT seq FROM pubsub_items WHERE node = ? ORDER BY seq DESC LIMIT 1 OFFSET ?), 0))`
	if err := tx.QueryRow(`SELECT coalesce(sum(length(xml)), 0) FROM pubsub_items WHERE `+old, id, before, id, keep).Scan(&freed); err != nil {
		return 0, err
	}
	_, err = tx.Exec(`DELETE FROM pubsub_items WHERE `+old, id, before, id, keep)
	return freed, err
}

func (s SQLStore) exec(ctx context.Context, query string, args ...any) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
}

func (s SQLStore) remove(ctx context.Context, id int64) error {
	return s.exec(ctx, `DELETE FROM pubsub_nodes WHERE id = ?`, id)
}

// forget removes all nodes of an owner, and its subscriptions and affiliations elsewhere.
func (s SQLStore) forget(ctx context.Context, owner stanza.JID) error {
	return s.DB.Write(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{`DELETE FROM pubsub_nodes WHERE owner = ?`, `DELETE FROM pubsub_affiliations WHERE jid = ?`} {
			if _, err := tx.Exec(q, owner.String()); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`DELETE FROM pubsub_subscriptions WHERE jid = ? OR substr(jid, 1, ?) = ?`, owner.String(), len(owner.String())+1, owner.String()+"/")
		return err
	})
}

// errFull: the node has as many items as it may have, and its settings say that none goes for a new one.
var errFull = errors.New("pubsub: node is full")

// publish adds an item, or puts one with that id in its place and to the front, and keeps as many as the settings say. It tells by how many bytes the
// node has grown; errFull.
func (s SQLStore) publish(ctx context.Context, id int64, it *Item, c Config) (grown int64, err error) {
	err = s.DB.Write(ctx, func(tx *sql.Tx) error {
		before := int64(0)
		if c.Expire > 0 {
			before = it.Stamp.Add(-time.Duration(c.Expire) * time.Second).UnixMilli()
		}
		grown = int64(len(it.XML))
		var old int64
		err := tx.QueryRow(`DELETE FROM pubsub_items WHERE node = ? AND id = ? RETURNING length(xml)`, id, it.ID).Scan(&old)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO pubsub_items (node, id, publisher, stamp, xml) VALUES (?, ?, ?, ?, ?)`,
			id, it.ID, it.Publisher.String(), it.Stamp.UnixMilli(), it.XML); err != nil {
			return err
		}
		if c.RejectFull {
			var n int
			if err := tx.QueryRow(`SELECT count(*) FROM pubsub_items WHERE node = ? AND stamp >= ?`, id, before).Scan(&n); err != nil {
				return err
			}
			if n > c.MaxItems {
				return errFull
			}
		}
		freed, err := trim(tx, id, c.MaxItems, before)
		grown -= old + freed
		return err
	})
	return grown, err
}

// retract removes an item; freed -1: there is none.
func (s SQLStore) retract(ctx context.Context, id int64, item string) (freed int64, err error) {
	err = s.DB.Write(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRow(`DELETE FROM pubsub_items WHERE node = ? AND id = ? RETURNING length(xml)`, id, item).Scan(&freed)
		if errors.Is(err, sql.ErrNoRows) {
			freed = -1
			return nil
		}
		return err
	})
	return freed, err
}

func (s SQLStore) purge(ctx context.Context, id int64) (freed int64, err error) {
	err = s.DB.Write(ctx, func(tx *sql.Tx) (err error) {
		freed, err = trim(tx, id, 0, 0)
		return err
	})
	return freed, err
}

// span says which items: newest first, of those that are in a page.
type span struct {
	ids      []string // these and no others, if not nil
	older    string   // than the item with that id
	newer    string
	oldest   bool // the last of the page, not the first
	max      int
	since    time.Time // published then or later
	maxBytes int       // no more after so many; one item always
}

// page is what was found.
type page struct {
	items []Item
	index int  // of the first among all
	total int  // of all
	cut   bool // there are more
}

var errNoItem = errors.New("pubsub: no such item")

// items finds items; errNoItem: the one that the page begins or ends with is not there.
func (s SQLStore) items(ctx context.Context, id int64, q span) (*page, error) {
	tx, err := s.DB.Read().BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // of one moment
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	p := &page{}
	since := q.since.UnixMilli()
	if q.since.IsZero() {
		since = 0
	}
	if err := tx.QueryRow(`SELECT count(*) FROM pubsub_items WHERE node = ? AND stamp >= ?`, id, since).Scan(&p.total); err != nil {
		return nil, err
	}
	if q.ids != nil {
		return p, s.named(tx, id, since, q, p)
	}
	lo, hi := int64(0), int64(1)<<62
	for want, to := range map[string]*int64{q.older: &hi, q.newer: &lo} {
		if want == "" {
			continue
		}
		err := tx.QueryRow(`SELECT seq FROM pubsub_items WHERE node = ? AND id = ? AND stamp >= ?`, id, want, since).Scan(to)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, errNoItem
		}
		if err != nil {
			return nil, err
		}
	}
	order := "DESC"
	if q.oldest {
		order = "ASC"
	}
	rows, err := tx.Query(`SELECT publisher, id, stamp, xml FROM pubsub_items WHERE node = ? AND stamp >= ? AND seq > ? AND seq < ? ORDER BY seq `+order+` LIMIT ?`,
		id, since, lo, hi, q.max+1)
	if err != nil {
		return nil, err
	}
	if err := p.read(rows, q); err != nil {
		return nil, err
	}
	if q.oldest {
		for i, j := 0, len(p.items)-1; i < j; i, j = i+1, j-1 {
			p.items[i], p.items[j] = p.items[j], p.items[i]
		}
	}
	if len(p.items) > 0 {
		err = tx.QueryRow(`SELECT count(*) FROM pubsub_items WHERE node = ?1 AND stamp >= ?2 AND seq > (SELECT seq FROM pubsub_items WHERE node = ?1 AND id = ?3)`,
			id, since, p.items[0].ID).Scan(&p.index)
	}
	return p, err
}

func (s SQLStore) named(tx *sql.Tx, id, since int64, q span, p *page) error {
	for _, want := range q.ids {
		rows, err := tx.Query(`SELECT publisher, id, stamp, xml FROM pubsub_items WHERE node = ? AND id = ? AND stamp >= ?`, id, want, since)
		if err != nil {
			return err
		}
		if err := p.read(rows, q); err != nil {
			return err
		}
	}
	return nil
}

// read takes rows until there are enough.
func (p *page) read(rows *sql.Rows, q span) (err error) {
	defer func() { _ = rows.Close() }()
	bytes := 0
	for i := range p.items {
		bytes += len(p.items[i].XML)
	}
	for rows.Next() {
		var it Item
		var stamp int64
		if it.Publisher, err = scanJID(rows, &it.ID, &stamp, &it.XML); err != nil {
			return err
		}
		if bytes += len(it.XML); len(p.items) >= q.max || len(p.items) > 0 && q.maxBytes > 0 && bytes > q.maxBytes {
			p.cut = true
			return nil
		}
		it.Stamp = time.UnixMilli(stamp)
		p.items = append(p.items, it)
	}
	return rows.Err()
}

func (s SQLStore) setAffiliation(ctx context.Context, id int64, j stanza.JID, a affiliation) error {
	if a == affNone {
		return s.exec(ctx, `DELETE FROM pubsub_affiliations WHERE node = ? AND jid = ?`, id, j.String())
	}
	return s.exec(ctx, `INSERT OR REPLACE INTO pubsub_affiliations (node, jid, affiliation) VALUES (?, ?, ?)`, id, j.String(), string(a))
}

// setSubscription changes one; without a state it is removed.
func (s SQLStore) setSubscription(ctx context.Context, id int64, u subscription) error {
	if u.State == "" {
		return s.exec(ctx, `DELETE FROM pubsub_subscriptions WHERE node = ? AND jid = ?`, id, u.JID.String())
	}
	options, err := json.Marshal(u.subOptions)
	if err != nil {
		return err
	}
	return s.exec(ctx, `INSERT OR REPLACE INTO pubsub_subscriptions (node, jid, state, subid, options) VALUES (?, ?, ?, ?, ?)`, id, u.JID.String(), u.State, u.ID, string(options))
}
