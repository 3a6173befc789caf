package sfu

import (
	"unsafe"

	"konzil/sfu/prefetch"
	"konzil/sfu/rewrite"
)

const (
	// stageSize bounds the opened packets that wait for their fan-out within one batch: a large frame.
	stageSize = 64
	// sendAhead is how many bytes of datagrams stand in the arena before those of the receivers that are done go out: the kernel
	// shall find them in the core's own cache.
	sendAhead = 256 << 10
	// fetchFar and fetchNear are how many receivers ahead what a packet needs is fetched: their own state, then what that points to.
	fetchFar, fetchNear = 6, 3
	// mediaLines and sendLines are how many cache lines of a media and a send each packet needs.
	mediaLines, sendLines = 4, 9
)

// slot is where the next packet is opened into. It stays free until stage takes it.
func (sh *shard) slot() *packet {
	if sh.staged == stageSize {
		sh.fanOut()
	}
	return &sh.staging[sh.staged]
}

// stage keeps p, which slot gave, for the fan-out at the end of the batch. Its bytes stay where they are until then.
func (sh *shard) stage(p *packet) {
	if p.tr.src.fan.Load() != nil {
		p.fanned = false
		sh.staged++
	}
}

// fanOut sends the staged packets to their receivers, receiver by receiver: what belongs to one (keys, numbers, rings) is fetched into the
// cache once for all packets of a source, and its datagrams stand in the arena without a gap, so that a run is one piece.
func (sh *shard) fanOut() {
	for i := range sh.staged {
		p := &sh.staging[i]
		if p.fanned {
			continue
		}
		src := p.tr.src
		of := sh.ofSource[:0]
		for j := i; j < sh.staged; j++ {
			if q := &sh.staging[j]; q.tr.src == src {
				q.fanned = true
				of = append(of, q)
			}
		}
		if f := src.fan.Load(); f != nil {
			sh.fanSource(f, of)
		}
	}
	sh.staged = 0
	sh.redb = sh.redb[:0]
}

// fanSource sends packets of one source: at once to receivers of this shard, through the inbox to those of others.
func (sh *shard) fanSource(f *fanout, of []*packet) {
	for i := range f.byShard {
		ls := f.byShard[i]
		switch {
		case len(ls) == 0 || i == sh.id:
		case of[0].handed: // the shard that opened it has given it to all
		default:
			sh.handOver(sh.s.shards[i], of)
		}
	}
	if sh.id >= len(f.byShard) {
		return
	}
	ls := f.byShard[sh.id]
	for i := range min(fetchFar, len(ls)) {
		ls[i].fetch()
	}
	for i := range ls {
		if i+fetchFar < len(ls) {
			ls[i+fetchFar].fetch()
		}
		if i+fetchNear < len(ls) {
			ls[i+fetchNear].fetchMore()
		}
		for _, p := range of {
			sh.send(&ls[i], p)
		}
		if sh.used > sendAhead {
			sh.flush()
		}
	}
}

// fetch asks for the receiver's state.
func (l *link) fetch() {
	prefetch.Lines(unsafe.Pointer(&l.ep.m), mediaLines)
	prefetch.Lines(unsafe.Pointer(l.out), sendLines)
}

// fetchMore asks for what the state points to.
func (l *link) fetchMore() {
	m := &l.ep.m
	prefetch.Lines(unsafe.Pointer(m.path.Load()), 1)
	m.sealer.Fetch()
	m.sent.Fetch(m.twccOut)
	l.out.stream.Fetch()
}

// handOver gives opened packets to the receivers of another shard.
func (sh *shard) handOver(to *shard, of []*packet) {
	for _, p := range of {
		it := item{
			kind: itemForward, tr: p.tr, codec: p.codec, ts: p.in.ClockRate, start: p.in.Start, key: p.in.Keyframe, padding: p.in.Padding, resume: p.in.Resume,
		}
		if p.byDD() {
			it.dd, it.active = p.in.SVC.DD, p.in.SVC.Active
		}
		data := p.raw
		if p.red != nil {
			it.codec, it.made, data = codecRED, true, sh.asRED(p)
		}
		to.inbox.push(to, it, data)
	}
}

// takeHanded stages a packet that another shard opened. The track is that shard's: only what never changes is read.
func (sh *shard) takeHanded(it *item, plain []byte, now int64) {
	tr := it.tr
	p := sh.slot()
	if p.hdr.Parse(plain) != nil {
		return
	}
	ext := tr.ep.ext
	p.raw, p.tr, p.codec, p.handed, p.made, p.red = plain, tr, it.codec, true, it.made, nil
	p.payload = plain[p.hdr.PayloadOff:p.hdr.PayloadEnd]
	p.level, p.orientation, p.dd, p.ddOut = nil, nil, nil, nil
	if ext.level != 0 {
		p.level = p.hdr.Ext(plain, ext.level)
	}
	if ext.orientation != 0 {
		p.orientation = p.hdr.Ext(plain, ext.orientation)
	}
	if ext.dd != 0 {
		p.dd = p.hdr.Ext(plain, ext.dd)
	}
	p.in = rewrite.In{
		SSRC: tr.ssrc, Seq: p.hdr.Seq, TS: p.hdr.Timestamp, Marker: p.hdr.Marker, Padding: it.padding, Start: it.start,
		Keyframe: it.key, ClockRate: it.ts, Arrival: now, Resume: it.resume,
	}
	sh.handedLayers(p, it.dd, it.active)
	sh.stage(p)
}
