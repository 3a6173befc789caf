package pubsub

import (
	"slices"
	"strconv"
	"strings"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// features are those of XEP-0060 §10 that accounts and the service have.
func features() []string {
	out := []string{nsPubSub, nsOwner}
	for _, f := range []string{
		"access-authorize", "access-open", "access-presence", "access-roster", "access-whitelist", "auto-create", "config-node", "config-node-max", "create-and-configure", "create-nodes",
		"delete-items", "delete-nodes", "instant-nodes", "item-ids", "last-published", "leased-subscription", "manage-subscriptions", "member-affiliation", "meta-data",
		"modify-affiliations", "multi-items", "outcast-affiliation", "persistent-items", "publish", "publish-node-full", "publish-only-affiliation", "publish-options", "publisher-affiliation",
		"purge-nodes", "retract-items", "retrieve-affiliations", "retrieve-default", "retrieve-default-sub", "retrieve-items", "retrieve-subscriptions", "rsm", "subscribe",
		"subscription-notifications", "subscription-options",
	} {
		out = append(out, nsPubSub+"#"+f)
	}
	return out
}

// accountFeatures are those of an account (XEP-0163 §6.1).
func accountFeatures() []string {
	out := features()
	for _, f := range []string{"auto-subscribe", "filtered-notifications", "presence-notifications", "presence-subscribe"} {
		out = append(out, nsPubSub+"#"+f)
	}
	return out
}

// serverFeatures are what clients that ask the server instead of the account look for, as XEP-0163 had it before version 1.1: Smack's OMEMO and OpenPGP do.
func serverFeatures() []string {
	return []string{nsPubSub, nsPubSub + "#access-whitelist", nsPubSub + "#persistent-items", nsPubSub + "#publish-options"}
}

// Info answers a disco#info about a node of an account (XEP-0060 §5.3, §5.4).
func (e *Engine) Info(iq *stanza.Stanza) *stanza.Stanza {
	return e.disco(iq, e.info)
}

// List answers a disco#items of an account: its nodes, or the items of one (XEP-0060 §5.2, §5.5).
func (e *Engine) List(iq *stanza.Stanza) *stanza.Stanza {
	return e.disco(iq, e.list)
}

func (e *Engine) disco(iq *stanza.Stanza, f func(*request) (*stanza.Element, *stanza.Error)) *stanza.Stanza {
	owner := iq.To.Bare()
	if iq.To.IsZero() {
		owner = iq.From.Bare()
	}
	o, done, err := e.use(owner)
	if err != nil {
		return iq.ErrorReply(e.failed("nodes not read", owner, err))
	}
	defer done()
	q := iq.Payload()[0]
	payload, bad := f(&request{e: e, iq: iq, o: o, el: q, op: q})
	if bad != nil {
		return iq.ErrorReply(bad)
	}
	return iq.Result(payload)
}

func (e *Engine) info(r *request) (*stanza.Element, *stanza.Error) {
	n, bad := r.find()
	if bad != nil {
		return nil, bad
	}
	defer n.mu.Unlock()
	if n.cfg.Access == accessWhitelist {
		if bad := e.mayRead(n, r.who()); bad != nil {
			return nil, bad
		}
	}
	form := newForm("result", formMeta,
		field("pubsub#title", "text-single", n.cfg.Title),
		field("pubsub#description", "text-single", n.cfg.Description),
		field("pubsub#type", "text-single", n.cfg.Type),
		field("pubsub#creator", "jid-single", n.creator.String()),
		field("pubsub#creation_date", "text-single", n.created.UTC().Format("2006-01-02T15:04:05Z")),
		field("pubsub#num_subscribers", "text-single", strconv.Itoa(len(n.subs))),
		field("pubsub#access_model", "list-single", n.cfg.Access),
		field("pubsub#publish_model", "list-single", n.cfg.PublishModel),
		field("pubsub#max_items", "text-single", strconv.Itoa(n.cfg.MaxItems)))
	return stanza.NewElement(nsInfo, "query", "node", n.name).Add(
		stanza.NewElement(nsInfo, "identity", "category", "pubsub", "type", "leaf", "name", n.cfg.Title),
		stanza.NewElement(nsInfo, "feature", "var", nsPubSub), form), nil
}

// list gives a page of nodes by name, or of a node's items.
func (e *Engine) list(r *request) (*stanza.Element, *stanza.Error) {
	out := stanza.NewElement(nsItems, "query", "node", r.node())
	if r.node() != "" {
		n, bad := r.find()
		if bad != nil {
			return nil, bad
		}
		defer n.mu.Unlock()
		return e.listItems(r, n, out)
	}
	var names []string
	titles := map[string]string{}
	for _, n := range r.o.list() {
		n.mu.Lock()
		if !n.gone && e.mayRead(n, r.who()) == nil {
			names = append(names, n.name)
			titles[n.name] = n.cfg.Title
		}
		n.mu.Unlock()
	}
	slices.Sort(names)
	names, set, bad := cut(names, r.el.Child(nsRSM, "set"))
	if bad != nil {
		return nil, bad
	}
	for _, name := range names {
		out.Add(stanza.NewElement(nsItems, "item", "jid", r.o.jid.String(), "node", name, "name", titles[name]))
	}
	return out.Add(set), nil
}

func (e *Engine) listItems(r *request, n *node, out *stanza.Element) (*stanza.Element, *stanza.Error) {
	if bad := e.mayRead(n, r.who()); bad != nil {
		return nil, bad
	}
	if !n.cfg.Persist {
		return out, nil
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	p, err := e.store.items(ctx, n.id, span{max: maxListed, since: n.since()})
	if err != nil {
		return nil, e.failed("items not read", r.o.jid, err)
	}
	for _, it := range p.items {
		out.Add(stanza.NewElement(nsItems, "item", "jid", r.o.jid.String(), "name", it.ID))
	}
	return out, nil
}

// cut gives the page that is asked for (XEP-0059), and what is said of it: nothing if it is all, and nobody asked.
func cut(names []string, asked *stanza.Element) (page []string, set *stanza.Element, bad *stanza.Error) {
	total, max, first := len(names), maxListed, 0
	var after string
	var before *string
	if asked != nil {
		if max, after, before, bad = readSet(asked, maxListed); bad != nil {
			return nil, nil, bad
		}
	}
	page = names
	if after != "" {
		first, _ = slices.BinarySearchFunc(names, after, func(a, b string) int {
			if c := strings.Compare(a, b); c != 0 {
				return c
			}
			return -1 // behind it
		})
		page = names[first:]
	}
	if before != nil && *before != "" {
		end, _ := slices.BinarySearch(page, *before)
		page = page[:end]
	}
	if len(page) > max && before != nil {
		first += len(page) - max
		page = page[len(page)-max:]
	} else if len(page) > max {
		page = page[:max]
	}
	if asked == nil && len(page) == total {
		return page, nil, nil
	}
	set = stanza.NewElement(nsRSM, "set")
	if len(page) > 0 {
		set.Add(stanza.TextElement(nsRSM, "first", page[0], "index", strconv.Itoa(first)), stanza.TextElement(nsRSM, "last", page[len(page)-1]))
	}
	return page, set.Add(stanza.TextElement(nsRSM, "count", strconv.Itoa(total))), nil
}
