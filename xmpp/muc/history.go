package muc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"konzil/xmpp/stanza"
)

// histEntry is a message of the past, as occupants got it.
type histEntry struct {
	id   string // its stanza id
	at   time.Time
	by   string // occupant id of its author
	st   *stanza.Stanza
	size int
}

func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func delay(from stanza.JID, at time.Time) *stanza.Element {
	return stanza.NewElement(nsDelay, "delay", "from", from.String(), "stamp", at.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// remember keeps a message for newcomers, if it is one to keep: with a body or the hint to store it (XEP-0334). The room is locked.
func (r *room) remember(id string, o *occupant, m *stanza.Stanza) {
	keep := m.Child(stanza.NSClient, "body").Text() != "" || m.Has(nsHints, "store")
	if !keep || m.Has(nsHints, "no-store") || m.Has(nsHints, "no-permanent-store") || r.svc.cfg.History < 0 {
		return
	}
	r.loadPast()
	e := histEntry{id: id, at: r.svc.now(), by: o.id, st: m, size: m.Size()}
	r.past = append(r.past, e)
	r.pastBytes += e.size
	for len(r.past) > 0 && (len(r.past) > r.svc.cfg.History || r.pastBytes > r.svc.cfg.HistoryBytes) {
		r.pastBytes -= r.past[0].size
		r.past = append([]histEntry(nil), r.past[1:]...)
	}
	if r.set.Persistent && r.svc.history != nil {
		r.svc.history.add(HistoryRecord{Room: r.jid.String(), ID: id, Stamp: e.at, XML: m.AppendXML(nil, stanza.NSClient, true)})
	}
}

// retract takes a message out of the past if its author says so (XEP-0424). The room is locked.
func (r *room) retract(o *occupant, id string) {
	r.loadPast()
	for i, e := range r.past {
		if e.by != o.id || e.id != id && e.st.ID != id {
			continue
		}
		r.pastBytes -= e.size
		r.past = append(append([]histEntry(nil), r.past[:i]...), r.past[i+1:]...)
		if r.set.Persistent && r.svc.history != nil {
			r.svc.history.add(HistoryRecord{Room: r.jid.String(), ID: e.id})
		}
		return
	}
}

// loadPast reads the history of a stored room when it is first needed. The room is locked: this happens once in a life.
func (r *room) loadPast() {
	if r.pastLoaded {
		return
	}
	r.pastLoaded = true
	ctx, cancel := context.WithTimeout(context.Background(), r.svc.cfg.StoreTimeout)
	defer cancel()
	records, err := r.svc.store.History(ctx, r.jid.String(), r.svc.cfg.History)
	if err != nil {
		r.svc.count.storeErrors.Add(1)
		r.svc.log.Error("history not read", "room", r.jid.String(), "err", err)
		return
	}
	for _, rec := range records {
		st, err := stanza.Parse(rec.XML)
		if err != nil {
			r.svc.log.Warn("history entry passed over", "room", r.jid.String(), "id", rec.ID, "err", err)
			continue
		}
		e := histEntry{id: rec.ID, at: rec.Stamp, by: st.Child(nsOccupant, "occupant-id").Attr("id"), st: st, size: st.Size()}
		r.past, r.pastBytes = append(r.past, e), r.pastBytes+e.size
	}
}

// replay sends the newcomer of join as much of the past as it wants (XEP-0045 §7.2.13, §7.2.14). The room is locked.
func (r *room) replay(join *stanza.Stanza, to stanza.JID) {
	r.loadPast()
	want := join.Child(nsMUC, "x").Child(nsMUC, "history")
	chars, limited := number(want.Attr("maxchars"))
	var since time.Time
	if n, ok := number(want.Attr("seconds")); ok {
		since = r.svc.now().Add(-time.Duration(n) * time.Second)
	}
	if t, err := time.Parse(time.RFC3339, want.Attr("since")); err == nil && t.After(since) {
		since = t
	}
	first := 0
	if n, ok := number(want.Attr("maxstanzas")); ok {
		first = max(0, len(r.past)-n)
	}
	var out []*stanza.Stanza
	for i := len(r.past) - 1; i >= first; i-- {
		e := r.past[i]
		if e.at.Before(since) {
			break
		}
		st := e.st.WithPayload(append(e.st.Payload(), delay(r.jid, e.at))...)
		if chars -= len(st.WithTo(to).String()); limited && chars < 0 { // complete stanzas count, not only bodies (§7.2.14)
			break
		}
		out = append(out, st)
	}
	for i := len(out) - 1; i >= 0; i-- {
		r.send(out[i], to)
	}
}

// number reads a non-negative integer attribute.
func number(s string) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil && n >= 0
}

// historyWriter puts messages of persistent rooms on disk, many in one write. It is the package's only goroutine. Messages are sent on
// before they are on disk: a crash may lose the last of a room's history, which is a convenience for newcomers and no archive.
type historyWriter struct {
	svc     *Service
	queue   chan HistoryRecord // without XML: remove the entry
	dropped atomic.Uint64      // entries that found the queue full
	stop    sync.Once
	quit    chan struct{} // closed: write what is queued and end
	done    chan struct{} // closed when the goroutine has ended
}

func newHistoryWriter(s *Service) *historyWriter {
	w := &historyWriter{svc: s, queue: make(chan HistoryRecord, maxHistoryQueue), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// add queues an entry; when the disk is too slow for that it is dropped and counted.
func (w *historyWriter) add(e HistoryRecord) {
	select {
	case w.queue <- e:
	default:
		w.dropped.Add(1)
	}
}

func (w *historyWriter) close(ctx context.Context) error {
	w.stop.Do(func() { close(w.quit) })
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *historyWriter) run() {
	defer close(w.done)
	for {
		select {
		case e := <-w.queue:
			w.write(w.collect(e))
		case <-w.quit:
			for {
				select {
				case e := <-w.queue:
					w.write(w.collect(e))
				default:
					return
				}
			}
		}
	}
}

// collect adds to e what else is waiting.
func (w *historyWriter) collect(e HistoryRecord) []HistoryRecord {
	batch := []HistoryRecord{e}
	for len(batch) < maxHistoryBatch {
		select {
		case e := <-w.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

func (w *historyWriter) write(batch []HistoryRecord) {
	ctx, cancel := context.WithTimeout(context.Background(), w.svc.cfg.StoreTimeout)
	defer cancel()
	var adds []HistoryRecord
	drops := map[string][]string{}
	for _, e := range batch {
		if e.XML == nil {
			drops[e.Room] = append(drops[e.Room], e.ID)
			continue
		}
		adds = append(adds, e)
	}
	var err error
	if len(adds) > 0 {
		err = w.svc.store.AppendHistory(ctx, adds, w.svc.cfg.History)
	}
	for room, ids := range drops { // after the adds: an entry may be added and dropped in one batch
		if e := w.svc.store.DropHistory(ctx, room, ids); err == nil {
			err = e
		}
	}
	if err != nil {
		w.svc.count.storeErrors.Add(1)
		w.svc.log.Error("history not stored", "entries", len(batch), "err", err)
	}
}
