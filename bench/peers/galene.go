package peers

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

// galeneGroup is the group under which the rooms of a bench are subgroups.
const galeneGroup = "bench"

func galene() Peer {
	return Peer{Name: "galene", Serves: "sfu", Missing: needs("galene"), Get: "https://galene.org tells how to build it; the program must be in PATH",
		Settings: map[string]string{"udp": "own (default): a port for each transport; mux: one port for all (-udp-range)"}, Start: startGalene}
}

// galeneDescription lets anybody present, in as many subgroups as are asked for.
const galeneDescription = `{
	"wildcard-user": {"password": {"type": "wildcard"}, "permissions": "present"},
	"auto-subgroups": true,
	"max-clients": 100000,
	"codecs": ["vp8", "vp9", "opus"]
}
`

func startGalene(ctx context.Context, o Options) (*measure.Target, error) {
	bin, err := program("galene")
	if err != nil {
		return nil, err
	}
	host, err := hostAddress()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"groups/" + galeneGroup + ".json": galeneDescription, "data/config.json": "{}\n", "static/index.html": "bench\n", "recordings/README": "made by konzil bench\n"} {
		if err := o.write(name, text); err != nil {
			return nil, err
		}
	}
	at := "127.0.0.1:" + strconv.Itoa(ports[0])
	args := []string{"-http", at, "-insecure", "-turn", "", "-data", o.path("data"), "-groups", o.path("groups"), "-static", o.path("static"), "-recordings", o.path("recordings")}
	switch o.setting("udp", "own") {
	case "own":
		args = append(args, "-udp-range", portRange("-"))
	case "mux":
		port, err := freeRun(1)
		if err != nil {
			return nil, err
		}
		args = append(args, "-udp-range", strconv.Itoa(port))
	default:
		return nil, fmt.Errorf("udp=%s: own or mux", o.Settings["udp"])
	}
	cmd := exec.Command(bin, args...)
	p, err := o.start(ctx, cmd, listening(at))
	if err != nil {
		return nil, err
	}
	return &measure.Target{Version: galeneVersion(ctx, bin), Config: map[string]string{"groups/" + galeneGroup + ".json": galeneDescription}, Command: strings.Join(cmd.Args, " "),
		Addr: map[string]string{"ws": "ws://" + at + "/ws", "media": host.String()}, Rooms: galeneGroup, PIDs: []int{cmd.Process.Pid}, Stop: p.stop}, nil
}

// galeneVersion reads what the Go toolchain put into the program, which has no option that says it.
func galeneVersion(ctx context.Context, bin string) string {
	out, err := output(ctx, "go", "version", "-m", bin)
	if err != nil {
		return "unknown"
	}
	v := "galene"
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) >= 3 && (f[0] == "mod" || f[0] == "dep" && f[1] == "github.com/pion/webrtc/v4") {
			v += " " + f[1] + " " + f[2]
		}
	}
	return v
}
