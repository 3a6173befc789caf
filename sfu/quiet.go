package sfu

import (
	"sync"
	"sync/atomic"
)

// Audio that nobody needs is not forwarded: digital silence after a while, and, where Config.LoudestN says so, all but the loudest speakers. The
// sender's shard decides once for all receivers. The receiver's numbers go on without a gap (rewrite.In.Resume) and its timestamps with the sender's
// clock, as with discontinuous transmission: it has played silence before, and plays on from where time has come to.

const (
	// silent is the audio level of digital silence, -dBov (RFC 6464 §3): what browsers send of a muted microphone, 50 packets a second.
	silent = 127
	// silentAfter is how long silence is forwarded, ns, so that receivers have faded out before packets cease.
	silentAfter = 500e6
	// loudHold is the least time in ns for which one of the loudest keeps its place: syllables are shorter than that.
	loudHold = 300e6
	// loudDecay is by how many dB a second a speaker's loudness falls in a pause.
	loudDecay = 20
	// loudMargin is by how many dB one must be louder to take the place of another.
	loudMargin = 3
	// maxLoudest bounds Config.LoudestN: more voices at once than that nobody can tell apart.
	maxLoudest = 32
)

// hearing is what is known of an audio track's loudness.
type hearing struct {
	loudness   int64 // dB above silence, as of at, times 1e9
	at         int64
	lastSound  int64 // when a packet was last not silent
	suppressed bool  // the packets before were not forwarded
}

// forwards decides about an audio packet with a level, and notes on p when it comes after others that were not forwarded.
func (sh *shard) forwards(p *packet, tr *track, level uint8, now int64) bool {
	h := &tr.heard
	if level != silent || h.lastSound == 0 {
		h.lastSound = now
	}
	switch {
	case level == silent && now-h.lastSound >= silentAfter:
		sh.count.inc(cSilenceKept)
	case !h.among(tr, level, now):
		sh.count.inc(cQuietKept)
	default:
		p.in.Resume = h.suppressed
		h.suppressed = false
		return true
	}
	h.suppressed = true
	return false
}

// among says whether tr is among the loudest of its conference.
func (h *hearing) among(tr *track, level uint8, now int64) bool {
	h.loudness = max(h.loudness-(now-h.at)*loudDecay, int64(silent-level)*1e9)
	h.at = now
	l := &tr.ep.conf.loudest
	n := int(l.n.Load())
	return n == 0 || l.take(tr, h.loudness, n, now)
}

// loudest are the speakers of a conference that are forwarded. n is fixed; 0 forwards all.
type loudest struct {
	n     atomic.Int32
	mu    sync.Mutex // guards places; senders may be on several shards
	place [maxLoudest]loudPlace
}

type loudPlace struct {
	tr       *track
	loudness int64 // as of at, times 1e9
	at       int64
	since    int64
}

// take gives tr a place, or says that others are louder.
func (l *loudest) take(tr *track, loudness int64, n int, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var weakest *loudPlace
	var least int64
	for i := range l.place[:n] {
		p := &l.place[i]
		if p.tr == tr {
			p.loudness, p.at = loudness, now
			return true
		}
		v := int64(-1) // a free place
		if p.tr != nil {
			v = max(p.loudness-(now-p.at)*loudDecay, 0)
			if now-p.since < loudHold {
				continue
			}
		}
		if weakest == nil || v < least {
			weakest, least = p, v
		}
	}
	if weakest == nil || weakest.tr != nil && loudness < least+loudMargin*1e9 {
		return false
	}
	*weakest = loudPlace{tr: tr, loudness: loudness, at: now, since: now}
	return true
}

// leave frees the place of a track that is gone.
func (l *loudest) leave(tr *track) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.place {
		if l.place[i].tr == tr {
			l.place[i] = loudPlace{}
		}
	}
}
