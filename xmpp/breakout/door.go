package breakout

import (
	"time"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Fields of a breakout room's disco#info and configuration form.
const (
	infoBreakout = "muc#roominfo_isbreakout"
	infoMain     = "muc#roominfo_breakout_main_room"
	infoLobby    = "muc#roominfo_lobbyroom"
)

// Opening tells what a breakout room begins with; the error is for one that no moderator has made.
func (c *Component) Opening(room stanza.JID) (info map[string]string, subject string, _ *stanza.Error) {
	c.Lock()
	main, ok := c.mainOf[room]
	if ok {
		subject = c.meetings[main].names[room]
	}
	c.Unlock()
	if !ok {
		return nil, "", stanza.ErrNotAllowed.With("Room creation is restricted")
	}
	info = map[string]string{infoBreakout: "true", infoMain: main.String()}
	if lobby := c.rooms.Info(main, infoLobby); lobby != "" {
		info[infoLobby] = lobby
	}
	return info, subject, nil
}

// Guard judges who comes to a room of a meeting: a refusal, or an affiliation that is given. It runs with the room locked, so it asks about no
// other room than the main room of a breakout room.
func (c *Component) Guard(room, real stanza.JID, nick string) (*stanza.Error, string) {
	c.Lock()
	main, isBreakout := c.mainOf[room]
	if !isBreakout {
		main = room
	}
	taken := false
	if m := c.meetings[main]; m != nil {
		h, ok := m.ids[nick]
		taken = ok && h.bare != real.Bare() && (h.until.IsZero() || time.Now().Before(h.until))
	}
	c.Unlock()
	switch {
	case taken:
		return stanza.ErrConflict.With("The nickname is taken"), ""
	case !isBreakout:
		return nil, ""
	}
	aff := c.rooms.Affiliation(main, real.Bare())
	lobby := c.rooms.Info(main, infoLobby)
	switch {
	case aff == "outcast":
		return stanza.ErrForbidden.With("You are banned from this meeting"), ""
	case aff == "none" && lobby != "":
		return stanza.ErrRegistrationRequired.With("Only members may enter; knock in the lobby", stanza.TextElement(jitsi.NSJitMeet, "lobbyroom", lobby)), ""
	}
	return nil, aff
}
