package sfu

// New sources. A receiver is told of a source by the signalling while its RTP may already be on the way. Chromium from 148 on, and Firefox
// where it was offered MIDs, tie RTP of an SSRC that they do not know to some m-line, and that SSRC stays silent on its own for good. So a
// source that was not in the offer flows only once the receiver knows it:
//
//  1. the focus sends the source-add, and puts its answer to the bridge (colibri.Endpoint.Acked, Endpoint.AckSources here);
//  2. allocation targets the source meanwhile, and looks at knows before it applies that (control.go).
//
// What Jitsi's clients acknowledge they have only read; they renegotiate then. Their pictures do not wait: Chromium finds those that come
// too early. With SSRC rewriting there is no answer at all, and a fixed time has to do, unless packets carry the MID of their slot (RFC 9143 §9.2): one
// that the receiver does not know yet has it drop them, and nothing is tied to anything.
const (
	// announceTime is how long new audio waits for a receiver that acknowledges nothing, ns: clients take some hundred milliseconds.
	announceTime = 500 * 1e6
	// renegotiateTime is how long it waits after an acknowledgement of receipt.
	renegotiateTime = 400 * 1e6
	// ackLimit is how long an acknowledgement is waited for, and appliedLimit how long that of a client which answers when it is done: on a busy
	// machine that takes seconds, and what comes before is lost for good in browsers that tie it to another m-line.
	ackLimit     = 3000 * 1e6
	appliedLimit = 10000 * 1e6
)

// AckSources says that the endpoint's client knows the sources with these SSRCs, which others send. SSRCs of nobody are ignored.
func (e *Endpoint) AckSources(ssrcs []uint32) {
	ssrcs = append([]uint32(nil), ssrcs...)
	e.conf.do(func() {
		if e.removed {
			return
		}
		now := e.conf.s.now()
		for _, ssrc := range ssrcs {
			tr := e.conf.trackOf(ssrc)
			if tr == nil || tr.ep == e {
				continue
			}
			if _, ok := e.acked[tr.src]; !ok {
				e.acked[tr.src] = now
				e.stir()
			}
		}
	})
}

// knows says whether the receiver may be taken to know what sb carries; when not, its allocation is made again as soon as that may have
// changed. Control goroutine.
func (e *Endpoint) knows(sb *sub, now int64) bool {
	at := e.knownAt(sb)
	if now >= at {
		return true
	}
	e.again = sooner(e.again, at)
	e.conf.some = sooner(e.conf.some, at)
	return false
}

// knownAt is from when on the receiver may be taken to know what sb carries, if it says nothing more; 0: already.
func (e *Endpoint) knownAt(sb *sub) int64 {
	src := sb.src
	switch {
	case e.cfg.SSRCRewriting && src.kind == Audio && (sb.mid == "" || e.ext.mid == 0):
		return sb.notBefore
	case e.cfg.SSRCRewriting, src.created <= e.created: // the latter: it was in the offer
		return 0
	case src.kind == Video && e.cfg.Acks != AckApplied:
		return 0
	}
	wait := int64(announceTime)
	switch e.cfg.Acks {
	case AckReceived:
		wait = ackLimit
	case AckApplied:
		wait = appliedLimit
	case NoAcks:
	}
	at := max(src.created, e.connectedAt) + wait
	if acked, ok := e.acked[src]; ok {
		if e.cfg.Acks == AckApplied {
			return acked
		}
		at = min(at, max(acked, e.connectedAt)+renegotiateTime)
	}
	return at
}
