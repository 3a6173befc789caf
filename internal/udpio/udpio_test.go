package udpio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
)

func listen(t testing.TB, opt Options) *Conn {
	t.Helper()
	c, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange sends runs of mixed sizes and checks that each datagram arrives whole and in order.
func exchange(t *testing.T, tx, rx Options) {
	a, b := listen(t, tx), listen(t, rx)
	w, r := a.NewWriter(), b.NewReader()
	sizes := []int{1200, 1200, 1200, 300, 1200, 100, 100, 100, 40, 1100, 1100, 1, 1200}
	var want [][]byte
	for round := range 5 {
		for i, n := range sizes {
			p := bytes.Repeat([]byte{byte(i)}, max(n, 1))
			if n >= 8 {
				binary.BigEndian.PutUint64(p, uint64(round*100+i))
			}
			want = append(want, p)
			w.Add(b.LocalAddr(), p)
		}
	}
	w.Flush()
	if w.Stats.Packets != uint64(len(want)) || w.Stats.Dropped != 0 {
		t.Fatalf("stats %+v, want %d packets", w.Stats, len(want))
	}
	var got int
	for got < len(want) {
		pkts, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkts {
			if p.From != a.LocalAddr() {
				t.Fatalf("from %v", p.From)
			}
			if !bytes.Equal(p.Data, want[got]) {
				t.Fatalf("datagram %d differs: %d bytes, want %d", got, len(p.Data), len(want[got]))
			}
			got++
		}
	}
}

func TestExchange(t *testing.T) {
	t.Run("offload", func(t *testing.T) { exchange(t, Options{}, Options{}) })
	t.Run("plain receiver", func(t *testing.T) { exchange(t, Options{}, Options{NoOffload: true}) })
	t.Run("plain", func(t *testing.T) { exchange(t, Options{NoOffload: true}, Options{NoOffload: true}) })
}

// TestServe: everything comes, also what arrives while a batch is being handled, and the end comes with the socket.
func TestServe(t *testing.T) {
	a, b := listen(t, Options{}), listen(t, Options{NoOffload: true})
	const bursts, burst = 20, 50 // more than a batch
	send := func() {
		for i := range burst {
			if err := a.WriteTo([]byte{byte(i)}, b.LocalAddr()); err != nil {
				t.Error(err)
			}
		}
	}
	got := make(chan int)
	ended := make(chan error, 1)
	go func() {
		n := 0
		ended <- b.NewReader().Serve(func(pkts []Packet) {
			for _, p := range pkts {
				if len(p.Data) != 1 || int(p.Data[0]) != n%burst || p.From != a.LocalAddr() {
					t.Errorf("datagram %d: %v from %v", n, p.Data, p.From)
				}
				if n++; n%burst == 0 && n < bursts*burst {
					send()
				}
			}
			if n == bursts*burst {
				got <- n
			}
		})
	}()
	send()
	<-got
	_ = b.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}

func TestReusePort(t *testing.T) {
	a := listen(t, Options{ReusePort: true})
	b, err := Listen(a.LocalAddr(), Options{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	if c, err := Listen(a.LocalAddr(), Options{}); err == nil {
		_ = c.Close()
		t.Fatal("second listener without reuse was accepted")
	}
}

// TestReusePortChosen: a port that the kernel chooses is nobody else's, though all of them may be shared.
func TestReusePortChosen(t *testing.T) {
	seen := map[netip.AddrPort]bool{}
	for range 900 { // of 28,000: with the option set too early, ten of them come twice
		a := listen(t, Options{ReusePort: true}).LocalAddr()
		if seen[a] {
			t.Fatalf("%v twice", a)
		}
		seen[a] = true
	}
}

func TestCloseEndsRead(t *testing.T) {
	c := listen(t, Options{})
	done := make(chan error, 1)
	r := c.NewReader()
	go func() { _, err := r.Read(); done <- err }()
	_ = c.Close()
	if err := <-done; err == nil {
		t.Fatal("read returned no error after close")
	}
}

func TestNoAllocation(t *testing.T) {
	a, b := listen(t, Options{}), listen(t, Options{})
	w, r := a.NewWriter(), b.NewReader()
	p := make([]byte, 1200)
	n := testing.AllocsPerRun(200, func() {
		for range 8 {
			w.Add(b.LocalAddr(), p)
		}
		w.Flush()
		for got := 0; got < 8; {
			pkts, err := r.Read()
			if err != nil {
				panic(err)
			}
			got += len(pkts)
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations a round", n)
	}
}
