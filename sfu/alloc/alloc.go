// Package alloc shares a receiver's bandwidth among the video sources of a conference, the way Jitsi clients expect of their bridge.
//
// Allocate does it in one call:
//
//  1. order: sources on stage, then selected ones, then shared screens, then the rest as given (speakers first), then those that are off;
//  2. the first LastN keep their limits, the others get MaxHeight 0 (limits);
//  3. the layers worth using are chosen: within the limit, else the lowest; a camera uses temporal layers only below 360 lines and of its lowest resolution, a shared
//     screen prefers resolution to frame rate (allowed);
//  4. in that order each source gets its next better layer while the budget lasts, over and over until nothing improves (improve). A
//     camera on stage jumps to 360 lines first. What is on stage, and a shared screen that is wanted with 360 lines or more, is sent in its lowest layer even if that does not fit.
//
// Allocation is a pure function; who calls it decides when, and about hysteresis. It does not allocate when dst has room.
package alloc

import "math/bits"

// Types of a video source, with the values of sfu.VideoType.
const (
	Camera         uint8 = iota
	Desktop              // resolution first
	DesktopHighFPS       // frame rate first, like a camera
	NoVideo              // off
)

// Heights and rates of the rules.
const (
	baseHeight  = 360        // lines from which on a camera gets its full frame rate, and the first goal of a camera on stage
	oversendBps = 500 * 1000 // how far the lowest layer of a source on stage may exceed the budget: a frozen stage is worse than a late one
	maxLayers   = 64         // of one source; more are not looked at
)

// Layer is one way to forward a source.
type Layer struct {
	SSRC    uint32
	SID     uint8 // spatial layer within the SSRC
	TID     uint8
	Height  int     // lines; of the smaller side of the picture
	FPS     float64 // 0: unknown
	Bitrate uint64  // bits per second, all that is needed to forward this layer: lower layers of the SSRC included
}

// Source is a video source with its active layers, low to high.
type Source struct {
	Name   string
	Type   uint8
	Layers []Layer
}

// Limit is the most that a receiver wants of a source. MaxHeight 0 is nothing, negative is unlimited; MaxFPS <= 0 is unlimited.
type Limit struct {
	MaxHeight int
	MaxFPS    float64
}

// Want is a receiver's wish. LastN negative is unlimited.
type Want struct {
	LastN    int
	OnStage  []string
	Selected []string
	Default  Limit
	Per      map[string]Limit
}

// Choice is what a source gets.
type Choice struct {
	Index     int   // into the sources
	Layer     int   // into the source's layers, -1: nothing
	Effective Limit // after LastN
	Oversend  bool  // exceeds the budget on purpose

	onStage bool
	kept    bool   // its lowest layer is sent even if it does not fit: on stage, or a shared screen that is looked at in some size
	allowed uint64 // bits of layers
}

// Best is the best layer that limits leave to the source, -1 for none.
func (c *Choice) Best() int { return bits.Len64(c.allowed) - 1 }

// Allocate appends a Choice for each source to dst, in order of priority. budget is in bits per second; sources come in speaker order.
func Allocate(sources []Source, w *Want, budget uint64, dst []Choice) []Choice {
	at := len(dst)
	dst = order(sources, w, dst)
	cs := dst[at:]
	limits(sources, w, cs)
	left := int64(min(budget, 1<<62))
	for improved := true; improved; {
		improved = false
		for i := range cs {
			c := &cs[i]
			if c.Oversend {
				continue // nothing is left for it anyway
			}
			cost, ok := improve(&sources[c.Index], c, left)
			if ok {
				left -= cost
				improved = true
			}
		}
	}
	return dst
}

// rank orders what is neither on stage nor selected: shared screens, then cameras, then what is off.
func (s *Source) rank() int {
	switch s.Type {
	case Desktop, DesktopHighFPS:
		return 0
	case Camera:
		return 1
	}
	return 2
}

// order lists the sources by priority.
func order(sources []Source, w *Want, dst []Choice) []Choice {
	at := len(dst)
	pick := func(name string, stage bool) {
		for i := range sources {
			if sources[i].Name != name || sources[i].Type == NoVideo {
				continue
			}
			for j := range dst[at:] {
				if dst[at+j].Index == i {
					return
				}
			}
			dst = append(dst, Choice{Index: i, Layer: -1, onStage: stage})
			return
		}
	}
	for _, n := range w.OnStage {
		pick(n, true)
	}
	for _, n := range w.Selected {
		pick(n, false)
	}
	front := dst[at:]
	for rank := range 3 {
	next:
		for i := range sources {
			if sources[i].rank() != rank {
				continue
			}
			for j := range front {
				if front[j].Index == i {
					continue next
				}
			}
			dst = append(dst, Choice{Index: i, Layer: -1})
		}
	}
	return dst
}

