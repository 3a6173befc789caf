package sfu

import (
	"slices"

	"konzil/sfu/rtp"
	"konzil/sfu/twcc"
)

// rtcpIn handles one protected compound packet. The caller holds sh.mu.
func (sh *shard) rtcpIn(e *Endpoint, pkt []byte, now int64) {
	sh.count.inc(cRTCPIn)
	m := &e.m
	plain, err := m.opener.RTCP(sh.wire[:0], pkt)
	if err != nil {
		sh.unopened(err)
		return
	}
	e.t.heard.Store(now)
	m.proved = true
	if err := rtp.Walk(plain, func(p rtp.RTCP) bool {
		sh.rtcpOne(e, p, now)
		return true
	}); err != nil {
		sh.count.inc(cDropMalformed)
	}
}

func (sh *shard) rtcpOne(e *Endpoint, p rtp.RTCP, now int64) {
	switch p.Type {
	case rtp.TypeSR:
		if ntp, ts, _, _, ok := rtp.SR(p.Body); ok {
			if tr := e.m.tracks[p.SSRC]; tr != nil && tr.media == nil {
				tr.stats.SenderReport(ntp, now)
				sh.fanSR(tr, ntp, ts, now)
			}
		}
		rtp.EachReportBlock(p, func(r rtp.ReportBlock) { sh.reported(e, &r, now) })
	case rtp.TypeRR:
		rtp.EachReportBlock(p, func(r rtp.ReportBlock) { sh.reported(e, &r, now) })
	case rtp.TypeRTPFB:
		sh.transportFeedback(e, p, now)
	case rtp.TypePSFB:
		ssrc, fci, ok := rtp.Feedback(p.Body)
		if !ok {
			return
		}
		switch p.Count {
		case rtp.FmtPLI:
			sh.pli(e, ssrc, now)
		case rtp.FmtFIR:
			rtp.EachFIR(fci, func(ssrc uint32, _ uint8) { sh.pli(e, ssrc, now) })
		case rtp.FmtAFB:
			sh.remb(e, fci, now)
		}
	}
}

func (sh *shard) transportFeedback(e *Endpoint, p rtp.RTCP, now int64) {
	ssrc, fci, ok := rtp.Feedback(p.Body)
	if !ok {
		return
	}
	m := &e.m
	switch p.Count {
	case rtp.FmtNACK:
		o := m.sends[ssrc]
		if o == nil || o.ssrc != ssrc {
			return
		}
		rtp.EachNACK(fci, func(seq uint16) {
			sh.count.inc(cNACKIn)
			sh.resend(e, o, seq, now)
		})
	case rtp.FmtTWCC:
		sh.count.inc(cTWCCIn)
		acked, err := twcc.ParseFeedback(fci, &m.sent, sh.acked[:0])
		if err != nil {
			sh.count.inc(cDropMalformed)
			return
		}
		sh.acked = acked
		lost := 0
		for i := range acked {
			if acked[i].ArrivalTime < 0 {
				lost++
			}
		}
		m.est.OnFeedback(now, acked)
		if m.est.Congested() {
			lost = 0 // a queue that fills loses them: to send more, and some of it twice, would not help
		}
		m.noteLoss(lost, len(acked), now)
		sh.squeezed(e)
	}
}

// squeezeShare is by how much the estimate must have fallen since the control loop saw it to have it look at once.
const squeezeShare = 0.9

// squeezed has the control loop find layers that fit when the estimate has fallen: until its next look, too much would go on into a queue. When it
// is busy, that look has to do.
func (sh *shard) squeezed(e *Endpoint) {
	m := &e.m
	bps := m.est.Bitrate()
	if float64(bps) >= squeezeShare*float64(m.seen) {
		return
	}
	m.seen = bps
	select {
	case e.conf.cmds <- func() { e.squeeze() }:
	default:
	}
}

// reported takes a receiver's report block on one of our streams: loss and round trip.
func (sh *shard) reported(e *Endpoint, r *rtp.ReportBlock, now int64) {
	m := &e.m
	o := m.sends[r.SSRC]
	if o == nil || o.ssrc != r.SSRC {
		return
	}
	m.est.OnLossReport(now, r.Fraction)
	if m.ext.twcc == 0 {
		m.noteLoss(int(r.Fraction), 256, now)
	}
	if i := slices.IndexFunc(o.srs[:], func(sr sentSR) bool { return sr.mid == r.LSR }); i >= 0 && r.LSR != 0 {
		if rtt := now - o.srs[i].at - int64(r.DLSR)*1e9/65536; rtt > 0 {
			m.rtt = rtt
			m.est.OnRTT(rtt)
		}
	}
}

