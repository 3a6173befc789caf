package muc

import (
	"konzil/xmpp/stanza"
)

const maxName = 1024 // bytes of a display name that guards and views are told

// Join is a newcomer at the door of a room.
type Join struct {
	Room, Real           stanza.JID // the room's bare address, the newcomer's full one
	Nick, Name           string     // Name is the display name (XEP-0172), "" for none
	Affiliation          string
	Meeting, MembersOnly bool
	Password             bool // the room has one, and it was given
	Occupants            int
}

// Verdict is what a Guard says of a Join. The zero value lets it go on.
type Verdict struct {
	Refuse      *stanza.Error
	Affiliation string // given to the newcomer if it is more than what it has
	Pass        bool   // it needs no password
}

// Guard looks at each newcomer but the service's admins before the room's own rules do. It is called with the room locked: it must not
// wait, and must not ask this Service.
type Guard func(Join) Verdict

// guarded asks the guards, and grants what they give. pass: the newcomer needs no password. The room is locked.
func (r *room) guarded(st *stanza.Stanza) (pass bool, _ *stanza.Error) {
	bare := st.From.Bare()
	if r.svc.admins[bare] || len(r.svc.guards) == 0 {
		return false, nil
	}
	aff := r.affiliation(bare)
	j := Join{
		Room: r.jid, Real: st.From, Nick: st.To.Resource(), Name: displayName(st.Payload()), Affiliation: aff.String(),
		Meeting: r.meeting, MembersOnly: r.set.MembersOnly, Password: r.set.Secret != "" && r.passwordIn(st), Occupants: len(r.order),
	}
	for _, g := range r.svc.guards {
		v := g(j)
		if v.Refuse != nil {
			return false, v.Refuse
		}
		pass = pass || v.Pass
		if given, ok := parseAffiliation(v.Affiliation); ok && aff != outcast && given > r.affiliation(bare) {
			r.setAffiliation(bare, affEntry{aff: given})
			j.Affiliation = given.String()
		}
	}
	return pass, nil
}

// displayName is the nick of XEP-0172 among the children of a presence.
func displayName(children []*stanza.Element) string {
	for _, e := range children {
		if e.Space == nsNick && e.Local == "nick" {
			if text := e.Text(); len(text) <= maxName {
				return text
			}
		}
	}
	return ""
}

// sees tells whether viewer is told of subject: in a waiting room moderators see who waits, and nobody sees anybody else. The room is locked.
func (r *room) sees(viewer, subject *occupant) bool {
	return !r.svc.cfg.Waiting || viewer == subject || viewer.role == moderator && subject.role != moderator
}
