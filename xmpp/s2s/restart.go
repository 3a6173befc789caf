package s2s

import (
	"strconv"
	"strings"
	"time"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// What federation remembers over a restart (Config.Ledger): for each link what the other server has not acknowledged, for each incoming session how many
// of its stanzas were handled.
const (
	linkName = "link "    // then our domain and the other one
	inName   = "inbound " // then the id by which the session is resumed

	keySM   = "sm"    // of a link: the id to resume by
	keyBack = "back"  // of a link: 1 when it is the other server that resumes
	keyBidi = "bidi"  // of a link: 1 when the other server may have something for us
	keyPair = "pair " // of an incoming session: a pair of domains that was proved
)

// forgotten stands for a stanza from before a restart of which only the number matters.
var forgotten = &stanza.Stanza{Kind: stanza.Presence}

// note remembers what is queued. Presence and iqs are out of date after a restart. False: it is queued already, by a program that was killed (ledger.Channel.Push).
func (l *link) note(st *stanza.Stanza) bool {
	if st.Kind != stanza.Message {
		l.ch.PushHollow()
		return true
	}
	return l.ch.Push(ledger.Item{Counted: true, Ref: ref(st), At: time.Now(), Origin: ledger.Origin(st.Origin()), For: st.To.String()}, ledger.Key{First: st.Inner(), From: st.From.String() + " " + st.To.String(), ID: st.ID},
		func(b []byte) []byte { return st.AppendXML(b, stanza.NSClient, true) })
}

// Restore brings back links and incoming sessions, before anything is served. Call Start when other servers can reach this one.
func (s *Service) Restore() {
	for _, k := range s.cfg.Ledger.Kept() {
		if rest, ok := strings.CutPrefix(k.Name, linkName); ok {
			local, remote, _ := strings.Cut(rest, " ")
			s.restoreLink(&k, pair{local, remote})
		} else if id, ok := strings.CutPrefix(k.Name, inName); ok {
			s.restoreIncoming(&k, id)
		}
	}
}

func (s *Service) restoreLink(k *ledger.Kept, p pair) {
	s.lost[p] = time.Now()
	bidi := len(k.Values[keyBidi]) > 0 && len(k.Values[keySM]) > 0
	if s.links[p] != nil || !s.srv.Serves(p.local) || !s.cfg.Policy.allows(p.remote) {
		k.Drop()
		return
	}
	l := s.newLink(p, k.Channel)
	if len(k.Items) == 0 && !bidi { // it waits for something to say, and knows what it has had of what the start hands on
		l.setSession(false, "", false)
		l.ch.Ack(0, 0)
		return
	}
	l.restored, l.h = true, k.Acked
	if id := k.Values[keySM]; len(id) > 0 && s.cfg.Ledger.Trusted() {
		l.managed, l.smID, l.bidi, l.backwards, l.handled = true, string(id), bidi, len(k.Values[keyBack]) > 0, k.Handled
	} else {
		for _, key := range []string{keySM, keyBidi, keyBack} { // the numbers of a ledger that is not exact
			l.ch.Set(key, nil)
		}
	}
	for _, it := range k.Items {
		st := forgotten
		if !it.Hollow {
			if parsed, err := stanza.Parse(it.Body); err == nil {
				st = parsed
			}
		}
		l.ack.add([]*stanza.Stanza{st})
	}
}

// Start goes on with the links that Restore brought back.
func (s *Service) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.restored && !l.running {
			l.running = s.runLocked(l.run)
		}
	}
}

// sweep forgets what stood only for its number, once the other server has said how much it has.
func (l *link) sweep() {
	if !l.restored {
		return
	}
	l.restored = false
	all := l.ack.all()
	l.ch.Sweep(len(all))
	for _, st := range all {
		if st != forgotten {
			l.ack.add([]*stanza.Stanza{st})
		}
	}
}

func (s *Service) restoreIncoming(k *ledger.Kept, id string) {
	x := &inSession{id: id, ch: k.Channel, pairs: map[pair]bool{}}
	for key := range k.Values {
		if p, ok := strings.CutPrefix(key, keyPair); ok {
			local, remote, _ := strings.Cut(p, " ")
			x.pairs[pair{local, remote}] = true
			s.lost[pair{local, remote}] = time.Now()
		}
	}
	if len(x.pairs) == 0 || !s.cfg.Ledger.Trusted() {
		k.Drop()
		return
	}
	x.in = s.srv.NewInbound(nil) // nothing asks while it sleeps
	x.in.Number(k.Channel, k.Handled)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sleepLocked(x)
}

// ref is the id under which archives have st, 0 for none.
func ref(st *stanza.Stanza) uint64 {
	n, _ := strconv.ParseUint(st.Archive(), 32, 64)
	return n
}
