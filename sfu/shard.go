package sfu

import (
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
	"konzil/sfu/codec"
	"konzil/sfu/dd"
	"konzil/sfu/fec"
	"konzil/sfu/ice"
	"konzil/sfu/rewrite"
	"konzil/sfu/rtp"
	"konzil/sfu/seal"
	"konzil/sfu/twcc"
)

const (
	// arenaSize holds the protected datagrams of one batch; when full it is flushed early.
	arenaSize = 2 << 20
	// keptArena is how much of it keeps its memory: more than the fan-out touches (sendAhead). What a storm of newcomers and repetitions has touched
	// beyond is given back after arenaRest (ns).
	keptArena = 384 << 10
	arenaRest = 5e9
	// maxPacket is the largest datagram sent, protection included.
	maxPacket = 1500
	// tick is how often NACKs, feedback and reports are looked after while media flow or something is pending.
	tick = 10 * time.Millisecond
	// restTick is the same for a shard that has nothing pending. Each wake-up of a sleeping process costs as much as ten packets.
	restTick = 50 * time.Millisecond
	// emptyTick is the same for a shard without endpoints: the first one ends the rest.
	emptyTick = time.Second
	// never is when the worker looks after them while receive batches do so: a timer that only watches over these would wake the process, and
	// the runtime's monitor with it. That they have ceased is found by clock.
	never = math.MaxInt64
)

// shard is one media worker: a socket for each listening address and the packet state of the endpoints given to it.
// Its socket goroutines and its worker goroutine take mu once per batch.
type shard struct {
	s     *SFU
	id    int
	conns []*udpio.Conn
	load  atomic.Int32 // endpoints (and conferences at home here)
	count counters
	inbox inbox
	kick  chan struct{} // see press
	done  chan struct{}

	mu        sync.Mutex // guards all below, and the media of the shard's endpoints
	clock     int64      // s.now at the start of the batch: the sending time of all that it sends
	ticked    int64      // s.now of the last timers
	batched   int64      // the same of timers that a batch ran
	due       int64      // when the worker looks after them
	pressing  bool       // something is pending that cannot wait for restTick,
	urgent    bool       // or not even for the next batch
	writers   []*udpio.Writer
	ice       ice.Out // checks that are due
	arena     []byte
	used      int
	most      int        // of used since slim
	slimmed   int64      // s.now of the last slim
	queued    []datagram // of the batch; the first is none
	tags      seal.Tags  // of queued datagrams that have none yet
	dirty     []*Endpoint
	endpoints []*Endpoint
	rooms     map[*Conference]*room
	replays   []replay

	staging  [stageSize]packet // opened packets of the batch
	staged   int
	ofSource [stageSize]*packet // scratch of fanOut
	pkt      packet             // scratch of a packet that is repeated
	exts     [8]rtp.Ext
	like     lastHeader
	whole    rewrite.In // the packet at hand without layers

	ddFresh dd.Structure
	ddb     []byte
	abs     [3]byte
	seq     [2]byte
	playout [3]byte
	lost    [256]uint16
	acked   []twcc.Acked
	rtcp    []byte
	wire    []byte
	rtxb    []byte
	copied  []byte
	relayed [][]byte // what one receiver gets through a carrier
	redb    []byte   // redundant payloads of the batch
	fecb    []byte   // a repair packet
	bare    packet   // one without extensions of its source
	late    packet   // one that was held back
	held    heldPool
	blocks  [31]rtp.ReportBlock
	writ    []udpio.WriteStats // as last counted
}

// datagram is one protected datagram in the shard's arena, and which is the next for its receiver, by position in shard.queued.
type datagram struct {
	off  uint32
	n    uint16
	next int32
}

// lastHeader is where the last header stands in the arena that the next one may be like (shard.header).
type lastHeader struct {
	out  *send // whose it is; nil: there is none
	off  int
	n    int
	twcc int // where in it the transport-wide number is
}

