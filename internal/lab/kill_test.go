package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

const (
	killTime   = 12 * time.Second // of the short run
	perServer  = 4                // people
	sendEvery  = 15 * time.Millisecond
	settleTime = 20 * time.Second // after the last kill everything must be where it belongs
)

// message is what the test knows of one that was sent.
type message struct {
	from, to string // bare; to is a room for groupchat
	room     bool
	private  bool // to somebody in a room
	kept     bool // belongs into archives
	at       time.Time
	acked    time.Time // the sender's server has it; zero: not known
	unsure   bool      // the sender was killed before it knew
	bounced  int
	why      string              // it came back
	got      map[string][]string // recipient: the stanza-id of each arrival, "" where it has none
}

// ledger of the test: everything that was sent and what became of it.
type books struct {
	mu       sync.Mutex // guards all below
	messages map[string]*message
	outages  map[string][]outage // of people: when their clients were killed, and inside rooms again
	away     []outage            // of servers and links
	doubled  []string
	inside   map[string]map[string]bool // people, rooms
	events   strings.Builder            // what happened when, to be compared with the logs of the servers
}

// note writes an event down; mu is held.
func (b *books) note(format string, args ...any) {
	fmt.Fprintf(&b.events, time.Now().Format(time.StampMilli)+" "+format+"\n", args...)
}

// outage is a time in which a killed client misses what rooms say, or a server is away.
type outage struct{ from, to time.Time }

func (b *books) ack(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.messages[id]; m != nil {
		m.acked = time.Now()
	}
}

