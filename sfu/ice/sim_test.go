package ice

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

const second = int64(time.Second)

// net is a simulated network: datagrams take some time, some are lost, addresses may be translated.
type network struct {
	t     testing.TB
	now   int64
	delay int64
	lose  func(from, to netip.AddrPort) bool
	ends  []*end
	wire  []flying
	sent  int
	rand  *rand.Rand
}

type flying struct {
	at       int64
	from, to netip.AddrPort
	b        []byte
}

// end is an agent with its sockets.
type end struct {
	n     *network
	a     *Agent
	addrs []netip.AddrPort                  // its sockets
	nat   map[netip.AddrPort]netip.AddrPort // from a socket to what others see
	ids   uint64
}

func newNetwork(t testing.TB) *network {
	return &network{t: t, now: 1, delay: 10 * ms, rand: rand.New(rand.NewPCG(1, 2))}
}

func (n *network) end(controlling bool, addrs ...string) *end {
	e := &end{n: n, nat: map[netip.AddrPort]netip.AddrPort{}}
	for _, a := range addrs {
		e.addrs = append(e.addrs, addr(a))
	}
	e.a = NewAgent(Config{Locals: e.addrs, Controlling: controlling, Timeout: 30 * second, Rand: n.rand.Uint64, NewID: e.newID})
	n.ends = append(n.ends, e)
	return e
}

func (e *end) newID() (id TxID) {
	e.ids++
	copy(id[:], fmt.Sprintf("%012d", e.n.rand.Uint64N(1e12)))
	return id
}

func (e *end) send(out *Out) {
	for _, d := range out.List {
		from := e.addrs[d.Local]
		if x, ok := e.nat[from]; ok {
			from = x
		}
		e.n.sent++
		if e.n.lose != nil && e.n.lose(from, d.To) {
			continue
		}
		e.n.wire = append(e.n.wire, flying{e.n.now + e.n.delay, from, d.To, slices.Clone(d.B)})
	}
	out.Reset()
}

// whose finds the socket behind an address.
func (n *network) whose(a netip.AddrPort) (*end, int) {
	for _, e := range n.ends {
		for i, s := range e.addrs {
			if x, ok := e.nat[s]; ok {
				s = x
			}
			if s == a {
				return e, i
			}
		}
	}
	return nil, 0
}

// run lets time pass until ok, or to the end.
func (n *network) run(d int64, ok func() bool) bool {
	var out Out
	for end := n.now + d; n.now <= end; {
		for _, e := range n.ends {
			e.a.Tick(n.now, &out)
			e.send(&out)
		}
		for i := 0; i < len(n.wire); {
			f := n.wire[i]
			if f.at > n.now {
				i++
				continue
			}
			n.wire = slices.Delete(n.wire, i, i+1)
			if e, local := n.whose(f.to); e != nil {
				var m Message
				if !m.Parse(f.b) {
					n.t.Fatalf("an agent sent what is no STUN: %x", f.b)
				}
				e.a.Handle(&m, local, f.from, false, n.now, &out)
				e.send(&out)
			}
		}
		if ok != nil && ok() {
			return true
		}
		next := end + 1
		for _, e := range n.ends {
			next = min(next, max(e.a.Next(), n.now+1))
		}
		for _, f := range n.wire {
			next = min(next, max(f.at, n.now+1))
		}
		n.now = next
	}
	return false
}

// meet gives each side the other's credentials, and b's side a's addresses, as with a client that signals no candidates.
func (n *network) meet(a, b *end) {
	b.a.SetRemote(a.a.Local(), n.now)
	for i, x := range a.addrs {
		b.a.AddRemote(x, udpPriority(i, prefHost), false, n.now)
	}
	a.a.SetRemote(b.a.Local(), n.now)
}

func (e *end) on(remote netip.AddrPort) func() bool {
	return func() bool {
		_, r, ok := e.a.Selected()
		return ok && r == remote
	}
}

func both(f ...func() bool) func() bool {
	return func() bool {
		for _, g := range f {
			if !g() {
				return false
			}
		}
		return true
	}
}

