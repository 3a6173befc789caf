package sfu

import (
	"sync"

	"konzil/sfu/dd"
)

// slotSize is room for one packet in an inbox.
const slotSize = 1536

// inbox carries packets to a shard from other goroutines: received ones that are another shard's, opened ones for its
// receivers, and requests to repeat. It is a double buffer of fixed size; when full, newcomers are dropped and counted.
type inbox struct {
	wake chan struct{}

	mu    sync.Mutex // guards fill
	fill  *items
	spare *items // the worker's
}

type items struct {
	list []item
	slab []byte
}

type itemKind uint8

const (
	itemRaw       itemKind = iota // a protected packet of t
	itemForward                   // an opened packet of tr, for this shard's receivers
	itemKey                       // a keyframe of tr is wanted
	itemRepeat                    // a receiver elsewhere wants packet seq of tr again
	itemSR                        // a sender report of tr
	itemReplayAsk                 // a receiver elsewhere wants to see tr from the cache
	itemReplay                    // a cached packet of tr for one receiver
)

type item struct {
	kind                itemKind
	n                   int
	t                   *transport
	tr                  *track
	codec               codecID
	ntp                 uint64
	ts                  uint32
	seq                 uint16
	want                repeat
	start, key, padding bool
	resume              bool          // audio before it was held back
	made                bool          // RED that we made
	last                bool          // of a repetition
	rate, age           int64         // of a repetition: bytes per second, oldest keyframe in ns
	dd                  *dd.Structure // that the packet goes by
	active              uint32
}

// init makes room for n packets; both halves of slab are for their bytes.
func (b *inbox) init(n int, slab []byte) {
	b.wake = make(chan struct{}, 1)
	b.fill = &items{list: make([]item, 0, n), slab: slab[:n*slotSize]}
	b.spare = &items{list: make([]item, 0, n), slab: slab[n*slotSize:]}
}

// push copies it and data in, and wakes the worker; false when there was no room.
func (b *inbox) push(sh *shard, it item, data []byte) bool {
	b.mu.Lock()
	f := b.fill
	i := len(f.list)
	if i == cap(f.list) || len(data) > slotSize {
		b.mu.Unlock()
		sh.count.inc(cDropInbox)
		return false
	}
	it.n = copy(f.slab[i*slotSize:(i+1)*slotSize], data)
	f.list = append(f.list, it)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return true
}

func (b *inbox) raw(sh *shard, t *transport, pkt []byte) {
	b.push(sh, item{kind: itemRaw, t: t}, pkt)
}

// take swaps the buffers; the result is the worker's until the next take.
func (b *inbox) take() *items {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.fill
	b.spare.list = b.spare.list[:0]
	b.fill, b.spare = b.spare, f
	return f
}

func (it *items) data(i int) []byte {
	n := it.list[i].n
	return it.slab[i*slotSize : i*slotSize+n : i*slotSize+n]
}

// drain handles what was handed over.
func (sh *shard) drain() {
	got := sh.inbox.take()
	if len(got.list) == 0 {
		return
	}
	now := sh.s.now()
	sh.mu.Lock()
	sh.clock = now
	for i := range got.list {
		it := &got.list[i]
		switch it.kind {
		case itemRaw:
			sh.media(it.t, got.data(i), now)
		case itemForward:
			sh.takeHanded(it, got.data(i), now)
		case itemKey:
			sh.wantKeyframe(it.tr, now)
		case itemRepeat:
			if it.want.ep.sh == sh {
				sh.again(it.tr, got.data(i), it.codec, it.dd, &it.want)
			} else {
				sh.repeatFor(it)
			}
		case itemSR:
			sh.forwardSR(it.tr, it.ntp, it.ts, now)
		case itemReplayAsk:
			sh.startReplay(it.tr, it.want.ep, it.want.out, it.rate, it.age, now)
		case itemReplay:
			sh.cached(it, got.data(i), now)
		}
		it.t, it.tr, it.dd, it.want = nil, nil, nil, repeat{}
	}
	sh.end(now)
}
