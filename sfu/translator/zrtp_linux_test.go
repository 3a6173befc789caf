package translator

import (
	"net/netip"
	"testing"

	"konzil/sfu/translator/zrtptest"
)

// TestZRTP: two real ZRTP stacks meet through a group.
func TestZRTP(t *testing.T) {
	w := newWorld(t, nil)
	var at [2][2]netip.AddrPort
	for i, id := range []string{"a", "b"} {
		at[i][0], at[i][1] = ports(w.add(ChannelConfig{ID: id}))
	}
	zrtptest.Run(t, at)
	if n := w.s.Counters(); n["zrtp"] < 10 {
		t.Errorf("%v", n)
	}
}
