package sfu

import (
	"encoding/binary"
	"errors"

	"konzil/sfu/codec"
	"konzil/sfu/history"
	"konzil/sfu/rewrite"
	"konzil/sfu/rtp"
	"konzil/sfu/seal"
)

// media handles one protected packet of t. The caller holds sh.mu; sh is t's shard. pkt is opened in place.
func (sh *shard) media(t *transport, pkt []byte, now int64) {
	e := t.ep
	m := &e.m
	if m.opener == nil || m.gone {
		sh.count.inc(cDropNoKeys)
		return
	}
	if rtp.IsRTCP(pkt) {
		sh.rtcpIn(e, pkt, now)
		return
	}
	sh.count.inc(cRTPIn)
	tr := m.track(ssrcOf(pkt))
	if tr == nil {
		// Not opened: SRTP state is made only for what was signalled.
		sh.count.inc(cDropUnknownSSRC)
		return
	}
	plain, err := m.opener.RTP(pkt, pkt)
	if err != nil {
		sh.unopened(err)
		return
	}
	t.heard.Store(now)
	p := sh.slot()
	if err := p.hdr.Parse(plain); err != nil {
		sh.count.inc(cDropMalformed)
		return
	}
	if m.ext.twcc != 0 {
		if x := p.hdr.Ext(plain, m.ext.twcc); len(x) >= 2 {
			m.recorder.Record(binary.BigEndian.Uint16(x), now)
			m.twccSSRC = p.hdr.SSRC
			m.unfed++
		}
	}
	if tr.media != nil {
		sh.count.inc(cRTXIn)
		tr.stats.Received(p.hdr.Seq, p.hdr.Timestamp, now, tr.media.clock)
		if plain = unwrap(m, tr, &p.hdr, plain); plain == nil {
			sh.count.inc(cDropPadding)
			return
		}
		tr = tr.media
		if err := p.hdr.Parse(plain); err != nil {
			sh.count.inc(cDropMalformed)
			return
		}
		sh.incoming(e, tr, plain, now, true)
		return
	}
	sh.incoming(e, tr, plain, now, false)
}

// unopened counts a packet that could not be opened.
func (sh *shard) unopened(err error) {
	switch {
	case errors.Is(err, seal.ErrAuth):
		sh.count.inc(cDropDecrypt)
	case errors.Is(err, seal.ErrMalformed):
		sh.count.inc(cDropMalformed)
	default:
		sh.count.inc(cDropReplay)
	}
}

// unwrap turns a repair packet into the original in place (RFC 4588 §4); nil when it carries none (padding probes).
func unwrap(m *media, tr *track, h *rtp.Header, b []byte) []byte {
	pt := m.pt[h.PayloadType]
	if pt.codec != codecRTX {
		return nil
	}
	osn, _, ok := rtp.UnwrapRTX(b[h.PayloadOff:h.PayloadEnd])
	if !ok {
		return nil
	}
	end := h.PayloadEnd
	copy(b[2:], b[:h.PayloadOff])
	b = b[2:end]
	b[0] &^= 0x20 // padding was cut
	b[1] = b[1]&0x80 | pt.apt
	binary.BigEndian.PutUint16(b[2:], osn)
	binary.BigEndian.PutUint32(b[8:], tr.media.ssrc)
	return b
}

