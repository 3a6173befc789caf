package rtc

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"time"

	"konzil/bench/sfuload"
)

// history is how many packets of a video layer can be sent again.
const history = 64

// outTrack is a track that is sent on a transport.
type outTrack struct {
	t      *Transport
	track  *sfuload.Track
	index  uint8
	layers []*outLayer
	every  int64
	due    int64
	at     int // place in the shard's heap, -1: not in it
	limit  int // lines that the other side wants, negative: no limit
}

// outLayer is one SSRC that is sent.
type outLayer struct {
	sfuload.Layer
	o       *outTrack
	number  uint8
	codec   codec
	screen  bool
	plain   bool  // the only layer, so that every packet of it goes to every receiver
	spatial uint8 // layers in the stream, 1 without SVC

	head             []byte // RTP header with extensions
	offTWCC, offTime int
	offLevel         int
	rtxPT            uint8
	rtxSeq           uint16
	seq              uint16
	roc, rtxRoc      uint32 // how often seq and rtxSeq went round
	ts               uint32
	counter          uint32
	pic              uint16
	tl0              uint8
	phase            int
	wantKey          bool
	off              bool // the other side does not want it
	keyframes        uint64
	bytes            uint64
	sentAt           int64
	last             []sent // by sequence number modulo history, where retransmissions were agreed on
}

// Send implements sfuload.Transport.
func (t *Transport) Send(tr *sfuload.Track, m *sfuload.Media) error {
	c, rtx, ok := m.Codec(tr.Codec)
	if !ok {
		return fmt.Errorf("rtc: %s of %s: the other side does not take %s", tr.Name, t.peer.Name, tr.Codec)
	}
	index := -1
	for i, x := range t.peer.tracks {
		if x == tr {
			index = i
		}
	}
	if index < 0 {
		return fmt.Errorf("rtc: %s is not a track of %s", tr.Name, t.peer.Name)
	}
	o := &outTrack{t: t, track: tr, index: uint8(index), every: int64(audioEvery), at: -1, limit: -1}
	if tr.Kind == sfuload.Video {
		o.every = int64(time.Second) / int64(max(tr.Layers[0].FrameRate, 1))
	}
	for i, l := range tr.Layers {
		x := &outLayer{Layer: l, o: o, number: uint8(i), codec: codecOf(tr.Codec), screen: tr.Screen, plain: len(tr.Layers) == 1 && tr.SVC == "", spatial: 1, rtxPT: rtx, wantKey: true}
		if tr.SVC != "" {
			x.spatial = 3
		}
		if l.RTX == 0 {
			x.rtxPT = 0
		}
		x.header(c.PT, m, tr)
		o.layers = append(o.layers, x)
	}
	t.sh.post(func() { t.bind(o) })
	return nil
}

// bind begins to send a track, or changes its numbers.
func (t *Transport) bind(o *outTrack) {
	for _, old := range t.tracks {
		if old.index == o.index {
			for i, l := range old.layers {
				n := o.layers[i]
				l.head, l.offTWCC, l.offTime, l.offLevel, l.rtxPT = n.head, n.offTWCC, n.offTime, n.offLevel, n.rtxPT
			}
			return
		}
	}
	for _, l := range o.layers {
		l.seq, l.rtxSeq, l.ts, l.pic, l.tl0 = uint16(t.sh.rng.Uint32()), uint16(t.sh.rng.Uint32()), t.sh.rng.Uint32(), uint16(t.sh.rng.Uint32())&0x7fff, uint8(t.sh.rng.Uint32())
		l.phase = 0
	}
	t.tracks = append(t.tracks, o)
	if t.state == stateUp {
		o.start(time.Now().UnixNano())
	}
}

// start puts the track into the schedule.
func (o *outTrack) start(now int64) {
	if o.at < 0 {
		e := o.t.sh.eng
		kind := 0
		if o.track.Kind == sfuload.Video {
			kind = 1
		}
		o.due = e.after(now+startAfter, phase(kind, int(e.placed[kind].Add(1))-1, o.every), o.every)
		heap.Push(&o.t.sh.due, o)
	}
}

func (o *outTrack) stop() {
	if o.at >= 0 {
		heap.Remove(&o.t.sh.due, o.at)
	}
}

// perPicture is about how many packets a tick of the track has.
func (o *outTrack) perPicture() (n int) {
	for _, l := range o.layers {
		if l.codec == codecOpus {
			return 1
		}
		n += max(l.Bitrate/8/max(l.FrameRate, 1)/maxPayload, 1)
	}
	return n
}

// Limit implements sfuload.Transport.
func (t *Transport) Limit(tr *sfuload.Track, maxHeight int) {
	t.sh.post(func() {
		for _, o := range t.tracks {
			if o.track == tr {
				o.limit = maxHeight
			}
		}
	})
}

// send sends one picture of each layer.
func (o *outTrack) send() {
	for i, l := range o.layers {
		if o.limit >= 0 && (o.limit == 0 || i > 0 && l.Height > o.limit) {
			l.off = true
			l.advance()
			continue
		}
		if l.off { // begin again with a picture that needs no other
			l.off, l.wantKey = false, true
		}
		l.send()
	}
}

