package pubsub

import (
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// request is an iq being answered.
type request struct {
	e  *Engine
	iq *stanza.Stanza
	o  *owned
	el *stanza.Element // what is asked: the child of <pubsub/>
	op *stanza.Element // <pubsub/>

	told  int             // how many were notified
	wrong *stanza.Element // of a request with several entries: those that were refused, as they are; goes into the error
}

func (r *request) node() string { return r.el.Attr("node") }

// who asks, with its resource.
func (r *request) who() stanza.JID { return r.iq.From }

// accountIQ is what is asked of an account; without an address it is one's own.
func (e *Engine) accountIQ(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	owner := iq.To.Bare()
	if iq.To.IsZero() {
		owner = iq.From.Bare()
	}
	if owner.Domain() != e.srv.Domain() {
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Guests have no nodes"))
	}
	return e.answer(owner, iq)
}

// answer carries out a request.
func (e *Engine) answer(owner stanza.JID, iq *stanza.Stanza) *stanza.Stanza {
	e.count.requests.Add(1)
	o, done, err := e.use(owner)
	if err != nil {
		return iq.ErrorReply(e.failed("nodes not read", owner, err))
	}
	defer done()
	r := &request{e: e, iq: iq, o: o, op: iq.Payload()[0]}
	for _, c := range r.op.Children() {
		extra := c.Space != r.op.Space || c.Local == "publish-options" || c.Local == "configure" || c.Local == "options" // of another request, or one themselves
		if r.el == nil || !extra {
			r.el = c
		}
		if !extra {
			break
		}
	}
	if r.el == nil {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	if len(r.node()) > maxName {
		return iq.ErrorReply(stanza.ErrNotAcceptable.With("The name of the node is too long"))
	}
	payload, bad := r.perform()
	if s := e.srv.Session(iq.From); s != nil {
		s.Fanout(r.told)
	}
	if bad != nil {
		e.count.refused.Add(1)
		if r.wrong != nil {
			return iq.ErrorReply(bad).WithPayload(r.wrong, bad.Element())
		}
		return iq.ErrorReply(bad)
	}
	return iq.Result(payload)
}

// perform chooses the operation: one that anybody may ask for, or one of the node's owners (XEP-0060 §8).
func (r *request) perform() (*stanza.Element, *stanza.Error) {
	if r.op.Space == nsPubSub {
		return r.performUser()
	}
	if r.key() == "get default" {
		c := defaults(r.o.account, "")
		return owner("default", "").Add(c.form()).wrap(), nil
	}
	n, bad := r.owned()
	if bad != nil {
		return nil, bad
	}
	defer n.mu.Unlock()
	return r.performOwner(n)
}

// key is the operation's name.
func (r *request) key() string { return r.iq.Type + " " + r.el.Local }

func (r *request) performUser() (*stanza.Element, *stanza.Error) {
	switch r.key() {
	case "get items":
		return r.items()
	case "get subscriptions":
		return r.ownSubscriptions()
	case "get affiliations":
		return r.ownAffiliations()
	case "get default":
		return r.defaultOptions()
	case "set publish":
		return r.publish()
	case "set retract":
		return r.retract()
	case "set create":
		return r.create()
	case "set subscribe":
		return r.subscribe()
	case "set unsubscribe":
		return r.unsubscribe()
	case "get options":
		return r.getOptions()
	case "set options":
		return r.setOptions()
	}
	return nil, stanza.ErrBadRequest
}

// performOwner has n locked.
func (r *request) performOwner(n *node) (*stanza.Element, *stanza.Error) {
	switch r.key() {
	case "get configure":
		return owner("configure", n.name).Add(n.cfg.form()).wrap(), nil
	case "set configure":
		return r.configure(n)
	case "set delete":
		return r.remove(n)
	case "set purge":
		return r.purge(n)
	case "get affiliations":
		return r.affiliations(n)
	case "set affiliations":
		return r.setAffiliations(n)
	case "get subscriptions":
		return r.subscriptions(n)
	case "set subscriptions":
		return r.setSubscriptions(n)
	}
	return nil, stanza.ErrBadRequest
}

// owned finds the node of an owner's request; it is locked.
func (r *request) owned() (*node, *stanza.Error) {
	n, bad := r.find()
	if bad != nil {
		return nil, bad
	}
	if n.affiliation(r.who()) != affOwner {
		n.mu.Unlock()
		return nil, stanza.ErrForbidden
	}
	return n, nil
}

// find locks the node that is asked for.
func (r *request) find() (*node, *stanza.Error) {
	if r.node() == "" {
		return nil, fault(stanza.ErrBadRequest, "nodeid-required")
	}
	if n := r.o.lock(r.node()); n != nil {
		return n, nil
	}
	// A stranger gets the same answer as for an account that does not exist.
	if r.o.account && !r.e.opt.Subscribed(r.o.jid, r.who()) {
		return nil, stanza.ErrServiceUnavailable
	}
	return nil, stanza.ErrItemNotFound
}

// lock gives a node, locked, or nil.
func (o *owned) lock(name string) *node {
	n := o.find(name)
	if n == nil {
		return nil
	}
	n.mu.Lock()
	if n.gone {
		n.mu.Unlock()
		return nil
	}
	return n
}

// part is an element that goes into <pubsub/> of its own namespace.
type part struct{ *stanza.Element }

func user(local, node string) part  { return part{stanza.NewElement(nsPubSub, local, "node", node)} }
func owner(local, node string) part { return part{stanza.NewElement(nsOwner, local, "node", node)} }

func (p part) Add(children ...*stanza.Element) part { p.Element.Add(children...); return p }

func (p part) wrap() *stanza.Element { return stanza.NewElement(p.Space, "pubsub").Add(p.Element) }
