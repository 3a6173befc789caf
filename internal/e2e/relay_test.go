package e2e

import (
	"testing"
	"time"
)

// TestRelay: the same media through the TURN server, with no direct path allowed.
func TestRelay(t *testing.T) {
	s := startServer(t)
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
			url := s.url + "/relay-" + transport + "#relay=1&turn=" + transport
			ada.join(url)
			grace.join(url)
			ada.receives(grace)
			grace.receives(ada)
			for _, p := range []*person{ada, grace} {
				p.stats(5*time.Second, "the path over TURN/"+transport, func(s stats) bool {
					return s.Path != nil && s.Path.Local == "relay" && s.Path.Relay != nil && *s.Path.Relay == transport
				})
			}
			layers(t, ada, grace)
		})
	}
}
