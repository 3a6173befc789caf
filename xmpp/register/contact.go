package register

import (
	"errors"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// inbound makes contacts of who asks with a token of the person asked (XEP-0379 §3.4). The request goes no further then.
func (v *Service) inbound(st *stanza.Stanza) bool {
	if st.Kind != stanza.Presence || st.Type != "subscribe" || !st.Has(nsPreAuth, "preauth") {
		return false
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	owner, contact := st.To.Bare(), st.From.Bare()
	i, err := v.Find(ctx, st.Child(nsPreAuth, "preauth").Attr("token"))
	if err == nil && i.Inviter != owner {
		err = ErrNoInvitation
	}
	if err != nil {
		if !errors.Is(err, ErrNoInvitation) {
			v.log.Error("invitation not read", "err", err)
		}
		return false // a request like any other
	}
	if _, err := v.spend(ctx, i.Token); err != nil { // one link, one contact
		v.log.Error("invitation not taken", "err", err)
		return false
	}
	v.befriend(owner, contact, false)
	v.srv.Route(stanza.NewPresence("subscribed", owner, contact))
	v.srv.Route(stanza.NewPresence("subscribe", owner, contact))
	return true
}
