package s2s

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net"
	"time"

	"konzil/xmpp/stanza"
)

// How a server that has opened a stream proves which domains it speaks for: by certificate (SASL EXTERNAL) or dialback.

func (in *incoming) proved(p pair) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.pairs[p]
}

// prove notes that a pair was proved. The first one ends the time for negotiation.
func (in *incoming) prove(p pair) bool {
	defer in.offerBack()
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.pairs) >= in.s.cfg.Limits.Pairs {
		return false
	}
	if len(in.pairs) == 0 {
		in.first = p
	}
	in.pairs[p] = true
	_ = in.raw.SetReadDeadline(time.Time{})
	return true
}

func (in *incoming) allPairs() map[pair]bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.pairs)
}

// sasl is EXTERNAL (XEP-0178 §3): the identity is the stream's from, for which the certificate is good.
func (in *incoming) sasl(e *stanza.Element) error {
	fail := func(condition string) error {
		return in.write(element(stanza.NewElement(nsSASL, "failure").Add(stanza.NewElement(nsSASL, condition))))
	}
	switch {
	case e.Local != "auth" || in.external:
		return stanza.NewStreamError("unsupported-stanza-type", "")
	case e.Attr("mechanism") != "EXTERNAL":
		return fail("invalid-mechanism")
	case in.remote == "" || !in.s.validCertificate(in.tls, in.remote):
		return fail("not-authorized")
	}
	if t := e.Text(); t != "" && t != "=" {
		id, err := base64.StdEncoding.DecodeString(t)
		if err != nil {
			return fail("incorrect-encoding")
		}
		if string(id) != in.remote {
			return fail("invalid-authzid")
		}
	}
	in.external = true
	in.prove(pair{in.local, in.remote})
	in.rd.SetLimits(in.s.cfg.Limits.Stanza)
	if err := in.write([]byte("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")); err != nil {
		return err
	}
	return in.header(in.features)
}

// dialback takes requests to check a key (we speak for the domain) and to believe one (XEP-0220 §2).
func (in *incoming) dialback(e *stanza.Element) error {
	from, ferr := stanza.ParseJID(e.Attr("from"))
	to, terr := stanza.ParseJID(e.Attr("to"))
	if ferr != nil || terr != nil || from.Local() != "" || to.Local() != "" || !from.IsBare() || !to.IsBare() {
		return stanza.NewStreamError("improper-addressing", "")
	}
	p := pair{to.Domain(), from.Domain()}
	switch {
	case e.Attr("type") != "": // an answer, to nothing that we asked here
		return nil
	case !in.s.srv.Serves(p.local):
		return in.answer(e.Local, p, e.Attr("id"), stanza.ErrItemNotFound)
	case e.Local == "verify":
		return in.s.answerVerify(in.conn, p, e)
	case e.Local != "result":
		return stanza.NewStreamError("unsupported-stanza-type", "")
	case in.s.cfg.RequireCertificate && !in.s.validCertificate(in.tls, p.remote), !in.s.cfg.Policy.allows(p.remote):
		return in.answer("result", p, "", &stanza.Error{Type: "cancel", Condition: "policy-violation"})
	}
	if in.s.validCertificate(in.tls, p.remote) { // XEP-0344 §2: what the certificate proves need not be asked
		in.rd.SetLimits(in.s.cfg.Limits.Stanza)
		return in.believe(p, true)
	}
	select {
	case in.verifying <- struct{}{}:
	default:
		return stanza.NewStreamError("resource-constraint", "too many dialback requests at once")
	}
	key := e.Text()
	in.rd.SetLimits(in.s.cfg.Limits.Stanza) // what comes next is read under them, and comes after the answer
	in.s.wg.Go(func() {
		defer func() { <-in.verifying }()
		ctx, cancel := context.WithTimeout(in.s.ctx, in.s.cfg.Limits.ConnectTimeout)
		defer cancel()
		ok, err := in.s.verify(ctx, p, in.id, key)
		if err != nil {
			in.s.log.Info("dialback", "remote", p.remote, "err", err)
			err = in.answer("result", p, "", unverified(err))
		} else {
			err = in.believe(p, ok)
		}
		if err != nil {
			_ = in.raw.Close()
		}
	})
	return nil
}

// unverified is the reason why nobody could be asked.
func unverified(err error) *stanza.Error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound || errors.Is(err, errNoService) {
		return stanza.ErrRemoteServerNotFound
	}
	return &stanza.Error{Type: "wait", Condition: "remote-server-timeout"}
}

// believe answers a dialback request.
func (in *incoming) believe(p pair, valid bool) error {
	typ := "invalid"
	if valid {
		if !in.prove(p) {
			return in.answer("result", p, "", stanza.ErrResourceConstraint)
		}
		typ = "valid"
		in.s.count.verified.Add(1)
	} else {
		in.s.count.invalid.Add(1)
	}
	return in.say("result", p, "", typ, nil)
}

// answerVerify tells whether a key is ours (XEP-0220 §2.3).
func (s *Service) answerVerify(c *conn, p pair, e *stanza.Element) error {
	typ := "invalid"
	if s.ours(p.remote, p.local, e.Attr("id"), e.Text()) {
		typ = "valid"
	}
	return c.say("verify", p, e.Attr("id"), typ, nil)
}

// answer is a dialback error (XEP-0220 §2.4).
func (in *incoming) answer(local string, p pair, id string, e *stanza.Error) error {
	return in.say(local, p, id, "error", e)
}
