package visitors

import (
	"strconv"
	"strings"

	"github.com/google/uuid"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// request tells moderators that a visitor wants to take part, or does not any more.
type request struct {
	Type   string `json:"type"`
	Room   string `json:"room"`
	Action string `json:"action"`
	Nick   string `json:"nick,omitempty"`
	From   string `json:"from"`
	On     bool   `json:"on"`
}

func (s *seat) request(main stanza.JID) request {
	return request{Type: "visitors", Room: main.String(), Action: "promotion-request", Nick: s.name, From: s.real.String(), On: s.hand}
}

// handOf looks whether the visitor's hand is up: its presence has the time when it was raised.
func (a *audience) handOf(s *seat) {
	up := false
	for _, e := range s.presence {
		if e.Local == "jitsi_participant_raisedHand" {
			at, err := strconv.ParseFloat(strings.TrimSpace(e.Text()), 64)
			up = err == nil && at > 0
		}
	}
	if up == s.hand {
		return
	}
	s.hand = up
	if up {
		a.c.count.hands.Add(1)
	}
	if up && a.c.facts(a.main).AutoPromote {
		a.promote(s)
		return
	}
	a.tellHand(s)
}

// tellHand tells the moderators of a hand.
func (a *audience) tellHand(s *seat) {
	var to []stanza.JID
	for _, p := range a.c.takingPart(a.main) {
		if p.Role == "moderator" {
			to = append(to, p.Real)
			a.told[p.Real] = true
		}
	}
	a.PutTo(a.c.Message(a.main, s.request(a.main)), to)
}

// answer is a moderator's word on raised hands, by real addresses of visitors.
func (a *audience) answer(ids []string, approved bool) {
	a.Lock()
	defer a.Unlock()
	for _, id := range ids {
		real, err := stanza.ParseJID(id)
		s := a.byReal[real]
		switch {
		case err != nil || s == nil || !s.hand:
		case approved:
			a.promote(s)
		default:
			s.hand = false
			a.respond(s, "", false)
		}
	}
}

// promote lets a visitor into the meeting: under a name that its client logs in with anew.
func (a *audience) promote(s *seat) {
	name := uuid.NewString()
	c := a.c
	c.mu.Lock()
	full := len(a.door.promised) >= maxPromised
	if !full {
		a.door.promised[name] = true
	}
	c.mu.Unlock()
	if full {
		c.count.overflows.Add(1)
		return
	}
	s.hand = false
	c.count.promotions.Add(1)
	a.respond(s, name, true)
}

// respond tells a visitor what came of its raised hand.
func (a *audience) respond(s *seat, name string, allow bool) {
	v := stanza.NewElement(nsVisitors, "visitors", "room", a.room.String(), "focusjid", a.c.opt.Focus.Bare().String()).Add(
		stanza.NewElement(nsVisitors, "promotion-response", "jid", s.real.String(), "username", name, "allow", strconv.FormatBool(allow)))
	a.Put(stanza.NewIQ("set", uuid.NewString(), a.room, s.real, v))
}

// demote asks somebody's client to go to the audience, and lets the other moderators know.
func (c *Component) demote(room stanza.JID, people []jitsi.Person, by jitsi.Person, o order) {
	if o.Actor != by.ID() {
		c.count.refused.Add(1)
		return
	}
	var to []stanza.JID
	found := false
	for _, p := range people {
		found = found || p.ID() == o.ID
		if p.Real != by.Real && !p.Hidden && (p.Role == "moderator" || p.ID() == o.ID) {
			to = append(to, p.Real)
		}
	}
	if !found {
		c.count.refused.Add(1)
		return
	}
	c.count.demotions.Add(1)
	c.Lock()
	defer c.Unlock()
	c.Tell(room, o, to...)
}
