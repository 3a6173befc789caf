package colibri1

import (
	"fmt"
	"net/netip"
	"testing"

	"konzil/sfu/translator/zrtptest"
)

// TestZRTP: two real ZRTP stacks meet over channels that their focus has allocated.
func TestZRTP(t *testing.T) {
	w := newWorld(t, nil)
	_, chans := w.allocate(alice, "", "audio", fmt.Sprintf(rawChannel, alice, false), fmt.Sprintf(rawChannel, "bob@meet.example/x", true))
	var at [2][2]netip.AddrPort
	for i, ch := range chans {
		e := w.end(uint32(i+1), ch)
		at[i] = [2]netip.AddrPort{e.to, e.rtcp}
	}
	zrtptest.Run(t, at)
}
