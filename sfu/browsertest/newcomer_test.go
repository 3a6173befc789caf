package browsertest

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"konzil/sfu"
)

// TestChromiumNewcomer measures what somebody who begins to watch waits for the first picture, with the keyframe cache and without. With
// it the sender is not asked for a keyframe, and the picture goes on live with every frame decoded.
func TestChromiumNewcomer(t *testing.T) {
	for _, codec := range []string{"VP8", "VP9", "AV1"} {
		for _, cache := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/cache=%v", codec, cache), func(t *testing.T) { newcomers(t, codec, cache) })
		}
	}
}

func newcomers(t *testing.T, codec string, cache bool) {
	b, c, ev, sources := svcMeeting(t, codec, map[string]string{"VP8": "L1T3", "VP9": "L3T3_KEY", "AV1": "L3T3_KEY"}[codec], func(cfg *sfu.Config) {
		cfg.NoKeyframeCache = !cache
	})
	const n = 5
	v := fmt.Sprintf("v%d", sources[1].SSRCs[0])
	var ids []string
	var to []*sfu.Endpoint
	for i := range n + 1 {
		ids = append(ids, fmt.Sprintf("r%d", i))
		to = append(to, b.svcReceiver(c, ev, ids[i], codec, true, sources))
	}
	b.until("channels", 15*time.Second, func() bool { return ev.has("open " + ids[n]) })
	watch := func(i int) time.Time {
		at := time.Now()
		to[i].SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: 180}})
		return at
	}
	watch(0)
	b.until("the first one sees it", 20*time.Second, func() bool { return b.stats(ids[0])[v].Frames > 30 })
	// All but the first come soon after a keyframe that the first of them needed.
	first := func(i int, at time.Time) time.Duration {
		var ms int64
		b.until("a picture for "+ids[i], 20*time.Second, func() bool {
			ms, _ = strconv.ParseInt(b.call("'' + (pcs[%s].first || 0)", ids[i]), 10, 64)
			return ms > 0
		})
		return time.UnixMilli(ms).Sub(at).Round(time.Millisecond)
	}
	before := b.sfu.Counters()
	var waits []time.Duration
	for i := 1; i <= n; i++ {
		waits = append(waits, first(i, watch(i)))
	}
	after := b.sfu.Counters()
	t.Logf("first picture after %v; keyframe requests %d, repetitions %d of %d packets, refused %d", waits, after["pli_out"]-before["pli_out"],
		after["replays"]-before["replays"], after["replay_packets"]-before["replay_packets"], after["replay_refused"]-before["replay_refused"])
	b.until("it goes on for all", 20*time.Second, func() bool {
		for i := range n {
			if b.stats(ids[i+1])[v].Frames < 60 {
				return false
			}
		}
		return true
	})
	for i := range n {
		st := b.stats(ids[i+1])[v]
		t.Logf("%s: %+v", ids[i+1], st)
		if st.Pli > 1 { // freezes come from a busy machine's encoder, too
			t.Errorf("%s: %+v", ids[i+1], st)
		}
		b.decodes(ids[i+1], v)
	}
	if cache && after["replays"]-before["replays"] < n-1 {
		t.Errorf("only %d repetitions", after["replays"]-before["replays"])
	}
}