// room is what a shard knows of a conference.
type room struct {
	tracks map[uint32]*track // media tracks of endpoints of this shard
	users  int
}

// packet is one opened RTP packet on its way to receivers.
type packet struct {
	hdr         rtp.Header
	raw         []byte
	payload     []byte
	codec       codecID
	level       []byte
	orientation []byte
	dd          []byte
	ddOut       []byte // the receiver's
	red         []byte // its redundant form, made here
	made        bool   // codec is RED, and another shard made it of Opus
	cached      bool   // from the history, for one receiver
	in          rewrite.In
	tr          *track
	handed      bool // by the shard that opened it
	fanned      bool

	// What in points to.
	vp8   codec.VP8
	vp9   codec.VP9
	svc   rewrite.SVC
	ddesc dd.Descriptor
}

func newShard(s *SFU, id int) *shard {
	sh := &shard{s: s, id: id, done: make(chan struct{}), kick: make(chan struct{}, 1), queued: make([]datagram, 1, 1024), rooms: map[*Conference]*room{}}
	inbox := 2 * s.cfg.InboxPackets * slotSize
	mem, free := udpio.Buffer(inbox + arenaSize + maxHeldShard*slotSize)
	// Nobody says goodbye to a shard: relays may come in late.
	runtime.AddCleanup(sh, func(free func()) { free() }, free)
	sh.inbox.init(s.cfg.InboxPackets, mem[:inbox])
	sh.arena = mem[inbox : inbox+arenaSize]
	sh.held.room = mem[inbox+arenaSize:]
	sh.rtcp = make([]byte, 0, maxPacket)
	sh.wire = make([]byte, 0, maxPacket+64)
	sh.rtxb = make([]byte, 0, 2*maxPacket)
	sh.copied = make([]byte, 0, 2*maxPacket)
	sh.redb = make([]byte, 0, redRoom)
	sh.fecb = make([]byte, 0, fec.MaxPayload)
	sh.ddb = make([]byte, 0, 512)
	return sh
}

func (sh *shard) addConn(c *udpio.Conn) {
	sh.conns = append(sh.conns, c)
	sh.writers = append(sh.writers, c.NewWriter())
	sh.writ = append(sh.writ, udpio.WriteStats{})
}

func (sh *shard) closeConns() {
	for _, c := range sh.conns {
		_ = c.Close()
	}
}

func (sh *shard) start() {
	for i, c := range sh.conns {
		sh.s.wg.Go(func() { sh.receive(i, c) })
	}
	sh.s.wg.Go(sh.work)
}

func (sh *shard) stop() {
	close(sh.done)
	sh.closeConns()
}

// receive is the goroutine of one socket.
func (sh *shard) receive(local int, c *udpio.Conn) {
	b := newBatch(c)
	_ = c.NewReader().Serve(func(pkts []udpio.Packet) { sh.demux(b, local, pkts) }) // until the socket is closed
}

// work is the shard's own goroutine: what other shards and relays hand over, and the timers while no media come in.
func (sh *shard) work() {
	t := time.NewTimer(tick)
	defer t.Stop()
	for {
		select {
		case <-sh.done:
			return
		case <-sh.inbox.wake:
			sh.drain()
		case <-sh.kick:
			now := sh.s.now()
			sh.mu.Lock()
			if at := now + int64(tick); at < sh.due { // never later than it would be: they come often when many join
				sh.due = at
				t.Reset(tick)
			}
			sh.mu.Unlock()
		case <-t.C:
			if rest := sh.watch(sh.s.now()); rest > 0 {
				t.Reset(rest)
			}
		}
	}
}

