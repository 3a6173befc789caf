package turn

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
)

// memoryLink plays packets to a gate and takes its answers.
type memoryLink struct {
	packets [][]byte
	answers int
	from    netip.AddrPort
}

func (m *memoryLink) read(p []byte) (int, netip.AddrPort, error) {
	if len(m.packets) == 0 {
		return 0, m.from, io.EOF
	}
	n := copy(p, m.packets[0])
	m.packets = m.packets[1:]
	return n, m.from, nil
}

func (m *memoryLink) write(p []byte, _ netip.AddrPort) error {
	a := &stun.Message{Raw: p}
	if err := a.Decode(); err != nil {
		panic(err) // we answered with what is no STUN
	}
	m.answers++
	return nil
}

func (m *memoryLink) local() net.Addr                   { return net.UDPAddrFromAddrPort(loopback) }
func (m *memoryLink) netAddr(a netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(a) }
func (m *memoryLink) Close() error                      { return nil }

// bareServer has no listener and no goroutine.
func bareServer() *Server {
	c := testConfig()
	c.Relays = []RelayAddress{{Bind: loopback.Addr(), Announce: loopback.Addr()}}
	s := &Server{cfg: c, log: slog.New(slog.DiscardHandler), peer: newEcho("127.0.0.1:10000")}
	s.creds, s.policy, s.reg = newCredentials(c), newPolicy(nil, nil, nil), newRegistry(&s.cfg)
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

// FuzzGate plays a packet to the gate, with and without an allocation, and checks what it lets through.
func FuzzGate(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, p []byte, allocated bool) {
		s := bareServer()
		from := netip.MustParseAddrPort("127.0.0.1:4000")
		l := &memoryLink{from: from}
		g := &gate{s: s, link: l, datagram: true, clients: map[netip.AddrPort]*relay{}}
		if allocated {
			g.clients[from] = &relay{username: "user", family: familyIPv4}
		}
		if g.admit(p, from) {
			if l.answers != 0 {
				t.Error("answered and let through")
			}
			if len(p) < 4 || p[0] >= 0x80 {
				t.Errorf("%x was let through", p)
			}
		}
		if isErrorResponse(p) && len(p) < stunHeader {
			t.Error("a header that is no header")
		}
	})
}

// FuzzReadFrame cuts a stream into frames and checks that they make it up again.
func FuzzReadFrame(f *testing.F) {
	var all []byte
	for _, s := range seeds() {
		f.Add(s)
		all = append(all, s...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(stream), packetSize)
		p := make([]byte, packetSize)
		rest := stream
		for {
			n, fits, err := readFrame(in, p)
			if err != nil {
				return
			}
			if n < 4 || n > len(rest) || fits && !bytes.Equal(p[:n], rest[:n]) || fits != (n < packetSize) {
				t.Fatalf("a frame of %d bytes of %d", n, len(rest))
			}
			rest = rest[n:]
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
