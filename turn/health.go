package turn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	pion "github.com/pion/turn/v3"
)

// checkUser is who the health check allocates as, with a number: checks may overlap.
const checkUser = "health check "

// checkLife is how long its credential is good.
const checkLife = time.Minute

// Check makes an allocation against the server itself, over its first listener, and ends it. A server that drains has none to give, and is well.
func (s *Server) Check(ctx context.Context) error {
	if s.reg.isDraining() {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("turn: %w", context.Cause(ctx))
	}
	user := checkUser + strconv.FormatUint(s.checks.Add(1), 10)
	username, password, _ := s.Credentials(user, checkLife)
	defer s.Revoke(user)
	conn, to, err := s.dialSelf(ctx)
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	defer conn.Close()
	c, err := pion.NewClient(&pion.ClientConfig{TURNServerAddr: to.String(), Conn: conn, Username: username, Password: password, Realm: s.cfg.Realm, LoggerFactory: loggers{s.log}})
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	defer c.Close()
	if err := c.Listen(); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		relayed, err := c.Allocate()
		if err == nil {
			err = relayed.Close()
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		conn.Close() // ends the client
		err = errors.Join(context.Cause(ctx), <-done)
	}
	if err != nil {
		return fmt.Errorf("turn: no allocation: %w", err)
	}
	return nil
}

func (s *Server) dialSelf(ctx context.Context) (net.PacketConn, netip.AddrPort, error) {
	local := func(a netip.AddrPort) netip.AddrPort {
		switch {
		case a.Addr() == netip.IPv4Unspecified():
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
		case a.Addr() == netip.IPv6Unspecified():
			return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
		}
		return a
	}
	if len(s.udp) > 0 {
		to := local(s.udp[0])
		from := netip.IPv4Unspecified()
		if to.Addr().Is6() {
			from = netip.IPv6Unspecified()
		}
		c, err := net.ListenUDP(network("udp", to), net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
		return c, to, err
	}
	to := local(s.tcp[0])
	c, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, to, err
	}
	return pion.NewSTUNConn(c), to, nil
}
