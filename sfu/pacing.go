package sfu

import (
	"konzil/internal/udpio"
	"konzil/sfu/pace"
	"konzil/sfu/rtp"
)

// Pacing. Video that arrives in a burst (a keyframe, a repetition from the cache, what was asked for again) leaves at 2.5 times the
// receiver's estimate (1.25 times on a path that was full of late) and not at once: shard.emit asks the receiver's bucket (pace), holds packets back while it is full, and
// shard.paceOut, each tick, sends what may go. Audio never waits. Packets are held unprotected and get their transport-wide number
// and their protection when they go, so that numbers and times of sending stay in one order. A receiver whose estimate was not
// measured yet, or has room, pays for one comparison a packet.
const (
	// maxHeld bounds the packets held back for one receiver. When there is no room the newest are dropped and counted (drop_paced):
	// the receiver asks for them again, or for a keyframe, when the path has recovered.
	maxHeld = 512
	// maxHeldShard bounds them for one shard: 13 MB.
	maxHeldShard = 8192
	// keptHeld is for how many of them the memory is kept when none is held, 100 KB: when many join at once, thousands are held for a moment.
	keptHeld = 64
)

// pacer is what waits for one receiver; its shard guards it.
type pacer struct {
	bucket     pace.Bucket
	head, tail *heldPacket
	n, bytes   int
	releasing  bool
}

// heldPacket is all that shard.emit needs.
type heldPacket struct {
	next        *heldPacket
	o           *send
	h           rtp.OutHeader
	index       uint64
	payload     int // lengths of the parts of buf, in this order
	orientation int
	dd          int
	buf         []byte // of slotSize, outside of the heap
}

// heldPool is the memory of a shard's held packets. It is not the heap's: thousands of packets that are held for a moment would be garbage
// then, and the few that live longer would keep the pages of all others.
type heldPool struct {
	room  []byte // of maxHeldShard packets
	free  *heldPacket
	spare int // in free
	made  int // so many of the room's places were given out since it was given back
}

// take returns a packet without contents, nil when all are taken.
func (p *heldPool) take() *heldPacket {
	if k := p.free; k != nil {
		p.free = k.next
		p.spare--
		return k
	}
	if p.made == maxHeldShard {
		return nil
	}
	at := p.made * slotSize
	p.made++
	return &heldPacket{buf: p.room[at : at+slotSize : at+slotSize]}
}

// put takes a packet back. When it was the last one out and there were many, their memory is given back to the system.
func (p *heldPool) put(k *heldPacket) {
	k.o, k.next = nil, p.free
	p.free = k
	p.spare++
	if p.spare == p.made && p.made > keptHeld {
		udpio.GiveBack(p.room[keptHeld*slotSize : p.made*slotSize])
		p.free, p.spare, p.made = nil, 0, 0
	}
}

// hold keeps a packet back; false when there is no room.
func (sh *shard) hold(m *media, o *send, p *packet, payload []byte, h *rtp.OutHeader, index uint64) bool {
	n := len(payload) + len(p.orientation) + len(p.ddOut)
	if m.pacer.n == maxHeld || n > slotSize {
		sh.count.inc(cDropPaced)
		return false
	}
	k := sh.held.take()
	if k == nil {
		sh.count.inc(cDropPaced)
		return false
	}
	k.next, k.o, k.h, k.index = nil, o, *h, index
	k.payload = copy(k.buf, payload)
	k.orientation = copy(k.buf[k.payload:], p.orientation)
	k.dd = copy(k.buf[k.payload+k.orientation:], p.ddOut)
	w := &m.pacer
	if w.tail == nil {
		w.head = k
	} else {
		w.tail.next = k
	}
	w.tail = k
	w.n++
	w.bytes += n
	sh.count.inc(cPaced)
	return true
}

// paceOut empties the bucket for the time that has passed, and sends what may go.
func (sh *shard) paceOut(e *Endpoint, now int64) {
	m := &e.m
	w := &m.pacer
	if w.head == nil && w.bucket.Idle(now) {
		return
	}
	estimate := 0.0
	if m.est.Measured() {
		estimate = float64(m.est.Bitrate())
	}
	w.bucket.Tick(now, estimate, m.est.ProbeRate(), w.bytes, m.est.Narrow())
	w.releasing = true
	for w.head != nil && !w.bucket.Full() {
		k := w.head
		p := &sh.late
		p.payload = k.buf[:k.payload]
		p.orientation = k.buf[k.payload:][:k.orientation]
		p.ddOut = k.buf[k.payload+k.orientation:][:k.dd]
		sh.emit(e, k.o, p, p.payload, &k.h, k.index, false)
		sh.drop(w)
	}
	w.releasing = false
	sh.urgent = sh.urgent || w.head != nil
}

// drop takes the first packet out of the queue.
func (sh *shard) drop(w *pacer) {
	k := w.head
	if w.head = k.next; w.head == nil {
		w.tail = nil
	}
	w.n--
	w.bytes -= k.payload + k.orientation + k.dd
	sh.held.put(k)
}

// forgetHeld empties the queue of a receiver that is gone.
func (sh *shard) forgetHeld(w *pacer) {
	for w.head != nil {
		sh.drop(w)
	}
}