func TestConnects(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		n := newNetwork(t)
		sa, sb := "192.0.2.1:10000", "198.51.100.7:4000"
		if v6 {
			sa, sb = "[2001:db8::1]:10000", "[2001:db8::2]:4000"
		}
		a, b := n.end(true, sa), n.end(false, sb)
		n.meet(a, b)
		if !n.run(second, both(a.on(addr(sb)), b.on(addr(sa)))) {
			t.Fatal("not connected")
		}
		// b's check, our answer with the triggered check, its answer: three ways.
		if n.now > 3*10*ms+2 {
			t.Fatalf("connected after %d ms", n.now/ms)
		}
		if !n.run(second, func() bool { return a.a.selected.nominated && b.a.selected.nominated }) {
			t.Fatal("not nominated")
		}
		if a.a.State() != Connected || a.a.selected.rtt < 20*ms {
			t.Fatalf("state %v, round trip %d", a.a.State(), a.a.selected.rtt)
		}
	}
}

// TestRequestsBeforeCredentials lets the client's checks come before its answer: they are answered, and checked in turn as soon as possible.
func TestRequestsBeforeCredentials(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	b.a.SetRemote(a.a.Local(), n.now)
	b.a.AddRemote(a.addrs[0], 1, false, n.now)
	n.run(second/2, nil)
	if _, _, ok := a.a.Selected(); ok {
		t.Fatal("selected without credentials")
	}
	a.a.SetRemote(b.a.Local(), n.now)
	at := n.now
	if !n.run(second, a.on(b.addrs[0])) || n.now-at > 2*n.delay+2 {
		t.Fatalf("connected after %d ms", (n.now-at)/ms)
	}
}

// TestLoss connects through a line that loses every second datagram.
func TestLoss(t *testing.T) {
	n := newNetwork(t)
	n.lose = func(_, _ netip.AddrPort) bool { return n.rand.IntN(2) == 0 }
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	if !n.run(10*second, both(a.on(b.addrs[0]), b.on(a.addrs[0]), func() bool { return b.a.selected.nominated })) {
		t.Fatal("not connected")
	}
	n.lose = func(_, _ netip.AddrPort) bool { return n.rand.IntN(10) == 0 }
	if n.run(600*second, func() bool { return a.a.State() != Connected }) {
		t.Fatal("consent was lost at 10 % loss")
	}
}

// TestIdleCost: a connected agent sends a consent check each 4 to 6 s and nothing else (RFC 7675 §5.1).
func TestIdleCost(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	n.run(5*second, nil)
	before := n.sent
	n.run(1000*second, nil)
	// Both ask 200 times and answer as often.
	if got := n.sent - before; got < 4*167 || got > 4*250 {
		t.Fatalf("%d datagrams in 1000 s", got)
	}
}

func TestConsentLost(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	n.run(20*second, nil)
	cut := n.now
	n.lose = func(from, _ netip.AddrPort) bool { return from == b.addrs[0] }
	if !n.run(60*second, func() bool { return a.a.State() == Failed }) {
		t.Fatal("consent outlives the peer")
	}
	if d := n.now - cut; d < 24*second || d > 30*second+1 {
		t.Fatalf("lost after %d s", d/second)
	}
	if _, _, ok := a.a.Selected(); ok {
		t.Fatal("still sending")
	}
	sent := n.sent
	n.ends = []*end{a}
	n.run(100*second, nil)
	if n.sent != sent {
		t.Fatal("checks after the end")
	}
	// It comes back by itself when the peer does.
	n.ends = []*end{a, b}
	n.lose = nil
	b.a.Restart(n.now)
	n.meet(a, b)
	if !n.run(second, both(a.on(b.addrs[0]), b.on(a.addrs[0]))) {
		t.Fatal("not connected again")
	}
}

// TestPeerComesBack: after consent was lost a check with the same credentials is enough.
func TestPeerComesBack(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	b.a.cfg.Timeout = 1000 * second // it does not give up
	n.meet(a, b)
	n.run(20*second, nil)
	n.lose = func(from, _ netip.AddrPort) bool { return from == b.addrs[0] }
	if !n.run(60*second, func() bool { return a.a.State() == Failed }) {
		t.Fatal("consent outlives the peer")
	}
	n.lose = nil
	if !n.run(10*second, a.on(b.addrs[0])) || a.a.State() != Connected {
		t.Fatal("not connected again")
	}
}

