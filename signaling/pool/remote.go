package pool

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"konzil/signaling/brewery"
	"konzil/signaling/colibri"
	"konzil/xmpp/stanza"
)

const nsHealth = "http://jitsi.org/protocol/healthcheck"

// remote is a bridge in the brewery. Pool.mu guards its state.
type remote struct {
	p     *Pool
	jid   stanza.JID // as occupant
	state state
	stop  context.CancelFunc // of its health checks

	noSCTP atomic.Bool // it has WebSockets alone
}

// name is for logs.
func (r *remote) name() string {
	if r == nil {
		return "local"
	}
	return r.jid.Resource()
}

// read takes what its presence says. Pool.mu is held.
func (s *state) read(st *stanza.Stanza) {
	stats := brewery.ParseStats(st)
	if len(stats) == 0 {
		return // it has just come, and says more soon
	}
	if n, err := strconv.ParseFloat(stats["stress_level"], 64); err == nil {
		s.stress = n
	}
	s.region, s.relayID, s.version = stats["region"], stats["relay_id"], stats["version"]
	// a bridge that says nothing about draining is taken for draining, as jicofo does
	s.open = stats["drain"] == "false" && stats["graceful_shutdown"] != "true" && stats["shutting_down"] != "true" && stats["healthy"] != "false"
}

// modify asks the bridge. One that refuses SCTP is asked again without, and from then on.
func (r *remote) modify(ctx context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	plain, wanted := withoutSCTP(m)
	if wanted && r.noSCTP.Load() {
		m, wanted = plain, false
	}
	done, err := r.request(ctx, m)
	var refusal *colibri.Error
	if wanted && errors.As(err, &refusal) && refusal.Reason == colibri.ReasonFeatureNotSupported {
		r.noSCTP.Store(true)
		again := *plain
		again.Create = false // JVB keeps the conference that it could not put the endpoint into
		if done, err = r.request(ctx, &again); errors.As(err, &refusal) && refusal.Reason == colibri.ReasonConferenceNotFound {
			done, err = r.request(ctx, plain)
		}
	}
	return done, err
}

// withoutSCTP is a request that asks for no association; wanted tells whether m does.
func withoutSCTP(m *colibri.ConferenceModify) (plain *colibri.ConferenceModify, wanted bool) {
	c := *m
	c.Endpoints = slices.Clone(m.Endpoints)
	for i, e := range c.Endpoints {
		if e.Transport != nil && e.Transport.SCTP {
			t := *e.Transport
			t.SCTP, c.Endpoints[i].Transport, wanted = false, &t, true
		}
	}
	return &c, wanted
}

// request asks the bridge over XMPP.
func (r *remote) request(ctx context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	answer, err := r.p.question(ctx, r.jid, m.Element())
	if err != nil {
		return nil, err
	}
	if answer.Type == "error" {
		refusal := colibri.ParseError(answer)
		if gone(answer) {
			return nil, errors.New(refusal.Text)
		}
		return nil, refusal
	}
	return colibri.ParseModified(answer.Child(colibri.NS, "conference-modified"))
}

// gone tells of an error that the room gives because the bridge is not there.
func gone(iq *stanza.Stanza) bool {
	el := iq.Child(stanza.NSClient, "error")
	if el.Child(colibri.NS, "error") != nil {
		return false
	}
	for _, c := range []string{"recipient-unavailable", "remote-server-not-found", "remote-server-timeout", "service-unavailable", "item-not-found", "not-acceptable"} {
		if el.Child(stanza.NSStanzas, c) != nil {
			return true
		}
	}
	return false
}

// watch asks the bridge for its health until ctx ends. Two failures in a row, and it has lost its conferences.
func (r *remote) watch(ctx context.Context) {
	tick := time.NewTicker(r.p.cfg.HealthInterval)
	defer tick.Stop()
	bad := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.healthy(ctx) {
			bad = 0
			continue
		}
		if bad++; bad >= 2 && ctx.Err() == nil {
			r.p.count.unhealthy.Add(1)
			r.p.log.Warn("bridge is not healthy", "bridge", r.name())
			r.p.fail(r)
		}
	}
}

func (r *remote) healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, r.p.cfg.AnswerTimeout)
	defer cancel()
	answer, err := r.p.question(ctx, r.jid, stanza.NewElement(nsHealth, "healthcheck"))
	return err == nil && answer.Type == "result"
}
