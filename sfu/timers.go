package sfu

import "konzil/sfu/rtp"

const (
	// feedbackEvery is the interval of transport-wide feedback to senders: what libwebrtc's own receiver uses at most rates.
	feedbackEvery = 100e6
	// feedbackPackets brings feedback forward, so that it fits one datagram.
	feedbackPackets = 200
	// reportEvery is the interval of receiver reports (jitsi-wire 6.4).
	reportEvery = 500e6
	// defaultRTT stands in until a round trip to the sender was measured.
	defaultRTT = 100e6
)

// timers does what is due: ICE, NACKs and keyframe requests upstream, transport feedback, receiver reports. Caller holds sh.mu.
func (sh *shard) timers(now int64) {
	sh.runReplays(now)
	sh.pressing, sh.urgent = false, len(sh.replays) > 0
	for _, e := range sh.endpoints {
		m := &e.m
		next := e.t.iceNext.Load()
		if next <= now {
			sh.tickICE(e.t, now)
			next = e.t.iceNext.Load()
		}
		soon := next-now < int64(restTick)
		if m.sealer == nil {
			sh.urgent = sh.urgent || soon // somebody waits to be let in
			continue
		}
		sh.pressing = sh.pressing || soon
		for _, tr := range m.list {
			sh.nacks(e, tr, now)
			switch {
			case !tr.wantKey:
			case now-tr.lastRTP > keyframeStale:
				tr.wantKey = false // nothing is being sent; it begins with a keyframe anyhow
			default:
				sh.requestKeyframe(tr, now)
			}
		}
		m.resent = 0
		sh.paceOut(e, now)
		sh.sendSeconds(e, now)
		sh.repairLate(e, now)
		sh.probes(e, now)
		if m.unfed > 0 && (now-m.fedBack >= feedbackEvery || m.unfed >= feedbackPackets) {
			m.fedBack, m.unfed = now, 0
			sh.feedBack(e)
		}
		if now-m.reported >= reportEvery && len(m.list) > 0 {
			m.reported = now
			sh.report(e, now)
		}
	}
}

// nacks asks for what is missing of one stream.
func (sh *shard) nacks(e *Endpoint, tr *track, now int64) {
	if !tr.nackable {
		return
	}
	rtt := e.m.rtt
	if rtt == 0 {
		rtt = defaultRTT
	}
	lost := tr.gen.Due(now, rtt, sh.lost[:0])
	if len(lost) > 0 {
		sh.urgent = true // the answer may be lost too
		sh.count.add(cNACKOut, uint64(len(lost)))
		sh.rtcp = rtp.AppendRR(sh.rtcp[:0], e.conf.fbVideo, nil)
		sh.rtcp = rtp.AppendNACK(sh.rtcp, e.conf.fbVideo, tr.ssrc, lost)
		sh.sendRTCP(e, sh.rtcp)
	}
	if tr.gen.GaveUp() && tr.src.kind == Video {
		sh.wantKeyframe(tr, now)
	}
}

// feedBack sends transport feedback on what e has sent since the last one. After a standstill that is several packets, each in a datagram of its own
// (RFC 5506), since all of them would not fit one.
func (sh *shard) feedBack(e *Endpoint) {
	m := &e.m
	fb := m.recorder.Build(sh.rtcp[:0], e.conf.fbVideo, m.twccSSRC)
	if len(fb) == 0 {
		return
	}
	_ = rtp.Walk(fb, func(p rtp.RTCP) bool { // which we have just made
		sh.count.inc(cTWCCOut)
		sh.sendRTCP(e, p.Raw)
		return true
	})
}

// report sends receiver reports on what e sends, as many as hold all of it.
func (sh *shard) report(e *Endpoint, now int64) {
	n := 0
	send := func() {
		sh.rtcp = rtp.AppendRR(sh.rtcp[:0], e.conf.fbAudio, sh.blocks[:n])
		sh.sendRTCP(e, sh.rtcp)
		n = 0
	}
	for _, tr := range e.m.list {
		if !tr.started && tr.stats.Packets() == 0 {
			continue
		}
		sh.blocks[n] = tr.stats.Report(now, tr.ssrc)
		if n++; n == len(sh.blocks) {
			send()
		}
	}
	if n > 0 {
		send()
	}
}
