package turn

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"konzil/internal/await"

	"github.com/pion/stun/v4"
)

// overStreams runs a test over TCP and over TLS.
func overStreams(t *testing.T, c Config, peer InMemoryPeer, run func(t *testing.T, s *Server, dial func() net.Conn)) {
	server, trust := certified()
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "TCP", true: "TLS"}[secure], func(t *testing.T) {
			s := start(t, c, peer)
			to := s.TCPAddrs()[0].String()
			if secure {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				if err := s.ServeTLS(l, server); err != nil {
					t.Fatal(err)
				}
				to = l.Addr().String()
			}
			run(t, s, func() net.Conn {
				conn, err := net.Dial("tcp", to)
				if err == nil && secure {
					conn = tls.Client(conn, trust)
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				return conn
			})
		})
	}
}

// TestOversizedOverStreams: frames longer than any may be are skipped and counted, requests longer than a packet too; what is behind them is served,
// and nothing of them is kept.
func TestOversizedOverStreams(t *testing.T) {
	overStreams(t, testConfig(), nil, func(t *testing.T, s *Server, dial func() net.Conn) {
		r := newRawStream(t, dial(), "user", "secret")
		for i := range 3 {
			long := append([]byte{0x40, 0, 0xff, 0xfc}, make([]byte, 0xfffc)...) // the longest channel data there can be
			request := make([]byte, stunHeader+packetSize)
			binary.BigEndian.PutUint32(request, 0x0003<<16|packetSize) // Allocate
			binary.BigEndian.PutUint32(request[4:], magicCookie)
			for _, p := range [][]byte{long, request} {
				if _, err := r.Write(p); err != nil {
					t.Fatal(err)
				}
			}
			if code := r.code(stun.MethodRefresh); code != 437 { // there is no allocation
				t.Errorf("afterwards: %d", code)
			}
			if n := s.Counters(); n["oversized"] != uint64(2*(i+1)) {
				t.Error(n)
			}
		}
	})
}

// TestTruncatedOverStreams: a frame that never ends holds as much as came of it, until its time is over; a connection that ends within one is gone.
func TestTruncatedOverStreams(t *testing.T) {
	c := testConfig()
	c.IdleTimeout = 200 * time.Millisecond
	overStreams(t, c, nil, func(t *testing.T, s *Server, dial func() net.Conn) {
		for _, half := range []bool{true, false} {
			conn := dial()
			whole := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("a truncated request")).Raw
			if _, err := conn.Write(whole[:len(whole)-4]); err != nil {
				t.Fatal(err)
			}
			if half {
				conn.Close()
			} else {
				conn.SetReadDeadline(deadline())
				if n, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
					t.Errorf("%d bytes, %v: want an end", n, err)
				}
			}
			await.True(t, "no connection", func() bool { return s.Counters()["streams_now"] == 0 })
		}
		if n := s.Counters(); n["requests"] != 0 {
			t.Error(n)
		}
	})
}

// TestRubbishOverStreams: what is neither STUN nor channel data ends the connection and its allocation, after what came before it was served.
func TestRubbishOverStreams(t *testing.T) {
	overStreams(t, testConfig(), nil, func(t *testing.T, s *Server, dial func() net.Conn) {
		r := newRawStream(t, dial(), "user", "secret")
		if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
			t.Fatal(code)
		}
		if _, err := r.Write(append(r.build(stun.MethodRefresh).Raw, 0x80, 1, 2, 3)); err != nil {
			t.Fatal(err)
		}
		if code := codeOf(t, r.message()); code != 0 {
			t.Error(code)
		}
		if _, err := io.ReadAll(r); err != nil && isTimeout(err) {
			t.Error(err)
		}
		await.True(t, "the end of all", func() bool {
			n := s.Counters()
			return n["malformed"] == 1 && n["streams_now"] == 0 && n["allocations_now"] == 0
		})
	})
}

// TestSlowHandshake: who begins a TLS handshake and does not go on counts for the limit of his address meanwhile, and is closed in time.
func TestSlowHandshake(t *testing.T) {
	server, _ := certified()
	begin := func(change func(*Config)) (s *Server, held []net.Conn) {
		c := testConfig()
		change(&c)
		s = start(t, c, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ServeTLS(l, server); err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{nil, {22, 3, 1, 2, 0, 1}, nil} { // nothing, and the head of a ClientHello
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := conn.Write(p); err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		return s, held
	}
	ends := func(conn net.Conn) {
		t.Helper()
		conn.SetReadDeadline(deadline())
		if _, err := io.ReadAll(conn); isTimeout(err) {
			t.Error(err)
		}
	}
	s, held := begin(func(c *Config) { c.PerAddress, c.IdleTimeout = 2, time.Hour })
	ends(held[2])
	if n := s.Counters(); n["malformed"] != 0 || n["streams_refused"] != 1 || n["streams_now"] != 2 {
		t.Error(n)
	}
	s, held = begin(func(c *Config) { c.IdleTimeout = 100 * time.Millisecond })
	for _, conn := range held {
		ends(conn)
	}
	await.True(t, "no connection", func() bool { return s.Counters()["streams_now"] == 0 })
	if n := s.Counters(); n["malformed"] != 3 || n["streams_refused"] != 0 {
		t.Error(n)
	}
}

// TestChannelAbuse: an allocation has so many channels and no more; a number is one peer's and a peer has one number; data on others goes nowhere.
func TestChannelAbuse(t *testing.T) {
	s := start(t, testConfig(), newEcho("127.0.0.1:10000"))
	r := newRaw(t, s, "user", "secret")
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	bind := func(number, port int) int {
		at := peerAttr(netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, 8}), uint16(port))) // one permission
		return r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, byte(number>>8), byte(number), 0, 0), at)
	}
	for i := range maxPeers {
		if code := bind(minChannel+i, 1+i); code != 0 {
			t.Fatalf("channel %d: %d", i, code)
		}
	}
	for i, c := range []struct {
		name         string
		number, port int
		code         int
		counter      string
		count        uint64
	}{
		{"one too many", minChannel + maxPeers, 1 + maxPeers, 508, "table_full", 1},
		{"the last number there is", maxChannel, 1 + maxPeers, 508, "table_full", 2},
		{"a number for another peer", minChannel, 2, 400, "refused", 1},
		{"a peer for another number", minChannel + 1, 1, 400, "refused", 2},
		{"below the first", minChannel - 1, 1, 400, "refused", 3},
		{"above the last", maxChannel + 1, 1, 400, "refused", 4},
		{"again", minChannel, 1, 0, "refused", 4},
	} {
		if code := bind(c.number, c.port); code != c.code {
			t.Errorf("%s: %d, want %d", c.name, code, c.code)
		}
		if n := s.Counters()[c.counter]; n != c.count {
			t.Errorf("%d, %s: %s is %d, want %d", i, c.name, c.counter, n, c.count)
		}
	}
	before := s.Counters()
	for _, p := range [][]byte{{0x7f, 0xff, 0, 1, 'x', 0, 0, 0}, {0x40, 0x80, 0, 0}, {0x40, 0, 0, 9, 'x'}, {0xff, 0xff, 0, 1, 'x'}} {
		if _, err := r.conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	await.True(t, "strays", func() bool {
		n := s.Counters()
		return n["stray"] == before["stray"]+2 && n["malformed"] == before["malformed"]+2
	})
	if n := s.Counters(); n["packets_socket_out"] != 0 || n["packets_memory_out"] != 0 {
		t.Error(n)
	}
}
