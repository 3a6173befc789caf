package proctest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports that FreePorts gives are below those that the kernel gives to clients (ip_local_port_range begins at 32768): one of these could be taken
// before the program opens it.
const firstPort, lastPort = 10_000, 29_999

// Ports is FreePorts on loopback, for a test that ends where there are none.
func Ports(t testing.TB, n int) []int {
	t.Helper()
	ports, err := FreePorts("127.0.0.1", n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// FreePorts gives n ports of host, all different, that nobody has now, neither of TCP nor of UDP.
func FreePorts(host string, n int) (ports []int, err error) {
	var held []io.Closer // until all are chosen
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for tries := 0; len(ports) < n; tries++ {
		if tries > n+1000 {
			return nil, fmt.Errorf("no free port: %w", err)
		}
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		var tcp net.Listener
		if tcp, err = net.Listen("tcp", addr); err != nil {
			continue
		}
		held = append(held, tcp)
		var udp net.PacketConn
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			continue
		}
		held = append(held, udp)
		ports = append(ports, port)
	}
	return ports, nil
}
