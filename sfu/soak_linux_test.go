package sfu

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/sfu/translator"
)

const (
	// soakShort is how long TestSoak runs when KONZIL_SOAK does not say.
	soakShort = 4 * time.Second
	// soakRooms run at the same time.
	soakRooms = 3
	// What may be left at the end above the start: the history of one track (4 MB) that a shard's last batch refers to, the test's own notes
	// of its rounds, and what the allocator keeps.
	soakHeapSlack = 6 << 20
	soakRSSSlack  = 24 << 20
)

// footprint is what this process holds.
type footprint struct {
	heap, rss        int64
	goroutines, open int
}

func (f footprint) String() string {
	return fmt.Sprintf("heap %d KB, resident %d KB, %d goroutines, %d descriptors", f.heap>>10, f.rss>>10, f.goroutines, f.open)
}

func measureFootprint(t *testing.T) footprint {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	f := footprint{heap: int64(ms.HeapAlloc), goroutines: runtime.NumGoroutine(), open: len(fds)}
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if w := strings.Fields(line); len(w) > 1 && w[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(w[1], 10, 64)
			must(t, err)
			f.rss = kb << 10
		}
	}
	return f
}

// TestSoak: endpoints join, send, receive and leave, in rooms that come and go and in one that stays, for KONZIL_SOAK; with real sockets,
// DTLS and media. Memory, goroutines and descriptors end where they began. Server and clients are in one process, so it counts both.
func TestSoak(t *testing.T) {
	last := soakShort
	if v := os.Getenv("KONZIL_SOAK"); v != "" {
		var err error
		last, err = time.ParseDuration(v)
		must(t, err)
	}
	s := startSFU(t, func(c *Config) { c.Shards = 2 })
	ev := newEvents()
	stays, err := s.NewConference("stays", ev)
	must(t, err)
	rounds := 0
	run := func(d time.Duration, least int) {
		for end := time.Now().Add(d); time.Now().Before(end) || least > 0; least-- {
			rounds++
			t.Run("round", func(t *testing.T) { soakRound(t, s, stays, rounds) })
			if t.Failed() {
				t.FailNow()
			}
			ev.mu.Lock()
			ev.list = nil
			ev.mu.Unlock()
		}
	}
	run(0, 2) // what is made once and kept: arenas, pools, the workers of relays
	await.True(t, "empty", func() bool { return s.Counters()["endpoints"] == 0 })
	before := measureFootprint(t)
	warm := rounds
	start := time.Now()
	run(last, 1)
	took := time.Since(start).Round(time.Second)
	var after footprint
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(200 * time.Millisecond); ; <-tick.C { // what ends by time: ICE transactions, timers of clients
		after = measureFootprint(t)
		over := after.goroutines > before.goroutines || after.open > before.open || after.heap > before.heap+soakHeapSlack || after.rss > before.rss+soakRSSSlack
		if !over {
			break
		}
		if time.Now().After(deadline) {
			t.Error("more than at the start")
			break
		}
	}
	t.Logf("%v, %d rounds of %d endpoints", took, rounds-warm, soakRooms*5)
	t.Log("before:", before)
	t.Log("after: ", after)
	if file := os.Getenv("KONZIL_SOAK_HEAP"); file != "" { // a heap profile while the server still stands
		f, err := os.Create(file)
		must(t, err)
		must(t, pprof.WriteHeapProfile(f))
		must(t, f.Close())
	}
	c := s.Counters()
	for _, gauge := range []string{"endpoints", "translator_groups", "translator_channels"} {
		if c[gauge] != 0 {
			t.Errorf("%d %s are left", c[gauge], gauge)
		}
	}
	if c["conferences"] != 1 {
		t.Errorf("%d conferences", c["conferences"])
	}
}

// soakRound fills a few rooms and empties them again.
func soakRound(t *testing.T, s *SFU, stays *Conference, round int) {
	for k := range soakRooms {
		t.Run("room", func(t *testing.T) {
			t.Parallel()
			conf, err := s.NewConference(fmt.Sprintf("room%d-%d", round, k), newEvents())
			must(t, err)
			defer conf.Close()
			soakRoom(t, conf, "")
			soakGuest(t, stays, fmt.Sprintf("guest%d", k))
			soakRelay(t, s)
		})
	}
}

// soakRoom has a sender of simulcast and two receivers that come one after the other; one leaves in order, one is just gone.
func soakRoom(t *testing.T, conf *Conference, prefix string) {
	send := newClient(t, conf, prefix+"send", clientOptions{layers: 3})
	send.join(nil)
	stop := send.play(nil)
	defer stop()
	for i, name := range []string{"b", "c"} {
		r := newClient(t, conf, prefix+name, clientOptions{})
		r.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
		r.join(send.sources())
		await.True(t, "audio", func() bool { return r.count(send.ssrc(0)) > 10 })
		await.True(t, "video", func() bool { return r.count(send.ssrc(1)) > 20 })
		await.True(t, "channel", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.open })
		if i == 0 {
			r.close()
			r.ep.Close()
		}
	}
}

// soakGuest visits the room that stays under the same name each time.
func soakGuest(t *testing.T, conf *Conference, name string) {
	a := newClient(t, conf, name+"a", clientOptions{})
	b := newClient(t, conf, name+"b", clientOptions{})
	a.join(nil)
	stop := a.play(nil)
	defer stop()
	b.join(a.sources())
	await.True(t, "audio of a guest", func() bool { return b.count(a.ssrc(0)) > 5 })
	b.ep.Close()
	a.ep.Close()
}

// soakRelay passes a few packets that nobody opens.
func soakRelay(t *testing.T, s *SFU) {
	r, err := s.OpenTranslator("relay", nil)
	must(t, err)
	defer r.Close()
	var ends [2]*net.UDPConn
	pkt := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7}, make([]byte, 160)...)
	for i := range ends {
		ch, err := r.Add(translator.ChannelConfig{})
		must(t, err)
		to, _, _, _ := ch.Local()
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		must(t, err)
		defer c.Close()
		ends[i] = c
		_, err = c.Write(pkt)
		must(t, err)
		await.True(t, "latched", func() bool { return ch.Stats().Remote[0] != netip.AddrPort{} })
	}
	must(t, ends[0].SetReadDeadline(time.Now().Add(patience)))
	_, err = ends[0].Read(make([]byte, 2000))
	must(t, err)
}
