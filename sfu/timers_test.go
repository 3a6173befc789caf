package sfu

import (
	"testing"

	"konzil/sfu/nack"
)

// queuedFor is how many datagrams wait for e, and their bytes. The caller holds the shard's mu.
func (sh *shard) queuedFor(e *Endpoint) (n, bytes int) {
	for i := e.m.first; i != 0; i = sh.queued[i].next {
		n++
		bytes += int(sh.queued[i].n)
	}
	return n, bytes
}

// TestLongFeedback: feedback on more packets than one datagram can tell of, as after a standstill, is told in several.
func TestLongFeedback(t *testing.T) {
	b := newBed(t, 0, 1, nil)
	e := b.from
	sh := e.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := b.s.now()
	for i := range 1500 {
		e.m.recorder.Record(uint16(i), now+int64(i)*1e6)
	}
	e.m.unfed, e.m.reported = 1500, now
	sh.timers(now)
	if n, bytes := sh.queuedFor(e); n != 4 || bytes < 1500 {
		t.Errorf("%d bytes in %d datagrams", bytes, n)
	}
}

// TestManyReports: a receiver report has room for 31 streams (RFC 3550 §6.4), and what another bridge sends is more.
func TestManyReports(t *testing.T) {
	b := newBed(t, 0, 1, nil)
	e := b.from
	sh := e.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := b.s.now()
	for i := range 70 {
		tr := &track{ep: e, src: e.m.list[0].src, ssrc: uint32(5000 + i), started: true}
		tr.stats = nack.Stats{}
		tr.stats.Received(1, 1, now, 90000)
		e.m.list = append(e.m.list, tr)
	}
	sh.report(e, now)
	if n, bytes := sh.queuedFor(e); n != 3 || bytes < 70*24 {
		t.Errorf("%d bytes in %d datagrams", bytes, n)
	}
}
