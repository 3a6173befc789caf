package meet

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/coder/websocket"
)

// Messages of the bridge channel, as JSON objects with a class (jitsi-videobridge's colibriClass).

// Constraint is the most that a receiver wants of a source.
type Constraint struct {
	MaxHeight    int     `json:"maxHeight"`
	MaxFrameRate float64 `json:"maxFrameRate,omitempty"`
}

// ReceiverConstraints is what the client wants to see.
type ReceiverConstraints struct {
	LastN    int                   `json:"lastN"`
	Selected []string              `json:"selectedSources,omitempty"`
	OnStage  []string              `json:"onStageSources,omitempty"`
	Default  Constraint            `json:"defaultConstraints"`
	Sources  map[string]Constraint `json:"constraints,omitempty"`
}

func (r ReceiverConstraints) message() ([]byte, error) {
	return json.Marshal(struct {
		Class string `json:"colibriClass"`
		ReceiverConstraints
	}{"ReceiverVideoConstraints", r})
}

// Mapping is one slot of a source map.
type Mapping struct {
	Source    string `json:"source"`
	Owner     string `json:"owner"`
	SSRC      int64  `json:"ssrc"`
	RTX       int64  `json:"rtx"`
	VideoType string `json:"videoType"`
}

// bridgeMessage is the union of what the bridge sends.
type bridgeMessage struct {
	Class            string    `json:"colibriClass"`
	Mapped           []Mapping `json:"mappedSources"`
	Forwarded        []string  `json:"forwardedSources"`
	SourceName       string    `json:"sourceName"`
	MaxHeight        *int      `json:"maxHeight"`
	Dominant         string    `json:"dominantSpeakerEndpoint"`
	PreviousSpeakers []string  `json:"previousSpeakers"`
	Downlink         uint64    `json:"estimatedDownlinkBandwidth"`
	From             string    `json:"from"`
}

// channelOpen sends what lib-jitsi-meet sends first.
func (c *Client) channelOpen() {
	c.step("channel")
	if !c.cfg.NoVideo {
		c.sendBridge([]byte(fmt.Sprintf(`{"colibriClass":"SourceVideoTypeMessage","sourceName":%q,"videoType":"camera"}`, c.id+"-v0")))
	}
	c.Constrain(c.cfg.Constraints)
	c.mu.Lock()
	select {
	case <-c.channel:
	default:
		close(c.channel)
	}
	c.mu.Unlock()
}

// Constrain tells the bridge what the client wants to see. Before the channel is open it is remembered and sent then.
func (c *Client) Constrain(r ReceiverConstraints) {
	c.mu.Lock()
	c.cfg.Constraints = r
	c.mu.Unlock()
	b, err := r.message()
	if err != nil {
		c.log.Error("constraints", "err", err)
		return
	}
	c.sendBridge(b)
}

func (c *Client) sendBridge(b []byte) {
	c.mu.Lock()
	send := c.bridgeSend
	c.mu.Unlock()
	if send == nil {
		return
	}
	if err := send(b); err != nil {
		c.log.Warn("bridge channel", "err", err)
	}
}

// bridgeReceived handles one message from the bridge.
func (c *Client) bridgeReceived(b []byte) {
	var m bridgeMessage
	if err := json.Unmarshal(b, &m); err != nil {
		c.note("unreadable bridge message: " + err.Error())
		return
	}
	var limit func(context.Context)
	c.mu.Lock()
	c.messages[m.Class]++
	switch m.Class {
	case "ForwardedSources":
		c.forwarded = m.Forwarded
	case "DominantSpeakerEndpointChangeEvent":
		c.dominant = m.Dominant
	case "ConnectionStats":
		c.downlink = m.Downlink
	case "SenderSourceConstraints":
		if m.MaxHeight != nil {
			c.senderMax[m.SourceName] = *m.MaxHeight
			if c.cfg.Media != nil {
				source, lines := m.SourceName, *m.MaxHeight
				limit = func(context.Context) { c.cfg.Media.Limit(source, lines) }
			}
		}
	}
	c.mu.Unlock()
	if limit != nil {
		c.post(limit)
	}
	kind := "video"
	switch m.Class {
	case "AudioSourcesMap":
		kind = "audio"
		fallthrough
	case "VideoSourcesMap":
		mapped := m.Mapped
		c.post(func(ctx context.Context) { c.sourcesMapped(ctx, kind, mapped) })
	}
}

func dialBridge(ctx context.Context, url string, insecure bool) (*websocket.Conn, error) {
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: httpClient(insecure)})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxFrame)
	return ws, nil
}
