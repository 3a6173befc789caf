package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

func janus() Peer {
	return Peer{Name: "janus", Serves: "sfu", Missing: needs("janus"), Get: "apt-get install --no-install-recommends janus",
		Settings: map[string]string{"event_loops": "threads for all peer connections (general.event_loops); 0: a thread for each, Janus's own default. Default: one for each CPU, which its manual advises for many"},
		Start:    startJanus}
}

// janusConfig gets: configuration folder, plugins, transports, event loops, media ports, interface address, other plugins, other transports.
const janusConfig = `general: {
	configs_folder = %q
	plugins_folder = %q
	transports_folder = %q
	debug_level = 2
	session_timeout = 60
	%s
}
certificates: { }
media: { rtp_port_range = "%s" }
nat: {
	nice_debug = false
	ignore_mdns = true
	ice_enforce_list = "%s"
}
plugins: { disable = %q }
transports: { disable = %q }
`

// janusSockets gets the port.
const janusSockets = `general: {
	json = "compact"
	ws = true
	ws_ip = "127.0.0.1"
	ws_port = %d
	wss = false
}
admin: { admin_ws = false }
`

func startJanus(ctx context.Context, o Options) (*measure.Target, error) {
	bin, err := program("janus")
	if err != nil {
		return nil, err
	}
	home, err := janusHome()
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
	loops := "event_loops = " + o.setting("event_loops", strconv.Itoa(o.cpus()))
	if loops == "event_loops = 0" {
		loops = ""
	}
	conf := fmt.Sprintf(janusConfig, o.Dir, home+"/plugins", home+"/transports", loops, portRange("-"), host,
		others(home+"/plugins", "libjanus_videoroom.so"), others(home+"/transports", "libjanus_websockets.so"))
	sockets := fmt.Sprintf(janusSockets, ports[0])
	for name, text := range map[string]string{"janus.jcfg": conf, "janus.transport.websockets.jcfg": sockets, "janus.plugin.videoroom.jcfg": "general: { }\n"} {
		if err := o.write(name, text); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(bin, "-F", o.Dir, "-C", o.path("janus.jcfg"), "-o")
	at := "127.0.0.1:" + strconv.Itoa(ports[0])
	p, err := o.start(ctx, cmd, listening(at))
	if err != nil {
		return nil, err
	}
	return &measure.Target{Version: janusVersion(ctx, bin), Config: map[string]string{"janus.jcfg": conf, "janus.transport.websockets.jcfg": sockets},
		Command: strings.Join(cmd.Args, " "), Addr: map[string]string{"ws": "ws://" + at, "media": host.String()}, PIDs: []int{cmd.Process.Pid}, Stop: p.stop}, nil
}

// janusHome is the folder with the plugins and transports: of a package, or of an installation by hand.
func janusHome() (string, error) {
	for _, pattern := range []string{"/usr/lib/*/janus", "/usr/lib/janus", "/opt/janus/lib/janus", "/usr/local/lib/janus"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, d := range dirs {
			if _, err := os.Stat(d + "/plugins/libjanus_videoroom.so"); err == nil {
				return d, nil
			}
		}
	}
	return "", fmt.Errorf("libjanus_videoroom.so %w", ErrMissing)
}

// others lists the libraries of a folder, less the one in use, as Janus wants them in a disable setting.
func others(dir, use string) string {
	files, _ := filepath.Glob(dir + "/*.so") // the pattern is good
	var out []string
	for _, f := range files {
		if n := filepath.Base(f); n != use {
			out = append(out, n)
		}
	}
	return strings.Join(out, ",")
}

// janusVersion finds the version in what the program prints about itself with its help.
func janusVersion(ctx context.Context, bin string) string {
	out, _ := output(ctx, bin, "--help")
	for line := range strings.Lines(out) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Janus version:"); ok {
			return "janus" + v
		}
	}
	return "unknown"
}
