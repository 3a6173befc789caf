package janus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// maxFrame bounds one message of the server: the offer of a subscription to hundreds of streams is the largest.
const maxFrame = 16 << 20

// writeTime bounds one write: a server that does not read for so long is broken.
const writeTime = 10 * time.Second

// plugin is the one that the adapter talks to.
const plugin = "janus.plugin.videoroom"

// request is a message to Janus.
type request struct {
	Janus       string `json:"janus"`
	Transaction string `json:"transaction"`
	Session     uint64 `json:"session_id,omitempty"`
	Handle      uint64 `json:"handle_id,omitempty"`
	Plugin      string `json:"plugin,omitempty"`
	Body        any    `json:"body,omitempty"`
	JSEP        *jsep  `json:"jsep,omitempty"`
}

// jsep is a session description. Trickle false says that all candidates are in it; RIDOrder names the order of simulcast layers in it.
type jsep struct {
	Type     string `json:"type"`
	SDP      string `json:"sdp"`
	Trickle  bool   `json:"trickle"`
	RIDOrder string `json:"rid_order,omitempty"`
}

// event is a message from Janus: an answer to a request, or what a plugin says by itself.
type event struct {
	Janus       string `json:"janus"`
	Transaction string `json:"transaction"`
	Sender      uint64 `json:"sender"`
	Data        struct {
		ID uint64 `json:"id"`
	} `json:"data"`
	Plugin struct {
		Data roomEvent `json:"data"`
	} `json:"plugindata"`
	JSEP  *jsep `json:"jsep"`
	Error *struct {
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	} `json:"error"`
	Reason    string          `json:"reason"` // of a hangup
	Candidate json.RawMessage `json:"candidate"`
}

// roomEvent is what the VideoRoom says. Leaving and Unpublished are the id of a publisher, or "ok" about ourselves.
type roomEvent struct {
	VideoRoom   string          `json:"videoroom"`
	ID          uint64          `json:"id"`
	Publishers  []publisher     `json:"publishers"`
	Streams     []subscription  `json:"streams"`
	Leaving     json.RawMessage `json:"leaving"`
	Unpublished json.RawMessage `json:"unpublished"`
	Code        int             `json:"error_code"`
	Error       string          `json:"error"`
}

// publisher is an active feed of the room.
type publisher struct {
	ID      uint64 `json:"id"`
	Display string `json:"display"`
	Streams []struct {
		Type        string `json:"type"`
		MID         string `json:"mid"`
		Disabled    bool   `json:"disabled"`
		Description string `json:"description"`
	} `json:"streams"`
}

// subscription is a section of the subscriber's peer connection and where it comes from.
type subscription struct {
	MID     string `json:"mid"`
	Active  *bool  `json:"active"`
	Feed    uint64 `json:"feed_id"`
	FeedMID string `json:"feed_mid"`
}

// Error codes of the VideoRoom.
const (
	errNoRoom     = 426
	errRoomExists = 427
)

// roomError is an error that the plugin reported.
type roomError struct {
	Code int
	Text string
}

func (e *roomError) Error() string { return fmt.Sprintf("janus: %d: %s", e.Code, e.Text) }

// decode reads a message.
func decode(b []byte) (*event, error) {
	var e event
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("janus: %w", err)
	}
	if e.Janus == "" {
		return nil, errors.New("janus: a message without a kind")
	}
	return &e, nil
}

// fault is what an answer says went wrong, nil for nothing.
func (e *event) fault() error {
	switch {
	case e.Error != nil:
		return fmt.Errorf("janus: %d: %s", e.Error.Code, e.Error.Reason)
	case e.Plugin.Data.Code != 0:
		return &roomError{e.Plugin.Data.Code, e.Plugin.Data.Error}
	}
	return nil
}

// number reads the id of a publisher; it is 0 for "ok" and for nothing.
func number(raw json.RawMessage) uint64 {
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ask sends a request and notes what to do with its answer. An answer with an error ends the session, unless the error is passed to then:
// mayFail.
func (s *session) ask(r request, mayFail bool, then func(*event) error) error {
	s.last++
	r.Transaction = strconv.Itoa(s.last)
	r.Session = s.id
	if then != nil {
		s.open[r.Transaction] = func(e *event) error {
			if err := e.fault(); err != nil && !mayFail {
				return err
			}
			return then(e)
		}
	}
	return s.write(s.Ctx, r)
}

// body sends a request to the plugin.
func (s *session) body(handle uint64, b any, j *jsep, then func(*event) error) error {
	return s.ask(request{Janus: "message", Handle: handle, Body: b, JSEP: j}, false, then)
}

func (s *session) write(ctx context.Context, r request) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("janus: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := s.WS.Write(ctx, websocket.MessageText, text); err != nil {
		return fmt.Errorf("janus: %w", err)
	}
	return nil
}
