package livekit

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"

	"konzil/bench/sfuload"
)

// remoteTrack is a track that somebody else has published, and what the server was last told about it.
type remoteTrack struct {
	track
	owner string // identity

	subscribed bool
	settings   settings
}

// settings is what UpdateTrackSettings says of a track. The zero value is a server's default: on, the highest quality.
type settings struct {
	disabled bool
	low      uint64 // how many qualities below the highest (2)
}

// Want implements sfuload.Session.
func (s *session) Want(_ context.Context, w sfuload.Want) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.want = w
	return s.apply()
}

// update notes who publishes what.
func (s *session) update(list []participant) error {
	for _, p := range list {
		if p.Identity == s.p.Name {
			continue
		}
		here := map[string]bool{}
		for _, t := range p.Tracks {
			here[t.SID] = true
			if r := s.remote[t.SID]; r != nil {
				r.track = t
				continue
			}
			s.remote[t.SID] = &remoteTrack{track: t, owner: p.Identity, subscribed: s.auto}
		}
		for sid, r := range s.remote {
			if r.owner == p.Identity && (!here[sid] || p.State == stateDisconnected) {
				delete(s.remote, sid)
			}
		}
	}
	return s.apply()
}

// apply tells the server what has changed between what it knows and what the participant wants.
func (s *session) apply() error {
	var on, off []string
	change := map[settings][]string{}
	for sid, r := range s.remote {
		sub := !(r.Type == typeAudio && s.want.NoAudio || r.Type == typeVideo && s.want.NoVideo)
		switch {
		case sub && !r.subscribed:
			on = append(on, sid)
		case !sub && r.subscribed:
			off = append(off, sid)
		}
		r.subscribed = sub
		if set := wantedSettings(r, s.want); sub && set != r.settings {
			r.settings = set
			change[set] = append(change[set], sid)
		}
	}
	for _, u := range []struct {
		sids []string
		on   bool
	}{{on, true}, {off, false}} {
		if len(u.sids) == 0 {
			continue
		}
		if err := s.send(s.Ctx, reqSubscription, sids(u.sids).flag(2, u.on)); err != nil {
			return err
		}
	}
	for set, list := range change {
		if err := s.send(s.Ctx, reqTrackSetting, sids(list).flag(3, set.disabled).num(4, 2-set.low)); err != nil {
			return err
		}
	}
	return nil
}

func sids(list []string) (m message) {
	for _, s := range list {
		m = protowire.AppendString(protowire.AppendTag(m, 1, protowire.BytesType), s)
	}
	return m
}

// wantedSettings chooses the highest layer that is not taller than wanted, the lowest when all are.
func wantedSettings(r *remoteTrack, w sfuload.Want) settings {
	if r.Type != typeVideo {
		return settings{}
	}
	if w.Only != "" && w.Only != r.owner {
		return settings{disabled: true}
	}
	if w.MaxHeight == 0 || len(r.Layers) == 0 {
		return settings{}
	}
	best, lowest := -1, r.Layers[0]
	for i, l := range r.Layers {
		if l.Height < lowest.Height {
			lowest = l
		}
		if l.Height <= uint64(w.MaxHeight) && (best < 0 || l.Height > r.Layers[best].Height) {
			best = i
		}
	}
	q := lowest.Quality
	if best >= 0 {
		q = r.Layers[best].Quality
	}
	return settings{low: 2 - min(q, 2)}
}
