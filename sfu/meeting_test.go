package sfu

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"konzil/internal/await"

	"github.com/pion/webrtc/v4"
)

// quiet checks that one flow has ended while another goes on: what is under way may still come, then nothing.
func quiet(t *testing.T, ended, flows func() int) {
	t.Helper()
	wait := func(n int) {
		m := flows()
		await.True(t, "the other flow goes on", func() bool { return flows() > m+n })
	}
	wait(10)
	n := ended()
	wait(20)
	if k := ended(); k != n {
		t.Fatalf("%d packets came after the end", k-n)
	}
}

// TestThreeAndLeave has three in a room; one leaves and the others go on.
func TestThreeAndLeave(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	var cl []*client
	for _, id := range []string{"aaaa", "bbbb", "cccc"} {
		cl = append(cl, newClient(t, c, id, clientOptions{layers: 2}))
	}
	for i, x := range cl {
		var recv []Source
		for j, y := range cl {
			if i != j {
				recv = append(recv, y.sources()...)
			}
		}
		x.join(recv)
	}
	for _, x := range cl {
		ev.connected(t, x.id)
		x.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
		defer x.play(nil)()
	}
	all := func(i, j, kind, n int) func() bool {
		return func() bool { return cl[i].count(cl[j].ssrc(kind)) >= n }
	}
	for i := range cl {
		for j := range cl {
			if i != j {
				await.True(t, "audio", all(i, j, 0, 10))
				await.True(t, "video", all(i, j, 1, 30))
			}
		}
	}
	cl[2].ep.Close()
	if c.Endpoint("cccc") != nil {
		t.Fatal("endpoint still there after Close")
	}
	ev.wait(t, "forwarded without the leaver", func(v event) bool {
		return v.kind == "forwarded" && v.ep == "aaaa" && len(v.names) == 1 && v.names[0] == "bbbb-v0"
	})
	quiet(t, func() int { return cl[0].count(cl[2].ssrc(1)) }, func() int { return cl[0].count(cl[1].ssrc(1)) })
	if s.Counters()["endpoints"] != 2 {
		t.Fatalf("endpoints %d", s.Counters()["endpoints"])
	}
	if s.users.count() != 2 {
		t.Fatalf("%d ICE users are left", s.users.count())
	}
}

// count is the number of fragments that are served.
func (u *iceUsers) count() int {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return len(u.byName)
}

// TestShards runs a conference over two shards, so that packets are handed over both before and after opening.
func TestShards(t *testing.T) {
	t.Parallel()
	s := startSFU(t, func(c *Config) { c.Shards, c.ShardSpill = 2, 1 })
	_, _, a, b := pair(t, s, 2)
	if a.ep.sh == b.ep.sh {
		t.Fatal("both on one shard")
	}
	defer a.play(nil)()
	defer b.play(nil)()
	a.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	b.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	await.True(t, "audio", func() bool { return b.count(a.ssrc(0)) > 20 && a.count(b.ssrc(0)) > 20 })
	await.True(t, "video", func() bool { return b.count(a.ssrc(1)) > 200 && a.count(b.ssrc(1)) > 200 })
	continuous(t, b, a.ssrc(1))
	continuous(t, a, b.ssrc(1))
}