// take notes what a client gets.
func (b *books) take(c *client, st *stanza.Stanza) {
	if st.Kind == stanza.Presence && st.From.Resource() == c.nick() && strings.HasPrefix(st.From.Domain(), "conference.") {
		b.presence(c, st)
		return
	}
	if st.Kind != stanza.Message {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.messages[st.ID]
	if m == nil {
		return
	}
	if st.Type == "error" {
		m.bounced++
		if e := st.Child(stanza.NSClient, "error"); e != nil && len(e.Children()) > 0 {
			m.why = e.Children()[0].Local
		}
		b.note("%s came back: %s", st.ID, m.why)
		if m.room {
			delete(b.inside[c.jid()], m.to)
		}
		return
	}
	id := ""
	for _, e := range st.Payload() {
		if e.Local == "stanza-id" && (e.Attr("by") == c.jid() || e.Attr("by") == m.to) {
			id = e.Attr("id")
		}
	}
	for _, old := range m.got[c.jid()] {
		// A client that was killed knows by the id that it has a message already; one that was not must not get it twice.
		if old == "" || old != id || !b.wasKilled(c.jid(), m.at) {
			b.doubled = append(b.doubled, fmt.Sprintf("%s to %s: %s, stanza-ids %q and %q", st.ID, c.jid(), st.Type, old, id))
		}
	}
	m.got[c.jid()] = append(m.got[c.jid()], id)
}

// wasKilled tells whether a client was killed after a time.
func (b *books) wasKilled(who string, since time.Time) bool {
	for _, o := range b.outages[who] {
		if o.from.After(since) {
			return true
		}
	}
	return false
}

func (b *books) presence(c *client, st *stanza.Stanza) {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := st.From.Bare().String()
	b.note("%s %q in %s", c.jid(), st.Type, room)
	if st.Type != "" {
		delete(b.inside[c.jid()], room)
		return
	}
	b.inside[c.jid()][room] = true
	for i, o := range b.outages[c.jid()] {
		if o.to.IsZero() && len(b.inside[c.jid()]) == 2 {
			b.outages[c.jid()][i].to = time.Now()
		}
	}
}

// missed tells that somebody's client may have been away when m came to it.
func (b *books) missed(who string, m *message) bool {
	for _, o := range b.outages[who] {
		if b.underWay(m).After(o.from) && (o.to.IsZero() || m.at.Before(o.to.Add(slack))) {
			return true
		}
	}
	return false
}

// slack is how long a message may be under way when it is with the sender's server, or to it, on a busy machine.
const slack = 3 * time.Second

// underWay is until when m may have been under way: servers that were away held it up.
func (b *books) underWay(m *message) time.Time {
	for until := m.acked.Add(slack); ; {
		later := m.acked.Add(slack)
		for _, o := range b.away {
			if o.to.After(m.at) && o.from.Before(until) {
				later = later.Add(o.to.Sub(o.from))
			}
		}
		if !later.After(until) {
			return until
		}
		until = later
	}
}

// killing is the test's world.
type killing struct {
	t       *testing.T
	books   books
	servers []*konzil
	relays  []*relay
	clients []*client
	rooms   []string
	pace    time.Duration // how long the last server was away: of this machine, now
	count   struct{ servers, starts, clients, cuts, links int }
}

// TestKill: servers, clients and links are killed at random under load. Every message whose sender was told that the server has it is received once or
// comes back once, and is in each archive it belongs to once.
func TestKill(t *testing.T) {
	needLab(t)
	d := killTime
	if v := os.Getenv("KONZIL_KILL"); v != "" {
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := newKilling(t)
	rnd := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, c := range k.clients {
		wg.Go(func() { c.run(ctx) })
	}
	k.enter(perServer)
	end := time.Now().Add(d)
	var writers sync.WaitGroup
	for i := range k.clients {
		r := rand.New(rand.NewPCG(seed, uint64(i)+2))
		writers.Go(func() { k.write(i, r, end) })
	}
	for time.Now().Before(end) {
		pause(time.Duration(300+rnd.IntN(900)) * time.Millisecond)
		k.strike(rnd)
	}
	writers.Wait()
	k.settle()
	k.judge()
	k.archives()
	t.Logf("%d messages; kill -9 of servers %d, of these that had just been started %d, of clients %d; cuts of clients %d, of links %d", len(k.books.messages),
		k.count.servers+k.count.starts, k.count.starts, k.count.clients, k.count.cuts, k.count.links)
}

func newKilling(t *testing.T) *killing {
	k := &killing{t: t, books: books{messages: map[string]*message{}, outages: map[string][]outage{}, inside: map[string]map[string]bool{}}}
	var users []string
	for i := range perServer {
		users = append(users, fmt.Sprintf("u%d", i))
	}
	for _, z := range []zone{zoneA, zoneB} {
		k.servers = append(k.servers, newKonzil(t, z, users, "  rate_bytes_per_second: 1000000\n", "rate_bytes_per_second: 4000000"))
		k.relays = append(k.relays, newRelay(t, fmt.Sprintf("%s:%d", z.addr, z.s2s), z.addr+":5269"))
		k.rooms = append(k.rooms, "r@conference."+z.domain)
		for _, u := range users {
			c := &client{user: u, resource: "lab", zone: z, take: k.books.take, ack: k.books.ack}
			k.books.inside[c.jid()] = map[string]bool{}
			k.clients = append(k.clients, c)
		}
	}
	return k
}

func (k *killing) join(c *client, room string) {
	c.send("", fmt.Sprintf("<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>", room, c.nick()))
}

// enter lets the first of each server make its room, and then all into both.
func (k *killing) enter(n int) {
	in := func(c *client, room string) bool {
		k.books.mu.Lock()
		defer k.books.mu.Unlock()
		return k.books.inside[c.jid()][room]
	}
	for i, room := range k.rooms {
		c := k.clients[i*n]
		k.join(c, room)
		eventually(k.t, patience, c.jid()+" in "+room, func() bool { return in(c, room) })
		c.send("", fmt.Sprintf("<iq to='%s' type='set' id='conf'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+
			"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"+
			"<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>", room))
	}
	pause(200 * time.Millisecond) // other servers may be asked later than the configuration is done
	for _, room := range k.rooms {
		for _, c := range k.clients {
			if !in(c, room) {
				k.join(c, room)
			}
		}
	}
	for _, room := range k.rooms {
		for _, c := range k.clients {
			if !eventually(k.t, patience, c.jid()+" in "+room, func() bool { return in(c, room) }) {
				k.t.FailNow()
			}
		}
	}
	for _, c := range k.clients { // a new session is in no room
		c.mu.Lock()
		c.up = func(c *client) {
			k.note("%s has a new session", c.jid())
			for _, room := range k.rooms {
				k.join(c, room)
			}
		}
		c.mu.Unlock()
	}
}

// write is one person writing to others and to rooms.
func (k *killing) write(i int, r *rand.Rand, end time.Time) {
	c := k.clients[i]
	for n := 0; time.Now().Before(end); n++ {
		pause(time.Duration(r.Int64N(int64(2 * sendEvery))))
		if c.waiting() > 200 { // the server is away
			c.ask()
			continue
		}
		id := fmt.Sprintf("%s-%d", c.jid(), n)
		m := &message{from: c.jid(), kept: r.IntN(5) > 0, at: time.Now(), got: map[string][]string{}}
		other := r.IntN(len(k.clients) - 1)
		if other >= i {
			other++
		}
		room := k.rooms[r.IntN(len(k.rooms))]
		typ, to := "chat", k.clients[other].jid()
		switch p := r.IntN(100); {
		case p < 30:
			m.to, m.room, typ, to = room, true, "groupchat", room
		case p < 45:
			m.to, m.private, to = to, true, room+"/"+k.clients[other].nick()
		default:
			m.to = to
		}
		more := ""
		if !m.kept {
			more = "<no-store xmlns='urn:xmpp:hints'/>"
		}
		k.books.mu.Lock()
		if (m.room || m.private) && !k.books.inside[c.jid()][room] {
			k.books.mu.Unlock()
			k.join(c, room)
			pause(100 * time.Millisecond)
			continue
		}
		k.books.messages[id] = m
		k.books.mu.Unlock()
		c.send(id, fmt.Sprintf("<message to='%s' type='%s' id='%s'><body>%s</body>%s</message>", to, typ, id, id, more))
		if n%10 == 0 {
			c.ask()
		}
	}
}

// strike kills something.
func (k *killing) strike(r *rand.Rand) {
	switch p := r.IntN(100); {
	case p < 35:
		k.killServer(r, r.IntN(len(k.servers)))
	case p < 50:
		k.count.links++
		i := r.IntN(len(k.relays))
		k.relays[i].cut()
		k.books.mu.Lock()
		defer k.books.mu.Unlock()
		k.books.note("cut of the link to %s", k.servers[i].zone.domain)
		k.books.away = append(k.books.away, outage{time.Now(), time.Now().Add(k.pace)})
	case p < 60:
		i := r.IntN(len(k.clients))
		k.killClient(k.clients[i])
		if r.IntN(2) == 0 { // while the session is being replaced, and what it had finds its way to the next
			pause(time.Duration(r.Int64N(int64(takeOver))))
			k.killServer(r, i/perServer)
		}
	default:
		k.count.cuts++
		c := k.clients[r.IntN(len(k.clients))]
		c.cut()
		k.note("cut of %s", c.jid())
	}
}

const (
	starting = 150 * time.Millisecond // about what a start takes
	takeOver = 150 * time.Millisecond // and how long a client is away that was killed
)

// killServer kills a server and starts it anew, now and then once more in the middle of that.
func (k *killing) killServer(r *rand.Rand, i int) {
	s := k.servers[i]
	away := outage{from: time.Now()}
	s.Kill()
	k.count.servers++
	k.note("kill of %s", s.zone.domain)
	for r.IntN(3) == 0 {
		if err := s.begin(); err != nil {
			k.t.Fatal(err)
		}
		pause(time.Duration(r.Int64N(int64(starting))))
		s.Kill()
		k.count.starts++
		k.note("kill of %s that starts", s.zone.domain)
	}
	if err := s.run(); err != nil {
		k.t.Fatal(err)
	}
	k.note("%s serves", s.zone.domain)
	k.books.mu.Lock()
	defer k.books.mu.Unlock()
	k.pace = time.Since(away.from)
	away.to = time.Now().Add(k.pace) // clients and links take as long again
	k.books.away = append(k.books.away, away)
}

func (k *killing) note(format string, args ...any) {
	k.books.mu.Lock()
	defer k.books.mu.Unlock()
	k.books.note(format, args...)
}

func (k *killing) killClient(c *client) {
	k.count.clients++
	k.note("kill of %s", c.jid())
	k.books.mu.Lock()
	k.books.outages[c.jid()] = append(k.books.outages[c.jid()], outage{from: time.Now()})
	clear(k.books.inside[c.jid()])
	k.books.mu.Unlock()
	forgot := c.lose()
	k.books.mu.Lock()
	defer k.books.mu.Unlock()
	for _, id := range forgot {
		k.books.messages[id].unsure = true
	}
}

// settle waits until every sender knows what became of its messages and every message has arrived or come back.
func (k *killing) settle() {
	eventually(k.t, settleTime, "all acknowledged", func() bool {
		n := 0
		for _, c := range k.clients {
			c.ask()
			n += c.waiting()
		}
		return n == 0
	})
	end := time.Now().Add(settleTime)
	for len(k.lost()) > 0 && time.Now().Before(end) {
		pause(100 * time.Millisecond)
	}
	pause(500 * time.Millisecond) // doubles come late
}

// lost lists what nobody has.
func (k *killing) lost() (out []string) {
	b := &k.books
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, m := range b.messages {
		if m.acked.IsZero() || m.unsure {
			continue
		}
		if !m.room {
			// What must not be stored goes with the client that it was for.
			if len(m.got[m.to]) == 0 && m.bounced == 0 && (m.kept || !b.missed(m.to, m)) {
				out = append(out, fmt.Sprintf("%s to %s (kept %v), sent %s", id, m.to, m.kept, m.at.Format(time.StampMilli)))
			}
			continue
		}
		if m.bounced > 0 {
			continue
		}
		for _, c := range k.clients {
			if len(m.got[c.jid()]) == 0 && !b.missed(c.jid(), m) {
				out = append(out, fmt.Sprintf("%s in %s for %s, sent %s", id, m.to, c.jid(), m.at.Format(time.StampMilli)))
			}
		}
	}
	slices.Sort(out)
	return out
}

// judge compares what was sent and received.
func (k *killing) judge() {
	lost := k.lost()
	b := &k.books
	b.mu.Lock()
	defer b.mu.Unlock()
	acked, bounced, private, passing := 0, 0, 0, 0
	for id, m := range b.messages {
		if !m.acked.IsZero() {
			acked++
		}
		if m.private {
			private++
		}
		if !m.kept {
			passing++
		}
		if m.bounced > 0 {
			bounced++
			if m.bounced > 1 || !m.room && len(m.got[m.to]) > 0 {
				b.doubled = append(b.doubled, fmt.Sprintf("%s came back %d times (%s) and was received %d times", id, m.bounced, m.why, len(m.got[m.to])))
			}
		}
	}
	k.t.Logf("%d private in rooms, %d not to be stored", private, passing)
	k.t.Logf("%d acknowledged, %d came back; lost %d, doubled %d", acked, bounced, len(lost), len(b.doubled))
	for what, list := range map[string][]string{"lost": lost, "doubled": b.doubled} {
		for i, l := range list {
			b.note("%s: %s", what, l)
			if i < 20 {
				k.t.Errorf("%s: %s", what, l)
			}
		}
	}
	if dump := os.Getenv("KONZIL_LAB_LOGS"); dump != "" {
		if err := os.WriteFile(filepath.Join(dump, "events.log"), []byte(b.events.String()), 0o600); err != nil {
			k.t.Error(err)
		}
	}
}
