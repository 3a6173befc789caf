package alloc

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// camera has three resolutions with three temporal layers each, as a browser sends VP8.
func camera(name string, ssrc uint32) Source {
	s := Source{Name: name, Type: Camera}
	for i, h := range []int{180, 360, 720} {
		for tid, part := range []float64{0.4, 0.6, 1} {
			kbps := []float64{200, 500, 1500}[i]
			s.Layers = append(s.Layers, Layer{SSRC: ssrc + uint32(i), TID: uint8(tid), Height: h, FPS: []float64{7.5, 15, 30}[tid], Bitrate: uint64(kbps * part * 1000)})
		}
	}
	return s
}

func screen(name string) Source {
	s := camera(name, 900)
	s.Type = Desktop
	return s
}

func names(ss []Source, cs []Choice) string {
	out := ""
	for _, c := range cs {
		out += ss[c.Index].Name
		switch {
		case c.Layer < 0:
			out += "- "
		default:
			y := ss[c.Index].Layers[c.Layer]
			out += fmt.Sprintf(":%dp%g", y.Height, y.FPS)
			if c.Oversend {
				out += "!"
			}
			out += " "
		}
	}
	return out
}

func TestAllocate(t *testing.T) {
	all := Limit{MaxHeight: -1}
	one := []Source{{Name: "x", Type: Camera, Layers: []Layer{{SSRC: 1, Height: 1080, FPS: 30, Bitrate: 3e6}}}}
	off := camera("off", 70)
	off.Type = NoVideo
	mute := Source{Name: "idle", Type: Camera}
	abc := []Source{camera("a", 10), camera("b", 20), camera("c", 30)}
	for _, c := range []struct {
		name   string
		ss     []Source
		w      Want
		budget uint64
		want   string
	}{
		{"plenty", abc, Want{LastN: -1, Default: all}, 1e9, "a:720p30 b:720p30 c:720p30 "},
		{"nothing wanted", abc, Want{LastN: -1}, 1e9, "a- b- c- "},
		{"no budget", abc, Want{LastN: -1, Default: all}, 0, "a- b- c- "},
		{"last-n 0", abc, Want{LastN: 0, Default: all}, 1e9, "a- b- c- "},
		{"last-n 2", abc, Want{LastN: 2, Default: all}, 1e9, "a:720p30 b:720p30 c- "},
		{"order", abc, Want{LastN: 2, OnStage: []string{"nobody", "c", "c"}, Selected: []string{"b", "c"}, Default: all}, 1e9, "c:720p30 b:720p30 a- "},
		{"height", abc, Want{LastN: -1, Default: Limit{MaxHeight: 180}, Per: map[string]Limit{"b": {MaxHeight: 719}, "c": {}}}, 1e9, "a:180p30 b:360p30 c- "},
		{"frame rate", abc, Want{LastN: -1, Default: Limit{MaxHeight: -1, MaxFPS: 15}}, 1e9, "a:720p15 b:720p15 c:720p15 "},
		{"below the lowest", one, Want{LastN: -1, Default: Limit{MaxHeight: 180}}, 1e9, "x:1080p30 "},
		{"round by round", abc, Want{LastN: -1, Default: all}, 400_000, "a:180p15 b:180p15 c:180p15 "},
		{"the first gets the rest", abc, Want{LastN: -1, Default: all}, 460_000, "a:180p30 b:180p15 c:180p15 "},
		{"not enough for all", abc, Want{LastN: -1, Default: all}, 170_000, "a:180p7.5 b:180p7.5 c- "},
		{"stage jumps to 360", abc, Want{LastN: -1, OnStage: []string{"b"}, Default: all}, 700_000, "b:360p30 a:180p15 c:180p7.5 "},
		{"stage falls short of 360", abc, Want{LastN: -1, OnStage: []string{"b"}, Default: all}, 300_000, "b:180p30 a:180p7.5 c- "},
		{"one resolution: its temporal layers", []Source{{Name: "q", Layers: camera("q", 1).Layers[6:]}, {Name: "r", Layers: camera("r", 5).Layers[6:]}}, Want{LastN: -1, Default: all}, 1_600_000, "q:720p15 r:720p7.5 "},
		{"screen: resolution first", []Source{screen("s")}, Want{LastN: -1, Default: all}, 650_000, "s:720p7.5 "},
		{"screen: then frames", []Source{screen("s")}, Want{LastN: -1, Default: all}, 950_000, "s:720p15 "},
		{"screen: lower resolution", []Source{screen("s")}, Want{LastN: -1, Default: all}, 599_000, "s:360p7.5 "},
		{"screen on stage: oversend", []Source{camera("a", 1), screen("s")}, Want{LastN: -1, OnStage: []string{"s"}, Default: all}, 50_000, "s:180p7.5! a- "},
		{"camera on stage: oversend", []Source{screen("s"), camera("a", 1)}, Want{LastN: -1, OnStage: []string{"a"}, Default: all}, 10_000, "a:180p7.5! s:180p7.5! "},
		{"screen in the row: oversend too", []Source{camera("a", 1), screen("s")}, Want{LastN: -1, Default: all}, 50_000, "s:180p7.5! a- "},
		{"screen as a thumbnail: no oversend", []Source{screen("s")}, Want{LastN: -1, Default: Limit{MaxHeight: 180}}, 50_000, "s- "},
		{"screens before cameras, and within last-n", []Source{camera("a", 1), camera("b", 10), screen("s")}, Want{LastN: 2, Default: Limit{MaxHeight: 180}}, 1e9, "s:180p30 a:180p30 b- "},
		{"off goes last and counts last", []Source{off, camera("a", 1)}, Want{LastN: 1, OnStage: []string{"off"}, Default: all}, 1e9, "a:720p30 off- "},
		{"idle keeps its place", []Source{mute, camera("a", 1)}, Want{LastN: 1, Default: all}, 1e9, "idle- a- "},
	} {
		got := Allocate(c.ss, &c.w, c.budget, nil)
		if s := names(c.ss, got); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, s, c.want)
		}
	}
}

