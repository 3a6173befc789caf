package signaling

import (
	"time"

	"konzil/internal/random"
	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// invite asks the bridge for an endpoint and then sends the session-initiate.
func (m *meeting) invite(mem *member) {
	f := m.f
	s := &session{sid: random.Hex(8), allocID: random.Hex(8), told: map[string]jingle.SourceSet{}, json: mem.has(featJSON),
		rewriting: !f.cfg.DisableSSRCRewriting && mem.has(featRewriting)}
	mem.session = s
	offer := &jingle.Offer{SID: s.sid, Initiator: f.self.String(), JSON: s.json, BridgeSession: s.allocID, Region: f.cfg.Region}
	s.fec = f.fec && !s.rewriting && mem.has(featFEC) && mem.has(featRTX)
	can := jingle.Can{RTX: mem.has(featRTX), TCC: mem.has(featTCC), REMB: mem.has(featREMB), RED: !f.cfg.DisableRED && mem.has(featRED), FEC: s.fec}
	ep := colibri.Endpoint{ID: mem.nick, StatsID: mem.statsID, Create: true, Visitor: mem.visitor(), Region: mem.region, Capabilities: []string{colibri.CapSourceNames}}
	if mem.has(featAudio) {
		d := jingle.AudioDescription(can)
		offer.Audio = &d
		ep.Media = append(ep.Media, d)
	}
	if mem.has(featVideo) {
		d := jingle.VideoDescription(can)
		offer.Video = &d
		ep.Media = append(ep.Media, d)
	}
	offer.Data = mem.has(featSCTP) && !f.cfg.DisableSCTP
	if s.rewriting {
		ep.Capabilities = append(ep.Capabilities, colibri.CapSSRCRewriting)
		if mem.has(featMIDDemux) {
			ep.Capabilities = append(ep.Capabilities, colibri.CapMIDDemux)
		}
	}
	switch {
	case s.rewriting:
	case mem.has(featApplied):
		ep.Capabilities = append(ep.Capabilities, colibri.CapAcksApplied)
	default:
		ep.Capabilities = append(ep.Capabilities, colibri.CapAcks)
	}
	ep.Transport = &colibri.Transport{ICEControlling: true, SCTP: offer.Data}
	m.startMuted(mem, offer, &ep)
	m.ask(ep, func(r *colibri.ConferenceModified, err error) { m.allocated(mem, s, offer, r, err) })
}

// startMuted applies the policies to somebody who is invited for the first time: the nth comer, the moderators' wish, moderation.
func (m *meeting) startMuted(mem *member, offer *jingle.Offer, ep *colibri.Endpoint) {
	if !mem.invited && !mem.moderator() {
		offer.StartAudioMuted = m.startAudioMuted >= 0 && mem.place > m.startAudioMuted || m.allAudioMuted
		offer.StartVideoMuted = m.startVideoMuted >= 0 && mem.place > m.startVideoMuted || m.allVideoMuted
	}
	if m.moderates("audio", mem) {
		offer.StartAudioMuted, mem.audioForced = true, true
	}
	if m.moderates("video", mem) {
		offer.StartVideoMuted, mem.videoForced = true, true
	}
	if mem.audioForced || mem.videoForced {
		ep.ForceMute = &colibri.ForceMute{Audio: mem.audioForced, Video: mem.videoForced}
	}
}

// maxInviteWait bounds the growing pause between invitations that the bridge refused.
const maxInviteWait = 30 * time.Second

// allocated goes on with the bridge's answer.
func (m *meeting) allocated(mem *member, s *session, offer *jingle.Offer, r *colibri.ConferenceModified, err error) {
	if m.ended || mem.session != s {
		return // gone meanwhile; the endpoint's expiry is already queued
	}
	var local *jingle.Transport
	if err == nil && len(r.Endpoints) == 1 {
		local = r.Endpoints[0].Transport
	}
	if local == nil {
		m.inviteFailed(mem, err)
		return
	}
	if !r.Sources.Empty() {
		m.ownMed = r.Sources
		for _, x := range r.Sources.Sources {
			m.ledger.Reserve(x.SSRC)
		}
	}
	if m.bridges == 0 || m.bridgeMissing {
		m.bridges, m.bridgeMissing = 1, false
		m.announce()
	}
	mem.failures = 0
	mem.invited = true
	offer.Transport = *local
	offer.Data = offer.Data && local.SCTPPort > 0 // a bridge may have WebSockets alone
	s.told = m.wanted(mem)
	offer.Sources = append([]jingle.Owned{{Owner: jingle.BridgeOwner, SourceSet: m.ownMed}}, ownedList(s.told)...)
	s.state = offered
	m.f.count.invites.Add(1)
	m.request(mem, offer.Element(), func(r *stanza.Stanza) {
		if r != nil && r.Type == "error" && mem.session == s { // no answer in time is taken for a slow client
			m.f.count.inviteErrors.Add(1)
			m.log.Warn("client refused the session", "nick", mem.nick, "err", stanzaError(r))
			m.dropSession(mem, nil)
			mem.quit = true
		}
	})
}

// inviteFailed tries again later.
func (m *meeting) inviteFailed(mem *member, err error) {
	m.log.Warn("bridge gave no endpoint", "nick", mem.nick, "err", err)
	m.dropSession(mem, nil)
	if !m.bridgeMissing {
		m.bridgeMissing = true
		m.announce()
	}
	wait := min(time.Second<<min(mem.failures, 10), maxInviteWait)
	mem.failures++
	mem.quit = true // until the wait is over
	m.after(wait, func() {
		mem.quit = false
		m.review()
	})
}

// dropSession ends a session on our side: sources go, the endpoint expires. The client is not told. done, which may be nil, is called when the
// bridge has ended the endpoint or does not answer.
func (m *meeting) dropSession(mem *member, done func()) {
	s := mem.session
	if s == nil {
		return
	}
	mem.session = nil
	mem.ended = append(mem.ended, s.sid)
	if len(mem.ended) > maxEnded {
		mem.ended = mem.ended[1:]
	}
	m.ask(colibri.Endpoint{ID: mem.nick, Expire: true}, func(*colibri.ConferenceModified, error) {
		if done != nil {
			done()
		}
	})
	if !m.ledger.RemoveOwner(mem.nick).Empty() {
		m.propagateSoon()
	}
}

// terminate ends a session and tells the client.
func (m *meeting) terminate(mem *member, reason, text string) {
	s := mem.session
	if s == nil {
		return
	}
	if s.state != allocating {
		m.request(mem, jingle.Terminate(s.sid, m.f.self.String(), reason, text), nil)
	}
	m.dropSession(mem, nil)
}

// Restart limits per member: a client that cannot connect must not keep the bridge allocating.
const (
	minRestartGap       = 5 * time.Second
	maxRestartsPerMin   = 5
	restartWindow       = time.Minute
	lostEndpointRecheck = 10 * time.Second
)

// restarts are the times of those of the last restartWindow.
type restarts []time.Time

// allow counts a restart at now, and tells whether it is within the limits.
func (r *restarts) allow(now time.Time) bool {
	for len(*r) > 0 && now.Sub((*r)[0]) >= restartWindow {
		*r = (*r)[1:]
	}
	n := len(*r)
	if n >= maxRestartsPerMin || n > 0 && now.Sub((*r)[n-1]) < minRestartGap {
		return false
	}
	*r = append(*r, now)
	return true
}

// mayRestart counts a restart of mem's session, and tells whether it is allowed.
func (m *meeting) mayRestart(mem *member) bool {
	if !mem.restarts.allow(time.Now()) {
		m.f.count.restartsRefused.Add(1)
		return false
	}
	m.f.count.restarts.Add(1)
	return true
}

// reinvite gives a member a new endpoint: the old session is ended and a new one offered. Within the limits; else it is tried later.
func (m *meeting) reinvite(mem *member, why string) {
	s := mem.session
	if !m.mayRestart(mem) {
		m.after(lostEndpointRecheck, func() {
			if mem.session == s && s != nil {
				m.reinvite(mem, why)
			}
		})
		return
	}
	m.log.Info("member is invited again", "nick", mem.nick, "why", why)
	m.terminate(mem, "success", why)
	m.review()
}

// endpointLost is the bridge's word that an endpoint's transport is dead.
func (m *meeting) endpointLost(id string) {
	mem := m.members[id]
	if m.ended || mem == nil || mem.session == nil || mem.session.state == allocating {
		return
	}
	m.f.count.lost.Add(1)
	m.reinvite(mem, "the connection to the bridge was lost")
}