// header makes the RTP header with room for the extensions that were negotiated.
func (l *outLayer) header(pt uint8, m *sfuload.Media, tr *sfuload.Track) {
	h := make([]byte, 16, 64)
	h[0], h[1] = 0x90, pt
	binary.BigEndian.PutUint32(h[8:], l.SSRC)
	binary.BigEndian.PutUint16(h[12:], 0xbede)
	add := func(id int, v []byte) int {
		at := len(h) + 1
		h = append(append(h, byte(id)<<4|byte(len(v)-1)), v...)
		return at
	}
	twcc, _ := negotiated(m)
	for _, e := range m.Exts {
		if e.ID < 1 || e.ID > 14 {
			continue
		}
		switch e.URI {
		case sfuload.ExtTWCC:
			if twcc == e.ID {
				l.offTWCC = add(e.ID, []byte{0, 0})
			}
		case sfuload.ExtAbsSendTime:
			l.offTime = add(e.ID, []byte{0, 0, 0})
		case sfuload.ExtAudioLevel:
			if tr.Kind == sfuload.Audio {
				l.offLevel = add(e.ID, []byte{0})
			}
		case sfuload.ExtMID:
			if m.MID != "" && len(m.MID) <= 16 {
				add(e.ID, []byte(m.MID))
			}
		case sfuload.ExtRID:
			if l.RID != "" {
				add(e.ID, []byte(l.RID))
			}
		}
	}
	if len(h) == 16 {
		h = h[:12]
		h[0] = 0x80
	} else {
		for len(h)%4 != 0 {
			h = append(h, 0)
		}
		binary.BigEndian.PutUint16(h[14:], uint16(len(h)-16)/4)
	}
	l.head = h
}

// send sends the next picture: all its packets of one size in one call.
func (l *outLayer) send() {
	t, sh := l.o.t, l.o.t.sh
	parts := l.picture(sh.parts[:0])
	now := time.Now().UnixNano()
	l.sentAt = now
	run := sh.room()
	seg := 0
	for _, p := range parts {
		x := sent{part: p, seq: l.seq, pic: l.pic, tl0: l.tl0, phase: uint8(l.phase % 8), ts: l.ts, counter: l.counter, at: now}
		l.remember(&x)
		b := sh.plain[:len(l.head)+p.size]
		l.putHead(b, &x, now)
		l.putPayload(b[len(l.head):], &x)
		before := len(run)
		all, err := t.out.rtp(run, b, len(l.head), l.roc)
		if err != nil {
			sh.count.SendErrors++
			continue
		}
		size := len(all) - before
		if seg != 0 && (size != seg || len(all) > maxRun) { // another message begins, right behind
			t.put(run, seg, t.to)
			all = all[before:]
		}
		run, seg = all, size
		if l.seq++; l.seq == 0 {
			l.roc++
		}
		l.counter++
		l.bytes += uint64(len(b) - len(l.head))
	}
	if len(run) > 0 {
		t.put(run, seg, t.to)
	}
	sh.count.SentPackets += uint64(len(parts))
	l.advance()
}

// putHead writes the header of a packet that leaves now.
func (l *outLayer) putHead(b []byte, p *sent, now int64) {
	copy(b, l.head)
	if p.end && l.codec != codecOpus {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], p.seq)
	binary.BigEndian.PutUint32(b[4:], p.ts)
	l.o.t.extensions(l, b, now)
	if l.offLevel != 0 {
		b[l.offLevel] = 0x80 | byte(20+l.o.t.sh.rng.IntN(15)) // speech
	}
}

// putPayload writes the payload of a packet into b, which has its size.
func (l *outLayer) putPayload(b []byte, p *sent) {
	t := l.o.t
	s := stamp{room: t.peer.room, sender: t.peer.Number, track: l.o.index, layer: l.number, counter: p.counter, at: p.at}
	if l.plain {
		s.flags |= stampPlain
	}
	if p.key {
		s.flags |= stampKey
	}
	if p.first && p.sid == 0 {
		s.flags |= stampFirst
	}
	if p.end {
		s.flags |= stampLast
	}
	s.put(b[l.begin(b, p):])
}

// extensions fills what changes with each packet.
func (t *Transport) extensions(l *outLayer, b []byte, now int64) {
	if l.offTWCC != 0 {
		binary.BigEndian.PutUint16(b[l.offTWCC:], t.twccSeq)
		t.twccSeq++
	}
	if l.offTime != 0 { // 6.18 fixed point of seconds
		sec, frac := uint64(now/1e9)&63, uint64(now%1e9)
		v := sec<<18 | frac<<18/1e9
		b[l.offTime], b[l.offTime+1], b[l.offTime+2] = byte(v>>16), byte(v>>8), byte(v)
	}
}

// remember keeps what a packet of video is made of for a while.
func (l *outLayer) remember(p *sent) {
	if l.rtxPT == 0 {
		return
	}
	if l.last == nil {
		l.last = make([]sent, history)
	}
	l.last[p.seq%history] = *p
}

// again sends a packet once more, on the repair flow (RFC 4588).
func (l *outLayer) again(seq uint16) {
	t, sh := l.o.t, l.o.t.sh
	if l.last == nil {
		return
	}
	p := &l.last[seq%history]
	if p.size == 0 || p.seq != seq {
		return
	}
	n := len(l.head)
	b := sh.plain[:n+2+p.size]
	l.putHead(b, p, time.Now().UnixNano())
	b[1] = b[1]&0x80 | l.rtxPT
	binary.BigEndian.PutUint16(b[2:], l.rtxSeq)
	binary.BigEndian.PutUint32(b[8:], l.RTX)
	binary.BigEndian.PutUint16(b[n:], seq)
	l.putPayload(b[n+2:], p)
	out, err := t.out.rtp(sh.room(), b, n, l.rtxRoc)
	if err != nil {
		sh.count.SendErrors++
		return
	}
	if l.rtxSeq++; l.rtxSeq == 0 {
		l.rtxRoc++
	}
	sh.count.SentRTX++
	t.put(out, len(out), t.to)
}
