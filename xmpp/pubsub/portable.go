package pubsub

import (
	"context"
	"slices"
	"strings"

	"konzil/xmpp/stanza"
)

// Import makes the nodes of an account that another server has exported, with their items (XEP-0227 §4.9): owner is the pubsub#owner element,
// items the other one. What is there already gets the items too. It gives the number of nodes.
func (e *Engine) Import(owner stanza.JID, settings, items *stanza.Element) (nodes int, err error) {
	for _, list := range items.ChildrenNamed(nsPubSub, "items") {
		name := list.Attr("node")
		cfg := defaults(true, name)
		for _, c := range settings.ChildrenNamed(nsOwner, "configure") {
			if c.Attr("node") != name {
				continue
			}
			for _, f := range c.Child(nsData, "x").ChildrenNamed(nsData, "field") { // one by one: what we do not know or cannot do is passed over
				one := cfg
				if form, bad := readForm(stanza.NewElement(nsData, "x").Add(f), formConfig); bad == nil && one.apply(form) == nil {
					cfg = one
				}
			}
		}
		for _, item := range list.ChildrenNamed(nsPubSub, "item") {
			payload := item.Children()
			if len(payload) != 1 {
				continue
			}
			id := item.Attr("id")
			if id == "" {
				id = newID()
			}
			if err := e.Publish(owner, name, id, payload[0], cfg); err != nil {
				return nodes, err
			}
		}
		nodes++
	}
	return nodes, nil
}

// Export is what an account has published, as Import takes it.
func (e *Engine) Export(ctx context.Context, owner stanza.JID) (settings, items *stanza.Element, err error) {
	settings, items = stanza.NewElement(nsOwner, "pubsub"), stanza.NewElement(nsPubSub, "pubsub")
	if !e.hasNodes(owner) {
		return settings, items, nil
	}
	o, done, err := e.use(owner)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	nodes := o.list()
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	for _, n := range nodes {
		if err := e.exportNode(ctx, n, settings, items); err != nil {
			return nil, nil, err
		}
	}
	return settings, items, nil
}

func (e *Engine) exportNode(ctx context.Context, n *node, settings, items *stanza.Element) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return nil
	}
	settings.Add(stanza.NewElement(nsOwner, "configure", "node", n.name).Add(n.cfg.form().SetAttr("type", "submit")))
	affiliations := stanza.NewElement(nsOwner, "affiliations", "node", n.name)
	for j, a := range n.affs {
		affiliations.Add(stanza.NewElement(nsOwner, "affiliation", "jid", j.String(), "affiliation", string(a)))
	}
	if len(n.affs) > 0 {
		settings.Add(affiliations)
	}
	p, err := e.store.items(ctx, n.id, span{max: maxItems, since: n.since()})
	if err != nil {
		return err
	}
	list := stanza.NewElement(nsPubSub, "items", "node", n.name)
	for i := len(p.items) - 1; i >= 0; i-- { // the oldest first, so that an import keeps the order
		item := stanza.NewElement(nsPubSub, "item", "id", p.items[i].ID)
		if el, err := stanza.ParseElement(p.items[i].XML); err == nil {
			item.Add(el)
		}
		list.Add(item)
	}
	items.Add(list)
	return nil
}
