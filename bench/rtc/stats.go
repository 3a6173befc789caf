package rtc

import (
	"context"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
)

// Counters of a shard since its start.
type Counters struct {
	Packets, Messages uint64 // RTP packets that came, and the messages of the kernel (one packet or a run) they came in
	SentPackets       uint64
	SentRTX, SentRTCP uint64
	SentNACK, SentPLI uint64
	RTCP              uint64 // that came
	RTX, Padding      uint64
	NACKed            uint64 // packets of ours that the server asked for
	KeyframesAsked    uint64
	Recovered         uint64 // came only after they were asked for
	Late, Duplicates  uint64
	Leaps             uint64 // sequence numbers that leapt
	Verified          uint64
	Strange           uint64 // neither STUN nor DTLS nor RTP that may come now
	Skipped           uint64 // packets that were not sent, because their time was long over
	LateMax           int64  // ns that a picture was sent late at most, since Engine.Latencies
	SendErrors        uint64 // the kernel refused: buffer full, nobody there
	SocketDrops       uint64 // packets that the generator's own socket buffers had no room for
	Thrown, Corrupted uint64 // faults on purpose
	Wrong             Wrong
}

// Wrong is what must not happen.
type Wrong struct {
	Payload  uint64 // not as it was sent
	Order    uint64 // counters of a source went back while sequence numbers went on
	Foreign  uint64 // from another room, or the receiver's own
	Rejected uint64 // SRTP authentication failed
}

func (c *Counters) add(o *Counters) {
	c.Packets += o.Packets
	c.Messages += o.Messages
	c.SentPackets += o.SentPackets
	c.SentRTX += o.SentRTX
	c.SentRTCP += o.SentRTCP
	c.SentNACK += o.SentNACK
	c.SentPLI += o.SentPLI
	c.RTCP += o.RTCP
	c.RTX += o.RTX
	c.Padding += o.Padding
	c.NACKed += o.NACKed
	c.KeyframesAsked += o.KeyframesAsked
	c.Recovered += o.Recovered
	c.Late += o.Late
	c.Duplicates += o.Duplicates
	c.Leaps += o.Leaps
	c.Verified += o.Verified
	c.Strange += o.Strange
	c.Skipped += o.Skipped
	c.LateMax = max(c.LateMax, o.LateMax)
	c.SendErrors += o.SendErrors
	c.SocketDrops += o.SocketDrops
	c.Thrown += o.Thrown
	c.Corrupted += o.Corrupted
	c.Wrong.Payload += o.Wrong.Payload
	c.Wrong.Order += o.Wrong.Order
	c.Wrong.Foreign += o.Wrong.Foreign
	c.Wrong.Rejected += o.Wrong.Rejected
}

// Stream is one SSRC at a receiver, counted since its first packet.
type Stream struct {
	SSRC     uint32
	Audio    bool
	Got      uint64 // distinct packets, without padding and what came only by retransmission
	Span     uint64 // sequence numbers from the first to the last, without padding
	Bytes    uint64
	Hidden   uint64 // packets of its source that the numbering does not show
	Switches uint64 // of its source or layer
	Known    bool   // a stamp was read; then:
	Sender   uint32 // Peer.Number
	Track    uint8
	Layer    uint8
}

// PeerStats is what a participant sent and received since it began.
type PeerStats struct {
	Name    string
	Number  uint32
	Sent    [][]uint64 // packets by track and layer
	Streams []Stream
}

// Snapshot is everything counted so far. It is exact while the engine is held.
type Snapshot struct {
	Peers    map[uint32]*PeerStats
	Counters Counters
}

// Snapshot takes the counters.
func (e *Engine) Snapshot(ctx context.Context) (*Snapshot, error) {
	s := &Snapshot{Peers: make(map[uint32]*PeerStats)}
	e.mu.Lock()
	peers := append([]*Peer(nil), e.peers...)
	e.mu.Unlock()
	for _, p := range peers {
		ps := &PeerStats{Name: p.Name, Number: p.Number, Sent: make([][]uint64, len(p.tracks))}
		for i, t := range p.tracks {
			ps.Sent[i] = make([]uint64, len(t.Layers))
		}
		s.Peers[p.Number] = ps
	}
	for _, sh := range e.shards { // one after the other: each writes to s
		done := make(chan struct{})
		sh.post(func() {
			defer close(done)
			s.Counters.add(&sh.count)
			for _, p := range peers {
				p.snapshot(sh, s.Peers[p.Number])
			}
		})
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s, nil
}

// snapshot adds what the transports of one shard have.
func (p *Peer) snapshot(sh *shard, ps *PeerStats) {
	p.mu.Lock()
	list := p.transports
	p.mu.Unlock()
	for _, t := range list {
		if t.sh != sh {
			continue
		}
		for _, o := range t.tracks {
			for i, l := range o.layers {
				ps.Sent[o.index][i] += uint64(l.counter)
			}
		}
		for _, st := range t.list {
			if st.codec == codecRTX || st.got == 0 {
				continue
			}
			ps.Streams = append(ps.Streams, Stream{SSRC: st.ssrc, Audio: st.codec == codecOpus, Got: st.got, Span: uint64(st.hi-st.first+1) - st.pad, Bytes: st.bytes,
				Hidden: st.hidden, Switches: st.switches, Known: st.seen, Sender: uint32(st.src >> 16), Track: uint8(st.src >> 8), Layer: uint8(st.src)})
		}
	}
}

// Latencies returns and empties the histograms of time from sending to the receiver's kernel (audio, video), and of layer switches
// (Peer.Expect), in ns. Counters.LateMax begins anew.
func (e *Engine) Latencies(ctx context.Context) (audio, video, switched *hdrhistogram.Histogram, err error) {
	audio, video, switched = measure.NewHistogram(), measure.NewHistogram(), measure.NewHistogram()
	for _, sh := range e.shards {
		done := make(chan struct{})
		sh.post(func() {
			defer close(done)
			audio.Merge(sh.lat[0])
			video.Merge(sh.lat[1])
			switched.Merge(sh.switched)
			sh.fresh()
		})
		select {
		case <-done:
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		}
	}
	return audio, video, switched, nil
}
