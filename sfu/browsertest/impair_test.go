//go:build linux

package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"konzil/sfu"
	"konzil/sfu/linksim"
)

// The impairment table (make impair): one Chromium publishes 720p simulcast next to the server, another watches in a network namespace
// behind a path that loses, delays or narrows. What the watcher's getStats says is printed.

// server is what is measured: ours here, and others by their own page.
type server interface {
	// name is for the table.
	name() string
	// page is the script that publish and watch call.
	page() string
	// start runs the server; media of the watcher must reach it at far, of the publisher at 127.0.0.1.
	start(t *testing.T, far netip.Addr)
	// publish makes call's page send 720p simulcast, and watch makes it see that in full height. Afterwards inbound() in the watcher's
	// page gives the RTCPeerConnection.
	publish(t *testing.T, call func(expr string, args ...any) string)
	watch(t *testing.T, call func(expr string, args ...any) string)
	// explain says what the server thinks of the watcher's path, for the log.
	explain() string
}

// impairment is one row: what the path is like, second by second.
type impairment struct {
	key  string // for KONZIL_IMPAIR_ROWS
	name string
	path func(l *linksim.Link, second int)
	secs int
	back int  // second from which on the way back to the top is timed, 0: none
	join bool // the watcher comes over that path; in the other rows over a good one
}

const (
	oneWay    = 20 * int64(time.Millisecond)
	pathQueue = 300 * int64(time.Millisecond)
)

func impairments() []impairment {
	lossy := func(share float64) func(l *linksim.Link, _ int) {
		return func(l *linksim.Link, _ int) { l.Loss = share }
	}
	return []impairment{
		{"clean", "clean", func(*linksim.Link, int) {}, 10, 0, false},
		{"loss1", "1 % loss", lossy(0.01), 30, 0, false},
		{"loss5", "5 % loss", lossy(0.05), 18, 0, false},
		{"loss10", "10 % loss", lossy(0.10), 18, 0, false},
		{"steps", "3→0.5→3 Mbit/s", func(l *linksim.Link, s int) {
			l.Rate = 3e6
			if s >= 10 && s < 23 {
				l.Rate = 0.5e6
			}
		}, 40, 23, false},
		{"rtt200", "200 ms RTT", func(l *linksim.Link, _ int) { l.Delay = 100 * int64(time.Millisecond) }, 10, 0, true},
	}
}

// selected are the rows that KONZIL_IMPAIR_ROWS names, a list of keys with commas; without it all.
func selected(t *testing.T) (out []impairment) {
	t.Helper()
	want := os.Getenv("KONZIL_IMPAIR_ROWS")
	if want == "" {
		return impairments()
	}
	for key := range strings.SplitSeq(want, ",") {
		n := len(out)
		for _, im := range impairments() {
			if im.key == key {
				out = append(out, im)
			}
		}
		if len(out) == n {
			t.Fatalf("there is no row %q", key)
		}
	}
	return out
}

// watched is what the watcher saw up to now.
type watched struct {
	Frames, Height                int // decoded
	Shown                         int // pictures that were put on the screen: of some that are decoded at once, when a repair brings them, it is the last
	Held                          int // complete pictures that wait for their time
	Freezes                       int
	Frozen                        float64 // s
	Lost, RTX, NACK, PLI, Dropped int
	Jitter                        float64 // mean delay in the jitter buffer, s

	// From the first ICE check of the connection that brings the picture, ms; 0: not yet.
	Picture float64 // until the first picture was decoded
	Top     float64 // and one of 720 lines
}

