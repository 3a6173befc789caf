package sfu

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"konzil/internal/await"
)

// stunServer answers each binding request with an address; nil lets the request be lost.
func stunServer(t *testing.T, seen func(from netip.AddrPort) *netip.AddrPort) string {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			a := seen(from)
			if n < 20 || b[0] != 0 || b[1] != 1 || a == nil {
				continue
			}
			ip := a.Addr().As4()
			out := []byte{1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42} // success, magic cookie
			out = append(out, b[8:20]...)
			out = append(out, 0, 0x20, 0, 8, 0, 1) // XOR-MAPPED-ADDRESS
			out = binary.BigEndian.AppendUint16(out, a.Port()^0x2112)
			out = binary.BigEndian.AppendUint32(out, binary.BigEndian.Uint32(ip[:])^0x2112a442)
			_, _ = c.WriteToUDPAddrPort(out, from)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c.LocalAddr().String()
}

func TestNATMapping(t *testing.T) {
	t.Parallel()
	public := netip.MustParseAddrPort("203.0.113.9:41234")
	var lost atomic.Int32
	silent := stunServer(t, func(netip.AddrPort) *netip.AddrPort { lost.Add(1); return nil })
	server := stunServer(t, func(netip.AddrPort) *netip.AddrPort { return &public })
	s := startSFU(t, func(c *Config) { c.STUN, c.Shards = []string{silent, server}, 2 })
	await.True(t, "mapping", func() bool { return len(s.mapped()) == 1 })
	got := s.candidates()
	if len(got) != 2 || got[1].Type != "srflx" || got[1].Addr != public || got[1].Related != s.LocalAddrs()[0] || got[1].Protocol != "udp" {
		t.Fatalf("candidates %+v", got)
	}
	if !s.Owns(public) || s.Owns(netip.MustParseAddrPort("203.0.113.9:41235")) || !s.Owns(netip.MustParseAddrPort("203.0.113.9:0")) {
		t.Fatal("a relay does not know the public address")
	}
	n := s.Counters()
	if n["nat_mapped"] != 1 || n["nat_answered"] != 1 || n["nat_asked"] != natTries+1 || lost.Load() != natTries {
		t.Fatalf("asked %d, answered %d, mapped %d; the silent server %d", n["nat_asked"], n["nat_answered"], n["nat_mapped"], lost.Load())
	}
}

func TestNoNAT(t *testing.T) {
	t.Parallel()
	server := stunServer(t, func(from netip.AddrPort) *netip.AddrPort { return &from })
	s := startSFU(t, func(c *Config) { c.STUN = []string{"nonsense", server} })
	await.True(t, "answer", func() bool { return s.Counters()["nat_answered"] == 1 })
	if m := s.mapped(); len(m) != 0 {
		t.Fatalf("mapped to itself: %v", m)
	}
}

// TestNATForged: answers that nobody asked for change nothing.
func TestNATForged(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	c, err := net.Dial("udp4", s.LocalAddrs()[0].String())
	must(t, err)
	defer func() { _ = c.Close() }()
	id := s.users.newID(natNumber)
	out := append([]byte{1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42}, id[:]...)
	out = append(out, 0, 0x20, 0, 8, 0, 1, 0, 9, 1, 2, 3, 4)
	_, err = c.Write(out)
	must(t, err)
	await.True(t, "refused", func() bool { return s.Counters()["drop_stun_transaction"] == 1 })
	if m := s.mapped(); len(m) != 0 {
		t.Fatalf("mapped: %v", m)
	}
}
