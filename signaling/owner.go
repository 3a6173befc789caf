package signaling

import "konzil/xmpp/stanza"

// electOwner sees to it that the meeting has the owners it should have. Without authentication the first person is made owner, and
// another when there is none left; with it, everybody who is authenticated, and nobody else.
func (m *meeting) electOwner() {
	if !m.joined || m.ended || m.room.Domain() == m.f.cfg.Breakout {
		return
	}
	if m.f.cfg.AuthRequired {
		for _, mem := range m.sorted(func(mem *member) bool {
			return mem.affiliation != "owner" && !mem.granting && mem.eligible() && m.f.ownsMeetings(mem.real)
		}) {
			m.grantOwner(mem)
		}
		return
	}
	if m.f.cfg.DisableAutoOwner {
		return
	}
	var first *member
	for _, mem := range m.members {
		if !mem.eligible() {
			continue
		}
		if mem.affiliation == "owner" || mem.granting {
			return
		}
		if first == nil || mem.number < first.number {
			first = mem
		}
	}
	if first != nil {
		m.grantOwner(first)
	}
}

// eligible tells that a member is a person who takes part.
func (mem *member) eligible() bool { return !mem.isService() && !mem.visitor() }

func (m *meeting) grantOwner(mem *member) {
	mem.granting = true
	q := stanza.NewElement(nsMUCAdmin, "query").Add(stanza.NewElement(nsMUCAdmin, "item", "affiliation", "owner", "jid", mem.real.Bare().String()))
	m.sendIQ("set", m.room, q, m.f.cfg.IQTimeout, func(r *stanza.Stanza) {
		if r != nil && r.Type == "result" {
			// granting stays set until presence says owner or the member leaves, so that nobody is granted twice.
			return
		}
		m.log.Warn("room did not make an owner", "nick", mem.nick)
	})
}