// incoming handles one opened packet of a media SSRC, whether it came as such or was recovered.
func (sh *shard) incoming(e *Endpoint, tr *track, plain []byte, now int64, repaired bool) {
	m := &e.m
	p := sh.slot()
	pt := &m.pt[p.hdr.PayloadType]
	if pt.codec == codecNone || pt.codec == codecRTX || pt.codec == codecFlexFEC {
		sh.count.inc(cDropUnknownPT)
		return
	}
	if tr.nackable = pt.nack; tr.nackable || tr.src.kind == Video {
		if !tr.gen.Received(p.hdr.Seq, now) {
			sh.count.inc(cDropDuplicate)
			return
		}
	}
	if repaired {
		sh.count.inc(cRecovered)
	}
	tr.clock = pt.clock
	tr.stats.Received(p.hdr.Seq, p.hdr.Timestamp, now, pt.clock)
	if tr.codec != pt.codec {
		if tr.started && tr.src.kind == Video {
			tr.wantKey = true // the codec changed in the middle of a call
		}
		tr.heights, tr.dd, tr.ddOld, tr.key.have = [maxSID + 1]int{}, nil, nil, false
		tr.codec = pt.codec
	}
	sh.describe(p, tr, m, plain, now)
	if m.muted[tr.src.kind] {
		sh.count.inc(cDropMuted)
		return
	}
	if tr.src.kind == Video {
		sh.measure(p, tr, now)
		if !p.in.Padding {
			if tr.hist == nil {
				tr.hist = history.New(leastHistory, tr.historySize(), historySpan)
			}
			tr.hist.Put(p.hdr.Seq, plain, now)
		}
	} else if lv, _, ok := rtp.AudioLevel(p.level); ok && !p.in.Padding {
		tr.levels[tr.levelHead%levelRing] = levelAt{now, lv}
		tr.levelHead++
		if !sh.forwards(p, tr, lv, now) {
			tr.lastRTP = now
			return
		}
	}
	if p.codec == codecOpus {
		sh.prepareRED(p, tr, now)
	}
	if p.in.Padding {
		sh.count.inc(cDropPadding)
	} else {
		tr.lastRTP = now
	}
	sh.stage(p)
}

// describe fills p from the opened packet.
func (sh *shard) describe(p *packet, tr *track, m *media, plain []byte, now int64) {
	p.raw, p.tr, p.codec, p.handed, p.made, p.red = plain, tr, tr.codec, false, false, nil
	p.payload = plain[p.hdr.PayloadOff:p.hdr.PayloadEnd]
	p.level, p.orientation, p.dd, p.ddOut = nil, nil, nil, nil
	if m.ext.level != 0 {
		p.level = p.hdr.Ext(plain, m.ext.level)
	}
	if tr.src.kind == Video {
		if m.ext.orientation != 0 {
			p.orientation = p.hdr.Ext(plain, m.ext.orientation)
		}
		if m.ext.dd != 0 {
			p.dd = p.hdr.Ext(plain, m.ext.dd)
		}
	}
	sh.shape(p, tr, tr.clock, now)
}

// shape fills what rewriting needs. p.hdr, p.payload, p.codec and p.dd are set.
func (sh *shard) shape(p *packet, tr *track, clock uint32, now int64) {
	in := &p.in
	*in = rewrite.In{} // and field by field, see sequence.take in package rewrite
	in.SSRC, in.Seq, in.TS, in.Marker, in.Padding = tr.ssrc, p.hdr.Seq, p.hdr.Timestamp, p.hdr.Marker, len(p.payload) == 0
	in.ClockRate, in.Arrival = clock, now
	if tr.src.kind == Audio {
		in.Start, in.Keyframe = true, true
		return
	}
	switch p.codec {
	case codecVP8:
		d, ok := codec.ParseVP8(p.payload)
		if !ok {
			in.Padding = true // nothing a decoder could use
			return
		}
		p.vp8 = d
		in.VP8 = &p.vp8
		in.Start, in.Keyframe = d.Start, d.Start && d.Keyframe
	case codecVP9:
		sh.shapeVP9(p, tr)
	default:
		if len(p.dd) > 0 && sh.shapeDD(p, tr, now) {
			return
		}
		tr.begins(p, codec.Keyframe(codecNames[p.codec], p.payload, p.dd))
		tr.sizeH264(p)
	}
}

// begins says of a packet that tells nothing of where pictures begin, but maybe that a decoder can start at it, whether a picture or a keyframe begins. One
// of H.264 has several such packets (SPS, IDR slices) and begins once, at the first of them that comes; packets of other pictures may come in between.
func (tr *track) begins(p *packet, key bool) {
	in, k := &p.in, &tr.key
	again := k.have && k.ts == in.TS
	if again && key && int16(in.Seq-k.seq) < 0 {
		k.seq = in.Seq // it was overtaken
	}
	in.Keyframe = key && !again
	in.Start = in.Keyframe || tr.gen.Newest() == in.Seq && (!tr.started || in.TS != tr.lastTS)
}

