package pool

import (
	"context"
	"errors"
	"maps"
	"slices"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

// conference is where a conference is, and who is in it. Pool.mu guards it; requests about it come one after another, and wait for bridges
// without the lock, so what they need is looked up again afterwards.
type conference struct {
	asking   chan struct{} // has room for who asks bridges about it; taken before Pool.mu
	id, name string
	parts    []*part
	members  map[string]*member // by endpoint id
}

// ask waits until nobody else asks bridges about the conference; end lets the next do so.
func (c *conference) ask(ctx context.Context) (end func(), err error) {
	select {
	case c.asking <- struct{}{}:
		return func() { <-c.asking }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// part is what one bridge has of a conference.
type part struct {
	at    *remote             // nil: in this process
	asked bool                // it was told of the conference
	links map[*part]linkState // relays to other parts
}

// linkState is how a relay is.
type linkState uint8

const (
	unlinked linkState = iota
	linked
	broken // it is made anew soon
)

// member is an endpoint.
type member struct {
	on      *part
	statsID string
	visitor bool
	sources *jingle.SourceSet
}

// count is how many endpoints a part has. Pool.mu is held.
func (c *conference) count(on *part) (n int) {
	for _, m := range c.members {
		if m.on == on {
			n++
		}
	}
	return n
}

// roster is those on a part as the bridge at the other end of a relay is told. Pool.mu is held.
func (c *conference) roster(on *part) []colibri.Endpoint {
	var out []colibri.Endpoint
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		if m := c.members[id]; m.on == on {
			out = append(out, colibri.Endpoint{ID: id, StatsID: m.statsID, Visitor: m.visitor, Create: true, Sources: m.sources})
		}
	}
	return out
}

// state is what is known of the part's bridge. Pool.mu is held.
func (p *Pool) stateOf(at *remote) *state {
	if at == nil {
		return &p.local
	}
	return &at.state
}

// perform asks the bridge of a part, and tells those of the other parts what that changes for them.
func (p *Pool) perform(ctx context.Context, c *conference, on *part, e colibri.Endpoint) (*colibri.ConferenceModified, error) {
	p.mu.Lock()
	first := !on.asked
	on.asked = true
	p.mu.Unlock()
	ask := &colibri.ConferenceModify{MeetingID: c.id, Name: c.name, Create: first, Endpoints: []colibri.Endpoint{e}}
	done, err := p.ask(ctx, on.at, ask)
	var refusal *colibri.Error
	if first && errors.As(err, &refusal) && refusal.Reason == colibri.ReasonConferenceExists { // left over from when it did not answer
		if _, err = p.ask(ctx, on.at, &colibri.ConferenceModify{MeetingID: c.id, Expire: true}); err == nil {
			done, err = p.ask(ctx, on.at, ask)
		}
	}
	if err != nil {
		return nil, p.failed(c, on, e.ID, first, err)
	}
	p.mu.Lock()
	if !slices.Contains(c.parts, on) { // the bridge was lost meanwhile
		p.mu.Unlock()
		return nil, p.missing(c, e.ID, "the bridge is gone")
	}
	c.note(on, &e)
	var others []*part
	for _, x := range c.parts {
		if x != on {
			others = append(others, x)
		}
	}
	empty := len(others) > 0 && c.count(on) == 0
	p.mu.Unlock()
	if empty {
		p.leave(ctx, c, on)
		return done, nil
	}
	for _, x := range others {
		p.inform(ctx, c, on, x, &e)
	}
	return done, nil
}

// note keeps what was done to an endpoint. Pool.mu is held.
func (c *conference) note(on *part, e *colibri.Endpoint) {
	if e.Expire {
		delete(c.members, e.ID)
		return
	}
	m := c.members[e.ID]
	if m == nil {
		m = &member{on: on, statsID: e.StatsID, visitor: e.Visitor}
		c.members[e.ID] = m
	}
	if e.Sources != nil {
		m.sources = e.Sources
	}
}

// failed says what a bridge's failure means. One that does not answer loses all it has; one that has forgotten the conference loses this.
func (p *Pool) failed(c *conference, on *part, endpoint string, first bool, err error) error {
	var refusal *colibri.Error
	if !errors.As(err, &refusal) {
		p.count.failures.Add(1)
		p.log.Warn("bridge does not answer", "bridge", on.at.name(), "err", err)
		p.fail(on.at)
		return p.missing(c, endpoint, "the bridge does not answer")
	}
	if refusal.Reason == colibri.ReasonGracefulShutdown && on.at != nil {
		p.close(on.at)
	}
	if !first && refusal.Reason != colibri.ReasonConferenceNotFound {
		return err
	}
	p.mu.Lock()
	lost := p.drop(c, on)
	whole := len(c.parts) == 0
	p.mu.Unlock()
	if first || whole {
		return err // of the whole conference who asked tells everybody
	}
	p.tell(slices.DeleteFunc(lost, func(l loss) bool { return l.endpoint == endpoint }))
	return p.missing(c, endpoint, refusal.Text)
}

// missing is the answer about an endpoint whose bridge is gone: the conference is, or only the endpoint.
func (p *Pool) missing(c *conference, endpoint, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.placed[c.id] != c {
		return &colibri.Error{Reason: colibri.ReasonConferenceNotFound, Text: text}
	}
	return &colibri.Error{Reason: colibri.ReasonUnknownEndpoint, Endpoint: endpoint, Text: text}
}

// drop takes a part out, with its endpoints, which it gives; the last takes the conference with it. Pool.mu is held.
func (p *Pool) drop(c *conference, on *part) (lost []loss) {
	c.parts = slices.DeleteFunc(c.parts, func(x *part) bool { return x == on })
	for id, m := range c.members {
		if m.on == on {
			delete(c.members, id)
			lost = append(lost, loss{c.id, id})
		}
	}
	for _, x := range c.parts {
		if x.links[on] != unlinked {
			delete(x.links, on)
			if p.ctx.Err() == nil {
				p.wg.Go(func() { p.unlink(c, x, on.at) })
			}
		}
	}
	if len(c.parts) == 0 && p.placed[c.id] == c {
		delete(p.placed, c.id)
	}
	return lost
}

// unlink ends the relay of x to another bridge, which may be gone.
func (p *Pool) unlink(c *conference, x *part, other *remote) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.AnswerTimeout)
	defer cancel()
	p.mu.Lock()
	id := p.stateOf(other).relayID
	p.mu.Unlock()
	if _, err := p.ask(ctx, x.at, &colibri.ConferenceModify{MeetingID: c.id, Relays: []colibri.Relay{{ID: id, Expire: true}}}); err != nil {
		p.log.Debug("relay not ended", "conference", c.id, "bridge", x.at.name(), "err", err)
	}
}

