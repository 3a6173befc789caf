package muc

import "konzil/xmpp/stanza"

const nsHats = "urn:xmpp:hats:0"

// Hat is a role beyond those of XEP-0045 that all see (XEP-0317), such as lecturer or tutor.
type Hat struct{ URI, Title string }

// hats are those of a person in this room, nil for none. What clients say of their own hats is taken out by clean. The room is locked.
func (r *room) hats(bare stanza.JID) *stanza.Element {
	if r.svc.cfg.Hats == nil {
		return nil
	}
	list := r.svc.cfg.Hats(r.jid, bare)
	if len(list) == 0 {
		return nil
	}
	el := stanza.NewElement(nsHats, "hats")
	for _, h := range list {
		el.Add(stanza.NewElement(nsHats, "hat", "uri", h.URI, "title", h.Title))
	}
	return el
}

// RefreshHats shows the hats of a person anew wherever it is inside, after what Config.Hats says of it has changed.
func (s *Service) RefreshHats(bare stanza.JID) {
	for _, r := range s.all() {
		r.mu.Lock()
		for _, o := range r.order {
			if o.bare() == bare {
				o.hats = r.hats(bare)
				r.announce(o, o.jids(), r.presenceOf(o))
			}
		}
		r.flush()
	}
}
