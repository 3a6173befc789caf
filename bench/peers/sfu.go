package peers

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// mediaPorts is the range that servers take their media ports from when they want one: below the kernel's own (32768 and up), where they
// find free ones by themselves.
const (
	mediaPortFirst = 20_000
	mediaPortLast  = 31_999
)

// errNoAddress says how a machine without a network gets what some servers need.
var errNoAddress = errors.New("the machine has no IPv4 address besides the loopback, where this server takes no media; to make one: " +
	"ip link add bench0 type dummy && ip addr add 10.99.0.1/32 dev bench0 && ip link set bench0 up")

// hostAddress is an IPv4 address of this machine that is not on the loopback: Janus, Galene and the Jitsi Videobridge gather candidates on
// such interfaces only. What is sent to it from this machine goes over the loopback device all the same.
func hostAddress() (netip.Addr, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return netip.Addr{}, err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				return p.Addr(), nil
			}
		}
	}
	return netip.Addr{}, errNoAddress
}

// portRange is mediaPortFirst and mediaPortLast with sep between.
func portRange(sep string) string { return fmt.Sprintf("%d%s%d", mediaPortFirst, sep, mediaPortLast) }

// udpFree looks whether n UDP ports from base on are free.
func udpFree(base, n int) bool {
	for port := base; port < base+n; port++ {
		c, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return true
}
