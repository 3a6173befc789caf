package jvb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// Adapter joins participants to one bridge.
type Adapter struct {
	rest   string
	client *http.Client

	mu    sync.Mutex // guards rooms
	rooms map[string]*room
}

// room is a conference. Its lock is held while it is made or expired, so that nobody is added to one that is not there.
type room struct {
	mu sync.Mutex // guards n
	n  int        // endpoints
}

// New makes an adapter for a bridge whose REST API is at rest (http://host:port).
func New(rest string) (*Adapter, error) {
	if rest == "" {
		return nil, errors.New("jvb: needs the URL of the bridge's REST API")
	}
	return &Adapter{rest: strings.TrimSuffix(rest, "/"), client: &http.Client{}, rooms: map[string]*room{}}, nil
}

func (a *Adapter) room(name string) *room {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.rooms[name]
	if r == nil {
		r = &room{}
		a.rooms[name] = r
	}
	return r
}

// allocate makes the endpoint, and the conference when it is the first.
func (a *Adapter) allocate(ctx context.Context, meeting string, e endpoint) (*modified, error) {
	r := a.room(meeting)
	r.mu.Lock()
	if r.n > 0 {
		r.n++
		r.mu.Unlock()
		m, err := a.call(ctx, meeting, modify{Endpoints: []endpoint{e}})
		if err != nil {
			a.forget(r)
		}
		return m, err
	}
	defer r.mu.Unlock()
	m, err := a.call(ctx, meeting, modify{Meeting: meeting, Name: meeting + "@bench.invalid", Create: true, Endpoints: []endpoint{e}})
	if err == nil {
		r.n++
	}
	return m, err
}

func (a *Adapter) forget(r *room) {
	r.mu.Lock()
	r.n--
	r.mu.Unlock()
}

// expire ends the endpoint, and the conference with the last one.
func (a *Adapter) expire(ctx context.Context, meeting, id string) error {
	r := a.room(meeting)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n--
	if r.n == 0 {
		_, err := a.call(ctx, meeting, modify{Expire: true})
		return err
	}
	_, err := a.call(ctx, meeting, modify{Endpoints: []endpoint{{ID: id, Expire: true}}})
	return err
}

// Join implements sfuload.Adapter.
func (a *Adapter) Join(ctx context.Context, p *sfuload.Participant, c sfuload.Connector) (_ sfuload.Session, err error) {
	audio, video := section(sfuload.Audio), section(sfuload.Video)
	e := endpoint{ID: p.Name, Create: true, StatsID: p.Name, Medias: []media{describe(audio), describe(video)}, Transport: &outer{Controlling: true},
		Capabilities: []string{"source-names"}}
	for _, t := range p.Publish {
		e.Sources = append(e.Sources, announce(p.Name, t))
	}
	m, err := a.allocate(ctx, p.Room, e)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, p.Name)
	}
	s := newSession(a, p)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w (%s)", err, p.Name), s.undo(context.WithoutCancel(ctx)))
		}
	}()
	c.Step("joined")
	if len(m.Endpoints) != 1 {
		return nil, fmt.Errorf("jvb: an answer about %d endpoints", len(m.Endpoints))
	}
	remote, err := theirs(m.Endpoints[0].Transport)
	if err != nil {
		return nil, err
	}
	if s.t, err = c.Transport("media"); err != nil {
		return nil, err
	}
	if _, err = a.call(ctx, p.Room, modify{Endpoints: []endpoint{{ID: p.Name, Transport: ours(s.t.Local())}}}); err != nil {
		return nil, err
	}
	for _, t := range p.Publish {
		if err = s.t.Send(t, section(t.Kind)); err != nil {
			return nil, err
		}
	}
	for _, md := range []*sfuload.Media{audio, video} {
		if err = s.t.Receive(md); err != nil {
			return nil, err
		}
	}
	if err = s.t.Start(remote); err != nil {
		return nil, err
	}
	c.Step("answer")
	urls := m.Endpoints[0].Transport.Inner.WebSockets
	if len(urls) == 0 {
		return nil, errors.New("jvb: no bridge channel: the bridge must have videobridge.websockets.enabled")
	}
	ws, _, err := websocket.Dial(ctx, urls[0], nil)
	if err != nil {
		return nil, fmt.Errorf("jvb: bridge channel: %w", err)
	}
	if err = s.open(ctx, ws); err != nil {
		return nil, err
	}
	return s, nil
}
