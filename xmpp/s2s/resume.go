package s2s

import (
	"strconv"
	"time"

	"konzil/internal/ledger"
	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Stream management on a stream of another server (XEP-0198), and its sessions that wait to be resumed.

// inSession is what of an incoming stream outlives it for a resumption (XEP-0198 §5).
type inSession struct {
	id    string
	in    *xmpp.Inbound
	ch    *ledger.Channel // how much was handled, over a restart
	pairs map[pair]bool
	timer *time.Timer // Service.mu: while it can be resumed
}

// sleepLocked lets a session wait for its server; s.mu is held.
func (s *Service) sleepLocked(x *inSession) {
	s.asleep[x.id] = x
	x.timer = time.AfterFunc(s.cfg.Limits.ResumeTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.asleep[x.id] == x {
			delete(s.asleep, x.id)
			x.ch.Drop()
		}
	})
}

// manage is stream management (XEP-0198).
func (in *incoming) manage(e *stanza.Element) error {
	in.mu.Lock()
	known := len(in.pairs) > 0
	in.mu.Unlock()
	switch {
	case e.Local == "a":
		return in.acknowledged(e)
	case !known:
		return in.write(element(stanza.NewElement(nsSM, "failed").Add(stanza.NewElement(stanza.NSStanzas, "unexpected-request"))))
	case e.Local == "r":
		in.begin()
		in.session.in.Ask()
		return nil
	case e.Local == "enable":
		return in.enable(e)
	case e.Local == "resume":
		return in.resume(e)
	}
	return stanza.NewStreamError("unsupported-stanza-type", "")
}

func (in *incoming) enable(e *stanza.Element) error {
	in.begin()
	x := in.session
	x.in.Number(nil, 0)
	answer := stanza.NewElement(nsSM, "enabled")
	if r := e.Attr("resume"); r == "true" || r == "1" {
		x.id, x.pairs = random.ID(), in.allPairs()
		x.ch = in.s.cfg.Ledger.New(inName + x.id)
		for p := range x.pairs {
			x.ch.Set(keyPair+p.local+" "+p.remote, []byte{})
		}
		x.in.Number(x.ch, 0)
		in.register(x)
		answer.SetAttr("id", x.id).SetAttr("resume", "true").SetAttr("max", strconv.Itoa(int(in.s.cfg.Limits.ResumeTimeout/time.Second)))
	}
	if err := in.write(element(answer)); err != nil {
		return err
	}
	in.settleBack(true, x.id, 0)
	return nil
}

// resume continues the session of a broken stream. The other server must have proved at least what it had proved then.
func (in *incoming) resume(e *stanza.Element) error {
	s := in.s
	prev := e.Attr("previd")
	mine := in.allPairs()
	s.mu.Lock()
	old := s.active[prev]
	s.mu.Unlock()
	if old != nil && old != in { // it does not know yet that its connection is gone
		_ = old.raw.Close()
		select {
		case <-old.done:
		case <-s.ctx.Done():
		}
	}
	s.mu.Lock()
	x := s.asleep[prev]
	if x != nil && covers(mine, x.pairs) && in.session == nil {
		x.timer.Stop()
		delete(s.asleep, prev)
	} else {
		x = nil
	}
	s.mu.Unlock()
	if x == nil {
		return in.write(element(stanza.NewElement(nsSM, "failed").Add(stanza.NewElement(stanza.NSStanzas, "item-not-found"))))
	}
	h := x.in.Drain()
	next := &inSession{id: x.id, pairs: mine, ch: x.ch}
	next.in = s.srv.NewInbound(in.acknowledge)
	next.in.Number(x.ch, h)
	in.session = next
	in.register(next)
	s.count.resumed.Add(1)
	if err := in.write(element(stanza.NewElement(nsSM, "resumed", "h", strconv.FormatUint(uint64(h), 10), "previd", prev))); err != nil {
		return err
	}
	if got, err := strconv.ParseUint(e.Attr("h"), 10, 32); err == nil {
		in.settleBack(true, x.id, uint32(got))
	}
	return nil
}

// register makes the session known to those who resume it before this stream has ended.
func (in *incoming) register(x *inSession) {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	in.s.active[x.id] = in
}

// covers tells whether have has all of want.
func covers(have, want map[pair]bool) bool {
	for p := range want {
		if !have[p] {
			return false
		}
	}
	return true
}
