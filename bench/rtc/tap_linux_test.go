package rtc

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"
)

// tapped is a shared socket with a tap, and another one that sends runs to it.
func tapped(t *testing.T) (*mediaTap, *sock, func(seg int, packets ...[]byte)) {
	t.Helper()
	p, err := newTap(true)
	if errors.Is(err, os.ErrPermission) {
		t.Skip("no permission to load BPF programs: ", err)
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(p.close)
	s, err := openShared(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if err := p.attach(s); err != nil {
		t.Fatal(err)
	}
	from, err := openSock(loopback, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(from.close)
	o := newOutbox()
	return p, s, func(seg int, packets ...[]byte) {
		t.Helper()
		b, _ := o.room()
		for _, p := range packets {
			b = append(b, p...)
		}
		o.put(from, loopback, netip.AddrPortFrom(addressOf(7), s.port), b, seg)
		if n := o.flush(); n > 0 {
			t.Fatalf("%d were not sent", n)
		}
	}
}

// rtpOf is a packet of some payload type and size, filled with its number.
func rtpOf(pt uint8, size int, n byte) []byte {
	b := bytes.Repeat([]byte{n}, size)
	b[0], b[1] = 0x80, pt
	return b
}

// kept is what one note says of a packet.
type kept struct {
	b       []byte
	size    int
	sampled bool
}

func notes(t *testing.T, p *mediaTap) (all []kept) {
	t.Helper()
	p.begin()
	for {
		n, ok := p.next()
		if !ok {
			break
		}
		if d := time.Now().UnixNano() - n.at; n.slot != 7 || d < 0 || d > int64(time.Minute) {
			t.Errorf("slot %d, %v ago", n.slot, time.Duration(d))
		}
		for {
			var k kept
			var ok bool
			if k.b, k.size, k.sampled, ok = n.packet(); !ok {
				break
			}
			k.b = bytes.Clone(k.b)
			all = append(all, k)
		}
	}
	p.done()
	return all
}

// The tap notes every packet of a run: whole while everything is wanted, the head when not; what is no media goes into the socket.
func TestTap(t *testing.T) {
	p, s, send := tapped(t)
	const pt, other = 100, 101
	run := [][]byte{}
	for i := range byte(50) {
		run = append(run, rtpOf(pt, 1200, i))
	}
	run = append(run, rtpOf(pt, 700, 99))
	check := func(whole bool) {
		t.Helper()
		got := notes(t, p)
		if len(got) != len(run) {
			t.Fatalf("%d of %d packets", len(got), len(run))
		}
		for i, k := range got {
			if k.size != len(run[i]) || !bytes.Equal(k.b, run[i][:len(k.b)]) {
				t.Errorf("packet %d: size %d, %x", i, k.size, k.b[:2])
			}
			if all := len(k.b) == k.size; all != (whole || k.sampled) || !all && len(k.b) != tapHead {
				t.Errorf("packet %d: %d of %d bytes, sampled %v", i, len(k.b), k.size, k.sampled)
			}
		}
	}
	send(1200, run...)
	check(true)
	var types [maskBytes]byte
	types[other/8] |= 1 << (other % 8)
	p.want(7, types)
	send(1200, run...)
	check(false)
	p.want(7, everyType)

	send(100, append([]byte{0, 1}, make([]byte, 98)...)) // STUN
	if n := len(notes(t, p)); n != 0 {
		t.Errorf("%d notes of what is no media", n)
	}
	in, err := newInbox()
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if n, _ := in.read(s, true); n != 1 || len(in.message(0).b) != 100 {
		t.Errorf("%d messages in the socket", n)
	}
}

// Padding, RTCP and the payload types that are wanted come whole; of all others about one in 64.
func TestTapChoice(t *testing.T) {
	p, _, send := tapped(t)
	var types [maskBytes]byte
	types[111/8] |= 1 << (111 % 8)
	p.want(7, types)
	padded := rtpOf(96, 200, 1)
	padded[0] |= 0x20
	for _, b := range [][]byte{padded, rtpOf(111, 200, 2), rtpOf(0x80|111, 200, 3), rtpOf(200, 200, 4), rtpOf(96, 20, 5)} {
		send(len(b), b)
		if k := notes(t, p); len(k) != 1 || len(k[0].b) != len(b) {
			t.Errorf("%x: %+v", b[:2], k)
		}
	}
	sampled, sent := 0, 0
	for range 400 {
		run := [][]byte{}
		for i := range byte(40) {
			run = append(run, rtpOf(96, 300, i))
		}
		send(300, run...)
		for _, k := range notes(t, p) {
			sent++
			if k.sampled {
				sampled++
			}
		}
	}
	if sent != 400*40 || sampled < sent/64*3/4 || sampled > sent/64*4/3 {
		t.Errorf("%d of %d sampled", sampled, sent)
	}
}

// What the ring has no room for is counted.
func TestTapFull(t *testing.T) {
	p, _, send := tapped(t)
	b := rtpOf(96, 1200, 1)
	sent := 0
	for size := 0; size < tapRing+tapRing/8; size += 50 * 1200 {
		run := [][]byte{}
		for range 50 {
			run = append(run, b)
		}
		send(1200, run...)
		sent += len(run)
	}
	got := len(notes(t, p))
	if lost := p.lostNow(); lost == 0 || got+int(lost) != sent || p.lostNow() != 0 {
		t.Errorf("%d came and %d were lost of %d", got, lost, sent)
	}
	send(1200, b)
	if n := len(notes(t, p)); n != 1 {
		t.Errorf("%d after that", n)
	}
}
