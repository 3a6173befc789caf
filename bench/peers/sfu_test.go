package peers

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"konzil/bench/measure"
)

// SFU peers are started with each of their options, answer, and leave nothing behind.
func TestSFUPeers(t *testing.T) {
	for name, settings := range map[string][]map[string]string{
		"livekit": {nil, {"udp": "mux", "batch_io": "on", "bwe": "off"}},
		"janus":   {nil, {"event_loops": "0"}},
		"galene":  {nil, {"udp": "mux"}},
		"jvb":     {{"home": os.Getenv("JVB_HOME")}},
	} {
		for _, s := range settings {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if s["home"] == "" {
					delete(s, "home")
				}
				target, err := Start(ctx, name, Options{CPUs: Allowed()[:1], Settings: s})
				if errors.Is(err, ErrMissing) || errors.Is(err, errNoAddress) {
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := target.Stop(); err != nil {
						t.Error(err)
					}
				}()
				if target.Version == "" || strings.Contains(target.Version, "unknown") || len(target.Config) == 0 {
					t.Errorf("%+v", target)
				}
				u, err := url.Parse(target.Addr["ws"] + target.Addr["rest"])
				if err != nil {
					t.Fatal(err)
				}
				c, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				use, err := measure.ReadUsage(target, true)
				if err != nil || use.CPU == 0 || use.PSS == 0 {
					t.Errorf("%+v %v", use, err)
				}
				t.Logf("%s: %.1f MB, %v", target.Version, float64(use.PSS)/(1<<20), use.CPU)
			})
		}
	}
}

func TestSFUOptions(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings map[string]string
	}{{"livekit", map[string]string{"udp": "x"}}, {"galene", map[string]string{"udp": "x"}}, {"jvb", map[string]string{"home": "/nonexistent"}}, {"janus", map[string]string{"x": "y"}}} {
		if target, err := Start(t.Context(), c.name, Options{Settings: c.settings}); err == nil {
			t.Errorf("%v taken", c)
			_ = target.Stop()
		}
	}
	if _, err := freeRun(mediaPortLast); err == nil {
		t.Error("more ports than there are")
	}
	if base, err := freeRun(2); err != nil || base < mediaPortFirst {
		t.Error(base, err)
	}
}
