package turn

import (
	"context"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// TestCoturnClient runs Debian's turnutils_uclient (package coturn) against the server: by UDP and TCP, with channels and with
// indications, to a peer on a socket. It is skipped where the program is not installed.
func TestCoturnClient(t *testing.T) {
	uclient, err := exec.LookPath("turnutils_uclient")
	if err != nil {
		t.Skip("turnutils_uclient is not installed (Debian package coturn)")
	}
	c := testConfig()
	c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	s := start(t, c, nil)
	peer := addrPort(udpEcho(t).LocalAddr())
	received := regexp.MustCompile(`tot_send_msgs=(\d+), tot_recv_msgs=(\d+)`)
	for name, args := range map[string][]string{
		"udp channels": nil, "udp indications": {"-s"}, "tcp channels": {"-t"}, "tcp indications": {"-t", "-s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits several seconds by itself
			network := "udp"
			if len(args) > 0 && args[0] == "-t" {
				network = "tcp"
			}
			ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
			defer cancel()
			all := append([]string{"-n", "20", "-m", "2", "-l", "170", "-u", "user", "-w", "secret", "-c", "-X",
				"-e", peer.Addr().String(), "-r", strconv.Itoa(int(peer.Port())), "-p", strconv.Itoa(int(serverAddr(s, network).Port()))}, args...)
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
