package turn

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"konzil/internal/udpio"

	"github.com/pion/stun/v4"
)

// memoryLink takes a gate's answers and what it relays to the client.
type memoryLink struct {
	answers int
	data    [][]byte
}

func (m *memoryLink) read() ([]udpio.Datagram, error) { return nil, io.EOF }

func (m *memoryLink) write(p []byte, _ netip.AddrPort) error {
	a := &stun.Message{Raw: p}
	if err := a.Decode(); err != nil {
		panic(err) // we answered with what is no STUN
	}
	m.answers++
	return nil
}

func (m *memoryLink) frame(_ *outlet, _ netip.AddrPort, head [4]byte, data []byte) {
	if m.data != nil {
		m.data = append(m.data, append([]byte{head[0], head[1], head[2], head[3]}, data...))
	}
}

func (m *memoryLink) message(_ *outlet, _ netip.AddrPort, p []byte) {
	m.data = append(m.data, append([]byte(nil), p...))
}

func (m *memoryLink) refused() []udpio.Refusal          { return nil }
func (m *memoryLink) loop() *udpio.Loop                 { return nil }
func (m *memoryLink) local() net.Addr                   { return net.UDPAddrFromAddrPort(loopback) }
func (m *memoryLink) netAddr(a netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(a) }
func (m *memoryLink) Close() error                      { return nil }

// memoryGate is a gate without a socket or a goroutine, on a server without either; r is the relay of the client at from, not allocated by
// a request.
func memoryGate(peer InMemoryPeer, from netip.AddrPort) (g *gate, l *memoryLink, r *relay) {
	s := bareServer()
	s.peer = peer
	l = &memoryLink{}
	g = s.newGate(l, true, udpio.NewFan(4, 4), nil, nil)
	r = &relay{s: s, gate: g, client: from, username: "user", user: "user", gone: make(chan struct{}),
		legs: []*leg{{announced: netip.AddrPortFrom(loopback.Addr(), 50000), family: familyIPv4}}}
	r.table.Store(emptyTable)
	g.clients[from] = r
	return g, l, r
}

// bareServer has no listener and no goroutine.
func bareServer() *Server {
	c := testConfig()
	c.Relays = []RelayAddress{{Bind: loopback.Addr(), Announce: loopback.Addr()}}
	s := &Server{cfg: c, log: slog.New(slog.DiscardHandler), peer: newEcho("127.0.0.1:10000")}
	s.creds, s.policy, s.reg = newCredentials(c), newPolicy(nil, nil, nil), newRegistry(&s.cfg)
	s.started = time.Now()
	s.makePools()
	return s
}

func seeds() [][]byte {
	user := []stun.Setter{stun.NewUsername("user"), stun.NewRealm("test.example"), stun.NewNonce("n"), stun.NewLongTermIntegrity("user", "test.example", "secret")}
	build := func(method stun.Method, attrs ...stun.Setter) []byte {
		all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
		return stun.MustBuild(append(all, user...)...).Raw
	}
	return [][]byte{
		build(stun.MethodAllocate, requestUDP), build(stun.MethodAllocate, requestUDP, attr(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)),
		build(stun.MethodCreatePermission, peer("127.0.0.1:10000")), build(stun.MethodCreatePermission, peer("[::1]:1"), peer("8.8.8.8:1")),
		build(stun.MethodChannelBind, attr(stun.AttrChannelNumber, 0x40, 0, 0, 0), peer("8.8.8.8:1")), build(stun.MethodRefresh),
		stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw, {0x40, 0, 0, 4, 1, 2, 3, 4}, {0, 1}, nil,
	}
}

// FuzzGate plays a packet to the gate, with and without an allocation, and checks what it lets through to pion/turn.
func FuzzGate(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, true)
		f.Add(s, false)
	}
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	f.Fuzz(func(t *testing.T, p []byte, allocated bool) {
		g, l, r := memoryGate(newEcho("127.0.0.1:10000"), from)
		if !allocated {
			g.removeClient(r)
		} else {
			r.table.Store(r.table.Load().bind(0x4000, netip.MustParseAddrPort("127.0.0.1:10000"), 1))
		}
		g.now = 2
		if isData(p) {
			g.fromClient(p, from)
			g.flush()
			if l.answers != 0 {
				t.Error("data was answered")
			}
			if !allocated && g.s.count.memoryOut.Load() != 0 {
				t.Error("data of nobody was relayed")
			}
			return
		}
		if g.admit(p, from) {
			if l.answers != 0 {
				t.Error("answered and let through")
			}
			if len(p) < stunHeader || p[0] >= 0x40 {
				t.Errorf("%x was let through", p)
			}
		}
		if isErrorResponse(p) && len(p) < stunHeader {
			t.Error("a header that is no header")
		}
	})
}