// measure notes what the control loop wants to know of a video layer.
func (sh *shard) measure(p *packet, tr *track, now int64) {
	sid, tid, start := 0, 0, p.in.Start
	if p.in.VP8 != nil && p.in.VP8.HasTID {
		tid = int(p.in.VP8.TID)
	} else if v := p.in.SVC; v != nil {
		sid, tid, start = min(int(v.SID), maxSID), min(int(v.TID), maxTID), v.Start
	}
	if !p.in.Padding {
		tr.sinceKey(p, sid, tid)
		tr.svc = p.in.SVC != nil
		if tr.svc && p.in.SVC.Key {
			tr.apart = p.in.SVC.Apart > 0
		}
		tr.bytes[sid][tid] += uint64(len(p.raw))
		if start {
			tr.frames[sid][tid]++
		}
	}
	if p.in.Keyframe {
		tr.lastKey = now
		tr.wantKey = false
		tr.asks = 0
		if d := p.in.VP8; d != nil && d.Width > 0 && d.Height > 0 {
			tr.heights[0] = int(min(d.Width, d.Height))
		}
	}
	if !p.in.Padding {
		if tr.gen.Newest() == p.hdr.Seq {
			tr.lastTS = p.hdr.Timestamp
		}
		tr.started = true
	}
}

// send forwards p to one receiver.
func (sh *shard) send(l *link, p *packet) {
	e, o := l.ep, l.out
	m := &e.m
	if m.sealer == nil || o.src != p.tr.src {
		return
	}
	if o.hold != 0 && !p.cached && p.in.SSRC == o.held { // it gets this one from the history, after those before it
		if p.in.Arrival < o.hold {
			return
		}
		o.endReplay()
	}
	pt, payload := m.out[p.codec], p.payload
	if p.codec <= codecRED {
		pt, payload = sh.audioFor(p, m)
	}
	if pt == noPT {
		sh.count.inc(cDropPTUnwanted)
		return
	}
	if payload == nil {
		sh.count.inc(cDropMalformed)
		return
	}
	in := &p.in
	if m.ext.dd == 0 && p.byDD() && in.SVC.Apart == 0 {
		// Without the extension the receiver could not tell a layer that it does not get from one that was lost. One that needs no other is whole.
		sh.whole = p.in
		sh.whole.SVC = nil
		in = &sh.whole
	}
	var r rewrite.Out
	if !o.stream.Map(in, &r) {
		if (p.in.Start || in.SVC != nil && in.SVC.Start) && p.in.SSRC == o.target && o.stream.WantsKeyframe() {
			sh.askKeyframe(p.tr, p.in.Arrival)
		}
		return
	}
	index, ok := o.index.Next(r.Seq)
	if !ok {
		sh.count.inc(cDropNonce)
		return
	}
	sh.forReceiver(p, m, o, &r)
	var h rtp.OutHeader // as above
	h.Marker, h.PT, h.Seq, h.TS, h.SSRC = r.Marker, pt, r.Seq, r.TS, o.ssrc
	if sh.emit(e, o, p, payload, &h, index, false) {
		o.packets++
		o.octets += uint32(len(payload))
		o.active, o.codec = true, p.codec
		if r.Marker && m.lossy {
			sh.keepTail(m, o, r.Seq, len(payload))
		}
	}
}

// emit writes and protects one packet for e straight into the arena, or holds it back (pacing.go). again is an identical repetition without RTX.
func (sh *shard) emit(e *Endpoint, o *send, p *packet, payload []byte, h *rtp.OutHeader, index uint64, again bool) bool {
	m := &e.m
	if o.kind == Video && (m.pacer.bucket.Full() || m.pacer.head != nil) && !m.pacer.releasing && !again {
		return sh.hold(m, o, p, payload, h, index)
	}
	dst := sh.header(sh.reserve(), e, o, p, h, again)
	out, err := m.sealer.Later(&sh.tags, dst, len(dst), payload, h.SSRC, index)
	if err != nil {
		sh.count.inc(cDropTooLong)
		return false
	}
	if m.ext.twcc != 0 && !again {
		m.sent.Add(m.twccOut, len(out), sh.clock, m.probe.id)
		m.twccOut++
	}
	m.probe.bytes += len(out)
	m.pacer.bucket.Sent(len(out))
	m.sentBytes[o.kind] += uint64(len(out))
	sh.queue(e, len(out))
	if o.protection != nil && h.SSRC == o.ssrc && !again {
		sh.protect(e, o, h, dst, payload)
	}
	return true
}

