// Package jitsi joins participants the way a Jitsi client does: XMPP over WebSocket, a conference request to the focus, Jingle, and the
// bridge channel for what each wants to see. It works with any server that speaks this, and knows no more of ours.
//
// Join lets package meet do the signalling; when the focus invites, Start (media.go) makes the transport of the session.
package jitsi

import (
	"context"
	"fmt"
	"sync"

	"konzil/bench/measure"
	"konzil/bench/meet"
	"konzil/bench/sfuload"
)

// Adapter joins participants to one server.
type Adapter struct {
	cfg meet.Config

	mu  sync.Mutex // guards ids
	ids map[string]string
}

// New makes an adapter for the server that t describes: Addr["ws"], Domain, Guest, Rooms, Focus. noRewriting: clients do not announce that SSRCs
// may be rewritten.
func New(t *measure.Target, noRewriting bool) (*Adapter, error) {
	if t.Addr["ws"] == "" || t.Domain == "" {
		return nil, fmt.Errorf("jitsi: target %s without a WebSocket URL or domain", t.Name)
	}
	return &Adapter{cfg: meet.Config{URL: t.Addr["ws"], Domain: t.Domain, Guest: t.Guest, MUC: t.Rooms, Focus: t.Focus, Insecure: true, AnyTarget: true, NoSM: true, NoRewriting: noRewriting},
		ids: make(map[string]string)}, nil
}

// Join implements sfuload.Adapter.
func (a *Adapter) Join(ctx context.Context, p *sfuload.Participant, c sfuload.Connector) (sfuload.Session, error) {
	m := &media{p: p, c: c}
	cfg := a.cfg
	cfg.Room, cfg.Nick, cfg.Logger, cfg.Media, cfg.Step = p.Room, p.Name, p.Logger, m, c.Step
	cfg.NoAudio, cfg.NoVideo = true, true
	for _, t := range p.Publish {
		if t.Kind == sfuload.Audio {
			cfg.NoAudio = false
			continue
		}
		cfg.NoVideo, cfg.Video = false, t.Codec
	}
	cfg.Constraints = a.constraints(p.Want)
	client, err := meet.Join(ctx, cfg)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.ids[p.Name] = client.ID()
	a.mu.Unlock()
	return &session{a, client}, nil
}

// constraints says what is wanted in the words of the bridge channel.
func (a *Adapter) constraints(w sfuload.Want) meet.ReceiverConstraints {
	height := w.MaxHeight
	if height == 0 {
		height = -1
	}
	r := meet.ReceiverConstraints{LastN: -1, Default: meet.Constraint{MaxHeight: height}}
	if w.NoVideo {
		r.LastN, r.Default.MaxHeight = 0, 0
	}
	if w.Only != "" {
		a.mu.Lock()
		id := a.ids[w.Only]
		a.mu.Unlock()
		r.Default.MaxHeight = 0
		r.OnStage = []string{id + "-v0"}
		r.Sources = map[string]meet.Constraint{id + "-v0": {MaxHeight: height}}
	}
	return r
}

// session is one joined participant.
type session struct {
	a *Adapter
	c *meet.Client
}

// Want implements sfuload.Session.
func (s *session) Want(_ context.Context, w sfuload.Want) error {
	s.c.Constrain(s.a.constraints(w))
	return s.c.Err()
}

// Leave implements sfuload.Session.
func (s *session) Leave(ctx context.Context) error { return s.c.Leave(ctx) }

// Done implements sfuload.Session.
func (s *session) Done() <-chan struct{} { return s.c.Done() }

// Err implements sfuload.Session.
func (s *session) Err() error { return s.c.Err() }