// fanSR passes a sender report on, in this shard and to others.
func (sh *shard) fanSR(tr *track, ntp uint64, ts uint32, now int64) {
	f := tr.src.fan.Load()
	if f == nil {
		return
	}
	for i := range f.byShard {
		if len(f.byShard[i]) == 0 {
			continue
		}
		if i == sh.id {
			sh.forwardSR(tr, ntp, ts, now)
			continue
		}
		to := sh.s.shards[i]
		to.inbox.push(to, item{kind: itemSR, tr: tr, ntp: ntp, ts: ts}, nil)
	}
}

// forwardSR sends a report with the receiver's SSRC, timestamp and totals (RFC 3550 §6.4.1): the clock pair is the
// sender's own, so that receivers can play audio and video of one sender in step.
func (sh *shard) forwardSR(tr *track, ntp uint64, ts uint32, now int64) {
	f := tr.src.fan.Load()
	if f == nil || sh.id >= len(f.byShard) {
		return
	}
	for _, l := range f.byShard[sh.id] {
		o := l.out
		if !o.active || o.src != tr.src || l.ep.m.sealer == nil {
			continue
		}
		t, ok := o.stream.Timestamp(tr.ssrc, ts)
		if !ok {
			continue
		}
		o.srs = [2]sentSR{{uint32(ntp >> 16), now}, o.srs[0]}
		sh.rtcp = rtp.AppendSR(sh.rtcp[:0], o.ssrc, ntp, t, o.packets, o.octets, nil)
		sh.rtcp = rtp.AppendSDESCname(sh.rtcp, o.ssrc, tr.ep.id)
		sh.sendRTCP(l.ep, sh.rtcp)
	}
}

// sendRTCP protects a compound packet for e and queues it.
func (sh *shard) sendRTCP(e *Endpoint, plain []byte) {
	if len(plain) == 0 || e.m.sealer == nil || len(plain)+32 > maxPacket {
		return
	}
	out, err := e.m.sealer.RTCP(sh.reserve()[:0:maxPacket], plain)
	if err != nil {
		sh.count.inc(cDropTooLong)
		return
	}
	sh.queue(e, len(out))
}

// pli asks for a keyframe of what a receiver sees on ssrc.
func (sh *shard) pli(e *Endpoint, ssrc uint32, now int64) {
	sh.count.inc(cPLIIn)
	o := e.m.sends[ssrc]
	if o == nil || o.src == nil || o.kind != Video {
		return
	}
	want := o.stream.Current()
	for _, tr := range o.src.tracks {
		if tr.ssrc == want || (want == 0 && tr.ssrc == o.target) {
			sh.picture(e, o, tr, replayBroken, now)
		}
	}
}

// askKeyframe wants a keyframe of tr, wherever its shard is.
func (sh *shard) askKeyframe(tr *track, now int64) {
	if tr.ep.sh == sh {
		sh.wantKeyframe(tr, now)
		return
	}
	tr.ep.sh.inbox.push(tr.ep.sh, item{kind: itemKey, tr: tr}, nil)
}

// Keyframe requests of one SSRC: at once, then ever slower until one comes.
const (
	keyframeGap    = 200e6 // ns between requests at least
	keyframeMaxGap = 2e9
	keyframeRest   = 200e6 // ns after a keyframe of a layer: who missed it gets it from the history
	keyframeStale  = 5e9   // after this silence of the layer the wish is dropped
)

// wantKeyframe notes the wish and sends the request when the last one is long enough ago; timers repeats it.
func (sh *shard) wantKeyframe(tr *track, now int64) {
	if tr.ep.m.gone {
		return
	}
	if !tr.wantKey {
		tr.wantKey, tr.asks = true, 0
	}
	sh.requestKeyframe(tr, now)
}

func (sh *shard) requestKeyframe(tr *track, now int64) {
	gap := min(int64(keyframeGap)<<min(tr.asks, 4), int64(keyframeMaxGap))
	if tr.lastAsk != 0 && now-tr.lastAsk < gap || tr.lastKey != 0 && now-tr.lastKey < keyframeRest && !sh.s.cfg.NoKeyframeCache {
		return
	}
	e := tr.ep
	if e.m.sealer == nil {
		return
	}
	tr.lastAsk = now
	tr.asks++
	sh.count.inc(cPLIOut)
	fb := e.conf.fbVideo
	// Compound packets begin with a report (RFC 3550 §6.1).
	sh.rtcp = rtp.AppendRR(sh.rtcp[:0], fb, nil)
	if e.firOnly {
		e.m.firSeq++
		sh.rtcp = rtp.AppendFIR(sh.rtcp, fb, tr.ssrc, e.m.firSeq)
	} else {
		sh.rtcp = rtp.AppendPLI(sh.rtcp, fb, tr.ssrc)
	}
	sh.sendRTCP(e, sh.rtcp)
}