// header appends the header of a packet for e to dst, which reserve gave. Of the packets of a frame mostly only numbers differ: the second one's is a copy of
// the first one's, which stands in the arena.
func (sh *shard) header(dst []byte, e *Endpoint, o *send, p *packet, h *rtp.OutHeader, again bool) []byte {
	m, l := &e.m, &sh.like
	bare := len(p.level)+len(p.orientation)+len(p.ddOut) == 0 && o.playout.left == 0 && o.playout.units == m.playout && !again
	if bare && l.out == o {
		dst = rtp.AppendLike(dst, sh.arena[l.off:l.off+l.n], h)
		if m.ext.twcc != 0 {
			binary.BigEndian.PutUint16(dst[l.twcc:], m.twccOut)
		}
		o.stamped(h.Seq, m.twccOut, &sh.abs)
		return dst
	}
	dst = rtp.AppendHeader(dst, h, sh.extensions(e, o, p, h.Seq, again))
	if l.out = nil; bare {
		l.out, l.off, l.n = o, sh.used, len(dst)
		if m.ext.twcc != 0 {
			l.twcc = rtp.FirstExt(dst)
		}
	}
	return dst
}

// stamped notes what a plain repetition of the packet must repeat.
func (o *send) stamped(seq, twcc uint16, abs *[3]byte) {
	if o.exts != nil {
		s := &o.exts[seq%plainRing]
		s.seq, s.used, s.twcc, s.abs = seq, true, twcc, *abs
	}
}

// extensions lists the header extensions of one outgoing packet with the receiver's ids: what is the sender's own
// (audio level, orientation, and the dependency descriptor that forReceiver made) is kept, what belongs to the path is written anew. The transport-wide
// number is the first, so that header finds it again.
func (sh *shard) extensions(e *Endpoint, o *send, p *packet, seq uint16, again bool) []rtp.Ext {
	m := &e.m
	x := sh.exts[:0]
	if again {
		if s := &o.exts[seq%plainRing]; s.used && s.seq == seq {
			sh.abs = s.abs
			binary.BigEndian.PutUint16(sh.seq[:], s.twcc)
		}
	} else {
		rtp.PutAbsSendTime(&sh.abs, sh.clock)
		binary.BigEndian.PutUint16(sh.seq[:], m.twccOut)
		o.stamped(seq, m.twccOut, &sh.abs)
	}
	if m.ext.twcc != 0 {
		x = append(x, rtp.Ext{ID: m.ext.twcc, Data: sh.seq[:]})
	}
	if len(p.level) > 0 && m.ext.level != 0 {
		x = append(x, rtp.Ext{ID: m.ext.level, Data: p.level})
	}
	if len(p.orientation) > 0 && m.ext.orientation != 0 {
		x = append(x, rtp.Ext{ID: m.ext.orientation, Data: p.orientation})
	}
	if len(p.ddOut) > 0 && m.ext.dd != 0 {
		x = append(x, rtp.Ext{ID: m.ext.dd, Data: p.ddOut})
	}
	if len(o.midBytes) > 0 && m.ext.mid != 0 {
		x = append(x, rtp.Ext{ID: m.ext.mid, Data: o.midBytes})
	}
	if m.ext.abs != 0 && o.kind == Video {
		x = append(x, rtp.Ext{ID: m.ext.abs, Data: sh.abs[:]})
	}
	if m.ext.playout != 0 && o.kind == Video && o.exts == nil {
		if b := sh.playoutExt(m, o); b != nil {
			x = append(x, rtp.Ext{ID: m.ext.playout, Data: b})
		}
	}
	return x
}

// The history of a layer holds what is younger than historySpan (ns), which is longer than what NACKs ask for on most paths, and at least
// leastHistory packets for the keyframe cache, which goes back replayPackets and must not be overtaken while it repeats them.
const (
	historySpan  = 1500e6
	leastHistory = replayPackets + 32
)

// historySize is the most packets in it: two seconds of 5 Mb/s for a top layer or a source with one flow, more than that of a lower layer.
func (tr *track) historySize() int {
	if len(tr.src.tracks) > 1 && tr.layer < len(tr.src.tracks)-1 && tr.layer > 0 {
		return 512
	}
	return 1024
}
