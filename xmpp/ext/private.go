package ext

import (
	"context"
	"errors"
	"log/slog"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsPrivate         = "jabber:iq:private"
	maxPrivate        = 64 << 10 // bytes of one element: bookmarks of some hundred rooms
	maxPrivateEntries = 100      // elements of one account
)

// ErrFull is for who has too many entries already.
var ErrFull = errors.New("ext: too many entries")

// PrivateStore keeps private XML by element name. SetPrivate is durable before it returns nil; a new name beyond max is ErrFull.
type PrivateStore interface {
	Private(ctx context.Context, owner stanza.JID, name stanza.Name) (xml []byte, err error) // nil if there is none
	SetPrivate(ctx context.Context, owner stanza.JID, name stanza.Name, xml []byte, max int) error
	// AllPrivate gives everything that an account has, ForgetPrivate removes it.
	AllPrivate(ctx context.Context, owner stanza.JID) ([][]byte, error)
	ForgetPrivate(ctx context.Context, owner stanza.JID) error
}

// Private keeps it. Use AttachPrivate.
type Private struct {
	store PrivateStore
	log   *slog.Logger
	views map[stanza.Name]PrivateView // written before serving only
}

// PrivateView is XML that is made from something else, as bookmarks are (XEP-0402).
type PrivateView interface {
	Get(owner stanza.JID) (*stanza.Element, error)
	Set(owner stanza.JID, el *stanza.Element) error
}

// AttachPrivate lets clients keep XML of their own (XEP-0049).
func AttachPrivate(s *xmpp.Server, store PrivateStore, log *slog.Logger) *Private {
	p := &Private{store: store, log: log, views: map[stanza.Name]PrivateView{}}
	s.Hooks().Feature(xmpp.ToServer, nsPrivate)
	s.Hooks().Feature(xmpp.ToAccount, nsPrivate)
	s.Hooks().IQ(xmpp.ToAccount, nsPrivate, "query", p.iq)
	return p
}

// View has v answer for elements of that name, before serving.
func (p *Private) View(name stanza.Name, v PrivateView) { p.views[name] = v }

// Stored is what is stored under a name, nil if nothing is.
func (p *Private) Stored(owner stanza.JID, name stanza.Name) (*stanza.Element, error) {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	b, err := p.store.Private(ctx, owner, name)
	if err != nil || b == nil {
		return nil, err
	}
	return stanza.ParseElement(b)
}

// Store stores an element under its name.
func (p *Private) Store(owner stanza.JID, el *stanza.Element) error {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	return p.store.SetPrivate(ctx, owner, el.Name, el.AppendXML(nil, ""), maxPrivateEntries)
}

// All is everything that an account has stored.
func (p *Private) All(ctx context.Context, owner stanza.JID) ([]*stanza.Element, error) {
	list, err := p.store.AllPrivate(ctx, owner)
	if err != nil {
		return nil, err
	}
	out := make([]*stanza.Element, len(list))
	for i, b := range list {
		if out[i], err = stanza.ParseElement(b); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Import stores elements as if their owner had sent them.
func (p *Private) Import(owner stanza.JID, list []*stanza.Element) error {
	for _, e := range list {
		err := error(nil)
		if v := p.views[e.Name]; v != nil {
			err = v.Set(owner, e)
		} else if len(e.AppendXML(nil, "")) <= maxPrivate {
			err = p.Store(owner, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Forget removes what an account has stored.
func (p *Private) Forget(ctx context.Context, owner stanza.JID) error {
	return p.store.ForgetPrivate(ctx, owner)
}

func (p *Private) iq(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	switch {
	case !own(sess, iq):
		return iq.ErrorReply(stanza.ErrForbidden)
	case sess.Guest():
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Guests have no storage"))
	}
	entries := iq.Child(nsPrivate, "query").Children()
	if iq.Type == "set" {
		return p.set(iq, entries)
	}
	if len(entries) != 1 {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	var out *stanza.Element
	var err error
	if v := p.views[entries[0].Name]; v != nil {
		out, err = v.Get(iq.From.Bare())
	} else {
		out, err = p.Stored(iq.From.Bare(), entries[0].Name)
	}
	if err != nil {
		return failed(p.log, iq, "private XML not read", err)
	}
	if out == nil {
		out = stanza.NewElement(entries[0].Space, entries[0].Local)
	}
	return iq.Result(stanza.NewElement(nsPrivate, "query").Add(out))
}

func (p *Private) set(iq *stanza.Stanza, entries []*stanza.Element) *stanza.Stanza {
	if len(entries) == 0 || len(entries) > maxPrivateEntries {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	for _, e := range entries {
		b := e.AppendXML(nil, "")
		switch {
		case e.Space == "" || e.Space == nsPrivate || e.Space == stanza.NSClient:
			return iq.ErrorReply(stanza.ErrBadRequest.With("Private XML has a namespace of its own"))
		case len(b) > maxPrivate:
			return iq.ErrorReply(stanza.ErrPolicyViolation.With("That is too big"))
		}
		var err error
		if v := p.views[e.Name]; v != nil {
			err = v.Set(iq.From.Bare(), e)
		} else {
			err = p.Store(iq.From.Bare(), e)
		}
		if errors.Is(err, ErrFull) {
			return iq.ErrorReply(stanza.ErrResourceConstraint.With("There are too many entries"))
		}
		if err != nil {
			return failed(p.log, iq, "private XML not stored", err)
		}
	}
	return iq.Result()
}