// statsScript reads getStats: of the peer connection that inbound() gives, and of all() how many pictures were encoded, and how. timed() begins to look
// for the first pictures, showing() counts those on the screen.
const statsScript = `
async function encoded() {
  let most = 0;
  for (const pc of all()) for (const r of (await pc.getStats()).values()) if (r.type == 'outbound-rtp' && r.kind == 'video') most = Math.max(most, r.framesEncoded || 0);
  return '' + most;
}
async function sent() {
  const out = [];
  for (const pc of all()) for (const r of (await pc.getStats()).values()) if (r.type == 'outbound-rtp' && r.kind == 'video') out.push((r.frameHeight || 0) + 'p ' + (r.scalabilityMode || '?'));
  return out.join(', ');
}
const began = new Map();
let picture = 0, top720 = 0, shown = 0;
const screens = new Set();
function showing() {
  for (const v of document.querySelectorAll('video')) {
    if (screens.has(v)) continue;
    screens.add(v);
    const each = (_, m) => { shown = Math.max(shown, m.presentedFrames); v.requestVideoFrameCallback(each); };
    v.requestVideoFrameCallback(each);
  }
}
async function timed() {
  const now = performance.now();
  for (const pc of all()) if (!began.has(pc) && pc.iceConnectionState != 'new') began.set(pc, now);
  for (const pc of began.keys()) for (const r of (await pc.getStats()).values()) {
    if (r.type != 'inbound-rtp' || r.kind != 'video' || !(r.framesDecoded > 0)) continue;
    const since = performance.now() - began.get(pc);
    if (!picture) picture = since;
    if (Math.min(r.frameHeight, r.frameWidth) >= 720) top720 = since;
  }
  if (!top720) setTimeout(timed, 10);
}
async function watched() {
  showing();
  const out = {Picture: picture, Top: top720, Frames: 0, Height: 0, Shown: shown, Held: 0, Freezes: 0, Frozen: 0, Lost: 0, RTX: 0, NACK: 0, PLI: 0, Dropped: 0, Jitter: 0};
  for (const r of (await inbound().getStats()).values()) {
    if (r.type != 'inbound-rtp' || r.kind != 'video' || !(r.framesDecoded > out.Frames)) continue;
    Object.assign(out, {Frames: r.framesDecoded, Height: Math.min(r.frameHeight || 0, r.frameWidth || 0), Held: r.framesReceived - r.framesDecoded - (r.framesDropped || 0), Freezes: r.freezeCount || 0, Frozen: r.totalFreezesDuration || 0,
      Lost: r.packetsLost || 0, RTX: r.retransmittedPacketsReceived || 0, NACK: r.nackCount || 0, PLI: r.pliCount || 0,
      Dropped: r.framesDropped || 0, Jitter: (r.jitterBufferDelay || 0) / (r.jitterBufferEmittedCount || 1)});
  }
  return JSON.stringify(out);
}`

// servers are those that KONZIL_IMPAIR names, a list with commas; 1 is all that are here.
func servers(t *testing.T, dev string) (out []func() server) {
	t.Helper()
	want := os.Getenv("KONZIL_IMPAIR")
	wants := func(name string) bool {
		return want == "1" || slices.Contains(strings.Split(want, ","), name)
	}
	if wants("konzil") {
		out = append(out, func() server { return &ours{} })
	}
	if wants("livekit") {
		l, err := newLiveKit(t, dev)
		if err != nil {
			t.Logf("livekit is left out: %v", err)
		} else {
			out = append(out, func() server { return l })
		}
	}
	if len(out) == 0 {
		t.Skip("no server to measure")
	}
	return out
}

// KONZIL_IMPAIR names the servers (1: all), KONZIL_IMPAIR_ROUNDS how often each row is measured of each, KONZIL_IMPAIR_ROWS the rows.
func TestImpairment(t *testing.T) {
	if os.Getenv("KONZIL_IMPAIR") == "" {
		t.Skip("takes minutes: make impair")
	}
	n := newFarNet(t)
	rounds, _ := strconv.Atoi(os.Getenv("KONZIL_IMPAIR_ROUNDS"))
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-8s %-16s %10s %7s %8s %8s %6s %9s %6s %7s %9s %5s %6s %5s %8s %9s  %s\n", "server", "path", "picture ms", "top ms", "frozen s", "freezes", "fps", "undecoded", "unseen", "at top", "top again", "lost", "rtx", "pli", "dropped", "buffer ms", "machine")
	made := servers(t, n.dev)
	for _, im := range selected(t) {
		for range max(rounds, 1) {
			for _, s := range made {
				t.Run(im.name, func(t *testing.T) { table.WriteString(row(t, n, s(), im)) })
			}
		}
	}
	t.Log(table.String())
}

