package pubsub

import (
	"slices"
	"strconv"
	"time"

	"konzil/xmpp/stanza"
)

const formSubscribe = nsPubSub + "#subscribe_options"

const (
	// maxDigest is how many notifications one digest collects; with more it goes out before its time.
	maxDigest = 50
	// minDigest and maxDigestTime bound how long a digest may be put off.
	minDigest     = 100 * time.Millisecond
	maxDigestTime = 24 * time.Hour
	// maxDigests bounds the digests that are being collected, of all subscribers; above, notifications go out one by one.
	maxDigests = 10_000
)

// subOptions is how a subscriber wants its notifications (XEP-0060 §6.3, §16.4.2). The zero value is as they come.
type subOptions struct {
	Mute   bool      `json:"mute,omitempty"` // pubsub#deliver is false
	Body   bool      `json:"body,omitempty"`
	Expire time.Time `json:"expire,omitzero"`  // end of the lease (§12.18)
	Show   []string  `json:"show,omitempty"`   // presence in which it wants to hear; of subscribers of this server, whose presence is known
	Digest int64     `json:"digest,omitempty"` // milliseconds between two digests; 0: each notification on its own
}

// plain tells whether notifications go out as they are.
func (o *subOptions) plain() bool { return !o.Body && o.Digest == 0 }

// shows are the values of pubsub#show-values.
var shows = []string{"away", "chat", "dnd", "online", "xa"}

// defaultDigest is for who wants digests and does not say how often.
const defaultDigest = 5 * time.Minute

// apply changes o by a submitted form; false: a value is not possible.
func (o *subOptions) apply(f form) bool {
	digest, often := o.Digest > 0, time.Duration(o.Digest)*time.Millisecond
	for name, values := range f {
		v, ok := "", true
		if len(values) > 0 {
			v = values[0]
		}
		switch name {
		case "pubsub#deliver":
			var deliver bool
			deliver, ok = truth(v)
			o.Mute = !deliver
		case "pubsub#include_body":
			o.Body, ok = truth(v)
		case "pubsub#expire":
			o.Expire = time.Time{}
			if v != "" && v != "presence" {
				var err error
				o.Expire, err = time.Parse(time.RFC3339, v)
				ok = err == nil && o.Expire.After(time.Now())
			} else if v != "" {
				ok = false // subscriptions that end with the presence (§12.4) are not offered
			}
		case "pubsub#show-values":
			o.Show = nil
			for _, s := range values {
				ok = ok && slices.Contains(shows, s)
			}
			if len(values) < len(shows) {
				o.Show = append(o.Show, values...)
			}
		case "pubsub#digest":
			digest, ok = truth(v)
		case "pubsub#digest_frequency":
			ms, err := strconv.ParseInt(v, 10, 64)
			if ok = err == nil && ms >= 0; ok {
				often = min(max(time.Duration(min(ms, maxDigestTime.Milliseconds()))*time.Millisecond, minDigest), maxDigestTime)
			}
		}
		if !ok {
			return false
		}
	}
	o.Digest = 0
	if digest {
		if often == 0 {
			often = defaultDigest
		}
		o.Digest = often.Milliseconds()
	}
	return true
}

// form shows the options.
func (o *subOptions) form() *stanza.Element {
	show := field("pubsub#show-values", "list-multi", o.Show...)
	if len(o.Show) == 0 {
		show = field("pubsub#show-values", "list-multi", shows...)
	}
	for _, s := range shows {
		show.Add(stanza.NewElement(nsData, "option").Add(stanza.TextElement(nsData, "value", s)))
	}
	expire := ""
	if !o.Expire.IsZero() {
		expire = o.Expire.UTC().Format(time.RFC3339)
	}
	often := defaultDigest.Milliseconds()
	if o.Digest > 0 {
		often = o.Digest
	}
	return newForm("form", formSubscribe,
		flagField("pubsub#deliver", !o.Mute),
		flagField("pubsub#digest", o.Digest > 0),
		field("pubsub#digest_frequency", "text-single", strconv.FormatInt(often, 10)),
		field("pubsub#expire", "text-single", expire),
		flagField("pubsub#include_body", o.Body),
		show)
}

// wanted tells whether the subscriber wants to hear now.
func (e *Engine) wanted(u subscription) bool {
	if u.Mute {
		return false
	}
	if len(u.Show) == 0 || u.JID.Domain() != e.srv.Domain() {
		return true
	}
	for _, s := range e.srv.Sessions(u.JID.Bare()) {
		p := s.Presence()
		if p == nil || !u.JID.IsBare() && s.JID() != u.JID {
			continue
		}
		show := p.Child(stanza.NSClient, "show").Text()
		if show == "" {
			show = "online"
		}
		if slices.Contains(u.Show, show) {
			return true
		}
	}
	return false
}

// expire ends the leases that are over (§12.18). The node is locked.
func (e *Engine) expire(n *node) {
	now := time.Now()
	for j, u := range n.subs {
		if !u.Expire.IsZero() && now.After(u.Expire) {
			if bad := e.setSubscription(n, subscription{JID: j}, true); bad != nil {
				return // it is logged; the next look tries again
			}
		}
	}
}

