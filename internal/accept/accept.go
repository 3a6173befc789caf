// Package accept takes connections from a listener for as long as it is open, and says whose they are.
package accept

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Pauses after an error that others' leaving may cure: out of descriptors and the like.
const (
	leastPause = 5 * time.Millisecond
	mostPause  = time.Second
)

// Loop gives each connection of ln to take, which must not wait, and closes ln at the end. It returns nil when ln fails after closing has become true,
// and net.ErrClosed when it was closed before.
func Loop(ln net.Listener, log *slog.Logger, closing func() bool, take func(net.Conn)) error {
	defer ln.Close()
	for pause := time.Duration(0); ; {
		c, err := ln.Accept()
		if err == nil {
			pause = 0
			take(c)
			continue
		}
		if closing() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		pause = min(max(2*pause, leastPause), mostPause)
		log.Warn("accept", "err", err, "pause", pause)
		time.Sleep(pause)
	}
}

// prefix6 is what one customer has of IPv6 at least (RFC 6177 §2).
const prefix6 = 64

// Peer is an address as far as one customer has it, to count connections by: all of IPv4, /64 of IPv6.
func Peer(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := ap.Addr().Unmap()
	if ip.Is4() {
		return ip.String()
	}
	p, _ := ip.WithZone("").Prefix(prefix6) // it is within range
	return p.Addr().String()
}
