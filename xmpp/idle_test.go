package xmpp

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"

	"konzil/internal/await"
)

// TestIdleStack: a session that waits keeps the smallest stack that a goroutine in the poller can have, 4 KB, whatever its handshake took.
func TestIdleStack(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has larger stacks")
	}
	const n = 40
	r := newRig(t, func(c *Config) { c.Limits.SessionsPerAccount = 0 })
	stacks := func() int {
		for range 5 { // each collection halves
			runtime.GC()
		}
		sample := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	for where, addr := range map[string]string{"TLS": r.tls, "STARTTLS": r.tcp} {
		before := stacks()
		for i := range n {
			p := r.dial("x", addr)
			if addr == r.tcp {
				p = p.secure()
			}
			p.auth("x.test", "alice").bind(fmt.Sprint(where, i)).sync()
		}
		await.True(t, "stacks are small", func() bool { // the last sessions may be on their way to the poller
			return stacks()-before < n*6<<10
		})
		each := (stacks() - before) / n
		t.Logf("%s: %d bytes", where, each)
	}
}
