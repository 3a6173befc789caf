package udpio

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestSendApart: whoever sends to the port reaches one of the sockets that are read, always the same one; each of them gets somebody; what is written comes from the
// port, over the second socket while that has room.
func TestSendApart(t *testing.T) {
	for _, a := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, n := range []int{1, 2, 3} {
			t.Run(a, func(t *testing.T) {
				addr := netip.MustParseAddrPort(a)
				var conns []*Conn
				for range n {
					c, err := Listen(addr, Options{ReusePort: true, WriteBuf: 1 << 16})
					if err != nil {
						t.Skip(err) // no IPv6
					}
					t.Cleanup(func() { _ = c.Close() })
					addr = c.LocalAddr()
					conns = append(conns, c)
				}
				if err := SendApart(conns); err != nil {
					t.Fatal(err)
				}
				at := make(chan int, 64)
				for i, c := range conns {
					r, w := c.NewReader(), c.NewWriter()
					go func() {
						_ = r.Serve(func(pkts []Packet) {
							for _, p := range pkts {
								at <- i
								w.Add(p.From, p.Data)
								w.Flush()
							}
						})
					}()
				}
				seen := map[int]bool{}
				for range 64 {
					peer, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)) // takes only what comes from the port
					if err != nil {
						t.Fatal(err)
					}
					defer peer.Close()
					_ = peer.SetDeadline(time.Now().Add(10 * time.Second))
					first := -1
					for k := range 3 {
						if _, err := peer.Write([]byte{byte(k)}); err != nil {
							t.Fatal(err)
						}
						var b [8]byte
						if m, err := peer.Read(b[:]); err != nil || m != 1 || b[0] != byte(k) {
							t.Fatalf("%v %v", b[:m], err)
						}
						if got := <-at; first < 0 {
							first = got
						} else if got != first {
							t.Errorf("socket %d, then %d", first, got)
						}
					}
					seen[first] = true
				}
				if len(seen) != n {
					t.Errorf("of %d sockets these received: %v", n, seen)
				}
				for _, c := range conns {
					var fds []uintptr
					if err := c.transmit(func(fd uintptr) bool { fds = append(fds, fd); return len(fds) == 2 }); err != nil || len(fds) != 2 || fds[0] == fds[1] || fds[0] != uintptr(c.out.fd) {
						t.Errorf("%v %v: not first the second socket, then, when there is no room, the first", fds, err)
					}
					_ = c.Close()
					if err := c.WriteTo([]byte{1}, addr); err == nil {
						t.Error("a closed socket sends")
					}
				}
			})
		}
	}
}

// TestSendApartRefused: sockets that do not share their port send as before.
func TestSendApartRefused(t *testing.T) {
	c := listen(t, Options{})
	if err := SendApart([]*Conn{c}); err == nil {
		t.Error("no error")
	}
	to := listen(t, Options{})
	if err := c.WriteTo([]byte{1}, to.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if p, err := to.NewReader().Read(); err != nil || len(p) != 1 || p[0].From != c.LocalAddr() {
		t.Errorf("%v %v", p, err)
	}
}