// FuzzSend compares the reading of Send indications with stun's.
func FuzzSend(f *testing.F) {
	for _, to := range []string{"10.1.2.3:4", "[2001:db8::1]:5"} {
		for _, data := range []string{"", "a", "four", "more than that"} {
			f.Add(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(to), attr(stun.AttrData, []byte(data)...)).Raw)
		}
	}
	f.Add(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), attr(stun.AttrDontFragment), peer("1.2.3.4:5"), attr(stun.AttrData)).Raw)
	f.Fuzz(func(t *testing.T, p []byte) {
		to, data, _, ok := parseSend(p)
		if !ok {
			return
		}
		m := &stun.Message{Raw: bytes.Clone(p)}
		if err := m.Decode(); err != nil {
			if binary.BigEndian.Uint32(p[4:]) == magicCookie { // which isData has looked at
				t.Fatalf("stun refuses what we take: %v", err)
			}
			return
		}
		want, err := m.Get(stun.AttrData)
		if err != nil || !bytes.Equal(want, data) {
			t.Errorf("data %x, stun reads %x (%v)", data, want, err)
		}
		var addr stun.XORMappedAddress
		if err := addr.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
			t.Fatal(err)
		}
		if a, _ := netip.AddrFromSlice(addr.IP); int(to.Port()) != addr.Port || to.Addr().Unmap() != a.Unmap() {
			t.Errorf("%v, stun reads %v", to, addr)
		}
	})
}

// inPieces cuts a stream into frames as it comes in pieces, each in a buffer as large as a link's.
func inPieces(stream []byte, piece int, each func(frame []byte)) (f framer, oversized uint64, err error) {
	buf := make([]byte, maxFrame)
	for len(stream) > 0 && err == nil {
		n := copy(buf, f.rest)
		got := copy(buf[n:min(n+piece, len(buf))], stream)
		stream = stream[got:]
		var frames []udpio.Datagram
		var more uint64
		frames, more, err = f.cut(buf[:n+got], loopback, nil)
		oversized += more
		for _, d := range frames {
			each(d.Data)
		}
	}
	return f, oversized, err
}

// FuzzStream cuts a stream into frames, however it is cut on the way, and checks that they make it up again.
func FuzzStream(f *testing.F) {
	var all []byte
	for _, s := range seeds() {
		f.Add(s, uint16(7))
		all = append(all, s...)
	}
	f.Add(all, uint16(1))
	f.Add(append([]byte{0x40, 0, 0xff, 0xff}, make([]byte, 70_000)...), uint16(3000)) // longer than any frame may be, and then rubbish
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		rest := stream
		cutter, _, _ := inPieces(stream, int(piece)+1, func(frame []byte) {
			for { // the frames that were left out were too long
				n, err := frameSize(rest)
				if err != nil || n == 0 {
					t.Fatalf("a frame of %d bytes out of nowhere", len(frame))
				}
				skipped := n > maxFrame
				if !skipped && (n != len(frame) || !bytes.Equal(rest[:n], frame)) {
					t.Fatalf("a frame of %d bytes, want %d", len(frame), n)
				}
				rest = rest[n:]
				if !skipped {
					break
				}
			}
		})
		if len(cutter.rest) >= maxFrame {
			t.Fatalf("%d bytes are kept", len(cutter.rest))
		}
	})
}

// FuzzXORAddress compares with stun's own reading.
func FuzzXORAddress(f *testing.F) {
	f.Add([]byte{0, 1, 1, 2, 3, 4, 5, 6}, []byte("123456789012"))
	f.Add(append([]byte{0, 2, 1, 2}, make([]byte, 16)...), []byte("123456789012"))
	f.Add([]byte{0, 2, 1, 2, 3, 4, 5, 6}, []byte("123456789012"))
	f.Fuzz(func(t *testing.T, v, id []byte) {
		var tid [stun.TransactionIDSize]byte
		copy(tid[:], id)
		got, family, ok := decodeXORAddress(v, tid)
		if !ok {
			return
		}
		m := stun.New()
		m.TransactionID = tid
		m.WriteHeader()
		m.Add(stun.AttrXORPeerAddress, v)
		var want stun.XORMappedAddress
		if err := want.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
			t.Fatalf("family %d: stun refuses what we take: %v", family, err)
		}
		a, _ := netip.AddrFromSlice(want.IP)
		if int(got.Port()) != want.Port || got.Addr().Unmap() != a.Unmap() {
			t.Errorf("%v, stun reads %v", got, want)
		}
	})
}
