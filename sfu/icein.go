package sfu

import (
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"konzil/internal/udpio"
	"konzil/sfu/ice"
)

// STUN is handled where it is received: the goroutine of a socket finds the endpoint, whichever shard it belongs to, and answers in its own
// batch. The shard's timers do the rest (tickICE).

// maxUfrag and maxPwd bound the peer's credentials (RFC 8839 §5.4).
const maxUfrag, maxPwd = 256, 256

// stunSends is how many STUN messages a batch collects before they are sent; so many fit one buffer of ice.Out.
const stunSends = 12

// iceSide is the ICE of one transport.
type iceSide struct {
	mu     sync.Mutex // guards all below; taken with a shard's mu or transport.mu held, never the other way round
	agent  *ice.Agent
	name   string // as it is in iceUsers
	old    string // of before a restart
	prints []Fingerprint
	client bool // we begin the DTLS handshake
	dtls   bool // it was started
	closed bool
}

// iceUsers finds the transport of a STUN message: of a request by our user name fragment, of a response by its transaction. Addresses cannot
// tell, since clients behind different NATs name the same private ones.
type iceUsers struct {
	seed maphash.Seed

	mu       sync.RWMutex // guards all below
	byName   map[string]*transport
	byNumber map[uint32]*transport
	last     uint32
}

func (u *iceUsers) init() {
	u.seed = maphash.MakeSeed()
	u.byName, u.byNumber = map[string]*transport{}, map[uint32]*transport{}
}

// enter gives t a number.
func (u *iceUsers) enter(t *transport) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		u.last++
		if u.last != natNumber && u.byNumber[u.last] == nil {
			break
		}
	}
	t.number = u.last
	u.byNumber[t.number] = t
}

func (u *iceUsers) setName(name string, t *transport) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.byName[name] = t
}

func (u *iceUsers) dropName(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byName, name)
}

func (u *iceUsers) drop(t *transport, names ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byNumber, t.number)
	for _, n := range names {
		if u.byName[n] == t {
			delete(u.byName, n)
		}
	}
}

// newID makes a transaction id: 64 random bits, and the transport's number under a mask that only we can make of them.
func (u *iceUsers) newID(number uint32) (id ice.TxID) {
	_, _ = rand.Read(id[:8])
	binary.BigEndian.PutUint32(id[8:], number^u.mask(&id))
	return id
}

func (u *iceUsers) mask(id *ice.TxID) uint32 { return uint32(maphash.Bytes(u.seed, id[:8])) }

// number is what newID put into an id.
func (u *iceUsers) number(id *ice.TxID) uint32 { return binary.BigEndian.Uint32(id[8:]) ^ u.mask(id) }

func (u *iceUsers) find(m *ice.Message) *transport {
	if m.Class == ice.Request {
		name := m.User()
		u.mu.RLock()
		defer u.mu.RUnlock()
		return u.byName[string(name)]
	}
	n := u.number(&m.ID)
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.byNumber[n]
}

func randomWord() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// stunIO is the scratch of whoever handles STUN.
type stunIO struct {
	msg ice.Message
	out ice.Out
}

// stunIOs are for callers without a batch of their own: signalling, relays.
var stunIOs = sync.Pool{New: func() any { return new(stunIO) }} // scratch without state

// stun handles one message. What has to be sent is left in io.out.
func (s *SFU) stun(c *counters, io *stunIO, local int, from netip.AddrPort, pkt []byte) {
	c.inc(cSTUNIn)
	m := &io.msg
	if !m.Parse(pkt) || m.Class == ice.Request && m.User() == nil {
		c.inc(cDropSTUNMalformed)
		return
	}
	if m.Class == ice.Indication {
		return
	}
	if m.Class != ice.Request && s.users.number(&m.ID) == natNumber {
		if !s.nat.handle(m, local, from) {
			c.inc(cDropSTUNTransaction)
		}
		return
	}
	t := s.users.find(m)
	r := ice.UnknownUser
	if t != nil {
		r = t.stun(m, local, from, &io.out)
	} else if m.Class != ice.Request {
		r = ice.UnknownTransaction
	}
	switch r {
	case ice.UnknownUser:
		c.inc(cDropSTUNUser)
	case ice.UnknownTransaction:
		c.inc(cDropSTUNTransaction)
	case ice.Unauthorized:
		c.inc(cDropSTUNAuth)
	case ice.Authentic, ice.Ignored, ice.Refused:
	}
}

// lostTCP tells the agent that a connection has ended.
func (t *transport) lostTCP(end tcpEnd) {
	io := stunIOs.Get().(*stunIO)
	t.ice.mu.Lock()
	if !t.ice.closed {
		now := t.s.now()
		t.ice.agent.Lost(end.local, end.remote, now, &io.out)
		t.settle(now)
	}
	t.ice.mu.Unlock()
	t.s.sendSTUN(io)
	stunIOs.Put(io)
}