// limits finds the effective limits and from them the layers to choose from.
func limits(sources []Source, w *Want, cs []Choice) {
	for i := range cs {
		c := &cs[i]
		s := &sources[c.Index]
		l, ok := w.Per[s.Name]
		if !ok {
			l = w.Default
		}
		if w.LastN >= 0 && i >= w.LastN {
			l.MaxHeight = 0
		}
		c.Effective = l
		c.allowed = allowed(s, l)
		c.kept = c.onStage || s.rank() == 0 && (l.MaxHeight < 0 || l.MaxHeight >= baseHeight)
	}
}

// allowed is the set of layers worth using within limit l.
func allowed(s *Source, l Limit) uint64 {
	n := min(len(s.Layers), maxLayers)
	if n == 0 || l.MaxHeight == 0 || s.Type == NoVideo {
		return 0
	}
	fits := func(y *Layer) bool {
		return (l.MaxHeight < 0 || y.Height <= l.MaxHeight) && (l.MaxFPS <= 0 || y.FPS <= l.MaxFPS)
	}
	var set uint64
	top, bottom := -1, -1 // highest and lowest resolution that fit
	for i := range n {
		if y := &s.Layers[i]; fits(y) {
			set |= 1 << i
			if top < 0 || y.Height > s.Layers[top].Height {
				top = i
			}
			if bottom < 0 || y.Height < s.Layers[bottom].Height {
				bottom = i
			}
		}
	}
	if set == 0 {
		return 1 // never nothing of a source that sends
	}
	for i := range n {
		if set&(1<<i) == 0 {
			continue
		}
		y := &s.Layers[i]
		// Is there a layer of the same resolution with a higher, or with a lower, frame rate among those that fit?
		higher, lower := false, false
		for j := range n {
			if z := &s.Layers[j]; set&(1<<j) != 0 && z.SSRC == y.SSRC && z.SID == y.SID && z.Height == y.Height {
				higher = higher || z.TID > y.TID
				lower = lower || z.TID < y.TID
			}
		}
		if s.Type == Desktop {
			if y.Height < s.Layers[top].Height && lower {
				set &^= 1 << i
			}
		} else if y.Height >= baseHeight && higher && y.Height > s.Layers[bottom].Height {
			// The set shrinks from the low end, so a layer's higher neighbour is still there when it is asked for.
			set &^= 1 << i
		}
	}
	return set
}

// improve gives c a better layer if left is enough for what that costs more.
func improve(s *Source, c *Choice, left int64) (cost int64, ok bool) {
	n := min(len(s.Layers), maxLayers)
	have := int64(0)
	if c.Layer >= 0 {
		have = int64(s.Layers[c.Layer].Bitrate)
	}
	to := -1
	for i := c.Layer + 1; i < n; i++ {
		if c.allowed&(1<<i) == 0 || int64(s.Layers[i].Bitrate)-have > left {
			continue
		}
		if to >= 0 && !(c.onStage && s.Type != Desktop && s.Layers[i].Height <= baseHeight) {
			break
		}
		to = i
	}
	if to < 0 {
		if c.Layer < 0 && c.kept && c.allowed != 0 {
			i := lowest(c.allowed)
			if b := int64(s.Layers[i].Bitrate); b <= left+oversendBps { // left sinks below 0: all that is oversent has this bound
				c.Layer, c.Oversend = i, true
				return b, true
			}
		}
		return 0, false
	}
	c.Layer = to
	return int64(s.Layers[to].Bitrate) - have, true
}

func lowest(set uint64) int {
	i := 0
	for set&1 == 0 {
		set >>= 1
		i++
	}
	return i
}

// Sum tells what an allocation comes to: the rate of what was chosen, that with the cheapest next layer for some source (0: nothing is
// better), that with the best of everything (0 likewise), and whether something is oversent.
func Sum(sources []Source, choices []Choice) (cost, next, all uint64, oversent bool) {
	var step uint64
	for i := range choices {
		c := &choices[i]
		ls := sources[c.Index].Layers
		have, most := uint64(0), uint64(0)
		if c.Layer >= 0 {
			have = ls[c.Layer].Bitrate
		}
		cost += have
		oversent = oversent || c.Oversend
		for j := range min(len(ls), maxLayers) {
			b := ls[j].Bitrate
			if j <= c.Layer || c.allowed&(1<<j) == 0 || b <= have {
				continue
			}
			if step == 0 || b-have < step {
				step = b - have
			}
			most = b
		}
		all += max(have, most)
	}
	if step == 0 {
		return cost, 0, 0, oversent
	}
	return cost, cost + step, all, oversent
}
