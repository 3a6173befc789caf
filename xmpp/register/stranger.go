package register

import (
	"errors"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// stranger answers who has not logged in: the token first, then the form (XEP-0445 §4, XEP-0077 §3.1).
func (v *Service) stranger(p *xmpp.Stranger, iq *stanza.Stanza) *stanza.Stanza {
	switch n := iq.First(); {
	case n == stanza.Name{Space: nsPreAuth, Local: "preauth"} && iq.Type == "set":
		return v.preauth(p, iq)
	case n != stanza.Name{Space: nsRegister, Local: "query"}:
		return iq.ErrorReply(stanza.ErrNotAuthorized)
	}
	i, _ := p.Value.(*Invitation)
	if i == nil {
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Registration is by invitation only"))
	}
	if iq.Type == "get" {
		q := stanza.NewElement(nsRegister, "query").Add(stanza.TextElement(nsRegister, "instructions", "Choose a name and a password"))
		return iq.Result(q.Add(stanza.TextElement(nsRegister, "username", i.Name), stanza.NewElement(nsRegister, "password")))
	}
	return v.create(p, iq, i)
}

// preauth takes a token; what comes later on the stream may use it, though its time may run out (XEP-0445 §4).
func (v *Service) preauth(p *xmpp.Stranger, iq *stanza.Stanza) *stanza.Stanza {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	i, err := v.Find(ctx, iq.Child(nsPreAuth, "preauth").Attr("token"))
	switch {
	case errors.Is(err, ErrNoInvitation), err == nil && !i.Account:
		v.log.Info("invitation refused", "address", p.Address())
		return iq.ErrorReply(stanza.ErrItemNotFound.With("The provided token is invalid or expired"))
	case err != nil:
		return v.failed(iq, "invitation not read", err)
	}
	p.Value = i
	return iq.Result()
}

// fields are the name and password of a registration, of plain elements or of a form (XEP-0077 §4).
func fields(q *stanza.Element) (name, password string) {
	name, password = q.Child(nsRegister, "username").Text(), q.Child(nsRegister, "password").Text()
	for _, f := range q.Child(nsData, "x").ChildrenNamed(nsData, "field") {
		switch v := f.Child(nsData, "value").Text(); f.Attr("var") {
		case "username":
			name = v
		case "password":
			password = v
		}
	}
	return name, password
}

func (v *Service) create(p *xmpp.Stranger, iq *stanza.Stanza, i *Invitation) *stanza.Stanza {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	name, password := fields(iq.Child(nsRegister, "query"))
	local, err := v.accounts.Prepare(name)
	if err != nil || password == "" {
		return iq.ErrorReply(stanza.ErrNotAcceptable.With("That is no name for an account, or there is no password"))
	}
	if i.Name != "" && local != i.Name {
		return iq.ErrorReply(stanza.ErrNotAcceptable.With("This invitation is for the name " + i.Name))
	}
	taken, err := v.accounts.Taken(ctx, local)
	if err == nil && !taken {
		taken, err = v.reserved(ctx, local, i.Token)
	}
	if err != nil {
		return v.failed(iq, "name not looked up", err)
	}
	if taken {
		return iq.ErrorReply(stanza.ErrConflict.With("The name is taken"))
	}
	ok, err := v.spend(ctx, i.Token)
	if err != nil {
		return v.failed(iq, "invitation not taken", err)
	}
	if !ok {
		return iq.ErrorReply(stanza.ErrNotAllowed.With("The invitation was used already"))
	}
	p.Value = nil
	if err := v.accounts.Create(ctx, local, password); err != nil {
		v.log.Warn("account not made", "name", local, "err", err)
		return iq.ErrorReply(stanza.ErrNotAcceptable.With("The account could not be made: choose another password, and ask for another invitation"))
	}
	v.log.Info("account made by invitation", "name", local, "inviter", i.Inviter.String(), "address", p.Address())
	if own, err := stanza.NewJID(local, v.srv.Domain(), ""); err == nil && !i.Inviter.IsZero() {
		v.befriend(own, i.Inviter, true)
		v.befriend(i.Inviter, own, true)
	}
	return iq.Result()
}

func (v *Service) befriend(owner, contact stanza.JID, both bool) {
	if err := v.opt.Befriend(owner, contact, both); err != nil {
		v.log.Error("contact not made of an invitation", "owner", owner.String(), "err", err)
	}
}

// manage is what people do with their own account: ask, change the password, give it up (XEP-0077 §3.2, §3.3).
func (v *Service) manage(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if s == nil || s.Guest() || iq.To.Local() != "" && iq.To.Bare() != s.JID().Bare() {
		return iq.ErrorReply(stanza.ErrNotAllowed)
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	own := s.JID().Local()
	local, err := v.accounts.Local(ctx, own)
	if err != nil {
		return v.failed(iq, "account not looked up", err)
	}
	q := iq.Child(nsRegister, "query")
	name, password := fields(q)
	switch {
	case iq.Type == "get" && local:
		return iq.Result(stanza.NewElement(nsRegister, "query").Add(stanza.NewElement(nsRegister, "registered"),
			stanza.TextElement(nsRegister, "username", own), stanza.NewElement(nsRegister, "password")))
	case iq.Type == "get":
		out := stanza.NewElement(nsRegister, "query").Add(stanza.NewElement(nsRegister, "registered"),
			stanza.TextElement(nsRegister, "instructions", "Your account is managed by your organisation"))
		if v.opt.Identity != "" {
			out.Add(stanza.NewElement(nsOOB, "x").Add(stanza.TextElement(nsOOB, "url", v.opt.Identity)))
		}
		return iq.Result(out)
	case !local:
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Your account is managed by your organisation"))
	case q.Child(nsRegister, "remove") != nil:
		if len(q.Children()) != 1 {
			return iq.ErrorReply(stanza.ErrBadRequest)
		}
		go v.remove(iq, own) // it ends this session, and waits for that
		return nil
	}
	if prepared, err := v.accounts.Prepare(name); err != nil || prepared != own {
		return iq.ErrorReply(stanza.ErrBadRequest.With("Only the password can be changed"))
	}
	if err := v.accounts.SetPassword(ctx, own, password); err != nil {
		return iq.ErrorReply(stanza.ErrNotAcceptable.With("That is no password"))
	}
	return iq.Result()
}

// remove deletes an account at its owner's wish.
func (v *Service) remove(iq *stanza.Stanza, own string) {
	v.log.Info("account given up by its owner", "name", own)
	v.srv.Route(iq.Result())
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	if err := v.accounts.Delete(ctx, own); err != nil {
		v.log.Error("account not deleted", "name", own, "err", err)
	}
}