// TestRewriting maps sources onto slots: the receiver learns the SSRC before media, and sees its MID.
func TestRewriting(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{layers: 3})
	b := newClient(t, c, "bbbb", clientOptions{endpoint: func(e *EndpointConfig) {
		e.SSRCRewriting, e.MIDDemux = true, true
		e.Extensions = append(e.Extensions, Extension{ID: 10, URI: uriMID})
	}})
	a.join(nil)
	b.join(nil)
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer a.play(nil)()
	am := ev.wait(t, "audio map", func(v event) bool { return v.kind == "audiomap" && v.ep == "bbbb" }).maps[0]
	b.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 360}})
	vm := ev.wait(t, "video map", func(v event) bool { return v.kind == "videomap" && v.ep == "bbbb" }).maps[0]
	if am.Source != "aaaa-a0" || am.Owner != "aaaa" || am.SSRC == 0 || am.SSRC == a.ssrc(0) || am.RTX != 0 {
		t.Fatalf("audio mapping %+v", am)
	}
	if vm.Source != "aaaa-v0" || vm.SSRC == 0 || vm.SSRC == a.ssrc(1) || vm.RTX == 0 || vm.RTX == vm.SSRC {
		t.Fatalf("video mapping %+v", vm)
	}
	// The receiver adds the slots to its description, as lib-jitsi-meet does.
	local, err := b.ep.LocalTransport(t.Context())
	must(t, err)
	b.answer(b.offer(local, []Source{
		{Name: am.Source, Kind: Audio, SSRCs: []uint32{am.SSRC}},
		{Name: vm.Source, Kind: Video, SSRCs: []uint32{vm.SSRC}, RTX: []uint32{vm.RTX}},
	}))
	await.True(t, "media on the slots", func() bool { return b.count(am.SSRC) > 20 && b.count(vm.SSRC) > 60 })
	for _, m := range []SourceMapping{am, vm} {
		if mid := string(b.packets(m.SSRC)[0].GetExtension(10)); mid == "" || mid != m.MID {
			t.Fatalf("MID %q on the wire, mapping %+v", mid, m)
		}
	}
	if b.count(a.ssrc(0))+b.count(a.ssrc(1)) != 0 {
		t.Fatal("media came on the source's own SSRC")
	}
}