func TestEffective(t *testing.T) {
	ss := []Source{camera("a", 1), {Name: "b"}}
	w := Want{LastN: 1, OnStage: []string{"b"}, Default: Limit{MaxHeight: 180}, Per: map[string]Limit{"b": {MaxHeight: 720, MaxFPS: 30}}}
	got := Allocate(ss, &w, 1e6, nil)
	if got[0].Index != 1 || got[0].Effective != (Limit{720, 30}) || got[1].Effective.MaxHeight != 0 {
		t.Errorf("%+v", got)
	}
}

// The budget holds but for an oversent screen, more budget never takes from the first, limits hold, and each source comes once.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		var ss []Source
		w := Want{LastN: r.IntN(8) - 1, Default: Limit{MaxHeight: []int{-1, 0, 100, 180, 360, 720}[r.IntN(6)]}, Per: map[string]Limit{}}
		for i := range r.IntN(8) {
			s := camera(fmt.Sprint(i), uint32(i*10))
			s.Type = uint8(r.IntN(4))
			s.Layers = s.Layers[:r.IntN(10)]
			for k := range s.Layers {
				s.Layers[k].Bitrate = s.Layers[k].Bitrate * uint64(80+r.IntN(40)) / 100
			}
			ss = append(ss, s)
			if r.IntN(3) == 0 {
				w.OnStage = append(w.OnStage, s.Name)
			}
			if r.IntN(3) == 0 {
				w.Per[s.Name] = Limit{MaxHeight: r.IntN(800) - 50}
			}
		}
		budget := uint64(r.IntN(8_000_000))
		cs := Allocate(ss, &w, budget, nil)
		if len(cs) != len(ss) {
			t.Fatal("sources lost")
		}
		seen := map[int]bool{}
		var sum uint64
		over := false
		for _, c := range cs {
			if seen[c.Index] {
				t.Fatal("source twice")
			}
			seen[c.Index] = true
			if c.Layer < 0 {
				continue
			}
			y := ss[c.Index].Layers[c.Layer]
			if c.Effective.MaxHeight == 0 || ss[c.Index].Type == NoVideo || c.Effective.MaxHeight > 0 && y.Height > c.Effective.MaxHeight && c.Layer != 0 {
				t.Fatalf("%+v with %+v", c, y)
			}
			sum += y.Bitrate
			over = over || c.Oversend
		}
		if sum > budget && !over || sum > budget+oversendBps {
			t.Fatalf("%d of %d", sum, budget)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	ss := []Source{camera("a", 10), camera("b", 20), camera("c", 30), screen("s")}
	w := Want{LastN: -1, OnStage: []string{"b"}, Default: Limit{MaxHeight: -1}, Per: map[string]Limit{"a": {MaxHeight: 360}}}
	dst := make([]Choice, 0, 10)
	if n := testing.AllocsPerRun(100, func() { Allocate(ss, &w, 2e6, dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkConference is what one decision for a whole conference costs: 500 receivers of ten sources, and a hundred who see each other.
func BenchmarkConference(b *testing.B) {
	for _, c := range []struct{ receivers, sources int }{{500, 10}, {100, 100}} {
		b.Run(fmt.Sprintf("%dx%d", c.receivers, c.sources), func(b *testing.B) {
			var ss []Source
			for i := range c.sources {
				ss = append(ss, camera(fmt.Sprint(i), uint32(i*10)))
			}
			w := Want{LastN: -1, OnStage: []string{"7"}, Default: Limit{MaxHeight: 180}, Per: map[string]Limit{"7": {MaxHeight: 720}}}
			dst := make([]Choice, 0, c.sources)
			b.ReportAllocs()
			for b.Loop() {
				for range c.receivers {
					Sum(ss, Allocate(ss, &w, 5e6, dst))
				}
			}
		})
	}
}

func BenchmarkAllocate(b *testing.B) {
	var ss []Source
	for i := range 50 {
		ss = append(ss, camera(fmt.Sprint(i), uint32(i*10)))
	}
	w := Want{LastN: -1, OnStage: []string{"7"}, Default: Limit{MaxHeight: 180}}
	dst := make([]Choice, 0, 50)
	b.ReportAllocs()
	for b.Loop() {
		Allocate(ss, &w, 10e6, dst)
	}
}

// Spatial layers in one SSRC are chosen among like simulcast streams: by height, and by what the budget allows.
func TestLayersInOneSSRC(t *testing.T) {
	var ls []Layer
	for sid := range 3 {
		for tid := range 3 {
			ls = append(ls, Layer{SSRC: 7, SID: uint8(sid), TID: uint8(tid), Height: 180 << sid, FPS: 7.5 * float64(int(1)<<tid),
				Bitrate: uint64(40_000<<(2*sid)) * uint64(tid+2) / 4})
		}
	}
	for _, c := range []struct {
		height   int
		budget   uint64
		sid, tid int
	}{
		{180, 10_000_000, 0, 2}, {360, 10_000_000, 1, 2}, {720, 10_000_000, 2, 2}, {-1, 10_000_000, 2, 2},
		{720, 500_000, 1, 2}, {720, 100_000, 0, 2}, {720, 35_000, 0, 1}, {720, 25_000, 0, 0}, {720, 10_000, -1, 0}, {100, 10_000_000, 0, 0},
	} {
		got := Allocate([]Source{{Name: "a", Layers: ls}}, &Want{LastN: -1, Default: Limit{MaxHeight: c.height}}, c.budget, nil)
		sid, tid := -1, 0
		if i := got[0].Layer; i >= 0 {
			sid, tid = int(ls[i].SID), int(ls[i].TID)
		}
		if sid != c.sid || tid != c.tid {
			t.Errorf("%d lines, %d b/s: S%dT%d, want S%dT%d", c.height, c.budget, sid, tid, c.sid, c.tid)
		}
	}
}
