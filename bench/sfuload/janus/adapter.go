package janus

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// maxPublishers is the limit of the rooms that the adapter makes; the default of Janus is 3.
const maxPublishers = 10_000

// Adapter joins participants to one Janus server.
type Adapter struct{ url string }

// New makes an adapter for a server whose WebSocket listens at url (ws://host:port).
func New(url string) (*Adapter, error) {
	if url == "" {
		return nil, errors.New("janus: needs the server's WebSocket URL")
	}
	return &Adapter{url: url}, nil
}

// Join implements sfuload.Adapter.
func (a *Adapter) Join(ctx context.Context, p *sfuload.Participant, c sfuload.Connector) (sfuload.Session, error) {
	for _, t := range p.Publish {
		if t.SVC != "" {
			return nil, fmt.Errorf("janus: %s: VP9 with spatial layers is not supported by this adapter", t.Name)
		}
	}
	ws, _, err := websocket.Dial(ctx, a.url, &websocket.DialOptions{Subprotocols: []string{"janus-protocol"}})
	if err != nil {
		return nil, fmt.Errorf("janus: %w", err)
	}
	c.Step("dial")
	s := newSession(ws, p, c)
	s.Run(s.read)
	if err := s.Joined(ctx); err != nil {
		return nil, fmt.Errorf("janus: %s: %w", p.Name, err)
	}
	return s, nil
}

// roomID is the number of a room: Janus names rooms by numbers unless it is configured otherwise. 48 bits are safe in JSON.
func roomID(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()>>16 | 1
}

// newRoom is the request that makes a room. Everything that costs Janus work is as a deployment has it: levels, transport-wide feedback; no
// bitrate cap, no recording.
func newRoom(name string) map[string]any {
	return map[string]any{
		"request": "create", "room": roomID(name), "description": name, "permanent": false, "publishers": maxPublishers, "bitrate": 0,
		"audiocodec": "opus", "videocodec": "vp8,vp9", "audiolevel_ext": true, "audiolevel_event": false, "transport_wide_cc_ext": true,
		"notify_joining": false, "require_pvtid": false, "record": false,
	}
}