// leave ends a part that has nobody any more.
func (p *Pool) leave(ctx context.Context, c *conference, on *part) {
	p.mu.Lock()
	p.drop(c, on)
	p.mu.Unlock()
	if _, err := p.ask(ctx, on.at, &colibri.ConferenceModify{MeetingID: c.id, Expire: true}); err != nil {
		p.log.Debug("part not ended", "conference", c.id, "bridge", on.at.name(), "err", err)
	}
}

// inform tells the bridge of part x about an endpoint on another, over the relay between them, which is made if there is none yet. A failure is not
// the endpoint's: the relay is made anew, and then both bridges are told of everybody.
func (p *Pool) inform(ctx context.Context, c *conference, on, x *part, e *colibri.Endpoint) {
	p.mu.Lock()
	state := on.links[x]
	id := p.stateOf(on.at).relayID
	p.mu.Unlock()
	var err error
	switch {
	case state == broken, state == linked && !e.Create && !e.Expire && e.Sources == nil:
	case state == unlinked:
		err = p.link(ctx, c, on, x)
	default:
		far := colibri.Endpoint{ID: e.ID, StatsID: e.StatsID, Visitor: e.Visitor, Create: e.Create, Expire: e.Expire, Sources: e.Sources}
		_, err = p.askRelay(ctx, c, x, colibri.Relay{ID: id, Endpoints: []colibri.Endpoint{far}})
	}
	if err != nil {
		p.relink(c, on, x)
	}
}

// askRelay asks the bridge of a part about one relay. The error is its refusal; a bridge that does not answer loses what it has.
func (p *Pool) askRelay(ctx context.Context, c *conference, on *part, r colibri.Relay) (*jingle.Transport, error) {
	done, err := p.ask(ctx, on.at, &colibri.ConferenceModify{MeetingID: c.id, Relays: []colibri.Relay{r}})
	var refusal *colibri.Error
	switch {
	case err == nil && len(done.Relays) == 1:
		return done.Relays[0].Transport, nil
	case err == nil:
		return nil, nil
	case errors.As(err, &refusal):
		p.count.refused.Add(1)
		p.log.Warn("relay refused", "conference", c.id, "bridge", on.at.name(), "relay", r.ID, "err", err)
		return nil, err
	}
	p.count.failures.Add(1)
	p.log.Warn("bridge does not answer", "bridge", on.at.name(), "err", err)
	p.fail(on.at)
	return nil, nil
}
