package ext

import (
	"context"
	"strconv"
	"time"

	"konzil/xmpp/stanza"
)

const nsPrivacy = "jabber:iq:privacy"

// Import adds to the messages that wait for an account. It gives their number.
func (o *Offline) Import(ctx context.Context, owner stanza.JID, messages []*stanza.Element) (n int, err error) {
	for _, el := range messages {
		st, err := stanza.Parse(el.AppendXML(nil, ""))
		if err != nil || st.Kind != stanza.Message {
			continue
		}
		at, err := time.Parse(time.RFC3339, el.Child(nsDelay, "delay").Attr("stamp"))
		if err != nil {
			at = time.Now()
		}
		if err := o.store.AddOffline(ctx, owner, at, "", st.WithTo(owner).AppendXML(nil, stanza.NSClient, true), maxOffline, maxOfflineBytes); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Export is what waits for an account.
func (o *Offline) Export(ctx context.Context, owner stanza.JID) (out []*stanza.Element, err error) {
	list, err := o.store.Offline(ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		el, err := stanza.ParseElement(m.XML)
		if err != nil {
			return nil, err
		}
		if el.Child(nsDelay, "delay") == nil {
			el.Add(stanza.NewElement(nsDelay, "delay", "from", o.srv.Domain(), "stamp", m.Stamp.UTC().Format(time.RFC3339)))
		}
		out = append(out, el)
	}
	return out, nil
}

// Import blocks those whom the default privacy list of another server denies everything (XEP-0016, XEP-0191 §5). It gives their number.
func (b *Blocking) Import(ctx context.Context, owner stanza.JID, privacy *stanza.Element) (int, error) {
	name := privacy.Child(nsPrivacy, "default").Attr("name")
	blocked, err := b.store.Blocked(ctx, owner)
	if err != nil {
		return 0, err
	}
	before := len(blocked)
	for _, list := range privacy.ChildrenNamed(nsPrivacy, "list") {
		if list.Attr("name") != name {
			continue
		}
		for _, item := range list.ChildrenNamed(nsPrivacy, "item") {
			if item.Attr("type") != "jid" || item.Attr("action") != "deny" || len(item.Children()) > 0 || len(blocked) >= maxBlocked {
				continue
			}
			if j, err := stanza.ParseJID(item.Attr("value")); err == nil && !j.IsZero() {
				blocked = append(blocked, j)
			}
		}
	}
	return len(blocked) - before, b.replace(ctx, owner, blocked)
}

// Export is the block list as a privacy list; nil for an empty one.
func (b *Blocking) Export(ctx context.Context, owner stanza.JID) (*stanza.Element, error) {
	blocked, err := b.store.Blocked(ctx, owner)
	if err != nil || len(blocked) == 0 {
		return nil, err
	}
	list := stanza.NewElement(nsPrivacy, "list", "name", "blocked")
	for i, j := range blocked {
		list.Add(stanza.NewElement(nsPrivacy, "item", "type", "jid", "value", j.String(), "action", "deny", "order", strconv.Itoa(i+1)))
	}
	list.Add(stanza.NewElement(nsPrivacy, "item", "action", "allow", "order", strconv.Itoa(len(blocked)+1)))
	return stanza.NewElement(nsPrivacy, "query").Add(stanza.NewElement(nsPrivacy, "default", "name", "blocked"), list), nil
}
