package bridge

import (
	"context"

	"konzil/sfu"
)

// Engine is what a bridge needs of the sfu.
type Engine interface {
	NewConference(id string, ev sfu.Events) (Conference, error)
}

// Conference is one of its conferences.
type Conference interface {
	FeedbackSSRCs() (audio, video uint32)
	AddEndpoint(cfg sfu.EndpointConfig) (Endpoint, error)
	Close()
}

// Endpoint is one of a conference's endpoints.
type Endpoint interface {
	LocalTransport(ctx context.Context) (sfu.Transport, error)
	SetRemote(t sfu.Transport) error
	RestartICE(ctx context.Context) (sfu.Transport, error)
	SetSources(list []sfu.Source) error
	SetVideoType(source string, t sfu.VideoType) error
	SetConstraints(c sfu.VideoConstraints)
	SetAudioSubscription(s sfu.AudioSubscription)
	SetReady()
	AckSources(ssrcs []uint32)
	SetForceMute(audio, video bool)
	SendMessage(msg []byte) error
	Close()
}
