package signaling

import (
	"slices"
	"strings"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// addSources holds new sources of mem against the rules and takes them.
func (m *meeting) addSources(mem *member, add jingle.SourceSet) (jingle.SourceSet, *stanza.Error) {
	if add.Empty() {
		return add, nil
	}
	if mem.visitor() {
		return jingle.SourceSet{}, stanza.ErrForbidden.With("visitors do not send")
	}
	if m.overLimit(mem, add) {
		return jingle.SourceSet{}, stanza.ErrResourceConstraint.With("too many senders")
	}
	added, err := m.ledger.Add(mem.nick, add)
	if err != nil {
		m.f.count.badSrc.Add(1)
		return jingle.SourceSet{}, stanza.ErrBadRequest.With(err.Error())
	}
	return added, nil
}

// overLimit tells whether mem would be one sender too many of a kind that it does not send yet. Who is muted does not count.
func (m *meeting) overLimit(mem *member, add jingle.SourceSet) bool {
	sends := func(media jingle.Media) bool {
		return slices.ContainsFunc(m.ledger.Of(mem.nick).Sources, func(s jingle.Source) bool { return s.Media == media })
	}
	for _, s := range add.Sources {
		if s.Media == jingle.Audio && m.audioLimit && mem.audioMuted && !sends(jingle.Audio) ||
			s.Media == jingle.Video && m.videoLimit && mem.videoMuted && !sends(jingle.Video) {
			return true
		}
	}
	return false
}

func (m *meeting) sourceAdd(mem *member, s *session, iq *stanza.Stanza, msg *jingle.Message) *stanza.Error {
	if s.state != active {
		return stanza.ErrUnexpectedRequest.With("accept the session first")
	}
	added, serr := m.addSources(mem, msg.Sources)
	if serr != nil {
		return serr
	}
	m.f.count.sourceAdds.Add(1)
	m.send(iq.Result())
	if !added.Empty() {
		m.propagateSoon()
		m.tellBridgeSources(mem)
	}
	return nil
}

// sourceRemove never refuses what is not there.
func (m *meeting) sourceRemove(mem *member, s *session, iq *stanza.Stanza, msg *jingle.Message) *stanza.Error {
	if s.state != active {
		return stanza.ErrUnexpectedRequest.With("accept the session first")
	}
	m.f.count.sourceRemoves.Add(1)
	m.send(iq.Result())
	if !m.ledger.Remove(mem.nick, msg.Sources).Empty() {
		m.propagateSoon()
		m.tellBridgeSources(mem)
	}
	return nil
}

func (m *meeting) tellBridgeSources(mem *member) {
	all := m.forBridge(mem)
	m.ask(colibri.Endpoint{ID: mem.nick, Sources: &all}, nil)
}

// forBridge is what the bridge is told of mem's sources.
func (m *meeting) forBridge(mem *member) jingle.SourceSet {
	all := m.ledger.Of(mem.nick)
	if !m.f.fec {
		return all.Clone()
	}
	return m.protected(all)
}

// wanted is what mem's client should know of others' sources: nothing when the bridge rewrites SSRCs for it, else all without
// simulcast, which it never sees.
func (m *meeting) wanted(mem *member) map[string]jingle.SourceSet {
	out := map[string]jingle.SourceSet{}
	if mem.session.rewriting {
		return out
	}
	for _, o := range m.ledger.All(mem.nick) {
		out[o.Owner] = o.StripSimulcast()
		if mem.session.fec {
			out[o.Owner] = m.protected(out[o.Owner])
		}
	}
	return out
}

// propagateSoon tells the others of changed sources, at once or, in large meetings, gathered for a while.
func (m *meeting) propagateSoon() {
	if m.sourceTimer != nil || m.ended {
		return
	}
	if d := m.f.cfg.SourceDelay; d != nil {
		if wait := d(len(m.members)); wait > 0 {
			m.sourceTimer = m.after(wait, func() {
				m.sourceTimer = nil
				m.propagate()
			})
			return
		}
	}
	m.propagate()
}

func (m *meeting) propagate() {
	for _, mem := range m.sorted(func(mem *member) bool { return mem.session != nil && !mem.session.rewriting }) {
		m.tellSources(mem, mem.session)
	}
}

// tellSources sends a client the difference between what it was told and what it should know. Before the session is accepted
// nothing is sent: accept does it then.
func (m *meeting) tellSources(mem *member, s *session) {
	if s.state != active || s.rewriting {
		return
	}
	want := m.wanted(mem)
	add, remove := map[string]jingle.SourceSet{}, map[string]jingle.SourceSet{}
	for owner, set := range want {
		if d := set.Minus(s.told[owner]); !d.Empty() {
			add[owner] = d
		}
	}
	for owner, set := range s.told {
		if d := set.Minus(want[owner]); !d.Empty() {
			remove[owner] = d
		}
	}
	s.told = want
	for _, c := range []struct {
		action string
		what   map[string]jingle.SourceSet
	}{{"source-remove", remove}, {"source-add", add}} {
		if len(c.what) > 0 {
			m.request(mem, jingle.SourceChange(c.action, s.sid, m.f.self.String(), ownedList(c.what), s.json), func(r *stanza.Stanza) {
				if c.action == "source-add" && r != nil && r.Type == "result" && mem.session == s {
					m.ask(colibri.Endpoint{ID: mem.nick, Acked: ssrcsOf(c.what)}, nil)
				}
			})
		}
	}
}

// ssrcsOf lists the SSRCs of all owners, for acknowledgements.
func ssrcsOf(sets map[string]jingle.SourceSet) []uint32 {
	var out []uint32
	for _, set := range sets {
		for _, s := range set.Sources {
			out = append(out, s.SSRC)
		}
	}
	return out
}

func ownedList(sets map[string]jingle.SourceSet) []jingle.Owned {
	out := make([]jingle.Owned, 0, len(sets))
	for owner, set := range sets {
		out = append(out, jingle.Owned{Owner: owner, SourceSet: set})
	}
	slices.SortFunc(out, func(a, b jingle.Owned) int { return strings.Compare(a.Owner, b.Owner) })
	return out
}
