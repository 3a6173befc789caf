package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"konzil/xmpp/stanza"
)

// archives reads every archive and compares it with what was sent, and those of rooms with what people got.
func (k *killing) archives() {
	in := map[string]map[string]int{} // owner: how often it has each message
	for i, c := range k.clients {
		in[c.jid()] = counted(k.readArchive(c, ""))
		if i%perServer == 0 {
			room := k.rooms[i/perServer]
			said := k.readArchive(c, room)
			in[room] = counted(said)
			k.gaps(room, said)
		}
	}
	k.books.mu.Lock()
	defer k.books.mu.Unlock()
	wrong := 0
	for id, m := range k.books.messages {
		owners := []string{m.from, m.to}
		switch {
		case !m.kept:
			continue
		case m.room:
			owners = owners[1:]
		}
		for _, o := range owners {
			n := in[o][id]
			if n == 1 || n == 0 && (m.acked.IsZero() || m.bounced > 0 || m.unsure) {
				continue
			}
			if wrong++; wrong < 20 {
				k.t.Errorf("%s is in the archive of %s %d times (acknowledged %v, came back %d)", id, o, n, !m.acked.IsZero(), m.bounced)
			}
		}
	}
	k.t.Logf("archives: %d wrong", wrong)
}

// gapsEach is how many gaps an outage may leave: what a killed client had not got, and, after what reached its address on the way out of the room, what was said
// before it was inside again.
const gapsEach = 2

// gaps compares what people got of a room with what was said there, in that order and without a look at times: an outage leaves gaps, and nothing is missing
// between messages that came.
func (k *killing) gaps(room string, said []string) {
	b := &k.books
	b.mu.Lock()
	defer b.mu.Unlock()
	gaps, outages := 0, 0
	for _, c := range k.clients {
		var begin []string // the first message of each gap
		missing := false
		for _, id := range said {
			m := b.messages[id]
			if m == nil {
				continue
			}
			lacks := len(m.got[c.jid()]) == 0
			if lacks && !missing {
				begin = append(begin, id)
			}
			missing = lacks
		}
		n := len(b.outages[c.jid()])
		if len(begin) > gapsEach*n {
			k.t.Errorf("%s, killed %d times, lacks messages of %s in %d places: %q", c.jid(), n, room, len(begin), begin)
		}
		gaps, outages = gaps+len(begin), outages+n
	}
	k.t.Logf("%s: %d gaps after %d kills of clients", room, gaps, outages)
}

func counted(ids []string) map[string]int {
	n := map[string]int{}
	for _, id := range ids {
		n[id]++
	}
	return n
}

// readArchive gives the messages of an archive in their order: the own one, or a room's.
func (k *killing) readArchive(c *client, room string) []string {
	r := &client{user: c.user, resource: "reader", zone: c.zone}
	var found []string
	var mu sync.Mutex // guards found, last, complete
	last, complete, more := "", false, make(chan struct{}, 1)
	r.take = func(_ *client, st *stanza.Stanza) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range st.Payload() {
			switch e.Local {
			case "result":
				for _, m := range e.Child("urn:xmpp:forward:0", "forwarded").Children() {
					if m.Local == "message" {
						found = append(found, m.Attr("id"))
					}
				}
			case "fin":
				complete = e.Attr("complete") == "true"
				last = e.Child("http://jabber.org/protocol/rsm", "set").Child("http://jabber.org/protocol/rsm", "last").Text()
				more <- struct{}{}
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { r.run(ctx) })
	to := ""
	if room != "" {
		to = " to='" + room + "'"
	}
	for n := 0; ; n++ {
		mu.Lock()
		after, done := last, complete
		mu.Unlock()
		if done {
			return found
		}
		var q strings.Builder
		fmt.Fprintf(&q, "<iq type='set' id='q%d'%s><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>50</max>", n, to)
		if after != "" {
			fmt.Fprintf(&q, "<after>%s</after>", after)
		}
		r.send("", q.String()+"</set></query></iq>")
		timer := time.NewTimer(settleTime)
		select {
		case <-more:
			timer.Stop()
		case <-timer.C:
			k.t.Errorf("no answer of the archive of %s%s", c.jid(), room)
			return found
		}
	}
}