// row measures and writes one line of the table.
func row(t *testing.T, n *farNet, s server, im impairment) string {
	m := impair(t, n, s, im)
	back := "-"
	if im.back > 0 {
		back = "never"
		if m.again >= 0 {
			back = fmt.Sprintf("%.1f s", m.again.Seconds())
		}
	}
	line := fmt.Sprintf("%-8s %-16s %10.0f %7.0f %8.2f %8d %6.1f %9d %6d %5.0f %% %9s %5d %6d %5d %8d %9.0f  %s\n", s.name(), im.name, m.last.Picture, m.last.Top, m.last.Frozen-m.first.Frozen, m.last.Freezes-m.first.Freezes,
		float64(m.last.Frames-m.first.Frames)/m.load.took.Seconds(), m.missed(m.first.Frames, m.last.Frames), m.missed(m.first.Shown, m.last.Shown), 100*m.top, back, m.last.Lost-m.first.Lost, m.last.RTX-m.first.RTX, m.last.PLI-m.first.PLI, m.last.Dropped-m.first.Dropped, m.last.Jitter*1000, m.load)
	t.Log(line)
	return line
}

// measured is what came of one row.
type measured struct {
	first, last watched
	top         float64       // share of the time in the top layer
	again       time.Duration // until it was back, negative: never
	load        load
}

// missed is how many of the pictures that were encoded meanwhile are not among the to-from ones, without those that will be: where pictures are held back
// for longer at the end than at the beginning, some are still on their way to the screen.
func (m *measured) missed(from, to int) int {
	return m.load.pictures - (to - from) - (m.last.Held - m.first.Held)
}

