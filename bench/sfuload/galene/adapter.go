package galene

import (
	"context"
	"errors"
	"fmt"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// Adapter joins participants to one Galene server.
type Adapter struct{ url, group string }

// New makes an adapter for a server whose WebSocket is at url (ws://host:port/ws). Rooms are subgroups of group, which has to have
// auto-subgroups set and to let anybody present.
func New(url, group string) (*Adapter, error) {
	if url == "" || group == "" {
		return nil, errors.New("galene: needs the server's WebSocket URL and a group with auto-subgroups")
	}
	return &Adapter{url: url, group: group}, nil
}

// Join implements sfuload.Adapter.
func (a *Adapter) Join(ctx context.Context, p *sfuload.Participant, c sfuload.Connector) (sfuload.Session, error) {
	for _, t := range p.Publish {
		if t.SVC != "" {
			return nil, fmt.Errorf("galene: %s: VP9 with spatial layers is not supported by this adapter", t.Name)
		}
	}
	ws, _, err := websocket.Dial(ctx, a.url, nil)
	if err != nil {
		return nil, fmt.Errorf("galene: %w", err)
	}
	c.Step("dial")
	s := newSession(ws, p, c, a.group+"/"+p.Room)
	s.Run(s.read)
	if err := s.Joined(ctx); err != nil {
		return nil, fmt.Errorf("galene: %s: %w", p.Name, err)
	}
	return s, nil
}
