package signaling

import (
	"strings"

	"konzil/signaling/colibri"
	"konzil/xmpp/stanza"
)

// moderation is the state of AV moderation for one kind of media: who may unmute.
type moderation struct{ allowed map[string]bool } // occupant addresses

// moderates tells whether AV moderation keeps mem from sending media.
func (m *meeting) moderates(media string, mem *member) bool {
	mod := m.moderation[media]
	return mod != nil && !mem.moderator() && !mod.allowed[mem.occ.String()]
}

// mute answers a mute iq: moderators mute others, everybody may unmute themselves unless moderation forbids it, nobody unmutes others.
func (m *meeting) mute(from *member, iq *stanza.Stanza) {
	media, ok := strings.CutPrefix(iq.First().Space, nsMute)
	if !ok || media != "audio" && media != "video" && media != "desktop" {
		m.f.refuse(iq, stanza.ErrFeatureNotImplemented)
		return
	}
	el := iq.Child(iq.First().Space, "mute")
	target := from
	if j := el.Attr("jid"); j != "" {
		occ, err := stanza.ParseJID(j)
		if err != nil || occ.Bare() != m.room || m.members[occ.Resource()] == nil {
			m.f.refuse(iq, stanza.ErrItemNotFound)
			return
		}
		target = m.members[occ.Resource()]
	}
	doMute := strings.TrimSpace(el.Text()) != "false"
	allowed := target == from && (doMute || !m.moderates(media, from)) || target != from && doMute && from.moderator()
	if !allowed {
		m.f.refuse(iq, stanza.ErrNotAllowed)
		return
	}
	m.f.count.mutes.Add(1)
	m.forceMute(target, media, doMute, func(err error) {
		if err != nil {
			m.f.refuse(iq, stanza.ErrInternal)
			return
		}
		m.send(iq.Result())
		if target != from && !target.left {
			m.tellMuted(target, media, from.occ.String())
		}
	})
}

// forceMute stops, or lets through, a member's media at the bridge. The bridge has no notion of the desktop apart: a desktop mute is
// only told to the client.
func (m *meeting) forceMute(mem *member, media string, mute bool, done func(error)) {
	switch media {
	case "audio":
		mem.audioForced = mute
	case "video":
		mem.videoForced = mute
	}
	if media == "desktop" || mem.session == nil {
		done(nil)
		return
	}
	m.ask(colibri.Endpoint{ID: mem.nick, ForceMute: &colibri.ForceMute{Audio: mem.audioForced, Video: mem.videoForced}},
		func(_ *colibri.ConferenceModified, err error) { done(err) })
}

// tellMuted makes a member's client mute itself.
func (m *meeting) tellMuted(mem *member, media, actor string) {
	m.request(mem, stanza.TextElement(nsMute+media, "mute", "true", "jid", mem.occ.String(), "actor", actor), nil)
}
