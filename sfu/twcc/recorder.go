package twcc

import (
	"encoding/binary"

	"konzil/sfu/rtp"
)

// Limits of Recorder.
const (
	recordWindow = 2048 // arrivals kept: a second at 20 Mb/s, ten times the usual interval
	maxStatus    = 1024 // packets that one feedback packet covers
	maxReceived  = 480  // arrivals that one feedback packet holds: at most 960 bytes of deltas
)

// Recorder notes arrivals and makes feedback. The zero value is ready; the first Record allocates.
type Recorder struct {
	seq   rtp.Unwrapper
	at    []int64 // arrival by extended number, 0: not arrived
	start int64   // first number of the next feedback
	hi    int64   // newest arrival
	any   bool
	fresh bool // something arrived since the last Build
	count uint8
}

// Record notes that the packet with this transport-wide number arrived (ns on any clock that only goes forward). Duplicates are ignored.
func (r *Recorder) Record(seq uint16, arrival int64) {
	if r.at == nil {
		r.at = make([]int64, recordWindow)
	}
	i := r.seq.Unwrap(seq)
	if arrival == 0 {
		arrival = 1
	}
	switch {
	case !r.any:
		r.any, r.hi, r.start = true, i, i
	case i > r.hi:
		if i-r.hi >= recordWindow {
			clear(r.at)
		} else {
			for s := r.hi + 1; s < i; s++ {
				r.at[s%recordWindow] = 0
			}
		}
		r.hi = i
		r.at[i%recordWindow] = 0
	case i <= r.hi-recordWindow:
		return
	}
	p := &r.at[i%recordWindow]
	if *p != 0 {
		return
	}
	*p = arrival
	if i < r.start { // late: what was reported lost is told again from here
		r.start = i
	}
	r.fresh = true
}

// Build appends feedback packets about everything since the last call to dst. It returns nil when nothing arrived since then.
func (r *Recorder) Build(dst []byte, senderSSRC, mediaSSRC uint32) []byte {
	if !r.fresh {
		return nil
	}
	r.fresh = false
	r.start = max(r.start, r.hi-recordWindow+1)
	for r.start <= r.hi {
		// Feedback begins with an arrival: the reference time is taken from it.
		if r.at[r.start%recordWindow] == 0 && r.start != r.hi {
			if n := r.leadingGap(); n > maxStatus/2 {
				r.start += int64(n)
				continue
			}
		}
		dst = r.packet(dst, senderSSRC, mediaSSRC)
	}
	return dst
}

// leadingGap counts the missing packets at start.
func (r *Recorder) leadingGap() int {
	n := 0
	for i := r.start; i <= r.hi && r.at[i%recordWindow] == 0; i++ {
		n++
	}
	return n
}

// packet appends one feedback packet beginning at start, and moves start behind what it covers.
func (r *Recorder) packet(dst []byte, senderSSRC, mediaSSRC uint32) []byte {
	// First pass: how far does it reach, and with which symbols. The reference time is that of the first arrival.
	var sym [maxStatus]uint8
	var delta [maxReceived]int16
	n, got := 0, 0
	var ref, last int64 // in deltaUnit
	for ; n < maxStatus && r.start+int64(n) <= r.hi && got < maxReceived; n++ {
		at := r.at[(r.start+int64(n))%recordWindow]
		if at == 0 {
			continue // symLost
		}
		t := at / deltaUnit
		if got == 0 {
			ref = at / refUnit
			last = ref * (refUnit / deltaUnit)
		}
		d := t - last
		if d != int64(int16(d)) {
			break // does not fit: the next packet has its own reference time
		}
		sym[n] = symLarge
		if d >= 0 && d <= 255 {
			sym[n] = symSmall
		}
		delta[got] = int16(d)
		got++
		last = t
	}
	at := len(dst)
	dst = append(dst, 0x80|rtp.FmtTWCC, rtp.TypeRTPFB, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, senderSSRC)
	dst = binary.BigEndian.AppendUint32(dst, mediaSSRC)
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.start))
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = append(dst, byte(ref>>16), byte(ref>>8), byte(ref), r.count)
	r.count++
	dst = appendChunks(dst, sym[:n])
	got = 0
	for _, s := range sym[:n] {
		switch s {
		case symSmall:
			dst = append(dst, byte(delta[got]))
			got++
		case symLarge:
			dst = append(dst, byte(uint16(delta[got])>>8), byte(delta[got]))
			got++
		}
	}
	if pad := (4 - (len(dst)-at)%4) % 4; pad > 0 {
		dst[at] |= 0x20
		for range pad - 1 {
			dst = append(dst, 0)
		}
		dst = append(dst, byte(pad))
	}
	binary.BigEndian.PutUint16(dst[at+2:], uint16((len(dst)-at)/4-1))
	r.start += int64(n)
	return dst
}

// appendChunks packs status symbols into chunks (draft §3.1.1 to §3.1.5): a run where it covers at least as much as a vector would.
func appendChunks(dst []byte, sym []uint8) []byte {
	for len(sym) > 0 {
		run := 1
		for run < len(sym) && run < 1<<13-1 && sym[run] == sym[0] {
			run++
		}
		if run >= 14 || run == len(sym) || run >= 7 && sym[0] == symLarge {
			dst = binary.BigEndian.AppendUint16(dst, uint16(sym[0])<<13|uint16(run))
			sym = sym[run:]
			continue
		}
		n, large := min(len(sym), 14), false
		for i, s := range sym[:n] {
			if s == symLarge {
				// One large delta within the first seven asks for two bits a symbol; later ones end the one-bit vector.
				large = i < 7
				if !large {
					n = i
				}
				break
			}
		}
		c := uint16(0x8000)
		if large {
			n = min(len(sym), 7)
			c |= 0x4000
			for i, s := range sym[:n] {
				c |= uint16(s) << (12 - 2*i)
			}
		} else if n < 14 && n < len(sym) {
			// A one-bit vector always stands for 14 packets unless the feedback ends: use two bits for 7 instead.
			n = min(n, 7)
			c |= 0x4000
			for i, s := range sym[:n] {
				c |= uint16(s) << (12 - 2*i)
			}
		} else {
			for i, s := range sym[:n] {
				c |= uint16(s) << (13 - i)
			}
		}
		dst = binary.BigEndian.AppendUint16(dst, c)
		sym = sym[n:]
	}
	return dst
}
