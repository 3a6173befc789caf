package peers

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

// Key and secret of the API; LiveKit wants 32 characters.
const (
	livekitKey    = "bench"
	livekitSecret = "bench-secret-bench-secret-bench-secret"
)

func livekit() Peer {
	return Peer{Name: "livekit", Serves: "sfu", Missing: needs("livekit-server"),
		Get: "go install github.com/livekit/livekit-server/cmd/server@v1.13.5, and name the program livekit-server, somewhere in PATH",
		Settings: map[string]string{
			"udp":      "range (default): a port for each transport; mux: a port for each CPU, which all share (rtc.udp_port)",
			"batch_io": "on: outgoing packets wait up to 2 ms for company (rtc.batch_io; with mux only)",
			"bwe":      "off: no congestion control; default on",
		}, Start: startLiveKit}
}

// livekitConfig gets: port, TCP media port, ports, key, secret, congestion control. The server takes media on the loopback only, which
// LiveKit can be told. No Redis: one node needs none.
const livekitConfig = `port: %d
bind_addresses: ["127.0.0.1"]
log_level: error
logging: {level: error, pion_level: error}
rtc:
  tcp_port: %d
  %s
  node_ip: 127.0.0.1
  use_external_ip: false
  enable_loopback_candidate: true
  interfaces: {includes: [lo]}
  congestion_control: {enabled: %s}
keys: {%s: %s}
room: {auto_create: true}
`

func startLiveKit(ctx context.Context, o Options) (*measure.Target, error) {
	bin, err := program("livekit-server")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	udp, err := livekitPorts(&o)
	if err != nil {
		return nil, err
	}
	bwe := "true"
	if o.setting("bwe", "on") == "off" {
		bwe = "false"
	}
	conf := fmt.Sprintf(livekitConfig, ports[0], ports[1], udp, bwe, livekitKey, livekitSecret)
	if err := o.write("livekit.yaml", conf); err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, "--config", o.path("livekit.yaml"))
	at := "127.0.0.1:" + strconv.Itoa(ports[0])
	p, err := o.start(ctx, cmd, listening(at))
	if err != nil {
		return nil, err
	}
	version, _ := output(ctx, bin, "--version")
	return &measure.Target{Version: firstLine(version), Config: map[string]string{"livekit.yaml": conf}, Command: strings.Join(cmd.Args, " "),
		Addr: map[string]string{"ws": "ws://" + at}, Key: livekitKey, Secret: livekitSecret, PIDs: []int{cmd.Process.Pid}, Stop: p.stop}, nil
}

// livekitPorts is the part of the configuration that says where media comes in.
func livekitPorts(o *Options) (string, error) {
	switch o.setting("udp", "range") {
	case "range":
		return fmt.Sprintf("port_range_start: %d\n  port_range_end: %d", mediaPortFirst, mediaPortLast), nil
	case "mux":
		n := o.cpus()
		base, err := freeRun(n)
		if err != nil {
			return "", err
		}
		conf := fmt.Sprintf("udp_port: %d-%d", base, base+n-1)
		if n == 1 {
			conf = fmt.Sprintf("udp_port: %d", base)
		}
		if o.setting("batch_io", "off") == "on" {
			conf += "\n  batch_io: {batch_size: 128, max_flush_interval: 2ms}"
		}
		return conf, nil
	}
	return "", fmt.Errorf("udp=%s: range or mux", o.Settings["udp"])
}

// freeRun gives the first of n ports in a row that are free now.
func freeRun(n int) (int, error) {
	for base := mediaPortFirst; base+n <= mediaPortLast; base += n {
		if udpFree(base, n) {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no %d free UDP ports in a row in %s", n, portRange("-"))
}
