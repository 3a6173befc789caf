package ice

import (
	"math"
	"net/netip"
)

// Times of the agent, in ns.
const (
	ms = 1e6
	// pace is Ta, the least time between ordinary checks (RFC 8445 §14.2).
	pace = 50 * ms
	// firstRTO is the time to the first retransmission. RFC 8445 §14.3 says 500 ms, for peers on any line; a check costs 100 bytes, and a
	// lost one of the first would make most of the time of a join.
	firstRTO = 50 * ms
	// maxRTO ends the doubling.
	maxRTO = 1600 * ms
	// maxSends of one check: 18 s. A peer may take so long to begin; its own checks start ours anew.
	maxSends = 15
	// consentMin and consentMax are the randomised interval of consent checks (RFC 7675 §5.1).
	consentMin, consentMax = 4000 * ms, 6000 * ms
	// quietSelected is after how much silence of the selected pair a check from elsewhere makes us ask whether it is still there.
	quietSelected = 1000 * ms
	// verifySends, verifyRTO: how we ask; verifyTime: how long we wait for the answer.
	verifySends, verifyRTO, verifyTime = 3, 100 * ms, 700 * ms
	// staleValid is when a valid pair must be checked again before it is used.
	staleValid = 10000 * ms
	// tcpWait is how long after checking began a pair over TCP is nominated at the soonest. The moment is ours to choose (RFC 8445 §8.1.1), and a
	// peer may end its other checks then, while its addresses of UDP have only just been found.
	tcpWait = 200 * ms
	// repeatGap is the least time between two sendings of a triggered check.
	repeatGap = 20 * ms
	// Never is no time.
	Never = math.MaxInt64
)

const (
	// maxPairs bounds the pairs of a generation (RFC 8445 §6.1.2.5 suggests 100).
	maxPairs = 100
	// Type preferences (RFC 8445 §5.1.2.2; over TCP lower than all of UDP, RFC 6544 §4.2).
	prefHost, prefPrflx       = 126, 110
	prefTCPHost, prefTCPPrflx = 90, 80

	ufragLen, pwdLen = 10, 28 // 50 and 140 bits (RFC 8445 §5.3 wants 24 and 128)
	alphabet         = "abcdefghijklmnopqrstuvwxyz234567"
)

// Credentials are one side's user name fragment and password.
type Credentials struct{ Ufrag, Pwd string }

// State of an agent.
type State uint8

// States. Failed may become Connected again: by a restart, or by a peer that comes back.
const (
	New State = iota
	Checking
	Connected
	Failed
)

// Config of an Agent. All fields are needed.
type Config struct {
	Locals      []netip.AddrPort // listening addresses of UDP; a pair names one by its index
	TCP         int              // listening addresses of TCP: passive candidates (RFC 6544), named by the indices from len(Locals) on
	Controlling bool
	Timeout     int64         // ns without an answer after which consent is lost, and the time to find a first pair
	Rand        func() uint64 // from a cryptographic source
	NewID       func() TxID   // of a transaction, from a cryptographic source; the caller finds the agent of a response by it
}

// Agent is one side of ICE, for one component. It is not safe for concurrent use.
type Agent struct {
	cfg         Config
	controlling bool
	tie         uint64
	state       State
	cur, old    *generation // old: before the restart, while its pair is in use
	selected    *pair
	since       int64 // when checking began
	paced       int64 // when an ordinary check may be sent next
	consent     int64 // when consent is asked for next
	nomination  int64 // when the selected pair is nominated, if that has to wait; 0: it was
	verify      int64 // when the question whether the selected pair is there has to be answered; 0: not asked
	next        int64
}

// generation is what one pair of credentials made.
type generation struct {
	local, remote Credentials
	user          []byte // USERNAME of our checks
	in, out       *mac   // ours, theirs; out is nil before the peer's are known
	pairs         []*pair
}

type pairState uint8

const (
	waiting pairState = iota
	inProgress
	valid
	failed
)

// pair is a candidate pair, and the check under way on it.
type pair struct {
	gen       *generation
	local     int
	remote    netip.AddrPort
	priority  uint32 // the remote candidate's
	state     pairState
	relayed   bool   // through a relay
	triggered bool   // the peer asked for a check before its credentials came
	nominated bool   // by us and answered, or by the peer
	wanted    bool   // nominated by the peer before it was valid
	plain     bool   // the peer has checked it without nominating it
	cost      uint16 // as the peer rates its network
	heard     int64  // authenticated, of whatever kind; 0: never
	confirmed int64  // our check was answered; 0: never
	rtt       int64

	tx struct {
		id          TxID
		live        bool
		use         bool // carries USE-CANDIDATE
		controlling bool
		sends, max  int
		first, last int64
		rto, due    int64
	}
}

// NewAgent makes an agent with fresh credentials.
func NewAgent(cfg Config) *Agent {
	a := &Agent{cfg: cfg, controlling: cfg.Controlling, tie: cfg.Rand(), next: Never}
	a.cur = a.generation()
	return a
}

func (a *Agent) generation() *generation {
	c := Credentials{a.letters(ufragLen), a.letters(pwdLen)}
	return &generation{local: c, in: newMAC(c.Pwd)}
}

func (a *Agent) letters(n int) string {
	b := make([]byte, n)
	var r uint64
	for i := range b {
		if i%12 == 0 {
			r = a.cfg.Rand()
		}
		b[i] = alphabet[r&31]
		r >>= 5
	}
	return string(b)
}

