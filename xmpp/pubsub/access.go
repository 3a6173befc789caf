package pubsub

import (
	"slices"

	"konzil/xmpp/stanza"
)

// affiliation is what who is to a node. The node is locked.
func (n *node) affiliation(who stanza.JID) affiliation {
	who = who.Bare()
	if n.of.account && who == n.of.jid {
		return affOwner
	}
	if a, ok := n.affs[who]; ok {
		return a
	}
	return affNone
}

// hosts are those whose contacts the access models presence and roster ask for (XEP-0060 §4.5). The node is locked.
func (n *node) hosts() []stanza.JID {
	if n.of.account {
		return []stanza.JID{n.of.jid}
	}
	var out []stanza.JID
	for j, a := range n.affs {
		if a == affOwner {
			out = append(out, j)
		}
	}
	return out
}

// subscribed tells whether who, by any of its addresses, has a subscription that was granted. The node is locked.
func (n *node) subscribed(who stanza.JID) bool {
	who = who.Bare()
	for j, u := range n.subs {
		if j.Bare() == who && u.State == subscribed {
			return true
		}
	}
	return false
}

// knowsSubscription tells whether who has the subscription with an id, by any of its addresses. The node is locked.
func (n *node) knowsSubscription(who stanza.JID, id string) bool {
	for j, u := range n.subs {
		if u.ID == id && j.Bare() == who.Bare() {
			return true
		}
	}
	return false
}

// mayRead tells whether who gets the items of a node (XEP-0060 §4.5); nil: yes. The node is locked.
func (e *Engine) mayRead(n *node, who stanza.JID) *stanza.Error {
	who = who.Bare()
	switch n.affiliation(who) {
	case affOwner, affPublisher, affMember:
		return nil
	case affOutcast, affPublishOnly:
		return stanza.ErrForbidden
	}
	switch n.cfg.Access {
	case accessOpen:
		return nil
	case accessPresence:
		if slices.ContainsFunc(n.hosts(), func(o stanza.JID) bool { return e.opt.Subscribed(o, who) }) {
			return nil
		}
		return fault(stanza.ErrNotAuthorized, "presence-subscription-required")
	case accessRoster:
		in := func(g string) bool { return slices.Contains(n.cfg.Groups, g) }
		if slices.ContainsFunc(n.hosts(), func(o stanza.JID) bool { return slices.ContainsFunc(e.opt.Groups(o, who), in) }) {
			return nil
		}
		return fault(stanza.ErrNotAuthorized, "not-in-roster-group")
	case accessAuthorize:
		if n.subscribed(who) {
			return nil
		}
		return fault(stanza.ErrNotAuthorized, "not-subscribed")
	}
	return fault(stanza.ErrNotAllowed, "closed-node")
}

// mayPublish tells whether who may publish (XEP-0060 §4.1, pubsub#publish_model). The node is locked.
func (e *Engine) mayPublish(n *node, who stanza.JID) *stanza.Error {
	switch n.affiliation(who) {
	case affOwner, affPublisher, affPublishOnly:
		return nil
	case affOutcast:
		return stanza.ErrForbidden
	}
	switch n.cfg.PublishModel {
	case "open":
		return e.mayRead(n, who)
	case "subscribers":
		if n.subscribed(who) {
			return nil
		}
	}
	return stanza.ErrForbidden
}

// mayCreate tells whether who may make nodes at owner's.
func (e *Engine) mayCreate(o *owned, who stanza.JID) *stanza.Error {
	who = who.Bare()
	if o.account {
		if who != o.jid {
			return stanza.ErrForbidden
		}
		if len(o.list()) >= maxNodesAccount {
			return fault(stanza.ErrResourceConstraint, "max-nodes-exceeded")
		}
		return nil
	}
	if who == o.jid { // the server itself
		return nil
	}
	if who.Domain() != e.srv.Domain() || who.Local() == "" { // people of this house
		return stanza.ErrForbidden
	}
	mine, all := 0, o.list()
	for _, n := range all {
		if n.creator == who { // never changes
			mine++
		}
	}
	if mine >= maxNodesCreator || len(all) >= maxNodesService {
		return fault(stanza.ErrResourceConstraint, "max-nodes-exceeded")
	}
	return nil
}
