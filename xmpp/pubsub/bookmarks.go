package pubsub

import (
	"bytes"
	"errors"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Bookmarks keeps three forms of the same list in step: the node urn:xmpp:bookmarks:1 (XEP-0402), which is the one that is stored; private XML
// (XEP-0048, XEP-0049), which is made from it; and the node storage:bookmarks (XEP-0411) for who made one, or has asked for it.
type Bookmarks struct {
	e   *Engine
	old PrivateXML
}

// PrivateXML is where private XML is stored: of bookmarks, what is not a room, and rooms of a time before the node.
type PrivateXML interface {
	Stored(owner stanza.JID, name stanza.Name) (*stanza.Element, error) // nil if there is none
	Store(owner stanza.JID, el *stanza.Element) error
}

// AttachBookmarks starts it, before serving.
func (e *Engine) AttachBookmarks(old PrivateXML) *Bookmarks {
	b := &Bookmarks{e, old}
	e.fill[nsBookmarks] = b.migrate
	e.fill[nodeOldBookmarks] = b.show
	e.srv.Hooks().Feature(xmpp.ToAccount, nsBookmarks+"#compat", nsBookmarks+"#compat-pep", "urn:xmpp:bookmarks-conversion:0")
	e.Changed(nsBookmarks, b.mirror)
	e.Changed(nodeOldBookmarks, func(owner stanza.JID) {
		items, err := e.Items(owner, nodeOldBookmarks, 1)
		if err != nil || len(items) == 0 {
			return
		}
		if el, err := stanza.ParseElement(items[0].XML); err == nil && el.Space == nodeOldBookmarks {
			if err := b.set(owner, el); err != nil {
				e.failed("bookmarks", owner, err)
			}
		}
	})
	return b
}

// Get is the list as old clients know it.
func (b *Bookmarks) Get(owner stanza.JID) (*stanza.Element, error) {
	out := stanza.NewElement(nodeOldBookmarks, "storage")
	stored, err := b.old.Stored(owner, out.Name)
	if err != nil {
		return nil, err
	}
	if !b.e.hasNode(owner, nsBookmarks) {
		if stored != nil {
			return stored, nil
		}
		return out, nil
	}
	items, err := b.e.Items(owner, nsBookmarks, maxItems)
	if err != nil {
		return nil, err
	}
	for _, c := range stored.Children() {
		if c.Local != "conference" {
			out.Add(c)
		}
	}
	for i := range items {
		if c := toOld(&items[i]); c != nil {
			out.Add(c)
		}
	}
	return out, nil
}

// Set takes the list of an old client.
func (b *Bookmarks) Set(owner stanza.JID, list *stanza.Element) error {
	if err := b.set(owner, list); err != nil {
		return err
	}
	b.mirror(owner)
	return nil
}

func (b *Bookmarks) set(owner stanza.JID, list *stanza.Element) error {
	rest := stanza.NewElement(nodeOldBookmarks, "storage")
	rooms := map[string]*stanza.Element{}
	for _, c := range list.Children() {
		j, err := stanza.ParseJID(c.Attr("jid"))
		switch {
		case c.Local != "conference":
			rest.Add(c)
		case err == nil:
			rooms[j.Bare().String()] = c
		}
	}
	if len(rooms) > maxItems {
		return errors.New("pubsub: too many bookmarks")
	}
	if err := b.old.Store(owner, rest); err != nil {
		return err
	}
	items, err := b.e.Items(owner, nsBookmarks, maxItems)
	if err != nil {
		return err
	}
	have := map[string]*Item{}
	for i := range items {
		have[items[i].ID] = &items[i]
		if rooms[items[i].ID] == nil {
			if err := b.e.retract(owner, nsBookmarks, items[i].ID); err != nil {
				return err
			}
		}
	}
	for id, c := range rooms {
		el := toNew(c, have[id])
		if it := have[id]; it != nil && bytes.Equal(it.XML, el.AppendXML(nil, "")) {
			continue
		}
		if err := b.e.Publish(owner, nsBookmarks, id, el, defaults(true, nsBookmarks)); err != nil {
			return err
		}
	}
	return nil
}

// migrate fills the node from what an old client has left.
func (b *Bookmarks) migrate(owner stanza.JID) {
	stored, err := b.old.Stored(owner, stanza.Name{Space: nodeOldBookmarks, Local: "storage"})
	if err == nil && stored.Child(nodeOldBookmarks, "conference") != nil {
		err = b.set(owner, stored)
	}
	if err != nil {
		b.e.failed("bookmarks not migrated", owner, err)
	}
}

// show makes the node of XEP-0411 for who asks for it, if there are bookmarks.
func (b *Bookmarks) show(owner stanza.JID) {
	el, err := b.Get(owner)
	if err == nil && el.Child(nodeOldBookmarks, "conference") != nil {
		err = b.e.Publish(owner, nodeOldBookmarks, oldBookmarksItem, el, defaults(true, nodeOldBookmarks))
	}
	if err != nil {
		b.e.failed("bookmarks not shown", owner, err)
	}
}

// oldBookmarksItem is the only item of a node that has one (XEP-0060 §12.20).
const oldBookmarksItem = "current"

// mirror brings the node of XEP-0411 up to date, if there is one.
func (b *Bookmarks) mirror(owner stanza.JID) {
	items, err := b.e.Items(owner, nodeOldBookmarks, 1)
	if err != nil || len(items) == 0 {
		return
	}
	el, err := b.Get(owner)
	if err == nil && !bytes.Equal(items[0].XML, el.AppendXML(nil, "")) {
		err = b.e.Publish(owner, nodeOldBookmarks, items[0].ID, el, defaults(true, nodeOldBookmarks))
	}
	if err != nil {
		b.e.failed("bookmarks", owner, err)
	}
}

// toNew makes the new form of a room; what only the new form knows is kept.
func toNew(old *stanza.Element, before *Item) *stanza.Element {
	el := stanza.NewElement(nsBookmarks, "conference", "name", old.Attr("name"))
	if yes, _ := truth(old.Attr("autojoin")); yes {
		el.SetAttr("autojoin", "true")
	}
	for _, name := range []string{"nick", "password"} {
		if t := old.Child(nodeOldBookmarks, name).Text(); t != "" {
			el.Add(stanza.TextElement(nsBookmarks, name, t))
		}
	}
	if before != nil {
		if prev, err := stanza.ParseElement(before.XML); err == nil {
			el.Add(prev.Child(nsBookmarks, "extensions"))
		}
	}
	return el
}

// toOld is the other way; nil: it is no bookmark.
func toOld(it *Item) *stanza.Element {
	el, err := stanza.ParseElement(it.XML)
	if err != nil || el.Space != nsBookmarks || el.Local != "conference" {
		return nil
	}
	out := stanza.NewElement(nodeOldBookmarks, "conference", "jid", it.ID, "name", el.Attr("name"))
	if yes, _ := truth(el.Attr("autojoin")); yes {
		out.SetAttr("autojoin", "true")
	}
	for _, name := range []string{"nick", "password"} {
		if t := el.Child(nsBookmarks, name).Text(); t != "" {
			out.Add(stanza.TextElement(nodeOldBookmarks, name, t))
		}
	}
	return out
}