func TestNeverConnected(t *testing.T) {
	n := newNetwork(t)
	a := n.end(true, "192.0.2.1:10000")
	a.a.SetRemote(Credentials{"abcd", "0123456789012345678901"}, n.now)
	a.a.AddRemote(addr("203.0.113.9:9"), 1, false, n.now)
	if !n.run(31*second, func() bool { return a.a.State() == Failed }) {
		t.Fatal("checks for ever")
	}
	if n.sent < 5 || n.sent > maxSends {
		t.Fatalf("%d checks", n.sent)
	}
}

func TestRestartKeepsThePath(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	n.run(10*second, nil)
	was := a.a.Local()
	a.a.Restart(n.now)
	if a.a.Local() == was || a.a.OldUfrag() != was.Ufrag {
		t.Fatal("credentials are as before")
	}
	// Nobody answers the restart for a minute: the old pair has consent all the time.
	if n.run(60*second, func() bool { return !a.on(b.addrs[0])() || a.a.State() != Connected }) {
		t.Fatal("the old path was given up")
	}
	b.a.Restart(n.now)
	n.meet(a, b)
	if !n.run(second, func() bool { return a.a.OldUfrag() == "" && b.a.OldUfrag() == "" }) || !a.on(b.addrs[0])() {
		t.Fatal("the new generation is not in use")
	}
	if n.run(60*second, func() bool { return a.a.State() != Connected || b.a.State() != Connected }) {
		t.Fatal("lost after the restart")
	}
}

// TestPeerRestartsAlone gives us new credentials of the peer while ours stay.
func TestPeerRestartsAlone(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	n.run(10*second, nil)
	b.addrs[0] = addr("198.51.100.7:4001")
	b.a.Restart(n.now)
	n.meet(a, b)
	if !n.run(second, both(a.on(b.addrs[0]), func() bool { return a.a.OldUfrag() == "" })) {
		t.Fatal("not on the new path")
	}
}

// TestMigration moves the client to another address without a word; the old one is silent.
func TestMigration(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "10.0.0.2:4000")
	b.nat[b.addrs[0]] = addr("198.51.100.7:4000")
	n.meet(a, b)
	n.run(20*second, nil)
	if !a.on(addr("198.51.100.7:4000"))() {
		t.Fatal("not connected")
	}
	b.nat[b.addrs[0]] = addr("203.0.113.5:7777")
	moved := n.now
	if !n.run(20*second, a.on(addr("203.0.113.5:7777"))) {
		t.Fatal("not moved")
	}
	// b's next consent check tells us, at most 6 s later; the old address is asked before it is left.
	if d := n.now - moved; d > 6*second+verifyTime+100*ms {
		t.Fatalf("moved after %d ms", d/ms)
	}
	if n.run(60*second, func() bool { return !a.on(addr("203.0.113.5:7777"))() }) {
		t.Fatal("moved again")
	}
}

// TestLivePathStays: a check from a second network does not take us from one that is in use and better.
func TestLivePathStays(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000", "203.0.113.5:5000")
	n.meet(a, b)
	n.run(2*second, nil)
	_, first, _ := a.a.Selected()
	if n.run(100*second, func() bool { _, r, _ := a.a.Selected(); return r != first }) {
		t.Fatal("changed without need")
	}
	// The first network goes away. The second is checked by the client when it finds that out.
	n.lose = func(from, to netip.AddrPort) bool { return from == first || to == first }
	b.a.selected.state = failed
	for _, p := range b.a.cur.pairs {
		if b.addrs[p.local] != first {
			var out Out
			b.a.start(p, n.now, &out)
			b.send(&out)
		}
	}
	if !n.run(5*second, func() bool { _, r, ok := a.a.Selected(); return ok && r != first }) {
		t.Fatal("stays on the dead path")
	}
}

// TestDirectBeatsRelayed: a relayed pair is used at once and left for a direct one.
func TestDirectBeatsRelayed(t *testing.T) {
	n := newNetwork(t)
	relay, direct := "203.0.113.1:3478", "198.51.100.7:4000"
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, relay, direct)
	n.lose = func(from, _ netip.AddrPort) bool { return from == addr(direct) }
	a.a.AddRemote(addr(relay), 0xffffffff, true, n.now)
	n.meet(a, b)
	if !n.run(second, a.on(addr(relay))) {
		t.Fatal("not connected through the relay")
	}
	n.lose = nil
	if !n.run(10*second, a.on(addr(direct))) {
		t.Fatal("stays on the relay")
	}
}

