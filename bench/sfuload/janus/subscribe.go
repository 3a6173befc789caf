package janus

import (
	"context"
	"strconv"
	"strings"

	"konzil/bench/sfuload"
)

// source is a stream of a publisher.
type source struct {
	feed uint64
	mid  string
}

// feed is an active publisher.
type feed struct {
	name    string // of the participant
	streams map[string]stream
}

type stream struct {
	kind    sfuload.Kind
	heights []int // of its layers, lowest first
}

// received is a stream that we have subscribed to.
type received struct {
	sub  string // mid in our peer connection, "" until Janus has said it
	told choice // what Janus was last told
}

// choice is what we want of a stream. The zero value is what Janus does by itself: send, the highest layer.
type choice struct {
	off bool
	low int // layers below the highest
}

// Want implements sfuload.Session.
func (s *session) Want(_ context.Context, w sfuload.Want) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.want = w
	return s.sync()
}

// told handles what the room says by itself.
func (s *session) told(e *event) error {
	d := &e.Plugin.Data
	if err := e.fault(); err != nil {
		return err
	}
	if e.Sender == s.subH && s.subH != 0 {
		return s.changed(e)
	}
	s.published(d.Publishers)
	for _, id := range []uint64{number(d.Leaving), number(d.Unpublished)} {
		delete(s.feeds, id)
		for src := range s.have {
			if src.feed == id {
				delete(s.have, src) // Janus takes it out of the subscription by itself (autoupdate)
			}
		}
	}
	return s.sync()
}

// published notes new feeds and what they send.
func (s *session) published(list []publisher) {
	for _, p := range list {
		if p.Display == s.p.Name {
			continue
		}
		f := &feed{name: p.Display, streams: map[string]stream{}}
		for _, st := range p.Streams {
			if st.Disabled || st.Type != string(sfuload.Audio) && st.Type != string(sfuload.Video) {
				continue
			}
			f.streams[st.MID] = stream{sfuload.Kind(st.Type), heights(st.Description)}
		}
		s.feeds[p.ID] = f
	}
}

// heights reads what describe has written; other text gives nil.
func heights(text string) []int {
	var out []int
	for f := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 {
			return nil
		}
		out = append(out, n)
	}
	return out
}

// choose says what is wanted of a stream; sub is false when it is not wanted at all.
func choose(f *feed, st stream, w sfuload.Want) (c choice, sub bool) {
	if st.kind == sfuload.Audio {
		return choice{}, !w.NoAudio
	}
	if w.NoVideo {
		return choice{}, false
	}
	if w.Only != "" && w.Only != f.name {
		return choice{off: true}, true
	}
	for i := len(st.heights) - 1; w.MaxHeight > 0 && i > 0 && st.heights[i] > w.MaxHeight; i-- {
		c.low++
	}
	return c, true
}

// target is an entry of a streams list.
func target(src source, c choice, st stream) map[string]any {
	m := map[string]any{"feed": src.feed, "mid": src.mid}
	settle(m, c, st)
	return m
}

// settle writes a choice. The substreams of Janus count up from the lowest.
func settle(m map[string]any, c choice, st stream) {
	m["send"] = !c.off
	if n := len(st.heights); n > 1 {
		m["substream"] = n - 1 - c.low
	}
}

// sync brings the subscription to what is wanted of the room as it is. One change is under way at a time; its end calls sync again.
func (s *session) sync() error {
	if s.busy {
		return nil
	}
	var add, remove, tune []map[string]any
	for id, f := range s.feeds {
		for mid, st := range f.streams {
			src := source{id, mid}
			c, sub := choose(f, st, s.want)
			r := s.have[src]
			switch {
			case sub && r == nil:
				s.have[src] = &received{told: c}
				add = append(add, target(src, c, st))
			case !sub && r != nil:
				delete(s.have, src)
				remove = append(remove, map[string]any{"feed": id, "mid": mid})
			case sub && r.told != c && r.sub != "":
				r.told = c
				m := map[string]any{"mid": r.sub}
				settle(m, c, st)
				tune = append(tune, m)
			}
		}
	}
	if len(tune) > 0 {
		if err := s.body(s.subH, map[string]any{"request": "configure", "streams": tune}, nil, func(*event) error { return nil }); err != nil {
			return err
		}
	}
	if len(add)+len(remove) == 0 {
		return nil
	}
	s.busy = true
	if !s.attached {
		return s.subscribe(add)
	}
	b := map[string]any{"request": "update"}
	if len(add) > 0 {
		b["subscribe"] = add
	}
	if len(remove) > 0 {
		b["unsubscribe"] = remove
	}
	return s.body(s.subH, b, nil, s.changed)
}

// subscribe makes the subscriber.
func (s *session) subscribe(streams []map[string]any) error {
	s.attached = true
	return s.ask(request{Janus: "attach", Plugin: plugin}, false, func(e *event) error {
		s.subH = e.Data.ID
		b := map[string]any{"request": "join", "ptype": "subscriber", "room": s.room, "use_msid": true, "autoupdate": true, "streams": streams}
		return s.body(s.subH, b, nil, s.changed)
	})
}

// changed handles what Janus says of the subscription: attached and updated with an offer, updating (the offer comes later), and events.
func (s *session) changed(e *event) (err error) {
	d := &e.Plugin.Data
	for _, x := range d.Streams {
		if r := s.have[source{x.Feed, x.FeedMID}]; r != nil && (x.Active == nil || *x.Active) {
			r.sub = x.MID
		}
	}
	if e.JSEP == nil {
		if d.VideoRoom == "updated" || d.VideoRoom == "attached" { // nothing to negotiate
			s.busy = false
			return s.sync()
		}
		return nil
	}
	sdp, offer, err := s.sub.Answer(e.JSEP.SDP)
	if err != nil {
		return err
	}
	s.busy = true
	err = s.body(s.subH, map[string]any{"request": "start"}, &jsep{Type: "answer", SDP: sdp}, func(*event) error {
		s.busy = false
		return s.sync()
	})
	if err != nil {
		return err
	}
	return s.sub.Connect(offer)
}
