package turn

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
	pion "github.com/pion/turn/v3"
)

// hosted is a UDP socket that all of what comes goes from to the server, as the SFU's does with what is not its own.
func hosted(t *testing.T, s *Server) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	at := addrPort(c.LocalAddr())
	done := make(chan struct{})
	err = s.ServeMedia([]netip.AddrPort{at}, func(take func(local, from netip.AddrPort, pkt []byte)) func(local, to netip.AddrPort, pkt []byte) error {
		go func() {
			defer close(done)
			var buf [2000]byte
			for {
				n, from, err := c.ReadFromUDPAddrPort(buf[:])
				if err != nil {
					return
				}
				take(at, unmap(from), buf[:n])
			}
		}()
		return func(_, to netip.AddrPort, pkt []byte) error {
			_, err := c.WriteToUDPAddrPort(pkt, to)
			return err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); <-done })
	return at
}

// TestMediaPort relays for a client who came by the port of media: to the SFU and to a peer on a socket.
func TestMediaPort(t *testing.T) {
	sfu := newEcho("127.0.0.1:10000")
	c := testConfig()
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	s := start(t, c, sfu)
	at := hosted(t, s)
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := pion.NewClient(&pion.ClientConfig{TURNServerAddr: at.String(), STUNServerAddr: at.String(), Conn: conn, Username: "user", Password: "secret",
		Realm: "test.example", LoggerFactory: loggers{s.log}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	if a, err := p.SendBindingRequest(); err != nil || a.String() != conn.LocalAddr().String() {
		t.Errorf("binding: %v, %v", a, err)
	}
	relayed := allocate(t, p)
	roundTrips(t, relayed, net.UDPAddrFromAddrPort(sfu.addrs[0]))
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	echoes := make(chan struct{})
	go func() {
		defer close(echoes)
		var buf [2000]byte
		for {
			n, from, err := peer.ReadFrom(buf[:])
			if err != nil {
				return
			}
			peer.WriteTo(buf[:n], from)
		}
	}()
	defer func() { peer.Close(); <-echoes }()
	roundTrips(t, relayed, peer.LocalAddr())
}

// TestMediaPortChannels: a channel number whose first byte is media's is refused there (RFC 8656 §12).
func TestMediaPortChannels(t *testing.T) {
	sfu := newEcho("127.0.0.1:10000")
	s := start(t, testConfig(), sfu)
	at := hosted(t, s)
	r := newRaw(t, s, "user", "secret")
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.conn, r.nonce = conn, ""
	var nonce stun.Nonce
	if err := nonce.GetFrom(r.ask(stun.MethodAllocate, requestUDP)); err != nil {
		t.Fatal(err)
	}
	r.nonce = nonce.String()
	if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
		t.Fatal(code)
	}
	p := peer("127.0.0.1:10000")
	if code := r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, 0x50, 0, 0, 0), p); code != 400 {
		t.Errorf("channel 0x5000: %d, want 400", code)
	}
	if code := r.code(stun.MethodChannelBind, attr(stun.AttrChannelNumber, 0x4f, 0xff, 0, 0), p); code != 0 {
		t.Errorf("channel 0x4fff: %d", code)
	}
}
