package ext

import (
	"strconv"
	"sync"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsPing    = "urn:xmpp:ping"
	nsVersion = "jabber:iq:version"
	nsTime    = "urn:xmpp:time"
	nsLast    = "jabber:iq:last"
)

// AttachPing answers pings of the server and, by the server, of one's own account (XEP-0199 §4); gst-meet pings without an address.
func AttachPing(s *xmpp.Server) {
	s.Hooks().Feature(xmpp.ToServer, nsPing)
	s.Hooks().Feature(xmpp.ToAccount, nsPing)
	s.Hooks().IQ(xmpp.ToServer, nsPing, "ping", get(func(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza { return iq.Result() }))
	s.Hooks().IQ(xmpp.ToAccount, nsPing, "ping", get(func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		if !own(sess, iq) {
			return iq.ErrorReply(stanza.ErrServiceUnavailable)
		}
		return iq.Result()
	}))
}

// get answers only questions: there is nothing to set.
func get(f xmpp.IQHandler) xmpp.IQHandler {
	return func(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		if iq.Type != "get" {
			return iq.ErrorReply(stanza.ErrServiceUnavailable)
		}
		return f(s, iq)
	}
}

// AttachVersion tells name and version of the software (XEP-0092), not the system it runs on.
func AttachVersion(s *xmpp.Server, name, version string) {
	s.Hooks().Feature(xmpp.ToServer, nsVersion)
	s.Hooks().IQ(xmpp.ToServer, nsVersion, "query", get(func(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		return iq.Result(stanza.NewElement(nsVersion, "query").Add(
			stanza.TextElement(nsVersion, "name", name), stanza.TextElement(nsVersion, "version", version)))
	}))
}

// AttachTime tells the server's time (XEP-0202).
func AttachTime(s *xmpp.Server) {
	s.Hooks().Feature(xmpp.ToServer, nsTime)
	s.Hooks().IQ(xmpp.ToServer, nsTime, "time", get(func(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		now := time.Now()
		return iq.Result(stanza.NewElement(nsTime, "time").Add(
			stanza.TextElement(nsTime, "tzo", now.Format("-07:00")),
			stanza.TextElement(nsTime, "utc", now.UTC().Format("2006-01-02T15:04:05Z"))))
	}))
}

// maxLast is how many accounts' last goodbyes are remembered; above, any older one is forgotten.
const maxLast = 20_000

// last remembers goodbyes since the start.
type last struct {
	srv     *xmpp.Server
	visible Visible
	start   time.Time

	mu   sync.Mutex // guards gone
	gone map[stanza.JID]goodbye
}

type goodbye struct {
	at     time.Time
	status string
}

// AttachLast tells how long the server runs and, to those who may see an account's presence, how long it has been offline (XEP-0012 §3, §4). Goodbyes
// are remembered as long as the server runs.
func AttachLast(s *xmpp.Server, visible Visible) {
	l := &last{srv: s, visible: visible, start: time.Now(), gone: map[stanza.JID]goodbye{}}
	s.Hooks().Feature(xmpp.ToServer, nsLast)
	s.Hooks().IQ(xmpp.ToServer, nsLast, "query", get(func(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		return iq.Result(seconds(time.Since(l.start), ""))
	}))
	s.Hooks().IQ(xmpp.ToAccount, nsLast, "query", get(l.account))
	s.Hooks().AccountIQ(l.nobody)
	s.Hooks().Outbound(func(x *xmpp.Session, st *stanza.Stanza) bool {
		if st.Kind == stanza.Presence && st.Type == "unavailable" && st.To.IsZero() && !x.Guest() {
			l.bye(x.JID().Bare(), st.Child(stanza.NSClient, "status").Text())
		}
		return false
	})
	s.Hooks().Closed(func(x *xmpp.Session) {
		if x.Presence() != nil && !x.Guest() {
			l.bye(x.JID().Bare(), "")
		}
	})
}

func (l *last) bye(who stanza.JID, status string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.gone[who]; !known && len(l.gone) >= maxLast {
		for k := range l.gone {
			delete(l.gone, k)
			break
		}
	}
	l.gone[who] = goodbye{time.Now(), status}
}

// nobody answers for an account that does not exist as for one that shows a stranger nothing: else the answer would tell which names exist.
func (l *last) nobody(iq *stanza.Stanza) bool {
	if iq.Type != "get" || !iq.To.IsBare() || !iq.Has(nsLast, "query") || iq.To == iq.From.Bare() || l.srv.HasAccount(iq.To) {
		return false
	}
	l.srv.Route(iq.ErrorReply(stanza.ErrForbidden))
	return true
}

func (l *last) account(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if !l.visible.may(s, iq) {
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	owner := iq.To.Bare()
	if iq.To.IsZero() {
		owner = iq.From.Bare()
	}
	for _, x := range l.srv.Sessions(owner) {
		if x.Presence() != nil {
			return iq.Result(seconds(0, ""))
		}
	}
	l.mu.Lock()
	g, ok := l.gone[owner]
	l.mu.Unlock()
	if !ok {
		return iq.ErrorReply(stanza.ErrServiceUnavailable)
	}
	return iq.Result(seconds(time.Since(g.at), g.status))
}

func seconds(d time.Duration, status string) *stanza.Element {
	return stanza.TextElement(nsLast, "query", status, "seconds", strconv.Itoa(int(d.Seconds())))
}