// impair runs one row: both browsers meet on a good path, which then becomes what the row says.
func impair(t *testing.T, n *farNet, s server, im impairment) (m measured) {
	n.set(func(l *linksim.Link) { l.Rate, l.Loss, l.Delay, l.Queue = 0, 0, oneWay, pathQueue })
	s.start(t, n.host)
	pub := open(t, "chromium", s.page()+statsScript)
	sub := open(t, n.command(t, "chromium"), s.page()+statsScript)
	s.publish(t, pub)
	if im.join {
		n.set(func(l *linksim.Link) { im.path(l, 0) })
	}
	sub("(timed(), '')")
	s.watch(t, sub)
	look := func() (w watched) {
		t.Helper()
		if err := json.Unmarshal([]byte(sub("watched()")), &w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	encoded := func() int {
		t.Helper()
		k, err := strconv.Atoi(pub("encoded()"))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	m.load.before = good(t, s, look, tick.C)
	t.Logf("sent: %s", pub("sent()"))
	m.first, m.again = look(), -1
	m.load.start(encoded())
	begin := time.Now()
	looks, atTop, second := 0, 0, -1
	for time.Since(begin) < time.Duration(im.secs)*time.Second {
		if now := int(time.Since(begin).Seconds()); now != second {
			second = now
			n.set(func(l *linksim.Link) { im.path(l, second) })
			if second%5 == 4 && testing.Verbose() {
				t.Logf("%2d s: %+v %s", second, m.last, s.explain())
			}
		}
		<-tick.C
		m.last = look()
		m.load.look()
		looks++
		if m.last.Height >= 720 {
			atTop++
			if im.back > 0 && m.again < 0 && second >= im.back {
				m.again = time.Since(begin) - time.Duration(im.back)*time.Second
			}
		}
	}
	m.last = look()
	m.load.end(encoded())
	m.top = float64(atTop) / float64(looks)
	return m
}

// good waits until the watcher sees the top layer on a good path, and tells at how many pictures a second.
func good(t *testing.T, s server, look func() watched, tick <-chan time.Time) float64 {
	t.Helper()
	const frames = 40
	deadline := time.Now().Add(40 * time.Second)
	var since time.Time
	from := 0
	for {
		w := look()
		switch {
		case w.Height < 720:
			since = time.Time{}
		case since.IsZero():
			since, from = time.Now(), w.Frames
		case w.Frames >= from+frames:
			return float64(w.Frames-from) / time.Since(since).Seconds()
		}
		if time.Now().After(deadline) {
			t.Fatalf("no 720 lines on a good path: %+v\n%s", w, s.explain())
		}
		<-tick
	}
}

// open starts a browser with a page and returns how to run JavaScript there.
func open(t *testing.T, program, script string) func(expr string, args ...any) string {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("chromium is not installed")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	// A file, so that nothing of the page travels over the path.
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte("<!doctype html><script>"+script+"</script>"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := url.URL{Scheme: "file", Path: file} // the name of a repeated test has a # in it
	return launch(t, path, at.String()).call
}

// ours is Konzil's SFU in this process.
type ours struct {
	s       *sfu.SFU
	c       *sfu.Conference
	ev      *events
	sources []sfu.Source
}

func (o *ours) name() string { return "konzil" }

func (o *ours) page() string {
	p := strings.TrimSuffix(strings.TrimPrefix(page, "<!doctype html><script>"), "</script>")
	return p + "\nfunction inbound() { return pcs['recv'].pc; }\nfunction all() { return Object.values(pcs).map(p => p.pc); }\n" +
		"function want() { const dc = pcs['recv'].dc, say = () => dc.send('want'); if (dc.readyState == 'open') say(); else dc.onopen = say; return ''; }\n"
}

func (o *ours) start(t *testing.T, far netip.Addr) {
	cfg := sfu.DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.AddrPortFrom(far, 0)}
	var err error
	if o.s, err = sfu.New(cfg, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.s.Close() })
	o.ev = &events{}
	if o.c, err = o.s.NewConference("room", o.ev); err != nil {
		t.Fatal(err)
	}
}

// join lets a page make a peer connection that sends audio and, if video, a camera.
func (o *ours) join(t *testing.T, call func(string, ...any) string, id string, video bool, recv []sfu.Source) (*sfu.Endpoint, []sfu.Source) {
	t.Helper()
	e, err := o.c.AddEndpoint(config(id))
	if err != nil {
		t.Fatal(err)
	}
	lt, err := e.LocalTransport(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	rt, sources := parse(id, call("make(%s, %s, %s)", id, offer(lt, recv), map[bool]string{true: "all", false: "audio"}[video]))
	if err := e.SetSources(sources); err != nil {
		t.Fatal(err)
	}
	if err := e.SetRemote(rt); err != nil {
		t.Fatal(err)
	}
	o.until(t, "transport "+id+" 1")
	return e, sources
}

// until waits for an event.
func (o *ours) until(t *testing.T, what string) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !o.ev.has(what) {
		select {
		case <-deadline.C:
			t.Fatalf("no %q: %v", what, o.s.Counters())
		case <-tick.C:
		}
	}
}

func (o *ours) publish(t *testing.T, call func(string, ...any) string) {
	_, o.sources = o.join(t, call, "send", true, nil)
}

func (o *ours) watch(t *testing.T, call func(string, ...any) string) {
	e, _ := o.join(t, call, "recv", false, o.sources)
	call("want()") // over the data channel, as clients do
	o.until(t, "message recv want")
	e.SetConstraints(sfu.VideoConstraints{LastN: -1, OnStage: []string{"send-v0"}, Default: sfu.Constraint{MaxHeight: 720}})
}

func (o *ours) explain() string {
	c := o.s.Counters()
	path := ""
	for _, r := range o.c.Explain().Receivers {
		if r.Endpoint == "recv" && len(r.Sources) > 0 {
			path = fmt.Sprintf("estimate %d kbit/s (%s); %s: %s; ", r.Estimate/1000, r.Why, r.Sources[0].Layer, r.Sources[0].Why)
		}
	}
	return path + fmt.Sprintf("probes %d of %d packets, rtx %d and %d tails, nacks %d missed %d, paced %d, pli in %d out %d", c["probes"], c["probe_packets"], c["rtx_out"], c["rtx_tail"], c["nack_in"], c["nack_miss"], c["paced"], c["pli_in"], c["pli_out"])
}
