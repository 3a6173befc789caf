package browsertest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"konzil/sfu"
)

const uriDD = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"

// svcConfig is config with another codec than VP8, and with dependency descriptors or not.
func svcConfig(id, codec string, dd bool) sfu.EndpointConfig {
	c := config(id)
	c.Codecs[1].Name = strings.ToLower(codec)
	if dd {
		c.Extensions = append(c.Extensions, sfu.Extension{ID: 11, URI: uriDD})
	}
	return c
}

// svcOffer is offer with another codec.
func svcOffer(sdp, codec string, dd bool) string {
	to := "a=rtpmap:100 " + codec + "/90000"
	switch codec {
	case "VP9":
		to += "\r\na=fmtp:100 profile-id=0"
	case "H264":
		to += "\r\na=fmtp:100 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1"
	}
	if dd {
		to += "\r\na=extmap:11 " + uriDD + "\r\na=extmap-allow-mixed"
	}
	return strings.ReplaceAll(sdp, "a=rtpmap:100 VP8/90000", to)
}

// svcMeeting lets Chromium send three spatial layers in the first SSRC of a SIM group, as lib-jitsi-meet does; without a mode, one layer in
// each SSRC (simulcast).
func svcMeeting(t *testing.T, codec, mode string, change ...func(*sfu.Config)) (*browser, *sfu.Conference, *events, []sfu.Source) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in short mode")
	}
	b := start(t)
	cfg := sfu.DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	for _, f := range change {
		f(&cfg)
	}
	s, err := sfu.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ev := &events{}
	c, err := s.NewConference("room", ev)
	if err != nil {
		t.Fatal(err)
	}
	b.sfu, b.ids = s, []string{"send"}
	lt := b.local(c, svcConfig("send", codec, true))
	rt, sources := parse("send", b.call("make('send', %s, true)", svcOffer(offer(lt, nil), codec, true)))
	if len(sources) != 2 || len(sources[1].SSRCs) != 3 {
		t.Fatalf("sources %+v", sources)
	}
	if mode != "" {
		b.call(`(async () => {
		const s = pcs.send.pc.getSenders().find(s => s.track && s.track.kind == 'video'), p = s.getParameters();
		p.encodings.forEach((e, i) => { e.active = i == 0; e.scaleResolutionDownBy = 1; });
		p.encodings[0].scalabilityMode = %s;
		await s.setParameters(p);
		return s.getParameters().encodings[0].scalabilityMode;
	})()`, mode)
	}
	sender := c.Endpoint("send")
	if err := sender.SetSources(sources); err != nil {
		t.Fatal(err)
	}
	if err := sender.SetRemote(rt); err != nil {
		t.Fatal(err)
	}
	b.until("sender connected", 15*time.Second, func() bool { return ev.has("transport send 1") })
	return b, c, ev, sources
}

// svcReceiver adds a receiver.
func (b *browser) svcReceiver(c *sfu.Conference, ev *events, id, codec string, dd bool, sources []sfu.Source) *sfu.Endpoint {
	b.t.Helper()
	rt, _ := parse(id, b.call("make("+fmt.Sprintf("%q", id)+", %s, false)", svcOffer(offer(b.local(c, svcConfig(id, codec, dd)), sources), codec, dd)))
	e := c.Endpoint(id)
	if err := e.SetRemote(rt); err != nil {
		b.t.Fatal(err)
	}
	b.ids = append(b.ids, id)
	b.until(id+" connected", 15*time.Second, func() bool { return ev.has("transport " + id + " 1") })
	return e
}

// TestChromiumSimulcast has three SSRCs, each with a layer of its own.
func TestChromiumSimulcast(t *testing.T) {
	for _, codec := range []string{"VP8", "H264"} {
		t.Run(codec, func(t *testing.T) { svcHeights(t, codec, "") })
	}
}

// Of AV1's S modes Chromium's encoder has two spatial layers only: with three it stops after some frames, in a call without a server too.
func TestChromiumSVC(t *testing.T) {
	for _, c := range [][2]string{{"VP9", "L3T3_KEY"}, {"VP9", "L3T3"}, {"VP9", "S3T3"}, {"AV1", "L3T3_KEY"}, {"AV1", "L3T3"}, {"AV1", "S2T3"}} {
		t.Run(c[0]+"/"+c[1], func(t *testing.T) { svcHeights(t, c[0], c[1]) })
	}
}

// svcHeights has two receivers of one sender, each of which gets what it asks for whatever the other one does.
func svcHeights(t *testing.T, codec, mode string) {
	b, c, ev, sources := svcMeeting(t, codec, mode)
	ids := []string{"one", "two"}
	var to []*sfu.Endpoint
	for _, id := range ids {
		to = append(to, b.svcReceiver(c, ev, id, codec, true, sources))
	}
	v := fmt.Sprintf("v%d", sources[1].SSRCs[0])
	lowest := 180
	if strings.HasPrefix(mode, "S2") {
		lowest = 360
	}
	for _, step := range [][2]int{{180, 720}, {720, 180}, {360, 720}, {180, 360}, {720, 720}} {
		step[0], step[1] = max(step[0], lowest), max(step[1], lowest)
		var before [2]int
		for i, e := range to {
			before[i] = b.stats(ids[i])[v].Frames
			e.SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: step[i]}})
		}
		began := time.Now()
		b.until(fmt.Sprint(step, " lines"), 60*time.Second, func() bool {
			for i, id := range ids {
				if st := b.stats(id)[v]; st.H != step[i] || st.Frames < before[i]+20 {
					return false
				}
			}
			return true
		})
		t.Logf("%v lines after %v", step, time.Since(began).Round(time.Millisecond))
	}
	if mode != "" {
		b.temporal(to, ids, v)
	}
	for _, id := range ids {
		st := b.stats(id)[v]
		t.Logf("%s: %s", id, b.call("stats(%s)", id))
		// A busy machine's encoder makes freezes, too: they are logged. What a wrong layer switch makes is a frame without its reference, or a
		// request for a keyframe.
		if st.Pli > 1 {
			t.Errorf("%s: %d requests for keyframes (%d freezes)", id, st.Pli, st.Freeze)
		}
		b.decodes(id, v)
	}
	t.Logf("sender: %s", b.call("stats('send')"))
}

// temporal limits the frame rate of the first of two receivers of the same picture: it gets the lower temporal layers, and the other one all.
func (b *browser) temporal(to []*sfu.Endpoint, ids []string, v string) {
	b.t.Helper()
	to[0].SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: 720, MaxFrameRate: 17}})
	frames := func() (one, two int) { return b.stats(ids[0])[v].Frames, b.stats(ids[1])[v].Frames }
	one, two := frames()
	var share float64
	b.until("half the frames", 60*time.Second, func() bool {
		x, y := frames()
		if y-two < 40 {
			return false
		}
		share = float64(x-one) / float64(y-two) // over the same time: a busy machine's encoder may make fewer than 30
		one, two = x, y
		return share > 0.2 && share < 0.7
	})
	b.t.Logf("the limited one gets %.0f %% of the frames", 100*share)
	if st := b.stats(ids[0])[v]; st.H != 720 {
		b.t.Errorf("%d lines", st.H)
	}
	to[0].SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: 720}})
	b.until("all frames again", 60*time.Second, func() bool {
		x, y := frames()
		if y-two < 40 {
			return false
		}
		share = float64(x-one) / float64(y-two)
		one, two = x, y
		return share > 0.9
	})
}