// defaultOptions are those of a subscription, of a node that is there or of any (XEP-0060 §6.4).
func (r *request) defaultOptions() (*stanza.Element, *stanza.Error) {
	if r.node() != "" {
		n, bad := r.find()
		if bad != nil {
			return nil, bad
		}
		n.mu.Unlock()
	}
	return user("default", r.node()).Add((&subOptions{}).form()).wrap(), nil
}

// getOptions is XEP-0060 §6.3.2.
func (r *request) getOptions() (*stanza.Element, *stanza.Error) {
	n, u, bad := r.subscriptionOf()
	if bad != nil {
		return nil, bad
	}
	n.mu.Unlock()
	return user("options", n.name).subscriber(u).Add(u.form()).wrap(), nil
}

// setOptions is XEP-0060 §6.3.5.
func (r *request) setOptions() (*stanza.Element, *stanza.Error) {
	n, u, bad := r.subscriptionOf()
	if bad != nil {
		return nil, bad
	}
	if bad = u.configure(r.el); bad == nil {
		bad = r.e.setSubscription(n, u, false)
	}
	n.mu.Unlock()
	return nil, bad
}

// configure reads the form in <options/>.
func (u *subscription) configure(options *stanza.Element) *stanza.Error {
	x := options.Child(nsData, "x")
	if x.Attr("type") == "cancel" {
		return nil
	}
	f, bad := readForm(x, formSubscribe)
	if bad != nil || x == nil || !u.apply(f) {
		return fault(stanza.ErrBadRequest, "invalid-options")
	}
	return nil
}

// subscriptionOf finds what <options/> or <unsubscribe/> is about; the node is locked if there is no error.
func (r *request) subscriptionOf() (*node, subscription, *stanza.Error) {
	var u subscription
	if r.el.Attr("jid") == "" {
		return nil, u, fault(stanza.ErrBadRequest, "jid-required")
	}
	j, err := stanza.ParseJID(r.el.Attr("jid"))
	if err != nil {
		return nil, u, fault(stanza.ErrBadRequest, "invalid-jid")
	}
	n, bad := r.find()
	if bad != nil {
		return nil, u, bad
	}
	r.e.expire(n)
	u, ok := n.subs[j]
	id, typ := r.el.Attr("subid"), "cancel" // §6.2.3.2
	if r.el.Local == "options" {
		typ = "modify" // §6.3.4.2
	}
	switch {
	case j.Bare() != r.who().Bare():
		bad = stanza.ErrForbidden
	case !ok:
		bad = fault(&stanza.Error{Type: typ, Condition: "unexpected-request"}, "not-subscribed")
	case id != "" && id != u.ID:
		bad = fault(stanza.ErrNotAcceptable, "invalid-subid")
	}
	if bad != nil {
		n.mu.Unlock()
		return nil, u, bad
	}
	return n, u, nil
}

// subscriber names a subscription.
func (p part) subscriber(u subscription) part {
	p.SetAttr("jid", u.JID.String()).SetAttr("subid", u.ID)
	return p
}

// digest collects notifications for one subscriber of one node. Engine.digestMu guards it.
type digest struct {
	st     *stanza.Stanza // the first one, to which the others are added
	events []*stanza.Element
}

type digestKey struct {
	n *node
	j stanza.JID
}

// collect puts a notification into the subscriber's digest; false: it has to go out by itself.
func (e *Engine) collect(n *node, st *stanza.Stanza, ev *stanza.Element, after time.Duration) bool {
	key := digestKey{n, st.To}
	e.digestMu.Lock()
	defer e.digestMu.Unlock()
	d := e.digests[key]
	if d == nil {
		if len(e.digests) >= maxDigests {
			return false
		}
		d = &digest{st: st}
		e.digests[key] = d
		time.AfterFunc(after, func() { e.sendDigest(key, d) })
	}
	d.events = append(d.events, ev)
	if len(d.events) >= maxDigest {
		go e.sendDigest(key, d) // routing is not done with a lock held
	}
	return true
}

// sendDigest sends what was collected, as one message with an event each, in order.
func (e *Engine) sendDigest(key digestKey, d *digest) {
	e.digestMu.Lock()
	mine := e.digests[key] == d
	if mine {
		delete(e.digests, key)
	}
	e.digestMu.Unlock()
	if mine {
		event := stanza.NewElement(nsEvent, "event").Add(d.events...)
		e.srv.Route(d.st.WithPayload(event))
	}
}

// bodyOf are words about an event for who wants to read some (§12.7): of an Atom entry its title, else what happened.
func bodyOf(n string, ev *stanza.Element) string {
	for _, item := range ev.Children() {
		for _, payload := range item.Children() {
			for _, c := range payload.Children() {
				if (c.Local == "title" || c.Local == "summary") && c.Text() != "" {
					return c.Text()
				}
			}
		}
		if item.Local == "retract" {
			return n + ": an item was removed"
		}
	}
	if ev.Local == "items" {
		return n + ": a new item"
	}
	return n + ": " + ev.Local
}
