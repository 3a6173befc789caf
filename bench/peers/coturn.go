package peers

import (
	"context"
	"os/exec"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

func coturn() Peer {
	return Peer{Name: "coturn", Serves: "turn", Missing: needs("turnserver"), Get: "apt-get install --no-install-recommends coturn",
		Settings: map[string]string{"threads": "relay threads (default: one for each CPU that it may use)"}, Start: startCoturn}
}

// startCoturn runs without a configuration file. Loopback peers are allowed because that is where the load's are, and there are no quotas, as for Konzil.
func startCoturn(ctx context.Context, o Options) (*measure.Target, error) {
	bin, err := program("turnserver")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	if err := o.writeCertificate(domain); err != nil {
		return nil, err
	}
	plain, secure := strconv.Itoa(ports[0]), strconv.Itoa(ports[1])
	cmd := exec.Command(bin, "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--listening-port="+plain, "--tls-listening-port="+secure,
		"--min-port=49152", "--max-port=65535", "--realm="+domain, "--use-auth-secret", "--static-auth-secret="+secret, "--fingerprint",
		"--relay-threads="+o.setting("threads", strconv.Itoa(o.cpus())), "--allow-loopback-peers", "--no-multicast-peers", "--no-cli", "--no-dtls",
		"--cert="+o.path("cert.pem"), "--pkey="+o.path("key.pem"), "--pidfile="+o.path("pid"), "--userdb="+o.path("db"), "--log-file=stdout", "--simple-log")
	host := func(port string) string { return "127.0.0.1:" + port }
	p, err := o.start(ctx, cmd, listening(host(plain)), listeningTLS(host(secure)))
	if err != nil {
		return nil, err
	}
	return &measure.Target{Version: coturnVersion(ctx, bin), Config: map[string]string{"command line": strings.Join(cmd.Args, " ")}, Command: strings.Join(cmd.Args, " "),
		Addr:   map[string]string{"turn": host(plain), "turn-tcp": host(plain), "turns": host(secure)},
		Domain: domain, Secret: secret, PIDs: []int{cmd.Process.Pid}, Stop: p.stop}, nil
}

// coturnVersion is the first line with a digit of what the program prints about itself.
func coturnVersion(ctx context.Context, bin string) string {
	out, _ := output(ctx, bin, "--version") // Debian's exits with an error after it
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.ContainsAny(line, "0123456789") && len(line) < 60 {
			return "coturn " + line
		}
	}
	return "unknown"
}
