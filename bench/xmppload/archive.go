package xmppload

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"konzil/bench/measure"
)

const (
	nsMAM    = "urn:xmpp:mam:2"
	mamFill  = 200 // messages that each pair has in its archive before it is asked for
	mamPage  = 50  // results in a page: what clients ask for
	mamTries = 50  // looks, 200 ms apart, for what is archived behind the delivery
)

// archive is queries for the last page of a conversation (XEP-0313 §4), one under way for each pair. What writing costs is told by route, against the
// same server without its archive.
type archive struct {
	w     *world
	fill  *route
	pairs []*query

	// of the loop
	t       *tally
	sending bool
	under   int
	done    chan struct{}
}

type query struct {
	p     *pair
	owner *client
	n     int // queries so far
	got   int // results of this one
	have  int // results of the last one
	next  uint32
	at    time.Time
	ready chan struct{} // closed with the answer to what was asked while preparing
	ok    bool
}

func (a *archive) prepare(ctx context.Context, progress func(string)) error {
	a.fill = &route{w: a.w}
	n := a.w.cfg.Scale
	all, err := a.w.loginAll(ctx, 0, 2*n, progress, a.stanza)
	if err != nil {
		return err
	}
	a.w.loop.do(func() {
		for i := range n {
			p := &pair{lane: newLane(a.w, all[2*i]), to: escape(all[2*i+1].jid)}
			all[2*i+1].data = p
			a.fill.pairs = append(a.fill.pairs, p)
			q := &query{p: p, owner: all[2*i], ready: make(chan struct{})}
			all[2*i].data = q
			a.pairs = append(a.pairs, q)
		}
		_ = all[0].send("<iq type='get' id='disco' to='" + escape(bareOf(all[0].jid)) + "'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
	})
	a.w.wait(ctx, a.pairs[0].ready, loginTimeout)
	if !a.pairs[0].ok {
		return fmt.Errorf("%w: an archive (%s)", ErrAbsent, nsMAM)
	}
	progress("filling the archives")
	return a.write(ctx, all)
}

// write puts mamFill messages of each pair into the archives.
func (a *archive) write(ctx context.Context, all []*client) error {
	a.w.loop.do(func() {
		for _, c := range all { // some servers archive for who asks for it alone
			_ = c.send("<iq type='set' id='prefs'><prefs xmlns='" + nsMAM + "' default='always'><always/><never/></prefs></iq>")
		}
	})
	a.w.wait(ctx, nil, time.Second)
	for round := range mamFill / 10 {
		a.w.loop.do(func() {
			a.fill.t = newTally(a.w, "messages", "message")
			a.fill.done = make(chan struct{})
			for _, p := range a.fill.pairs {
				for range 10 {
					a.fill.send(p, time.Now())
				}
			}
		})
		if !a.w.wait(ctx, a.fill.done, a.w.cfg.Drain) {
			return fmt.Errorf("xmppload: messages were lost while filling the archives, round %d: %d of %d, %v", round, a.fill.t.s.Delivered, a.fill.t.s.Expected, a.fill.t.s.Wrong)
		}
	}
	for range mamTries {
		all := make(chan struct{})
		a.w.loop.do(func() {
			a.done, a.under, a.sending = all, 0, false
			a.t = newTally(a.w, "results", "query")
			for _, q := range a.pairs {
				a.ask(q, time.Now())
			}
		})
		a.w.wait(ctx, all, a.w.cfg.Drain)
		full := true
		a.w.loop.do(func() {
			for _, q := range a.pairs {
				full = full && q.have == mamPage
			}
		})
		if full {
			return nil
		}
		a.w.wait(ctx, nil, 200*time.Millisecond)
	}
	return fmt.Errorf("xmppload: the archive does not give what was written: %d results of %d, %v", a.pairs[0].have, mamPage, a.t.s.Wrong)
}

func (a *archive) ask(q *query, now time.Time) {
	q.n, q.got, q.at, q.next = q.n+1, 0, now, q.p.lane.next-mamPage
	a.under++
	_ = q.owner.send(fmt.Sprintf("<iq type='set' id='q%d'><query xmlns='%s' queryid='q%d'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>%s</value></field>"+
		"<field var='with'><value>%s</value></field></x><set xmlns='http://jabber.org/protocol/rsm'><max>%d</max><before/></set></query></iq>",
		q.n, nsMAM, q.n, nsMAM, bareOf(q.p.to), mamPage))
	a.t.s.Sent++
	a.t.s.Expected += mamPage
}

func (a *archive) measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	a.w.loop.do(func() {
		a.t = newTally(a.w, "results", "query")
		a.sending, a.under, a.done = true, 0, make(chan struct{})
		for _, q := range a.pairs {
			a.ask(q, time.Now())
		}
		a.w.loop.begin(a.t.live, false)
	})
	a.w.wait(ctx, nil, d)
	a.w.loop.do(func() { a.sending = false })
	a.w.wait(ctx, a.done, a.w.cfg.Drain)
	var s *measure.Sample
	a.w.loop.do(func() { a.w.loop.finish(); s = a.t.finish() })
	return s, ctx.Err()
}

func (a *archive) stanza(c *client, el *elem, now time.Time) {
	q, asks := c.data.(*query)
	switch {
	case string(el.name) == "iq" && asks:
		a.iq(q, el, now)
	case asks && bytes.Contains(el.raw, []byte("<result")):
		a.result(q, el.raw, now)
	default:
		a.fill.stanza(c, el, now)
	}
}

func (a *archive) iq(q *query, el *elem, now time.Time) {
	switch id := string(el.id); {
	case id == "disco":
		q.ok = bytes.Contains(el.raw, []byte(nsMAM))
		close(q.ready)
	case id != fmt.Sprintf("q%d", q.n):
	default:
		if string(el.typ) != "result" {
			a.t.s.Wrong["rejected"]++
		}
		q.have = q.got
		a.under--
		_ = a.t.lat.RecordValue(max(int64(now.Sub(q.at)), 1000))
		switch {
		case a.sending:
			a.ask(q, now)
		case a.under == 0:
			close(a.done)
		}
	}
}

// result checks one message of the archive: it must be the next one of the conversation, as it was sent.
func (a *archive) result(q *query, raw []byte, now time.Time) {
	i := bytes.Index(raw, []byte("<forwarded"))
	if i < 0 {
		return
	}
	k := bytes.Index(raw[i:], []byte("<message"))
	if k < 0 {
		return
	}
	in := raw[i+k:]
	m, ok := a.w.parse(attr(in, "id"))
	switch {
	case !ok || m.sender != q.p.lane.sender:
		a.t.s.Wrong["foreign"]++
		return
	case m.number != q.next:
		a.t.s.Wrong["order"]++
	}
	q.next = m.number + 1
	q.got++
	if f := a.w.cfg.Fault; f != nil {
		if f.Lose() {
			return
		}
		f.Corrupt(text(in, "body"))
	}
	a.t.text = appendBody(a.t.text[:0], a.w.run, m.sender, m.number, a.w.cfg.Body)
	if !bytes.Equal(text(in, "body"), a.t.text) {
		a.t.s.Wrong["payload"]++
	}
	a.t.s.Delivered++
	a.t.s.Verified++
	a.t.s.Bytes += uint64(len(raw))
	a.t.last = now
}
