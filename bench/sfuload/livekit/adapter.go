package livekit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// maxFrame bounds one message of the server: the JoinResponse of a room of thousands is the largest.
const maxFrame = 16 << 20

// protocol is the version of the client protocol that the session speaks: 16 has what livekit-client 2 uses with two peer connections.
const protocol = "16"

// Adapter joins participants to one LiveKit server.
type Adapter struct {
	url         string
	key, secret string
}

// New makes an adapter for a server whose signalling listens at url (ws://host:port) and that knows the API key with its secret.
func New(url, key, secret string) (*Adapter, error) {
	if url == "" || key == "" || secret == "" {
		return nil, errors.New("livekit: needs the server's WebSocket URL, an API key and its secret")
	}
	return &Adapter{url: url, key: key, secret: secret}, nil
}

// Join implements sfuload.Adapter.
func (a *Adapter) Join(ctx context.Context, p *sfuload.Participant, c sfuload.Connector) (sfuload.Session, error) {
	u, err := url.Parse(a.url)
	if err != nil {
		return nil, fmt.Errorf("livekit: %w", err)
	}
	receives := !p.Want.NoAudio || !p.Want.NoVideo
	all := !p.Want.NoAudio && !p.Want.NoVideo
	u = u.JoinPath("rtc")
	q := url.Values{"protocol": {protocol}, "sdk": {"go"}, "version": {"2.0.0"}, "adaptive_stream": {"0"}, "auto_subscribe": {"0"}}
	if all {
		q.Set("auto_subscribe", "1")
	}
	u.RawQuery = q.Encode()
	tok := token(a.key, a.secret, p.Name, grant{Room: p.Room, RoomJoin: true, CanPublish: true, CanSubscribe: receives}, time.Now())
	ws, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + tok}}})
	if err != nil {
		return nil, fmt.Errorf("livekit: %w", err)
	}
	c.Step("dial")
	s := newSession(ws, p, c, all)
	s.Run(s.read)
	if err := s.Joined(ctx); err != nil {
		return nil, fmt.Errorf("livekit: %s: %w", p.Name, err)
	}
	return s, nil
}