// watch runs the timers if no batch has just done so, and says when to look again; 0: batches do it.
func (sh *shard) watch(now int64) (rest time.Duration) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.clock = now
	if now-sh.ticked >= int64(tick) {
		sh.ticked = now
		sh.timers(now)
	}
	sh.flush()
	switch {
	case sh.urgent:
		rest = tick
	case sh.flows(now):
		sh.due = never
		return 0
	case sh.pressing:
		rest = tick
	case len(sh.endpoints) == 0:
		rest = emptyTick
	default:
		rest = restTick
	}
	sh.due = now + int64(rest)
	return rest
}

// flows says whether batches come often enough to run the timers.
func (sh *shard) flows(now int64) bool { return now-sh.batched < int64(restTick) }

// tick runs the timers when they are due. Receive batches call it, so that a shard with media needs no wake-ups of its own.
// Caller holds sh.mu.
func (sh *shard) tick(now int64) {
	if now-sh.ticked < int64(tick) {
		return
	}
	sh.ticked, sh.batched = now, now
	sh.timers(now)
	if sh.urgent && sh.due-now > int64(tick) {
		sh.hurry()
	}
}

// end is the end of a batch, whose packets are opened and staged: it sends them, runs what is due, and unlocks sh.mu.
func (sh *shard) end(now int64) {
	sh.fanOut()
	sh.tick(now)
	sh.flush()
	sh.mu.Unlock()
	sh.s.clock.due(now)
}

// look wakes the worker when batches have ceased to run the timers, and says whether they do so.
func (sh *shard) look(now int64) (flows bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	flows = sh.flows(now)
	if sh.due == never && !flows {
		sh.hurry()
	}
	return flows
}

// empty makes room in the arena, all of which was sent.
func (sh *shard) empty() {
	sh.most, sh.used = max(sh.most, sh.used), 0
	if sh.most > keptArena && sh.clock-sh.slimmed >= arenaRest {
		udpio.GiveBack(sh.arena[keptArena:sh.most])
		sh.most, sh.slimmed = 0, sh.clock
	}
}

// press asks for timers at the short interval, for what must go on even if nothing comes in. Caller holds sh.mu; timers forget it.
func (sh *shard) press() {
	sh.urgent = true
	sh.hurry()
}

// hurry asks for the next timers after the short interval.
func (sh *shard) hurry() {
	select {
	case sh.kick <- struct{}{}:
	default:
	}
}

// reserve returns free arena for one datagram.
func (sh *shard) reserve() []byte {
	if sh.used+maxPacket > len(sh.arena) {
		sh.flush()
	}
	return sh.arena[sh.used : sh.used : sh.used+maxPacket]
}

// queue adds a datagram of n bytes, written where reserve said, to what e gets at the next flush. Its tag may be written by then.
func (sh *shard) queue(e *Endpoint, n int) {
	i := int32(len(sh.queued))
	sh.queued = append(sh.queued, datagram{off: uint32(sh.used), n: uint16(n)})
	sh.used += n
	m := &e.m
	if m.first == 0 {
		m.first = i
		sh.dirty = append(sh.dirty, e)
	} else {
		sh.queued[m.last].next = i
	}
	m.last = i
}

// datagram is the i-th of sh.queued.
func (sh *shard) datagram(i int32) []byte {
	d := &sh.queued[i]
	return sh.arena[d.off : d.off+uint32(d.n)]
}

