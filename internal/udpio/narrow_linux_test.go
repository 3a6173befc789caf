package udpio

import (
	"bytes"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// narrowLoopback moves the test's thread, which ends with it, into a network of its own, whose loopback takes packets of mtu bytes.
func narrowLoopback(t *testing.T, mtu uint32) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("needs CAP_SYS_ADMIN for a network namespace: ", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint32(mtu)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, lo); err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// TestNarrowPath: datagrams that do not fit the path arrive all the same, in fragments, from the first on.
func TestNarrowPath(t *testing.T) {
	narrowLoopback(t, 600)
	a, b := listen(t, Options{}), listen(t, Options{})
	if !a.df.Load() {
		t.Error("fragments are not forbidden at first")
	}
	w, r := a.NewWriter(), b.NewReader()
	want := [][]byte{bytes.Repeat([]byte{1}, 500), bytes.Repeat([]byte{2}, 1200), bytes.Repeat([]byte{3}, 1100)}
	w.Add(b.LocalAddr(), want[0])
	w.Add(b.LocalAddr(), want[1])
	w.Flush()
	if err := a.WriteTo(want[2], b.LocalAddr()); err != nil {
		t.Error(err)
	}
	if a.df.Load() || w.Stats.Dropped != 0 {
		t.Errorf("fragments are still forbidden, or lost: %+v", w.Stats)
	}
	for got := 0; got < len(want); {
		pkts, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkts {
			if !bytes.Equal(p.Data, want[got]) {
				t.Errorf("datagram %d: %d bytes", got, len(p.Data))
			}
			got++
		}
	}
	// The sockets of a loop.
	l, err := NewLoop(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close(); _, _ = l.Read() }()
	s, err := l.Open(netip.MustParseAddrPort("127.0.0.1:0"), SockOptions{Batch: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WriteWhole(want[1], b.LocalAddr()); err == nil || !s.df.Load() {
		t.Errorf("one that must stay whole: %v, fragments are still forbidden: %v", err, s.df.Load())
	}
	f := NewFan(4, 4)
	f.Add(s, b.LocalAddr(), want[0])
	f.Add(s, b.LocalAddr(), want[1])
	f.Flush()
	if f.Stats.Dropped != 0 || s.df.Load() {
		t.Errorf("a loop's socket: %+v, fragments are still forbidden: %v", f.Stats, s.df.Load())
	}
	if err := s.WriteWhole(want[1], b.LocalAddr()); err == nil {
		t.Error("one that must stay whole was cut")
	}
	for got := 0; got < 2; {
		pkts, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkts {
			if !bytes.Equal(p.Data, want[got]) {
				t.Errorf("datagram %d of the fan: %d bytes", got, len(p.Data))
			}
			got++
		}
	}
	// What is not sent in batches comes to it on its own.
	c := listen(t, Options{})
	if err := c.WriteTo(want[1], b.LocalAddr()); err != nil || c.df.Load() {
		t.Errorf("a single datagram: %v", err)
	}
}
