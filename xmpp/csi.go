package xmpp

import (
	"konzil/xmpp/stanza"
)

const (
	nsCSI        = "urn:xmpp:csi:0" // with XEP-0286: a mobile's radio is woken for what matters
	nsChatStates = "http://jabber.org/protocol/chatstates"
	nsForward    = "urn:xmpp:forward:0"
	nsEvent      = "http://jabber.org/protocol/pubsub#event"
	nsMUCUser    = "http://jabber.org/protocol/muc#user"
	nsHints      = "urn:xmpp:hints"
)

// What is held for one inactive client; above, all of it goes out, and holding begins anew.
const (
	maxHeld      = 500
	maxHeldBytes = 256 << 10
)

// heldKey is what a newer stanza replaces: the presence of one address, or the chat state.
type heldKey struct {
	kind stanza.Kind
	from stanza.JID
}

// csiState holds, while a client says that nobody looks at it, what can wait (XEP-0352). Session.mu guards it.
type csiState struct {
	items  []outItem       // in order; st is nil where a newer one has taken its place
	latest map[heldKey]int // index of items
	bytes  int
}

// indicate takes the client's word: <inactive/> or <active/>.
func (x *Session) indicate(active bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case active:
		x.wakeLocked()
	case x.csi == nil:
		x.csi = &csiState{latest: map[heldKey]int{}}
	}
}

// wakeLocked ends holding and lets go of what was held.
func (x *Session) wakeLocked() {
	if c := x.csi; c != nil {
		x.csi = nil
		x.letGoLocked(c)
	}
}

// letGoLocked queues what was held. It is little enough that only a queue that was nearly full can overflow, which the next stanza notices.
func (x *Session) letGoLocked(c *csiState) {
	for _, o := range c.items {
		if o.st != nil {
			o.counted = x.sm.on
			x.srv.count.stanzasOut.Add(1)
			if x.logLocked(&o) {
				x.pending.push(o)
			}
		}
	}
	c.items, c.bytes = nil, 0
	clear(c.latest)
	if x.pending.len() > 0 {
		x.kickLocked()
	}
}

// Inactive tells that the client has said that nobody looks at it (XEP-0352), or that it waits to be resumed.
func (x *Session) Inactive() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.csi != nil || x.stream == nil
}

// holdLocked holds o if it can wait; else what was held goes first, and o after it.
func (x *Session) holdLocked(o *outItem) bool {
	c := x.csi
	key, ok := canWait(o)
	if !ok || len(c.items) >= maxHeld || c.bytes+o.size() > maxHeldBytes {
		x.letGoLocked(c)
		if !ok {
			return false
		}
	}
	if !key.from.IsZero() {
		if i, again := c.latest[key]; again {
			c.bytes -= c.items[i].size()
			c.items[i] = outItem{}
		}
		c.latest[key] = len(c.items)
	}
	c.items = append(c.items, *o)
	c.bytes += o.size()
	x.srv.count.held.Add(1)
	return true
}

// canWait tells what nobody misses while he does not look: presence, chat states, notifications of other people's nodes. key is zero for what no newer
// stanza replaces. Errors, subscriptions, one's own place in a room, iqs and everything with content cannot.
func canWait(o *outItem) (key heldKey, ok bool) {
	st := o.st
	if o.kept {
		return key, false
	}
	switch st.Kind {
	case stanza.Presence:
		if st.Type != "" && st.Type != "unavailable" || ownPlace(st) {
			return key, false
		}
		return heldKey{stanza.Presence, st.From}, true
	case stanza.Message:
		switch {
		case st.Type == "error" || len(st.Names) == 0:
			return key, false
		case st.Type == "headline" && st.First() == stanza.Name{Space: nsEvent, Local: "event"}:
			return key, true
		case trifling(st.Names):
			return heldKey{stanza.Message, st.From}, true
		}
		for _, way := range []string{"received", "sent"} { // a copy of a chat state (XEP-0280)
			m := st.Child(nsCarbons, way).Child(nsForward, "forwarded").Child(stanza.NSClient, "message")
			if m == nil {
				continue
			}
			var names []stanza.Name
			for _, c := range m.Children() {
				names = append(names, c.Name)
			}
			return key, len(names) > 0 && trifling(names)
		}
	}
	return key, false
}

// ownPlace tells presence of a room that says something about oneself (XEP-0045 §7.2.2): it has a status code.
func ownPlace(st *stanza.Stanza) bool {
	return st.Has(nsMUCUser, "x") && st.Child(nsMUCUser, "x").Child(nsMUCUser, "status") != nil
}

// trifling tells a message that says only what somebody is doing (XEP-0085).
func trifling(names []stanza.Name) bool {
	state := false
	for _, n := range names {
		switch {
		case n.Space == nsChatStates:
			state = true
		case n.Space == nsHints, n.Space == nsOccupantID, n.Space == nsSID, n == (stanza.Name{Space: stanza.NSClient, Local: "thread"}):
		default:
			return false
		}
	}
	return state
}
