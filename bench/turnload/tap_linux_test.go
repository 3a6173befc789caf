package turnload

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTap: the program in the kernel finds what recorder.arrived finds, and keeps whole samples.
func TestTap(t *testing.T) {
	c := &Config{Network: "udp", Allocations: 3, Payload: 301, Burst: 4, Runs: true}
	epoch := time.Now()
	k, err := newCounter(c, epoch)
	if errors.Is(err, os.ErrPermission) {
		t.Skip("no permission to load BPF programs: ", err)
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer k.close()
	local := netip.MustParseAddr("127.0.0.1")
	open := func(client int) *sock {
		s, err := openSock(local, netip.AddrPort{}, cliBuffer)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		if client > -2 {
			if err := k.watch(s, client); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	peer, client, from := open(-1), open(1), open(-2)
	var r recorder
	r.init(c)
	packet := func(id, seq uint32) []byte {
		p := make([]byte, c.Payload)
		fill(p, id, int(seq)%c.Burst)
		stamp(p, id, seq, int64(time.Since(epoch)))
		return p
	}
	channel := func(p []byte) []byte { return append([]byte{0x40, 0, 1, 45}, p...) }
	send := func(to *sock, ps ...[]byte) {
		var run []byte
		for _, p := range ps {
			run = append(run, p...)
		}
		var out sender
		out.add(from, to.local, run, len(ps[0]))
		if out.flush(); out.lost > 0 {
			t.Fatal("not sent")
		}
	}
	expect := func(what string, delivered uint64, wrong map[string]uint64) {
		t.Helper()
		before := r.delivered.Load()
		clear(r.wrong)
		k.collect(&r)
		if n := r.delivered.Load() - before; n != delivered {
			t.Errorf("%s: %d delivered, want %d", what, n, delivered)
		}
		for _, kind := range []string{"payload", "foreign", "order", "duplicate"} {
			if r.wrong[kind] != wrong[kind] {
				t.Errorf("%s: %d with wrong %s, want %d", what, r.wrong[kind], kind, wrong[kind])
			}
		}
	}
	send(peer, packet(0, 0), packet(0, 1), packet(0, 2))
	send(peer, packet(2, 0))
	expect("to the peer", 4, nil)
	send(client, channel(packet(1, 0)), channel(packet(1, 1)))
	expect("to a client", 2, nil)
	send(client, channel(packet(0, 0)))
	expect("another's", 0, map[string]uint64{"foreign": 1})
	send(peer, packet(0, 2))
	expect("twice", 1, map[string]uint64{"duplicate": 1})
	send(peer, packet(0, 9))
	send(peer, packet(0, 5))
	expect("late", 2, map[string]uint64{"order": 1})
	send(peer, packet(0, 10)[:300])
	send(peer, packet(9, 0))
	expect("cut, and of nobody", 0, map[string]uint64{"payload": 2})
	if n := k.sum(countUnnoted); n != 0 {
		t.Errorf("%d samples without room", n)
	}

	for seq := uint32(100); seq < 100+64*verifyEach; seq += 4 {
		send(peer, packet(0, seq), packet(0, seq+1), packet(0, seq+2), packet(0, seq+3))
	}
	expect("many", 64*verifyEach, nil)
	if r.verified < 32 || r.verified > 128 || r.latency.Max() > int64(10*time.Second) || r.latency.TotalCount() != int64(r.verified) {
		t.Errorf("%d of %d sampled, latency %v", r.verified, 64*verifyEach, time.Duration(r.latency.Max()))
	}

	send(client, append([]byte{1, 1, 0, 0}, make([]byte, 16)...)) // an answer to a request goes into the socket
	expect("STUN", 0, nil)
	if n, err := unix.Read(client.fd, make([]byte, 100)); n != 20 || err != nil {
		t.Errorf("%d bytes in the socket: %v", n, err)
	}
}
