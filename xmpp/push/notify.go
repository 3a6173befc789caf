package push

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	// answerTime is after what the lack of an answer counts as a failure.
	answerTime = 30 * time.Second
	// maxFailures in a row end a registration whose app server cannot be reached: so many messages, not so much time.
	maxFailures = 16
)

// matters tells a message that a person wants to know of now: words, also encrypted ones, calls, invitations.
func matters(st *stanza.Stanza) bool {
	if st.Kind != stanza.Message || st.Type == "error" || st.Type == "headline" {
		return false
	}
	return st.HasWords() || slices.ContainsFunc(st.Names, func(n stanza.Name) bool {
		return n.Space == "urn:xmpp:jingle-message:0" || n.Space == "urn:xmpp:call-invites:0" || n.Space == "jabber:x:conference" // XEP-0353, XEP-0482, XEP-0249
	})
}

// inbound wakes the clients that are away. It never stops a message.
func (p *Service) inbound(st *stanza.Stanza) bool {
	if st.Kind != stanza.Message {
		return false
	}
	owner := st.To.Bare()
	list := p.of(owner)
	if st.Has(nsPubSub, "pubsub") && p.withdrawn(list, st) {
		return true
	}
	if len(list) == 0 || !matters(st) || st.From.Bare() == owner {
		return false
	}
	for _, c := range list {
		var s *xmpp.Session
		if full, err := owner.WithResource(c.resource); err == nil {
			s = p.srv.Session(full)
		}
		if st.Type == "groupchat" && (s == nil || st.To != s.JID()) { // a room's messages are for the client that is in it
			continue
		}
		if s == nil || s.Inactive() {
			p.wake(c)
		}
	}
	return false
}

// withdrawn takes an app server's word that it wants no more notifications for a node (XEP-0357 §8); false: it was none.
func (p *Service) withdrawn(list []*client, st *stanza.Stanza) bool {
	el := st.Child(nsPubSub, "pubsub")
	if a := el.Child(nsPubSub, "affiliation"); a.Attr("affiliation") != "none" {
		return false
	}
	for _, c := range list {
		if c.service == st.From && c.node == el.Attr("node") {
			p.end(c, "withdrawn by the app server")
			return true
		}
	}
	return false
}

// wake notifies the app server of one message more (XEP-0357 §7), unless a notification is under way.
func (p *Service) wake(c *client) {
	c.mu.Lock()
	c.messages++
	if c.waiting != "" && time.Since(c.since) < answerTime {
		c.again = true
		c.mu.Unlock()
		return
	}
	late := c.waiting != ""
	if late {
		c.failures++
	}
	over := c.failures >= maxFailures
	st := p.notificationLocked(c)
	c.mu.Unlock()
	if late {
		p.failed.Add(1)
	}
	if over {
		p.end(c, "no answers")
		return
	}
	p.sent.Add(1)
	p.srv.Route(st)
}

// notificationLocked makes the iq: a summary without anything of the messages.
func (p *Service) notificationLocked(c *client) *stanza.Stanza {
	c.waiting, c.since, c.again = "push-"+random.Hex(12), time.Now(), false
	field := func(name, typ, value string) *stanza.Element {
		return stanza.NewElement(nsData, "field", "var", name, "type", typ).Add(stanza.TextElement(nsData, "value", value))
	}
	summary := stanza.NewElement(nsData, "x", "type", "form").Add(
		field("FORM_TYPE", "hidden", "urn:xmpp:push:summary"), field("message-count", "text-single", strconv.Itoa(c.messages)))
	el := stanza.NewElement(nsPubSub, "pubsub").Add(stanza.NewElement(nsPubSub, "publish", "node", c.node).Add(
		stanza.NewElement(nsPubSub, "item").Add(stanza.NewElement(nsPush, "notification").Add(summary))))
	if len(c.options) > 0 {
		if x, err := stanza.ParseElement(c.options); err == nil { // we wrote it
			el.Add(stanza.NewElement(nsPubSub, "publish-options").Add(x))
		}
	}
	return stanza.NewIQ("set", c.waiting, c.owner, c.service, el)
}

// answer takes those of app servers.
func (p *Service) answer(st *stanza.Stanza) bool {
	if st.Type != "result" && st.Type != "error" || !st.To.IsBare() || !strings.HasPrefix(st.ID, "push-") {
		return false
	}
	for _, c := range p.of(st.To) {
		c.mu.Lock()
		if c.waiting != st.ID || c.service != st.From {
			c.mu.Unlock()
			continue
		}
		c.waiting = ""
		over := false
		if st.Type == "error" {
			p.failed.Add(1)
			c.failures++
			over = c.failures >= maxFailures || !temporary(st)
		} else {
			c.failures = 0
		}
		var next *stanza.Stanza
		if c.again && !over {
			next = p.notificationLocked(c)
		}
		c.mu.Unlock()
		switch {
		case over:
			p.end(c, "refused by the app server")
		case next != nil:
			p.sent.Add(1)
			p.srv.Route(next)
		}
		return true
	}
	return false
}

// temporary tells an error that may go away: to wait is asked for, or the other server is not there.
func temporary(st *stanza.Stanza) bool {
	e := st.Child(stanza.NSClient, "error")
	return e.Attr("type") == "wait" || e.Child(stanza.NSStanzas, "remote-server-not-found") != nil || e.Child(stanza.NSStanzas, "remote-server-timeout") != nil
}

// end disables a client (XEP-0357 §9).
func (p *Service) end(c *client, why string) {
	p.disabled.Add(1)
	p.log.Info("push disabled", "owner", c.owner.String(), "service", c.service.String(), "why", why)
	if err := p.change(c, false); err != nil {
		p.failures.Add(1)
		p.log.Error("push registration not removed", "owner", c.owner.String(), "err", err)
	}
}

// there begins to count anew: the client has come back.
func (p *Service) there(s *xmpp.Session) {
	for _, c := range p.of(s.JID().Bare()) {
		if c.resource == s.JID().Resource() {
			c.mu.Lock()
			c.messages = 0
			c.mu.Unlock()
		}
	}
}