func TestICERestart(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	_, _, a, b := pair(t, s, 0)
	defer a.play(nil)()
	defer b.play(nil)()
	await.True(t, "audio", func() bool { return b.count(a.ssrc(0)) > 10 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before, err := b.ep.LocalTransport(ctx)
	must(t, err)
	after, err := b.ep.RestartICE(ctx)
	must(t, err)
	if after.Ufrag == before.Ufrag || after.Pwd == before.Pwd || after.Generation != before.Generation+1 || len(after.Candidates) == 0 {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	if after.Fingerprints[0] != before.Fingerprints[0] {
		t.Fatal("the fingerprint changed")
	}
	old := b.ep.m.path.Load()
	remote := b.answer(b.offer(after, a.sources()))
	must(t, b.ep.SetRemote(remote))
	await.True(t, "a new path is selected", func() bool { return b.ep.m.path.Load() != old })
	n, m := b.count(a.ssrc(0)), a.count(b.ssrc(0))
	await.True(t, "audio after the restart", func() bool { return b.count(a.ssrc(0)) > n+20 && a.count(b.ssrc(0)) > m+20 })
	if s.Counters()["dtls_failed"] != 0 {
		t.Fatal("DTLS failed")
	}
}

func TestWrongFingerprint(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{})
	local, err := a.ep.LocalTransport(t.Context())
	must(t, err)
	remote := a.answer(a.offer(local, nil))
	v := []byte(remote.Fingerprints[0].Value)
	v[0] = "0123456789ABCDEF"[(strings.IndexByte("0123456789ABCDEF", v[0])+1)%16]
	remote.Fingerprints[0].Value = string(v)
	must(t, a.ep.SetRemote(remote))
	ev.wait(t, "refused", func(v event) bool { return v.kind == "transport" && v.state == TransportFailed })
	if n := s.Counters(); n["fingerprint_mismatch"] != 1 || a.ep.keyed() {
		t.Fatalf("counters %v, keyed %v", n, a.ep.keyed())
	}
}

// TestPassive has the SFU as DTLS client, and ICE controlled.
func TestPassive(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{setting: func(se *webrtc.SettingEngine) {
		must(t, se.SetAnsweringDTLSRole(webrtc.DTLSRoleServer))
	}})
	b := newClient(t, c, "bbbb", clientOptions{})
	a.join(b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer a.play(nil)()
	await.True(t, "audio", func() bool { return b.count(a.ssrc(0)) > 10 })
}

func TestForceMuteAndSubscription(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	_, _, a, b := pair(t, s, 0)
	defer a.play(nil)()
	defer b.play(nil)()
	ssrc := a.ssrc(0)
	flows := func() {
		t.Helper()
		n := b.count(ssrc)
		await.True(t, "audio flows", func() bool { return b.count(ssrc) > n+5 })
	}
	stops := func() {
		t.Helper()
		quiet(t, func() int { return b.count(ssrc) }, func() int { return a.count(b.ssrc(0)) })
	}
	flows()
	a.ep.SetForceMute(true, false)
	stops()
	a.ep.SetForceMute(false, false)
	flows()
	b.ep.SetAudioSubscription(AudioSubscription{None: true})
	stops()
	b.ep.SetAudioSubscription(AudioSubscription{None: true, Include: []string{"aaaa-a0"}})
	flows()
	b.ep.SetAudioSubscription(AudioSubscription{Exclude: []string{"aaaa-a0"}})
	stops()
	b.ep.SetAudioSubscription(AudioSubscription{})
	flows()
}

func TestDominantSpeaker(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	_, ev, a, _ := pair(t, s, 0)
	defer a.play(nil)()
	ev.wait(t, "dominant", func(v event) bool { return v.kind == "dominant" && v.ep == "aaaa" })
}

func TestSourcesRefused(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	c, err := s.NewConference("room", newEvents())
	must(t, err)
	a, err := c.AddEndpoint(endpointConfig("aaaa"))
	must(t, err)
	b, err := c.AddEndpoint(endpointConfig("bbbb"))
	must(t, err)
	if _, err := c.AddEndpoint(endpointConfig("bbbb")); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("double id: %v", err)
	}
	must(t, a.SetSources([]Source{{Name: "aaaa-v0", Kind: Video, SSRCs: []uint32{1, 2, 3}, RTX: []uint32{4, 0, 6}}}))
	for name, bad := range map[string][]Source{
		"zero":    {{Name: "bbbb-a0", Kind: Audio, SSRCs: []uint32{0}}},
		"none":    {{Name: "bbbb-a0", Kind: Audio}},
		"other's": {{Name: "bbbb-a0", Kind: Audio, SSRCs: []uint32{2}}},
		"name":    {{Name: "aaaa-v0", Kind: Video, SSRCs: []uint32{20}}},
		"double":  {{Name: "bbbb-v0", Kind: Video, SSRCs: []uint32{20, 20}}},
		"twice":   {{Name: "bbbb-v0", Kind: Video, SSRCs: []uint32{20}}, {Name: "bbbb-v0", Kind: Video, SSRCs: []uint32{21}}},
		"kind":    {{Name: "bbbb-v0", SSRCs: []uint32{20}}},
	} {
		if err := b.SetSources(bad); !errors.Is(err, ErrSources) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, a.SetSources(nil))
	must(t, b.SetSources([]Source{{Name: "bbbb-a0", Kind: Audio, SSRCs: []uint32{2}}}))
	c.Close()
	if _, err := c.AddEndpoint(endpointConfig("cccc")); !errors.Is(err, ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
	if _, err := s.NewConference("room", newEvents()); err != nil {
		t.Fatalf("the name is not free again: %v", err)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	for _, shards := range []int{1, 2} {
		_, err := New(Config{Listen: []netip.AddrPort{s.LocalAddrs()[0]}, Shards: shards}, nil)
		if err == nil || !strings.Contains(err.Error(), s.LocalAddrs()[0].String()) {
			t.Fatalf("error %v does not name the address", err)
		}
	}
}

func TestCandidates(t *testing.T) {
	s := startSFU(t, func(c *Config) {
		c.Advertise = []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	})
	got := s.candidates()
	if len(got) != 2 || got[0].Type != "host" || got[0].Addr != s.LocalAddrs()[0] {
		t.Fatalf("%+v", got)
	}
	c := got[1]
	if c.Type != "srflx" || c.Addr != netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), got[0].Addr.Port()) || c.Related != got[0].Addr ||
		c.Priority >= got[0].Priority || c.Foundation == got[0].Foundation {
		t.Fatalf("%+v", c)
	}
}
