package sfu

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/sfu/translator"
)

// A relay of the SFU has ports on its addresses, passes between its channels, is counted, and ends with it.
func TestOpenTranslator(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	s, err := New(cfg, nil)
	must(t, err)
	defer s.Close()
	if n := s.Counters()["translator_groups"]; n != 0 {
		t.Errorf("%d relays", n)
	}
	r, err := s.OpenTranslator("call", nil)
	must(t, err)
	var to [2]netip.AddrPort
	var ends [2]*net.UDPConn
	for i := range ends {
		ch, err := r.Add(translator.ChannelConfig{})
		must(t, err)
		to[i], _, _, _ = ch.Local()
		ends[i], err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		must(t, err)
		defer ends[i].Close()
	}
	pkt := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7}, make([]byte, 160)...)
	_, err = ends[0].WriteToUDPAddrPort(pkt, to[0])
	must(t, err)
	await.True(t, "the first end is latched", func() bool { return s.Counters()["translator_latched"] > 0 })
	_, err = ends[1].WriteToUDPAddrPort(pkt, to[1])
	must(t, err)
	must(t, ends[0].SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 2000)
	n, from, err := ends[0].ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != string(pkt) || from.Port() != to[0].Port() {
		t.Errorf("%d bytes from %s, %v", n, from, err)
	}
	await.True(t, "the packet is counted", func() bool { return s.Counters()["translator_packets_out"] == 1 }) // after it was sent
	must(t, s.Close())
	if _, err := s.OpenTranslator("late", nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
