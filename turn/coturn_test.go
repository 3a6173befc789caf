package turn

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
)

// TestCoturnClient runs Debian's turnutils_uclient (package coturn) against the server: by UDP, TCP and TLS, with channels and with
// indications, to its own turnutils_peer. It is skipped where the program is not installed.
func TestCoturnClient(t *testing.T) {
	uclient, err := exec.LookPath("turnutils_uclient")
	if err != nil {
		t.Skip("turnutils_uclient is not installed (Debian package coturn)")
	}
	c := testConfig()
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	c.PerUser, c.PerAddress = 100, 100 // all the programs below are one user, with two allocations and more each, at the same time
	s := start(t, c, nil)
	peer := coturnPeer(t)
	server, _ := certified()
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ServeTLS(secure, server); err != nil {
		t.Fatal(err)
	}
	received := regexp.MustCompile(`tot_send_msgs=(\d+), tot_recv_msgs=(\d+)`)
	for name, args := range map[string][]string{
		"udp channels": nil, "udp indications": {"-s"}, "tcp channels": {"-t"}, "tcp indications": {"-t", "-s"},
		"tls channels": {"-t", "-S"}, "tls indications": {"-t", "-S", "-s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits several seconds by itself
			port := s.UDPAddrs()[0].Port()
			if slices.Contains(args, "-S") {
				port = addrPort(secure.Addr()).Port()
			} else if slices.Contains(args, "-t") {
				port = s.TCPAddrs()[0].Port()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
			defer cancel()
			all := append([]string{"-n", "20", "-m", "2", "-l", "170", "-u", "user", "-w", "secret", "-c", "-X",
				"-e", peer.Addr().String(), "-r", strconv.Itoa(int(peer.Port())), "-p", strconv.Itoa(int(port))}, args...)
			out, err := exec.CommandContext(ctx, uclient, append(all, "127.0.0.1")...).CombinedOutput()
			found := received.FindAllSubmatch(out, -1)
			if err != nil || len(found) == 0 {
				t.Fatalf("%v\n%s", err, out)
			}
			last := found[len(found)-1]
			if string(last[1]) != "40" || string(last[2]) != "40" {
				t.Errorf("sent %s, received %s, want 40 each\n%s", last[1], last[2], out)
			}
		})
	}
}

// coturnPeer runs turnutils_peer, which sends back what it gets, on a free port.
func coturnPeer(t *testing.T) netip.AddrPort {
	t.Helper()
	peer, err := exec.LookPath("turnutils_peer")
	if err != nil {
		t.Skip("turnutils_peer is not installed (Debian package coturn)")
	}
	probe, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := addrPort(probe.LocalAddr())
	probe.Close()
	cmd := exec.Command(peer, "-L", at.Addr().String(), "-p", strconv.Itoa(int(at.Port())))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	await.True(t, "turnutils_peer", func() bool {
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		_, werr := c.Write([]byte("x"))
		_, rerr := c.Read(make([]byte, 1))
		return werr == nil && rerr == nil
	})
	return at
}

// TestCoturnStunClient asks for our address as Debian's turnutils_stunclient does.
func TestCoturnStunClient(t *testing.T) {
	program, err := exec.LookPath("turnutils_stunclient")
	if err != nil {
		t.Skip("turnutils_stunclient is not installed (Debian package coturn)")
	}
	s := start(t, testConfig(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "-p", strconv.Itoa(int(s.UDPAddrs()[0].Port())), "127.0.0.1").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "UDP reflexive addr: 127.0.0.1:") {
		t.Errorf("%v\n%s", err, out)
	}
}