// stun gives one message to the agent.
func (t *transport) stun(m *ice.Message, local int, from netip.AddrPort, out *ice.Out) ice.Result {
	i := &t.ice
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return ice.UnknownUser
	}
	now := t.s.now()
	r := i.agent.Handle(m, local, from, t.s.routes.relay(from) != nil, now, out)
	if r == ice.Authentic {
		t.heard.Store(now)
		// The address has proved to know the password: DTLS and SRTP from it are this transport's from now on.
		t.s.claim(local, from, t)
		t.settle(now)
	}
	return r
}

// settle takes over what the agent has decided. Caller holds ice.mu.
func (t *transport) settle(now int64) {
	i := &t.ice
	next := i.agent.Next()
	t.iceNext.Store(next)
	if next-now < int64(restTick) {
		t.sh.hurry()
	}
	t.iceState.Store(uint32(i.agent.State()))
	if i.old != "" && i.agent.OldUfrag() == "" {
		t.s.users.dropName(i.old)
		i.old = ""
	}
	local, remote, ok := i.agent.Selected()
	p := t.ep.m.path.Load()
	switch {
	case !ok:
		if p != nil {
			t.ep.m.path.Store(nil)
		}
		return
	case p != nil && p.addr == remote && p.local == local && p.via == t.s.carrierOf(local, remote):
	default:
		t.s.claim(local, remote, t)
		t.ep.m.path.Store(&path{addr: remote, local: local, via: t.s.carrierOf(local, remote)})
		t.log.Debug("path selected", "local", t.s.localAddr(local), "tcp", t.s.isTCP(local), "remote", remote)
	}
	if !i.dtls && len(i.prints) > 0 {
		i.dtls = true
		t.wg.Go(func() { t.runDTLS(i.client, i.prints) })
	}
}

// withICE runs f on the agent and sends at once what comes of it. f is not run on a closed transport.
func (t *transport) withICE(f func(i *iceSide, now int64)) {
	io := stunIOs.Get().(*stunIO)
	t.ice.mu.Lock()
	if !t.ice.closed {
		now := t.s.now()
		f(&t.ice, now)
		t.ice.agent.Tick(now, &io.out)
		t.settle(now)
	}
	t.ice.mu.Unlock()
	t.s.sendSTUN(io)
	stunIOs.Put(io)
}

// sendSTUN sends what io.out holds, one by one.
func (s *SFU) sendSTUN(io *stunIO) {
	for _, d := range io.out.List {
		s.sendControl(d.Local, d.B, d.To)
	}
	io.out.Reset()
}

// sendSTUN sends what the batch answers, in one call.
func (sh *shard) sendSTUN(b *batch, local int) {
	for _, d := range b.stun.out.List {
		if c := sh.s.carrierOf(d.Local, d.To); c != nil {
			c.send(d.Local, d.B)
			continue
		}
		w := b.w
		if d.Local != local || w == nil {
			sh.s.sendControl(d.Local, d.B, d.To)
			continue
		}
		w.Add(d.To, d.B)
	}
	if w := b.w; w != nil {
		was := w.Stats.Dropped
		w.Flush()
		sh.count.add(cDropSocket, w.Stats.Dropped-was)
	}
	b.stun.out.Reset()
}

// tickICE does what is due for t. What it sends goes out with the next flush. Caller holds sh.mu.
func (sh *shard) tickICE(t *transport, now int64) {
	t.ice.mu.Lock()
	defer t.ice.mu.Unlock()
	if t.ice.closed {
		t.iceNext.Store(ice.Never)
		return
	}
	t.ice.agent.Tick(now, &sh.ice)
	t.settle(now)
}

// addSTUN gives the checks of the timers to the writers. Caller holds sh.mu.
func (sh *shard) addSTUN() {
	for _, d := range sh.ice.List {
		if c := sh.s.carrierOf(d.Local, d.To); c != nil {
			c.send(d.Local, d.B)
		} else {
			sh.writers[d.Local].Add(d.To, d.B)
		}
	}
}

// newBatch makes the scratch of the goroutine that reads c.
func newBatch(c *udpio.Conn) *batch { return &batch{w: c.NewWriter()} }

// newAgent makes the agent of t.
func (s *SFU) newAgent(t *transport) {
	s.users.enter(t)
	t.ice.agent = ice.NewAgent(ice.Config{
		Locals: s.addrs, TCP: len(s.tcp.addrs), Controlling: t.ep.cfg.Controlling, Timeout: int64(max(s.cfg.ConsentTimeout, time.Second)), Rand: randomWord,
		NewID: func() ice.TxID { return s.users.newID(t.number) },
	})
	t.iceNext.Store(ice.Never)
	t.ice.name = t.ice.agent.Local().Ufrag
	s.users.setName(t.ice.name, t)
}