// Local are our credentials.
func (a *Agent) Local() Credentials { return a.cur.local }

// OldUfrag is the fragment from before the restart while its pair is in use, else empty.
func (a *Agent) OldUfrag() string {
	if a.old == nil {
		return ""
	}
	return a.old.local.Ufrag
}

// State is where the agent stands.
func (a *Agent) State() State { return a.state }

// Selected is the pair to send on.
func (a *Agent) Selected() (local int, remote netip.AddrPort, ok bool) {
	if a.selected == nil {
		return 0, netip.AddrPort{}, false
	}
	return a.selected.local, a.selected.remote, true
}

// Next is when Tick has something to do, or Never.
func (a *Agent) Next() int64 { return a.next }

// SetRemote takes the peer's credentials; checks begin at the next Tick, which is due now.
func (a *Agent) SetRemote(c Credentials, now int64) {
	g := a.cur
	if g.remote == c {
		return
	}
	if g.out != nil { // the peer has restarted on its own: what was found with the others is void, but the pair in use
		a.detach()
	}
	g = a.cur
	g.remote = c
	g.user = []byte(c.Ufrag + ":" + g.local.Ufrag)
	g.out = newMAC(c.Pwd)
	a.check(now)
}

// detach makes an empty generation with the same credentials of ours; the old one stays for its selected pair.
func (a *Agent) detach() {
	g := a.cur
	if a.selected != nil && a.selected.gen == g {
		a.old = g
	}
	a.cur = &generation{local: g.local, in: g.in}
}

// check says that pairs are looked for from now on.
func (a *Agent) check(now int64) {
	a.since, a.paced = now, now
	if a.selected == nil {
		a.state = Checking
	}
	a.schedule(now)
}

// Restart makes new credentials (RFC 8445 §9). The selected pair stays in use until one of the new generation is valid.
func (a *Agent) Restart(now int64) {
	if a.selected != nil && a.selected.gen == a.cur {
		a.old = a.cur
	}
	a.cur = a.generation()
	a.verify = 0
	a.schedule(now)
}

// AddRemote takes a candidate of the peer. Addresses of a family that we do not listen on are left out.
func (a *Agent) AddRemote(remote netip.AddrPort, priority uint32, relayed bool, now int64) {
	for i, l := range a.cfg.Locals {
		if l.Addr().Is4() != remote.Addr().Is4() {
			continue
		}
		if p := a.cur.find(i, remote); p != nil {
			p.relayed = p.relayed || relayed
			if priority != 0 {
				p.priority = priority
			}
			continue
		}
		a.add(i, remote, priority, relayed)
	}
	a.schedule(now)
}

// Lost says that the TCP connection of a pair has ended. It is not used any more when there is another; else the peer may connect again until
// consent ends.
func (a *Agent) Lost(local int, remote netip.AddrPort, now int64, out *Out) {
	for _, p := range a.cur.pairs {
		if p.local == local && p.remote == remote {
			a.lose(p, now, out)
		}
	}
	if s := a.selected; s != nil && s.gen != a.cur && s.local == local && s.remote == remote {
		a.lose(s, now, out)
	}
	a.schedule(now)
}

func (a *Agent) lose(p *pair, now int64, out *Out) {
	p.state, p.tx.live = failed, false
	if p != a.selected {
		return
	}
	if alt := a.best(p, now); alt != nil {
		a.use(alt, now, out)
	}
}

func (g *generation) find(local int, remote netip.AddrPort) *pair {
	for _, p := range g.pairs {
		if p.local == local && p.remote == remote {
			return p
		}
	}
	return nil
}

// add makes a pair. A full list gives up the one that was heard the longest time ago, and not at all first.
func (a *Agent) add(local int, remote netip.AddrPort, priority uint32, relayed bool) *pair {
	p := &pair{gen: a.cur, local: local, remote: remote, priority: priority, relayed: relayed}
	g := a.cur
	if len(g.pairs) < maxPairs {
		g.pairs = append(g.pairs, p)
		return p
	}
	worst := -1
	for i, q := range g.pairs {
		if q != a.selected && (worst < 0 || q.heard < g.pairs[worst].heard) {
			worst = i
		}
	}
	g.pairs[worst] = p
	return p
}

// HostPriority is that of listening address local as a host candidate.
func (c *Config) HostPriority(local int) uint32 {
	if c.isTCP(local) {
		return tcpPriority(local, prefTCPHost)
	}
	return udpPriority(local, prefHost)
}

// checkPriority is that of what a check from listening address local makes.
func (c *Config) checkPriority(local int) uint32 {
	if c.isTCP(local) {
		return tcpPriority(local, prefTCPPrflx)
	}
	return udpPriority(local, prefPrflx)
}

func (c *Config) isTCP(local int) bool { return local >= len(c.Locals) }

func udpPriority(local int, pref uint32) uint32 { return pref<<24 | uint32(65535-local)<<8 | 255 }

// tcpPriority has a direction preference in the upper three bits of the local preference: 4 is passive (RFC 6544 §4.2).
func tcpPriority(local int, pref uint32) uint32 {
	return pref<<24 | (4<<13|uint32(8191-local))<<8 | 255
}

// rank is the pair's priority (RFC 8445 §6.1.2.3).
func (a *Agent) rank(p *pair) uint64 {
	g, d := uint64(a.cfg.HostPriority(p.local)), uint64(p.priority)
	if !a.controlling {
		g, d = d, g
	}
	r := min(g, d)<<32 + 2*max(g, d)
	if g > d {
		r++
	}
	return r
}
