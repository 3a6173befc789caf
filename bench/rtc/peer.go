package rtc

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"konzil/bench/sfuload"
)

// Peer is one participant of the engine. It is the sfuload.Connector that an adapter joins it with.
type Peer struct {
	eng            *Engine
	Name           string
	Number         uint32 // in stamps
	room           uint32
	began          time.Time // its steps count from here
	tracks         []*sfuload.Track
	heard, watched atomic.Bool

	mu         sync.Mutex // guards all below
	steps      map[string]time.Duration
	transports []*Transport
	closed     bool
}

// Step implements sfuload.Connector.
func (p *Peer) Step(name string) {
	p.stepAt(name, time.Now().UnixNano())
}

// stepAt notes a milestone that was reached at a time, ns since 1970.
func (p *Peer) stepAt(name string, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.steps[name]; !ok {
		p.steps[name] = time.Duration(max(at-p.began.UnixNano(), 0))
	}
}

// Steps are the milestones so far and when they were reached after the start.
func (p *Peer) Steps() map[string]time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := make(map[string]time.Duration, len(p.steps))
	for k, v := range p.steps {
		m[k] = v
	}
	return m
}

// Transport implements sfuload.Connector.
func (p *Peer) Transport(label string) (sfuload.Transport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.eng.closed.Load() {
		return nil, errClosed
	}
	sh := p.eng.shards[int(p.eng.next.Add(1))%len(p.eng.shards)]
	t, err := newTransport(p, sh, label)
	if err != nil {
		return nil, fmt.Errorf("rtc: %s %s: %w", p.Name, label, err)
	}
	p.transports = append(p.transports, t)
	return t, nil
}

// Err is why one of its transports failed, nil when none has.
func (p *Peer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.transports {
		if err := t.Err(); err != nil {
			return fmt.Errorf("%s %s: %w", p.Name, t.label, err)
		}
	}
	return nil
}

// Close closes all transports. What they counted stays.
func (p *Peer) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, t := range p.transports {
		t.Close()
	}
}

// Expect notes, in the histogram of switches, how long it takes from now until a keyframe of that layer of another participant comes in.
func (p *Peer) Expect(from *Peer, layer int) {
	now := time.Now().UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.transports {
		t.sh.post(func() {
			t.expect, t.expectFrom, t.expectAt = int16(layer), from.Number, now
			for _, st := range t.list {
				st.all = st.all || st.codec == codecVP8 || st.codec == codecVP9
			}
			t.keepWhole(now)
		})
	}
}

// firstPacket notes the milestones of the first packets, cheaply after the first.
func (p *Peer) firstPacket(c codec, at int64) {
	if c == codecOpus {
		if !p.heard.Swap(true) {
			p.stepAt("first packet", at)
			p.stepAt("first audio", at)
		}
	} else if !p.watched.Swap(true) {
		p.stepAt("first packet", at)
		p.stepAt("first video", at)
	}
}
