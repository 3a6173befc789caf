package sfu

import (
	"fmt"

	"konzil/bench/measure"
	"konzil/bench/rtc"
	"konzil/bench/sfuload"
)

// tally is what one kind of media should have brought, and brought.
type tally struct{ expected, delivered uint64 }

// figureHoles is how many sequence numbers were left out at receivers: packets that the server sent, or should have, and that did not come. What it
// withholds on purpose, a layer for which there is no room, has no number.
const figureHoles = "sequence numbers left out"

// compare makes a sample of two snapshots between which the senders ran.
func (l *Load) compare(a, b *rtc.Snapshot) *measure.Sample {
	s := &measure.Sample{Unit: "packets", Wrong: map[string]uint64{}, Labels: map[string]string{"srtp": l.eng.Profile(), "trace": l.o.Trace}, Figures: map[string]float64{}}
	var audio, video tally
	excess := uint64(0)
	for _, m := range l.members {
		before, after := a.Peers[m.peer.Number], b.Peers[m.peer.Number]
		got := l.received(before, after, s)
		for _, o := range l.members {
			if o == m || o.spec.Room != m.spec.Room {
				continue
			}
			for i, t := range o.spec.Publish {
				if !l.wants(m, o, t) {
					continue
				}
				k := &audio
				if t.Kind == sfuload.Video {
					k = &video
				}
				excess += k.add(got[sourceKey{o.peer.Number, uint8(i)}], sent(a, b, o.peer.Number, i))
			}
		}
		ps, qs := before.Sent, after.Sent
		for i := range qs {
			for j := range qs[i] {
				s.Sent += qs[i][j] - ps[i][j]
			}
		}
	}
	s.Kinds = map[string]measure.Count{}
	for name, k := range map[string]tally{"audio": audio, "video": video} {
		if k.expected > 0 {
			s.Kinds[name] = measure.Count{Expected: k.expected, Delivered: min(k.delivered, k.expected)}
		}
	}
	s.Expected, s.Delivered = audio.expected+video.expected, audio.delivered+video.delivered
	l.counters(a, b, s)
	if l.eng.Shared() {
		s.Notes = append(s.Notes, "clients share a socket and have an address each")
	} else {
		s.Notes = append(s.Notes, "clients have a socket each")
	}
	if !l.eng.Tapped() {
		s.Notes = append(s.Notes, "every packet was read from a socket")
	}
	if excess > 0 {
		s.Wrong["duplicate"] += excess
	}
	return s
}

// sent is how many packets a source sent by layer.
func sent(a, b *rtc.Snapshot, number uint32, track int) []uint64 {
	x, y := a.Peers[number].Sent[track], b.Peers[number].Sent[track]
	out := make([]uint64, len(y))
	for i := range y {
		out[i] = y[i] - x[i]
	}
	return out
}

type sourceKey struct {
	sender uint32
	track  uint8
}

// got is what one receiver got of one source.
type got struct {
	packets, span uint64 // of the sequence numbers that went by, with what they hide
	layer         int    // the one that came all the time, -1: it changed
}

// received adds up a receiver's streams by source.
func (l *Load) received(before, after *rtc.PeerStats, s *measure.Sample) map[sourceKey]*got {
	old := map[uint32]rtc.Stream{}
	for _, st := range before.Streams {
		old[st.SSRC] = st
	}
	out := map[sourceKey]*got{}
	for _, st := range after.Streams {
		was := old[st.SSRC]
		if !st.Known || st.Got == was.Got {
			continue
		}
		s.Bytes += st.Bytes - was.Bytes
		key := sourceKey{st.Sender, st.Track}
		g := out[key]
		if g == nil {
			g = &got{layer: int(st.Layer)}
			out[key] = g
		}
		g.packets += st.Got - was.Got
		s.Figures[figureHoles] += float64(st.Span-was.Span) - float64(st.Got-was.Got) // less than none: what an interval before lacked
		g.span += st.Span - was.Span + st.Hidden - was.Hidden
		if st.Switches != was.Switches || !was.Known || int(st.Layer) != g.layer {
			g.layer = -1
		}
	}
	return out
}

// add compares what came of a source with what it sent by layer, and returns by how much it was too much.
func (k *tally) add(g *got, sent []uint64) (excess uint64) {
	if g == nil { // nothing came: at least the smallest layer that was sent should have
		for _, n := range sent {
			if n > 0 {
				k.expected += n
				return 0
			}
		}
		return 0
	}
	want := g.span
	if g.layer >= 0 && g.layer < len(sent) {
		want = sent[g.layer]
	}
	k.expected += want
	k.delivered += g.packets
	if g.layer >= 0 && g.packets > want {
		return g.packets - want
	}
	return 0
}

// counters takes over what the engine counted.
func (l *Load) counters(a, b *rtc.Snapshot, s *measure.Sample) {
	x, y := &a.Counters, &b.Counters
	s.Verified = y.Verified - x.Verified
	for name, n := range map[string]uint64{"payload": y.Wrong.Payload - x.Wrong.Payload, "order": y.Wrong.Order - x.Wrong.Order, "foreign": y.Wrong.Foreign - x.Wrong.Foreign,
		"rejected": y.Wrong.Rejected - x.Wrong.Rejected} {
		if n > 0 {
			s.Wrong[name] = n
		}
	}
	if n := y.Duplicates - x.Duplicates; n > 0 {
		s.Wrong["duplicate"] = n
	}
	s.Skipped = y.Skipped - x.Skipped + y.SocketDrops - x.SocketDrops + y.SendErrors - x.SendErrors
	packets := y.Packets - x.Packets
	f := s.Figures
	if packets > 0 {
		f["received packets/message"] = float64(packets) / float64(max(y.Messages-x.Messages, 1))
	}
	f["sent late, most, ms"] = float64(y.LateMax) / 1e6
	for name, n := range map[string]uint64{"recovered packets": y.Recovered - x.Recovered, "retransmissions received": y.RTX - x.RTX, "padding packets received": y.Padding - x.Padding,
		"NACKed by the server": y.NACKed - x.NACKed, "keyframes asked for": y.KeyframesAsked - x.KeyframesAsked} {
		if n > 0 {
			f[name] = float64(n)
		}
	}
	for what, n := range map[string]uint64{"packets did not fit into the generator's socket buffers": y.SocketDrops - x.SocketDrops, "sends were refused by the kernel": y.SendErrors - x.SendErrors,
		"packets were not sent because the generator was late": y.Skipped - x.Skipped, "leaps of sequence numbers": y.Leaps - x.Leaps} {
		if n > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("%d %s", n, what))
		}
	}
}
