package galene

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"
)

// maxFrame bounds one message of the server.
const maxFrame = 4 << 20

// writeTime bounds one write: a server that does not read for so long is broken.
const writeTime = 10 * time.Second

// version of Galene's protocol that the adapter speaks.
const version = "2"

// message is what both sides send (galene-protocol.md).
type message struct {
	Type        string          `json:"type"`
	Version     []string        `json:"version,omitempty"`
	Kind        string          `json:"kind,omitempty"`
	Error       string          `json:"error,omitempty"`
	ID          string          `json:"id,omitempty"`
	Replace     string          `json:"replace,omitempty"`
	Source      string          `json:"source,omitempty"`
	Username    *string         `json:"username,omitempty"`
	Password    *string         `json:"password,omitempty"`
	Permissions []string        `json:"permissions,omitempty"`
	Data        *userData       `json:"data,omitempty"`
	Group       string          `json:"group,omitempty"`
	Value       json.RawMessage `json:"value,omitempty"`
	SDP         string          `json:"sdp,omitempty"`
	Candidate   *candidate      `json:"candidate,omitempty"`
	Label       string          `json:"label,omitempty"`
	Request     any             `json:"request,omitempty"`
}

type candidate struct {
	Candidate string `json:"candidate"`
}

// userData is what a participant says about itself to all others: how tall its highest video layer is.
type userData struct {
	Height int `json:"height,omitempty"`
}

// decode reads a message.
func decode(b []byte) (*message, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("galene: %w", err)
	}
	if m.Type == "" {
		return nil, errors.New("galene: a message without a type")
	}
	return &m, nil
}

// text is the value of a message when it is a string: what an error is about.
func (m *message) text() string {
	var s string
	if json.Unmarshal(m.Value, &s) != nil {
		return string(m.Value)
	}
	return s
}

func (s *session) write(ctx context.Context, m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("galene: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := s.WS.Write(ctx, websocket.MessageText, text); err != nil {
		return fmt.Errorf("galene: %w", err)
	}
	return nil
}
