package sfu

import (
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

// interceptors are those of a usual client: NACK, reports, transport-wide feedback.
func interceptors(t testing.TB, me *webrtc.MediaEngine) *interceptor.Registry {
	t.Helper()
	r := &interceptor.Registry{}
	must(t, webrtc.ConfigureNack(me, r))
	must(t, webrtc.ConfigureRTCPReports(r))
	must(t, webrtc.ConfigureTWCCSender(me, r))
	must(t, webrtc.ConfigureTWCCHeaderExtensionSender(me, r))
	return r
}
