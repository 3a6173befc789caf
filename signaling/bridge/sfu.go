package bridge

import (
	"log/slog"

	"konzil/sfu"
)

// New makes a bridge on the sfu of this process.
func New(s *sfu.SFU, cfg Config, log *slog.Logger) *Bridge { return newWith(engine{s}, cfg, log) }

// engine and engineConference fit the sfu's concrete types into the interfaces of engine.go.
type engine struct{ *sfu.SFU }

func (e engine) NewConference(id string, ev sfu.Events) (Conference, error) {
	c, err := e.SFU.NewConference(id, ev)
	if err != nil {
		return nil, err
	}
	return engineConference{c}, nil
}

type engineConference struct{ *sfu.Conference }

func (c engineConference) AddEndpoint(cfg sfu.EndpointConfig) (Endpoint, error) {
	e, err := c.Conference.AddEndpoint(cfg)
	if err != nil {
		return nil, err
	}
	return e, nil
}
