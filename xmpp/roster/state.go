package roster

import "konzil/xmpp/stanza"

// effect is what follows of a presence of a subscription type for one of the two sides (RFC 6121 appendix A).
type effect struct {
	changed  bool // the item is to be saved
	push     bool // and shown to the owner's clients
	route    bool // outgoing: pass the stanza on to the contact
	deliver  bool // incoming: show the stanza to the owner's clients
	grant    bool // incoming: answer subscribed without asking
	appear   bool // the contact now sees the owner: send presence
	vanish   bool // it does not any more: send unavailable
	tellSelf bool // incoming: answer subscribed because it is so already
}

// outgoing is the owner's side of what the owner sends (RFC 6121 §3, appendix A.2).
func outgoing(typ string, i *Item) effect {
	before := *i
	var e effect
	switch typ {
	case "subscribe":
		e.route = true
		if i.Subscription&To == 0 {
			i.Ask = true
		}
		i.Listed = true
	case "unsubscribe":
		e.route = true
		i.Ask = false
		i.Subscription &^= To
	case "subscribed":
		switch {
		case i.PendingIn:
			e.route, e.appear = true, true
			i.PendingIn, i.Request = false, nil
			i.Subscription |= From
			i.Listed = true
		case i.Subscription&From == 0:
			i.Approved = true // §3.4.2: nothing is sent
			i.Listed = true
		}
	case "unsubscribed":
		e.vanish = i.Subscription&From != 0
		e.route = e.vanish || i.PendingIn
		i.PendingIn, i.Request, i.Approved = false, nil, false
		i.Subscription &^= From
	}
	e.diff(&before, i)
	return e
}

// incoming is the owner's side of what a contact sends (RFC 6121 §3, appendix A.3).
func incoming(typ string, i *Item, st *stanza.Stanza) effect {
	before := *i
	var e effect
	switch typ {
	case "subscribe":
		switch {
		case i.Subscription&From != 0:
			e.tellSelf = true // §3.1.3: it is so already
		case i.Approved:
			e.grant, e.appear = true, true
			i.Approved = false
			i.Subscription |= From
		default:
			e.deliver = !i.PendingIn
			i.PendingIn = true
			i.Request = st.AppendXML(nil, stanza.NSClient, true)
		}
	case "unsubscribe":
		e.vanish = i.Subscription&From != 0
		e.deliver = e.vanish || i.PendingIn
		i.PendingIn, i.Request = false, nil
		i.Subscription &^= From
	case "subscribed":
		if i.Ask {
			e.deliver = true
			i.Ask = false
			i.Subscription |= To
		}
	case "unsubscribed":
		e.deliver = i.Ask || i.Subscription&To != 0
		i.Ask = false
		i.Subscription &^= To
	}
	e.diff(&before, i)
	return e
}

// diff tells whether the item is to be saved, and whether clients see a difference.
func (e *effect) diff(before, now *Item) {
	visible := before.Subscription != now.Subscription || before.Ask != now.Ask || before.Listed != now.Listed || before.Approved != now.Approved
	e.changed = visible || before.PendingIn != now.PendingIn
	e.push = visible && now.Listed
}
