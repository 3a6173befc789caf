package e2e

import (
	"testing"
	"time"
)

// TestRelay: the same media through the TURN server, with no direct path allowed: over UDP, TCP, TLS on the HTTPS port, and TLS on a port of
// its own.
func TestRelay(t *testing.T) {
	shared := startServer(t)
	own := startServer(t, "  https: false\n")
	for _, c := range []struct {
		name, transport string
		s               *server
	}{{"udp", "udp", shared}, {"tcp", "tcp", shared}, {"tls on the https port", "tls", shared}, {"tls", "tls", own}} {
		t.Run(c.name, func(t *testing.T) {
			ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
			url := c.s.url + "/relay-" + c.transport + "#relay=1&turn=" + c.transport
			ada.join(url)
			grace.join(url)
			ada.receives(grace)
			grace.receives(ada)
			for _, p := range []*person{ada, grace} {
				p.stats(5*time.Second, "the path over TURN/"+c.transport, func(s stats) bool {
					return s.Path != nil && s.Path.Local == "relay" && s.Path.Relay != nil && *s.Path.Relay == c.transport
				})
			}
			layers(t, ada, grace)
		})
	}
}