func TestRoleConflict(t *testing.T) {
	for _, role := range []bool{true, false} {
		for seed := range uint64(8) {
			n := newNetwork(t)
			n.rand = rand.New(rand.NewPCG(seed, 5))
			a, b := n.end(role, "192.0.2.1:10000"), n.end(role, "198.51.100.7:4000")
			n.meet(a, b)
			ok := n.run(5*second, func() bool {
				return a.a.selected != nil && b.a.selected != nil && a.a.selected.nominated && b.a.selected.nominated
			})
			if !ok || a.a.controlling == b.a.controlling {
				t.Fatalf("both %v: connected %v, controlling %v and %v", role, ok, a.a.controlling, b.a.controlling)
			}
		}
	}
}

func TestWrongPassword(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	c := a.a.Local()
	c.Pwd = "x" + c.Pwd[1:]
	b.a.SetRemote(c, n.now)
	b.a.AddRemote(a.addrs[0], 1, false, n.now)
	a.a.SetRemote(b.a.Local(), n.now)
	if n.run(5*second, func() bool { return len(a.a.cur.pairs) > 0 || a.a.selected != nil || b.a.selected != nil }) {
		t.Fatal("a wrong password was taken")
	}
}

// TestSteadyStateAllocatesNothing handles a request and a response of the selected pair.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	n.run(10*second, nil)
	var out, back Out
	var m Message
	now := n.now
	var id TxID
	for _, e := range []*end{a, b} {
		e.a.cfg.NewID = func() TxID { id[0]++; return id }
	}
	round := func() {
		now += 7 * second
		b.a.Tick(now, &out)
		if len(out.List) != 1 || !m.Parse(out.List[0].B) || a.a.Handle(&m, 0, b.addrs[0], false, now, &back) != Authentic {
			t.Fatal("no request")
		}
		out.Reset()
		if len(back.List) != 1 || !m.Parse(back.List[0].B) || b.a.Handle(&m, 0, a.addrs[0], false, now, &out) != Authentic {
			t.Fatal("no response")
		}
		a.a.selected.confirmed = now
		out.Reset()
		back.Reset()
	}
	round()
	if x := testing.AllocsPerRun(100, round); x != 0 {
		t.Fatalf("%v allocations", x)
	}
}

func TestFullListKeepsTheSelectedPair(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	n.run(second, nil)
	for i := range 3 * maxPairs {
		a.a.AddRemote(netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), uint16(1000+i)), 1, false, n.now)
	}
	if len(a.a.cur.pairs) != maxPairs || !slices.Contains(a.a.cur.pairs, a.a.selected) {
		t.Fatalf("%d pairs", len(a.a.cur.pairs))
	}
}

// tcpEnd adds a passive TCP address to an end, which its peer connects to from one of its own addresses: on the wire of the simulation the two
// look like UDP.
func (e *end) tcp(at string) int {
	e.addrs = append(e.addrs, addr(at))
	e.a.cfg.Locals, e.a.cfg.TCP = e.addrs[:len(e.addrs)-1], 1
	return len(e.addrs) - 1
}

