package xmppload

import (
	"bytes"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
)

const (
	minBody = 32
	maxBody = 16 << 10
	ring    = 4096 // messages of one sender whose times of sending are remembered
	idLen   = 25   // x, run, sender, number
)

// lane is one sender's numbered messages: id and body follow from run, sender and number, so that whoever gets one knows what it must say.
type lane struct {
	w      *world
	from   *client
	sender uint32
	next   uint32          // number of the next message
	tag    string          // element that holds the text: body, or status of a presence
	sentAt [ring]time.Time // by number
	buf    []byte
}

func newLane(w *world, c *client) *lane {
	return &lane{w: w, from: c, sender: uint32(c.n), tag: "body"}
}

const hexDigits = "0123456789abcdef"

func appendHex(b []byte, v uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, hexDigits[v>>(4*i)&15])
	}
	return b
}

func parseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// mix is a hash of three small numbers (the finaliser of SplitMix64).
func mix(run, sender, number uint32) uint64 {
	x := uint64(run)<<32 ^ uint64(sender)<<20 ^ uint64(number)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

var filler = bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog, and then "), maxBody/50+2)

// appendBody makes the text of a message: its hash and a filler that depends on the number.
func appendBody(b []byte, run, sender, number uint32, size int) []byte {
	b = appendHex(b, mix(run, sender, number), 16)
	at := int(number % 50)
	return append(b, filler[at:at+size-16]...)
}

// appendID is x, run, sender and number in hex.
func appendID(b []byte, run, sender, number uint32) []byte {
	b = append(b, 'x')
	b = appendHex(b, uint64(run), 8)
	b = appendHex(b, uint64(sender), 8)
	return appendHex(b, uint64(number), 8)
}

// send writes the next message to an address, and notes when.
func (l *lane) send(to, typ string, now time.Time) error {
	b := append(l.buf[:0], "<message to='"...)
	b = append(append(b, to...), "' id='"...)
	b = appendID(b, l.w.run, l.sender, l.next)
	b = append(append(append(b, "' type='"...), typ...), "'>"...)
	return l.finish(b, "</message>", now)
}

// broadcast writes the next presence.
func (l *lane) broadcast(now time.Time) error {
	b := appendID(append(l.buf[:0], "<presence id='"...), l.w.run, l.sender, l.next)
	return l.finish(append(b, "'>"...), "</presence>", now)
}

func (l *lane) finish(b []byte, end string, now time.Time) error {
	b = append(append(append(b, '<'), l.tag...), '>')
	b = appendBody(b, l.w.run, l.sender, l.next, l.w.cfg.Body)
	b = append(append(append(b, "</"...), l.tag...), '>')
	l.buf = append(b, end...)
	l.sentAt[l.next%ring] = now
	l.next++
	return l.from.write(l.buf)
}

// parsed is a message of this run.
type parsed struct{ sender, number uint32 }

// parse reads the id of a message or presence; false: it is none of this run.
func (w *world) parse(id []byte) (p parsed, ok bool) {
	if len(id) != idLen || id[0] != 'x' {
		return p, false
	}
	run, ok := parseHex(id[1:9])
	if !ok || uint32(run) != w.run {
		return p, false
	}
	s, ok1 := parseHex(id[9:17])
	n, ok2 := parseHex(id[17:25])
	return parsed{uint32(s), uint32(n)}, ok1 && ok2
}

// tally is what is counted in one interval. It belongs to the loop.
type tally struct {
	w    *world
	s    *measure.Sample
	lat  *hdrhistogram.Histogram
	text []byte
	last time.Time // of a delivery
	from time.Time

	sent0, delivered0 uint64 // of the intervals before, for Live
}

func newTally(w *world, unit, latency string) *tally {
	t := &tally{w: w, sent0: w.sent.Load(), delivered0: w.delivered.Load(), lat: measure.NewHistogram(), s: &measure.Sample{Unit: unit, Wrong: map[string]uint64{}, Figures: map[string]float64{}, Labels: map[string]string{}}}
	t.s.Latency = map[string]*hdrhistogram.Histogram{latency: t.lat}
	t.from = time.Now()
	t.last = t.from
	return t
}

// arrived judges one delivery of l's message number to c, and counts it; seen is what c has had of l before. It tells whether it is what it should be.
func (t *tally) arrived(l *lane, seen *window, number uint32, c *client, el *elem, now time.Time) (right bool) {
	if f := t.w.cfg.Fault; f != nil {
		if f.Lose() {
			return false
		}
		f.Corrupt(text(el.inner, l.tag))
	}
	right = true
	t.text = appendBody(t.text[:0], t.w.run, l.sender, number, t.w.cfg.Body)
	if !bytes.Equal(text(el.inner, l.tag), t.text) {
		t.s.Wrong["payload"]++
		right = false
	}
	if to := el.to; to != nil && string(to) != c.jid && (l.tag == "body" || string(to) != bareOf(c.jid)) { // a broadcast goes to the bare address
		t.s.Wrong["foreign"]++
		right = false
	}
	t.count(l, seen, number, len(el.raw), now)
	return right
}

// count takes a delivery of so many bytes, of which only its place among the others is still to be judged.
func (t *tally) count(l *lane, seen *window, number uint32, size int, now time.Time) {
	if kind := seen.note(number); kind != "" {
		t.s.Wrong[kind]++
		if kind == "duplicate" {
			return
		}
	}
	t.s.Verified++
	t.s.Delivered++
	t.s.Bytes += uint64(size)
	t.last = now
	_ = t.lat.RecordValue(max(int64(now.Sub(l.sentAt[number%ring])), 1000))
}

// live tells what was counted so far.
func (t *tally) live(time.Time) {
	t.w.sent.Store(t.sent0 + t.s.Sent)
	t.w.delivered.Store(t.delivered0 + t.s.Delivered)
}

// finish makes the sample.
func (t *tally) finish() *measure.Sample {
	t.live(t.last)
	t.s.Began, t.s.Elapsed = t.from, t.last.Sub(t.from)
	t.s.Labels, t.s.Notes = t.w.labels(), t.w.notes()
	return t.s
}

// window remembers which of a sender's messages have arrived: the highest number and the 64 before it.
type window struct {
	high uint32 // one more than the highest seen
	bits uint64 // bit i: number high-1-i was seen
}

// note says what is wrong with number: "", order, duplicate.
func (v *window) note(number uint32) string {
	if number >= v.high {
		v.bits = v.bits<<min(number+1-v.high, 63) | 1
		if number+1-v.high > 63 {
			v.bits = 1
		}
		v.high = number + 1
		return ""
	}
	back := v.high - 1 - number
	if back > 63 || v.bits>>back&1 != 0 {
		return "duplicate"
	}
	v.bits |= 1 << back
	return "order"
}
