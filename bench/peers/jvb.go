package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

// jvbHome is where Debian packages of Jitsi put the bridge.
const jvbHome = "/usr/share/jitsi-videobridge"

func jvb() Peer {
	return Peer{Name: "jvb", Serves: "sfu", Missing: jvbMissing, Get: "apt-get install jitsi-videobridge2 from download.jitsi.org, or give the folder that has jitsi-videobridge.jar and lib with the option home",
		Settings: map[string]string{"home": "folder with jitsi-videobridge.jar and lib (default " + jvbHome + ")", "heap": "-Xmx (default 3072m, as Jitsi starts it)"}, Start: startJVB}
}

// jvbMissing looks for Java and the bridge where the option home does not lead elsewhere.
func jvbMissing() error {
	if err := needs("java")(); err != nil {
		return err
	}
	return jvbJar(jvbHome)
}

func jvbJar(home string) error {
	if _, err := os.Stat(home + "/jitsi-videobridge.jar"); err != nil {
		return fmt.Errorf("%s/jitsi-videobridge.jar %w", home, ErrMissing)
	}
	return nil
}

// jvbConfig gets: REST port, WebSocket port (twice), media port. Statistics that cost something for each packet are off, as is what asks the
// cloud where it is. SCTP is off: the bridge channel is a WebSocket.
const jvbConfig = `videobridge {
  apis.rest.enabled = true
  http-servers {
    private { host = "127.0.0.1", port = %[1]d }
    public { host = "127.0.0.1", port = %[2]d }
  }
  websockets { enabled = true, tls = false, server-id = "bench", domains = ["127.0.0.1:%[2]d"] }
  ice.udp.port = %[3]d
  sctp.enabled = false
  health.require-valid-address = false
  stats.transit-time.enable-json = false
}
ice4j.harvest.mapping { aws.enabled = false, stun.enabled = false }
`

const jvbLogging = `handlers = java.util.logging.ConsoleHandler
java.util.logging.ConsoleHandler.level = SEVERE
.level = SEVERE
`

func startJVB(ctx context.Context, o Options) (*measure.Target, error) {
	java, err := program("java")
	if err != nil {
		return nil, err
	}
	home := o.setting("home", jvbHome)
	if err := jvbJar(home); err != nil {
		return nil, err
	}
	host, err := hostAddress()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	media, err := freeRun(1)
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(jvbConfig, ports[0], ports[1], media)
	for name, text := range map[string]string{"jvb.conf": conf, "logging.properties": jvbLogging} {
		if err := o.write(name, text); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(java, "-Xmx"+o.setting("heap", "3072m"), "-XX:+UseG1GC", "-Djdk.tls.ephemeralDHKeySize=2048", "-Djava.util.logging.config.file="+o.path("logging.properties"),
		"-Dconfig.file="+o.path("jvb.conf"), "-cp", home+"/jitsi-videobridge.jar:"+home+"/lib/*", "org.jitsi.videobridge.MainKt")
	rest := "http://127.0.0.1:" + strconv.Itoa(ports[0])
	version := ""
	p, err := o.start(ctx, cmd, func() (err error) {
		version, err = jvbVersion(ctx, rest)
		return err
	})
	if err != nil {
		return nil, err
	}
	v, _ := output(ctx, java, "-version")
	return &measure.Target{Version: version + ", " + firstLine(v), Config: map[string]string{"jvb.conf": conf}, Command: strings.Join(cmd.Args, " "),
		Addr: map[string]string{"rest": rest, "media": host.String()}, PIDs: []int{cmd.Process.Pid}, Stop: p.stop}, nil
}

// jvbVersion asks the bridge, which answers as soon as it is ready.
func jvbVersion(ctx context.Context, rest string) (string, error) {
	var v struct{ Name, Version string }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rest+"/about/version", nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Timeout: readyDial}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return "", err
	}
	return v.Name + " " + v.Version, nil
}
