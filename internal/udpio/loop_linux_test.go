package udpio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
)

func newLoop(t testing.TB) *Loop {
	t.Helper()
	l, err := NewLoop(nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func open(t testing.TB, l *Loop, at string, opt SockOptions) *Sock {
	t.Helper()
	s, err := l.Open(netip.MustParseAddrPort(at), opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain ends a loop that nobody reads any more.
func drain(l *Loop) {
	_ = l.Close()
	for {
		if _, err := l.Read(); err != nil {
			return
		}
	}
}

// TestLoopAndFan sends runs of mixed sizes from many sockets to many, with and without a head, and checks that what each socket gets is whole and in
// order.
func TestLoopAndFan(t *testing.T) {
	for name, opt := range map[string]struct{ tx, rx SockOptions }{
		"offload":        {},
		"plain receiver": {rx: SockOptions{NoOffload: true}},
		"plain":          {SockOptions{NoOffload: true}, SockOptions{NoOffload: true}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t)
			defer drain(l)
			const pairs = 9
			tx, rx := make([]*Sock, pairs), make([]*Sock, pairs)
			for i := range tx {
				opt.tx.Owner, opt.rx.Owner, opt.rx.Batch = i, i, 1+i
				tx[i], rx[i] = open(t, l, "127.0.0.1:0", opt.tx), open(t, l, "127.0.0.1:0", opt.rx)
			}
			f := NewFan(7, 5)
			var want [pairs][][]byte
			sizes := []int{1200, 1200, 1200, 300, 1200, 100, 100, 100, 40, 1100, 1100, 1, 1200, 0, 1200}
			total := 0
			for round, n := range sizes {
				for i := range pairs {
					for k := range 1 + i%3 {
						p := bytes.Repeat([]byte{byte(i)}, n)
						if n >= 8 {
							binary.BigEndian.PutUint64(p, uint64(round*100+k))
						}
						if i%2 == 0 {
							f.Add(tx[i], rx[i].LocalAddr(), p)
							want[i] = append(want[i], p)
						} else {
							head := [4]byte{1, 2, byte(round), byte(k)}
							f.AddFramed(tx[i], rx[i].LocalAddr(), head, p)
							want[i] = append(want[i], append(head[:], p...))
						}
						total++
					}
				}
			}
			f.Flush()
			if f.Stats.Packets != uint64(total) || f.Stats.Dropped != 0 {
				t.Fatalf("%+v, want %d packets", f.Stats, total)
			}
			if gso := tx[0].gso.Load(); gso && f.Stats.Messages == f.Stats.Packets {
				t.Error("no runs were made")
			}
			for got := 0; got < total; {
				pkts, err := l.Read()
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range pkts {
					i := p.Sock.Owner().(int)
					if p.Sock != rx[i] || p.From != tx[i].LocalAddr() || len(want[i]) == 0 || !bytes.Equal(p.Data, want[i][0]) {
						t.Fatalf("socket %d: %d bytes from %v", i, len(p.Data), p.From)
					}
					want[i] = want[i][1:]
					got++
				}
			}
		})
	}
}

// A run that the kernel does not cut goes out one by one, and stays so.
func TestFanWithoutSegmentation(t *testing.T) {
	l := newLoop(t)
	defer drain(l)
	tx, rx := open(t, l, "127.0.0.1:0", SockOptions{}), open(t, l, "127.0.0.1:0", SockOptions{Batch: 64})
	f := NewFan(8, 64)
	var want [][]byte
	for i := range 6 {
		want = append(want, append([]byte{9, 9, 9, byte(i)}, bytes.Repeat([]byte{byte(i)}, 99)...))
		f.AddFramed(tx, rx.LocalAddr(), [4]byte(want[i]), want[i][4:])
	}
	m := &f.msgs[0]
	f.refused(tx, 0, 5) // EIO
	if tx.gso.Load() || m.cnt != 6 || f.Stats.Packets != 6 {
		t.Fatalf("%+v", f.Stats)
	}
	f.n = 0
	f.gen++
	for len(want) > 0 {
		pkts, err := l.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkts {
			if !bytes.Equal(p.Data, want[0]) {
				t.Fatalf("%x", p.Data)
			}
			want = want[1:]
		}
	}
}

func TestLoopCloses(t *testing.T) {
	l := newLoop(t)
	s := open(t, l, "[::1]:0", SockOptions{})
	if s.LocalAddr().Port() == 0 || !s.LocalAddr().Addr().Is6() {
		t.Fatal(s.LocalAddr())
	}
	done := make(chan error)
	go func() { _, err := l.Read(); done <- err }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if err := s.WriteTo([]byte{1}, s.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := l.Open(s.LocalAddr(), SockOptions{}); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	c, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(s.LocalAddr())) // the port is free again
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// A descriptor is not closed under somebody who sends: else another file, which got its number, would be written to.
func TestSockCloseWaitsForUsers(t *testing.T) {
	l := newLoop(t)
	defer drain(l)
	for range 50 {
		s := open(t, l, "127.0.0.1:0", SockOptions{})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for s.WriteTo([]byte{1}, s.LocalAddr()) == nil {
				}
			})
		}
		all.Go(func() { _ = s.Close() })
		all.Wait()
		if n := s.users.Load(); n != handleClosed|handleReleased {
			t.Fatalf("users %x", n)
		}
	}
}

func TestLoopNoAllocation(t *testing.T) {
	l := newLoop(t)
	defer drain(l)
	a, b := open(t, l, "127.0.0.1:0", SockOptions{}), open(t, l, "127.0.0.1:0", SockOptions{Batch: 8})
	f, p := NewFan(8, 64), make([]byte, 1200)
	if n := testing.AllocsPerRun(200, func() {
		for range 8 {
			f.AddFramed(a, b.LocalAddr(), [4]byte{1}, p)
		}
		f.Flush()
		for got := 0; got < 8; {
			pkts, err := l.Read()
			if err != nil {
				panic(err)
			}
			got += len(pkts)
		}
	}); n != 0 {
		t.Fatalf("%v allocations a round", n)
	}
}

// TestRefused: a socket that nobody listens to is told of, and what is sent elsewhere right after it, by the same socket, is not lost to that.
func TestRefused(t *testing.T) {
	l, other := newLoop(t), newLoop(t)
	defer drain(l)
	defer drain(other)
	closed := open(t, other, "127.0.0.1:0", SockOptions{})
	nobody := closed.LocalAddr()
	closed.Close()
	live := open(t, other, "127.0.0.1:0", SockOptions{})
	s := open(t, l, "127.0.0.1:0", SockOptions{Refusals: true})
	f := NewFan(4, 4)
	for _, send := range []func(){
		func() { f.Add(s, live.LocalAddr(), []byte{1}); f.Flush() },
		func() {
			if err := s.WriteTo([]byte{1}, live.LocalAddr()); err != nil {
				t.Error(err)
			}
		},
	} {
		f.Add(s, nobody, []byte{2})
		f.Flush()
		send()
		if pkts, err := other.Read(); err != nil || len(pkts) != 1 || pkts[0].Data[0] != 1 {
			t.Fatal(pkts, err)
		}
	}
	for got := 0; got < 2; {
		if _, err := l.Read(); err != nil {
			t.Fatal(err)
		}
		for _, r := range l.Refused() {
			if got++; r != (Refusal{Sock: s, To: nobody, Type: 3, Code: 3}) {
				t.Errorf("%+v", r)
			}
		}
	}
	if f.Stats.Dropped != 0 {
		t.Error(f.Stats)
	}
}
