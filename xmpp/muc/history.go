package muc

import (
	"context"
	"strconv"
	"time"

	"konzil/internal/random"
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

// newID is for messages, and for names of rooms that nobody asked for: 96 random bits.
func newID() string { return random.Hex(12) }

func delay(from stanza.JID, at time.Time) *stanza.Element {
	return stanza.NewElement(nsDelay, "delay", "from", from.String(), "stamp", at.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// remember keeps a message for newcomers, if it is one to keep: with words or the hint to store it (XEP-0334). The room is locked.
func (r *room) remember(id string, o *occupant, m *stanza.Stanza) {
	if !memorable(m) || r.svc.cfg.History < 0 {
		return
	}
	r.loadPast()
	by := ""
	if o != nil {
		by = o.id
	}
	e := histEntry{id: id, at: r.svc.now(), by: by, st: m, size: m.Size()}
	r.past = append(r.past, e)
	r.pastBytes += e.size
	for len(r.past) > 0 && (len(r.past) > r.svc.cfg.History || r.pastBytes > r.svc.cfg.HistoryBytes) {
		r.pastBytes -= r.past[0].size
		r.past = append([]histEntry(nil), r.past[1:]...)
	}
}

// memorable tells what newcomers get: not what takes back or marks what they may never have seen.
func memorable(m *stanza.Stanza) bool {
	keep := m.Child(stanza.NSClient, "body").Text() != ""
	for _, n := range m.Names {
		switch n.Space {
		case nsHints:
			if n.Local == "no-store" || n.Local == "no-permanent-store" {
				return false
			}
			keep = keep || n.Local == "store"
		case nsRetract, nsFasten:
			return false
		case "urn:xmpp:omemo:2", "eu.siacs.conversations.axolotl":
			keep = true
		}
	}
	return keep
}

// unremember takes messages out of the past. The room is locked.
func (r *room) unremember(which func(histEntry) bool) {
	var kept []histEntry
	r.pastBytes = 0
	for _, e := range r.past {
		if !which(e) {
			kept = append(kept, e)
			r.pastBytes += e.size
		}
	}
	r.past = kept
}

// loadPast reads the history of a room with an archive when it is first needed. The room is locked: this happens once in a life.
func (r *room) loadPast() {
	if r.pastLoaded {
		return
	}
	r.pastLoaded = true
	if !r.archived() || r.svc.cfg.History <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.svc.cfg.StoreTimeout)
	defer cancel()
	past, times, err := r.svc.archive.Past(ctx, r.jid, r.svc.cfg.History)
	if err != nil {
		r.svc.count.storeErrors.Add(1)
		r.svc.log.Error("history not read", "room", r.jid.String(), "err", err)
		return
	}
	for i, m := range past {
		if !memorable(m) { // tombstones, too
			continue
		}
		var shown []*stanza.Element // without what only the archive has
		for _, e := range m.Payload() {
			if e.Space != nsUser {
				shown = append(shown, e)
			}
		}
		e := histEntry{id: m.Archive(), at: times[i], by: m.Child(nsOccupant, "occupant-id").Attr("id"), st: m.WithPayload(shown...), size: m.Size()}
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
