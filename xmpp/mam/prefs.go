package mam

import (
	"context"
	"encoding/json"
	"slices"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	maxPrefs      = 500    // addresses in the lists of an account
	maxPrefsCache = 20_000 // accounts whose preferences stay in memory; above, all are read anew
)

// PrefsStore keeps preferences as they are encoded; nil bytes: none. SetPrefs is durable before it returns nil.
type PrefsStore interface {
	Prefs(ctx context.Context, owner stanza.JID) ([]byte, error)
	SetPrefs(ctx context.Context, owner stanza.JID, b []byte) error
}

// prefs say what goes into an archive (XEP-0441). Without any, all does.
type prefs struct {
	Default string // always, never, roster
	Always  []string
	Never   []string
}

// wants tells whether messages between owner and peer go into owner's archive.
func (m *Service) wants(owner, peer stanza.JID) bool {
	p, err := m.load(owner)
	if err != nil {
		m.failures.Add(1)
		m.log.Error("archive preferences not read", "owner", owner.String(), "err", err)
		return true // nothing is lost by keeping
	}
	listed := func(l []string) bool {
		return slices.Contains(l, peer.String()) || slices.Contains(l, peer.Bare().String())
	}
	switch {
	case len(p.Never) > 0 && listed(p.Never):
		return false
	case len(p.Always) > 0 && listed(p.Always):
		return true
	}
	switch p.Default {
	case "never":
		return false
	case "roster":
		return m.opt.Contact != nil && m.opt.Contact(owner, peer.Bare())
	}
	return true
}

// load gives the preferences of owner, from memory or from the store.
func (m *Service) load(owner stanza.JID) (prefs, error) {
	if p, ok := m.prefs.Get(owner); ok {
		return p, nil
	}
	ctx, cancel := ioContext()
	defer cancel()
	b, err := m.store.Prefs(ctx, owner)
	if err != nil {
		return prefs{}, err
	}
	p := prefs{Default: "always"}
	if b != nil {
		if err := json.Unmarshal(b, &p); err != nil {
			return prefs{}, err
		}
	}
	m.prefs.Put(owner, p)
	return p, nil
}

// preferences answers gets and sets (XEP-0441 §2).
func (m *Service) preferences(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if !m.own(sess, iq) {
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	owner := sess.JID().Bare()
	if iq.Type == "set" {
		p, bad := readPrefs(iq.Child(nsMAM, "prefs"))
		if bad != nil {
			return iq.ErrorReply(bad)
		}
		b, err := json.Marshal(p)
		if err != nil {
			return m.failed(iq, "archive preferences", err)
		}
		ctx, cancel := ioContext()
		defer cancel()
		if err := m.store.SetPrefs(ctx, owner, b); err != nil {
			return m.failed(iq, "archive preferences not stored", err)
		}
		m.prefs.Put(owner, p)
	}
	p, err := m.load(owner)
	if err != nil {
		return m.failed(iq, "archive preferences not read", err)
	}
	el := stanza.NewElement(nsMAM, "prefs", "default", p.Default)
	for _, l := range []struct {
		name string
		jids []string
	}{{"always", p.Always}, {"never", p.Never}} {
		list := stanza.NewElement(nsMAM, l.name)
		for _, j := range l.jids {
			list.Add(stanza.TextElement(nsMAM, "jid", j))
		}
		el.Add(list)
	}
	return iq.Result(el)
}

func readPrefs(el *stanza.Element) (p prefs, bad *stanza.Error) {
	p.Default = el.Attr("default")
	if !slices.Contains([]string{"always", "never", "roster"}, p.Default) {
		return p, stanza.ErrBadRequest.With("default is always, never or roster")
	}
	for name, list := range map[string]*[]string{"always": &p.Always, "never": &p.Never} {
		for _, j := range el.Child(nsMAM, name).ChildrenNamed(nsMAM, "jid") {
			jid, err := stanza.ParseJID(j.Text())
			if err != nil {
				return p, stanza.ErrJIDMalformed
			}
			if *list = append(*list, jid.String()); len(*list) > maxPrefs {
				return p, stanza.ErrResourceConstraint.With("Too many addresses")
			}
		}
	}
	return p, nil
}
