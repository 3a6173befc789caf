package pool

import (
	"context"
	"slices"
	"time"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

// Relays that fail are made anew, after a pause that grows.
const (
	relinkPause = time.Second // before the first try; it doubles with each
	maxRelinks  = 6           // tries, the last after half a minute; then bridges cannot reach each other
)

// link makes the relay between two parts: a controls ICE and opens the channel, b begins DTLS, as jicofo chooses.
func (p *Pool) link(ctx context.Context, c *conference, a, b *part) error {
	p.mu.Lock()
	idA, idB := p.stateOf(a.at).relayID, p.stateOf(b.at).relayID
	onA, onB := c.roster(a), c.roster(b)
	a.links[b], b.links[a] = linked, linked
	p.count.links.Add(1)
	p.log.Info("bridges linked", "conference", c.id, "bridge", a.at.name(), "other", b.at.name())
	p.mu.Unlock()
	media := []jingle.Description{jingle.AudioDescription(jingle.Can{RTX: true}), jingle.VideoDescription(jingle.Can{RTX: true})}
	of, err := p.askRelay(ctx, c, a, colibri.Relay{ID: idB, MeshID: mesh, Create: true, Media: media, Endpoints: onB,
		Transport: &colibri.Transport{ICEControlling: true, SCTP: true, SCTPRole: colibri.SCTPClient}})
	if err != nil || of == nil {
		return err
	}
	of, err = p.askRelay(ctx, c, b, colibri.Relay{ID: idA, MeshID: mesh, Create: true, Media: media, Endpoints: onA,
		Transport: &colibri.Transport{SCTP: true, SCTPRole: colibri.SCTPServer, Remote: withSetup(of, "passive")}})
	if err != nil || of == nil {
		return err
	}
	_, err = p.askRelay(ctx, c, a, colibri.Relay{ID: idB, Transport: &colibri.Transport{Remote: withSetup(of, "active")}})
	return err
}

// relayLost hears of a relay that failed: of the bridge in this process (nil), or of one elsewhere that said so. Both ends of a relay may
// tell; the first begins.
func (p *Pool) relayLost(meeting string, at *remote, relay string) {
	p.mu.Lock()
	c := p.placed[meeting]
	var a, b *part
	if c != nil {
		for _, x := range c.parts {
			switch {
			case x.at == at:
				a = x
			case p.stateOf(x.at).relayID == relay:
				b = x
			}
		}
	}
	p.mu.Unlock()
	if a != nil && b != nil {
		p.log.Warn("relay lost", "conference", meeting, "bridge", at.name(), "relay", relay)
		p.relink(c, a, b)
	}
}

// relink makes a relay anew after a pause, unless that is under way.
func (p *Pool) relink(c *conference, a, b *part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.links[b] != linked || p.ctx.Err() != nil {
		return
	}
	a.links[b], b.links[a] = broken, broken
	p.wg.Go(func() {
		for tries := range maxRelinks {
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(relinkPause << tries):
			}
			if p.linkAnew(c, a, b) {
				return
			}
		}
		p.log.Error("bridges of a conference cannot be linked", "conference", c.id, "bridge", a.at.name(), "other", b.at.name())
	})
}

// linkAnew ends what there is of a relay and makes it again. False: a bridge refused; true too if one has left the conference meanwhile.
func (p *Pool) linkAnew(c *conference, a, b *part) bool {
	end, err := c.ask(p.ctx)
	if err != nil {
		return true // the pool is closed
	}
	defer end()
	p.mu.Lock()
	there := p.placed[c.id] == c && slices.Contains(c.parts, a) && slices.Contains(c.parts, b)
	p.mu.Unlock()
	if !there {
		return true
	}
	p.unlink(c, a, b.at)
	p.unlink(c, b, a.at)
	p.count.relinks.Add(1)
	ctx, cancel := context.WithTimeout(p.ctx, 3*p.cfg.AnswerTimeout) // three questions
	defer cancel()
	if p.link(ctx, c, a, b) == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.links[b] == linked {
		a.links[b], b.links[a] = broken, broken
	}
	return false
}

// mesh is the one in which all bridges of a conference are.
const mesh = "0"

// withSetup is a bridge's side of a relay with its role of DTLS settled.
func withSetup(t *jingle.Transport, setup string) *jingle.Transport {
	out := *t
	out.Fingerprints = slices.Clone(t.Fingerprints)
	for i := range out.Fingerprints {
		out.Fingerprints[i].Setup = setup
	}
	return &out
}
