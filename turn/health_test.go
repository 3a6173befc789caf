package turn

import (
	"context"
	"testing"
	"time"

	"konzil/internal/await"
)

// TestCheck: the health check allocates over the first listener, leaves nothing behind, and fails when there is nothing to get.
func TestCheck(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			c := testConfig()
			if network == "tcp" {
				c.UDP = nil
			}
			c.MaxAllocations = 1
			s := start(t, c, nil)
			for range 3 {
				if err := s.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				await.True(t, "no allocation left", func() bool { return s.Counters()["allocations_now"] == 0 })
			}
			if n := s.Counters()["allocations"]; n != 3 {
				t.Errorf("%d allocations", n)
			}
			keep := allocate(t, client(t, s, network, "user", "secret"))
			if err := s.Check(t.Context()); err == nil {
				t.Error("a full server is well")
			}
			s.Drain(true)
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("a server that drains: %v", err)
			}
			keep.Close()
		})
	}
	s := start(t, testConfig(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if err := s.Check(ctx); err == nil {
		t.Error("no time, and no error")
	}
}
