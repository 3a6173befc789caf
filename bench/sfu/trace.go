package sfu

import (
	"fmt"
	"slices"
	"strings"

	"konzil/bench/sfuload"
)

// Traces are the forms of video by name, and what they are.
func traces() map[string]func() *sfuload.Track {
	return map[string]func() *sfuload.Track{
		// 7 packets of 1200 bytes a frame, 30 frames/s: 2 Mbit/s and 210 packets/s.
		"vp8": func() *sfuload.Track {
			return &sfuload.Track{Name: "v0", Kind: sfuload.Video, Codec: "VP8", Layers: []sfuload.Layer{{Width: 1280, Height: 720, Bitrate: 1_948_800, FrameRate: 30}}}
		},
		// What a browser sends of a 720p camera.
		"simulcast": func() *sfuload.Track {
			return &sfuload.Track{Name: "v0", Kind: sfuload.Video, Codec: "VP8", Layers: []sfuload.Layer{
				{RID: "q", Width: 320, Height: 180, Bitrate: 150_000, FrameRate: 30},
				{RID: "h", Width: 640, Height: 360, Bitrate: 500_000, FrameRate: 30},
				{RID: "f", Width: 1280, Height: 720, Bitrate: 1_700_000, FrameRate: 30}}}
		},
		// Three spatial layers in one stream.
		"vp9": func() *sfuload.Track {
			return &sfuload.Track{Name: "v0", Kind: sfuload.Video, Codec: "VP9", SVC: "L3T1_KEY", Layers: []sfuload.Layer{{Width: 1280, Height: 720, Bitrate: 1_700_000, FrameRate: 30}}}
		},
		// Slides: little, and much at a keyframe.
		"screen": func() *sfuload.Track {
			return &sfuload.Track{Name: "v0", Kind: sfuload.Video, Codec: "VP8", Screen: true, Layers: []sfuload.Layer{{Width: 1920, Height: 1080, Bitrate: 350_000, FrameRate: 5}}}
		},
	}
}

func traceNames() string {
	var names []string
	for n := range traces() {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func video(trace string) (*sfuload.Track, error) {
	f := traces()[trace]
	if f == nil {
		return nil, fmt.Errorf("trace %q is not one of %s", trace, traceNames())
	}
	return f(), nil
}

func audio() *sfuload.Track {
	return &sfuload.Track{Name: "a0", Kind: sfuload.Audio, Codec: "opus", Layers: []sfuload.Layer{{Bitrate: 40_000}}}
}