func TestTCP(t *testing.T) {
	n := newNetwork(t)
	server := n.end(true, "10.0.0.1:10000")
	local := server.tcp("10.0.0.1:10001")
	client := n.end(false, "10.0.0.9:5000")
	blocked := true
	n.lose = func(from, to netip.AddrPort) bool {
		return blocked && (from == addr("10.0.0.1:10000") || to == addr("10.0.0.1:10000"))
	}
	n.meet(server, client)
	server.a.AddRemote(addr("10.0.0.9:9"), 1, false, n.now) // an active candidate, as one might be signalled: nothing is sent to it by TCP
	for _, p := range server.a.cur.pairs {
		if server.a.cfg.isTCP(p.local) {
			t.Fatalf("a pair that we would have to connect: %+v", p)
		}
	}
	onTCP := func() bool { l, _, ok := server.a.Selected(); return ok && l == local }
	if !n.run(5*second, onTCP) {
		t.Fatal("TCP is not used while UDP is blocked")
	}
	if p := server.a.selected; server.a.rank(p) >= server.a.rank(&pair{local: 0, remote: p.remote, priority: p.priority}) {
		t.Fatal("TCP ranks with UDP")
	}
	blocked = false
	client.a.Restart(n.now) // it looks for ways again
	server.a.Restart(n.now)
	client.a.SetRemote(server.a.Local(), n.now)
	for i, x := range server.addrs {
		client.a.AddRemote(x, server.a.cfg.HostPriority(i), false, n.now)
	}
	server.a.SetRemote(client.a.Local(), n.now)
	onUDP := func() bool { l, _, ok := server.a.Selected(); return ok && l == 0 }
	if !n.run(5*second, onUDP) {
		t.Fatal("UDP does not take over")
	}
	// The connection ends, then also UDP: only when UDP is gone is there nothing left.
	var out Out
	_, remote, _ := server.a.Selected()
	server.a.Lost(local, remote, n.now, &out)
	if !onUDP() || len(out.List) != 0 {
		t.Fatal("the end of an idle connection matters")
	}
	for _, p := range server.a.cur.pairs {
		if p.local == local && p.state != failed {
			t.Fatalf("a lost pair: %+v", p)
		}
	}
}

// TestTCPNominatedLater: a peer that checks nothing more once a pair is nominated, and finds its address of UDP a moment after the connection stands,
// comes to UDP; one without UDP is not kept waiting.
func TestTCPNominatedLater(t *testing.T) {
	for _, udp := range []bool{true, false} {
		n := newNetwork(t)
		n.delay = ms
		server := n.end(true, "10.0.0.1:10000")
		local := server.tcp("10.0.0.1:10001")
		client := n.end(false, "10.0.0.9:5000")
		client.a.SetRemote(server.a.Local(), n.now)
		client.a.AddRemote(server.addrs[local], server.a.cfg.HostPriority(local), false, n.now)
		server.a.SetRemote(client.a.Local(), n.now)
		begin := n.now
		if !n.run(100*ms, both(server.on(client.addrs[0]), client.on(server.addrs[local]))) {
			t.Fatal("a valid pair is not used")
		}
		n.run(begin+100*ms-n.now, nil)
		nominated := func() bool { return client.a.selected.nominated }
		if nominated() {
			t.Fatal("nominated while better pairs may come")
		}
		want := local
		if udp {
			want = 0
			client.a.AddRemote(server.addrs[0], server.a.cfg.HostPriority(0), false, n.now)
		}
		if !n.run(begin+tcpWait+10*ms-n.now, both(client.on(server.addrs[want]), nominated)) {
			t.Fatalf("UDP %v: not nominated after %d ms", udp, (n.now-begin)/ms)
		}
		if n.run(second, func() bool { return !client.on(server.addrs[want])() || server.a.selected.local != want }) {
			t.Fatalf("UDP %v: nominated anew", udp)
		}
	}
}

// TestTCPLost: when the connection in use ends, another valid pair is used at once; without one, the next connection is.
func TestTCPLost(t *testing.T) {
	n := newNetwork(t)
	server := n.end(true, "10.0.0.1:10000")
	local := server.tcp("10.0.0.1:10001")
	client := n.end(false, "10.0.0.9:5000", "10.0.0.9:5001")
	n.lose = func(from, to netip.AddrPort) bool {
		return from == addr("10.0.0.1:10000") || to == addr("10.0.0.1:10000")
	}
	n.meet(server, client)
	if !n.run(5*second, func() bool { l, _, ok := server.a.Selected(); return ok && l == local }) {
		t.Fatal("no connection")
	}
	var out Out
	_, first, _ := server.a.Selected()
	server.a.Lost(local, first, n.now, &out)
	server.send(&out)
	n.lose = func(from, to netip.AddrPort) bool {
		return from.Port() == 10000 || to.Port() == 10000 || from == first || to == first
	}
	if !n.run(20*second, func() bool {
		l, r, ok := server.a.Selected()
		return ok && l == local && r != first && server.a.selected.state == valid
	}) {
		t.Fatal("the other connection is not used")
	}
}