// flush sends what this batch made: the datagrams of one receiver next to each other, so that they form runs.
func (sh *shard) flush() {
	sh.like.out = nil
	if len(sh.dirty) == 0 && len(sh.ice.List) == 0 {
		sh.used = 0
		return
	}
	sh.tags.Finish()
	sh.addSTUN()
	for _, e := range sh.dirty {
		m := &e.m
		p := m.path.Load()
		switch {
		case p == nil:
			for i := m.first; i != 0; i = sh.queued[i].next {
				sh.count.inc(cDropNoPath)
			}
		case p.via != nil:
			sh.relayed = sh.relayed[:0]
			for i := m.first; i != 0; i = sh.queued[i].next {
				sh.relayed = append(sh.relayed, sh.datagram(i))
				sh.count.add(cBytesOut, uint64(sh.queued[i].n))
			}
			sh.count.add(cPacketsOut, uint64(len(sh.relayed)))
			p.via.send(p.local, sh.relayed...)
		default:
			w, bytes := sh.writers[p.local], 0
			for i := m.first; i != 0; i = sh.queued[i].next {
				w.Add(p.addr, sh.datagram(i))
				bytes += int(sh.queued[i].n)
			}
			sh.count.add(cBytesOut, uint64(bytes))
		}
		m.first, m.last = 0, 0
	}
	sh.queued = sh.queued[:1]
	clear(sh.dirty)
	sh.dirty = sh.dirty[:0]
	for i, w := range sh.writers {
		w.Flush()
		st, old := w.Stats, sh.writ[i]
		sh.count.add(cPacketsOut, st.Packets-old.Packets)
		sh.count.add(cDropSocket, st.Dropped-old.Dropped)
		sh.count.add(cSendCalls, st.Calls-old.Calls)
		sh.count.add(cSendMessages, st.Messages-old.Messages)
		sh.writ[i] = st
	}
	sh.empty()
	sh.ice.Reset()
}

// join and leave keep the lists of the shard; the caller holds no lock.
func (sh *shard) join(e *Endpoint) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if len(sh.endpoints) == 0 {
		sh.hurry()
	}
	sh.endpoints = append(sh.endpoints, e)
	r := sh.rooms[e.conf]
	if r == nil {
		r = &room{tracks: map[uint32]*track{}}
		sh.rooms[e.conf] = r
	}
	r.users++
	sh.load.Add(1)
}

// unstage lets go of e's tracks, and so of their histories, which the last batch still refers to.
func (sh *shard) unstage(e *Endpoint) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range sh.staging {
		if p := &sh.staging[i]; p.tr != nil && p.tr.ep == e {
			p.tr = nil
		}
	}
	for _, p := range []*packet{&sh.pkt, &sh.late} {
		if p.tr != nil && p.tr.ep == e {
			p.tr = nil
		}
	}
}

func (sh *shard) leave(e *Endpoint) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i, x := range sh.endpoints {
		if x == e {
			sh.endpoints = slices.Delete(sh.endpoints, i, i+1) // and clears the tail
			break
		}
	}
	e.m.gone = true
	e.m.sealer, e.m.opener = nil, nil
	if r := sh.rooms[e.conf]; r != nil {
		for ssrc, tr := range e.m.tracks {
			if r.tracks[ssrc] == tr {
				delete(r.tracks, ssrc)
			}
		}
		if r.users--; r.users == 0 {
			delete(sh.rooms, e.conf)
		}
	}
	e.m.tracks, e.m.newest, e.m.list = nil, nil, nil
	sh.forgetHeld(&e.m.pacer)
	sh.load.Add(-1)
}

// inject lets datagrams in that did not come through a UDP socket, all from one source, which belongs to t (nil: not known). Media is forwarded on
// the caller's goroutine.
func (s *SFU) inject(t *transport, local int, from netip.AddrPort, pkts [][]byte) {
	var bytes uint64
	media := false
	io := stunIOs.Get().(*stunIO)
	for _, p := range pkts {
		bytes += uint64(len(p))
		if t != nil && classOf(p) == classMedia && len(p) >= minMedia {
			media = true
		} else {
			s.route(&s.count, io, t, local, from, p)
		}
	}
	s.sendSTUN(io)
	stunIOs.Put(io)
	s.count.add(cPacketsIn, uint64(len(pkts)))
	s.count.add(cBytesIn, bytes)
	if !media {
		return
	}
	sh, now := t.sh, s.now()
	sh.mu.Lock()
	sh.clock = now
	for _, p := range pkts {
		if classOf(p) == classMedia && len(p) >= minMedia {
			sh.media(t, p, now)
		}
	}
	sh.end(now)
}
