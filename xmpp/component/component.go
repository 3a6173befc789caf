package component

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsAccept     = "jabber:component:accept"
	nsPrivilege  = "urn:xmpp:privilege:2"
	nsDelegation = "urn:xmpp:delegation:2"
	nsForward    = "urn:xmpp:forward:0"
	nsRoster     = "jabber:iq:roster"
)

// Limits with their reasons.
const (
	maxQueue      = 10_000           // stanzas that wait for one component: a room of a thousand joined through a gateway ten times over
	maxQueueBytes = 16 << 20         // and their size
	maxPending    = 10_000           // delegated or privileged requests without an answer
	pendingTime   = 30 * time.Second // after which a delegated request is answered for the component
	loginTime     = 30 * time.Second // from connection to handshake
	writeTime     = 30 * time.Second // a write may block that long
	maxLogins     = 20               // connections without a handshake
)

// stanzaLimits are of what components send: they carry the traffic of many.
var stanzaLimits = stanza.Limits{Bytes: 1 << 20, Depth: 64, Elements: 20_000, Attrs: 128, Bindings: 64}

var loginLimits = stanza.Limits{Bytes: 4096, Depth: 4, Elements: 8, Attrs: 16, Bindings: 8}

// Config is one component.
type Config struct {
	Domain   string
	Secret   string // that it shows to know (XEP-0114 §3)
	Roster   string // what it may do with contact lists of accounts: "", "get", "set", "both" (XEP-0356 §4)
	Message  bool   // it may send messages for accounts
	Presence string // which presences it gets: "", "managed_entity" (of accounts), "roster" (of their contacts, too)
	IQ       []IQPermission
	Delegate []Delegation
}

// IQPermission lets a component ask for accounts (XEP-0356 §6).
type IQPermission struct {
	Namespace string
	Type      string // get, set, both
}

// Delegation is a namespace that the component answers instead of the server (XEP-0355).
type Delegation struct {
	Namespace  string
	Attributes []string // only requests whose payload has all of them
}

// Service are all components of a server.
type Service struct {
	srv  *xmpp.Server
	log  *slog.Logger
	list []*Component
	ctx  context.Context // ends with Shutdown
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex // guards all below
	lns     map[net.Listener]struct{}
	conns   map[*conn]struct{}
	logins  int
	closing bool
	pending map[string]*request // delegated and privileged requests by the id they went out with

	nestings map[nesting]*stanza.Element // what is announced for components; a nil one has nothing
	changed  func()                      // when that has changed

	count struct{ accepted, refused, in, out, overflow, forged, privileged, forbidden, delegated atomic.Uint64 }
}

// Component is one of them; it is the handler of its domain.
type Component struct {
	s   *Service
	cfg Config
	jid stanza.JID

	mu   sync.Mutex // guards conn
	conn *conn      // nil: not connected
}

// New makes the components and mounts them on srv.
func New(list []Config, srv *xmpp.Server, log *slog.Logger) (*Service, error) {
	s := &Service{srv: srv, log: log, lns: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, pending: map[string]*request{}, nestings: map[nesting]*stanza.Element{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, c := range list {
		j, err := stanza.ParseJID(c.Domain)
		if err != nil || j.Local() != "" || !j.IsBare() || c.Secret == "" {
			return nil, errors.New("component: " + c.Domain + " is no domain, or has no secret")
		}
		k := &Component{s: s, cfg: c, jid: j}
		s.list = append(s.list, k)
		srv.Mount(j.Domain(), k)
	}
	h := srv.Hooks()
	if len(list) > 0 {
		h.Feature(xmpp.ToServer, nsPrivilege, nsDelegation)
	}
	h.AccountIQ(s.accountIQ)
	h.ServerIQ(s.delegate)
	h.Outbound(s.presenceOut)
	h.Inbound(s.presenceIn)
	h.Closed(s.sessionClosed)
	return s, nil
}

// Pushed gives a change of an account's contact list to the components that may read it (XEP-0356 §4.4).
func (s *Service) Pushed(owner stanza.JID, query *stanza.Element) {
	for _, k := range s.list {
		if k.cfg.Roster == "get" || k.cfg.Roster == "both" {
			k.send(stanza.NewIQ("set", random.ID(), owner, k.jid, query))
		}
	}
}

// Connected tells whether the component of a domain is.
func (s *Service) Connected(domain string) bool {
	i := slices.IndexFunc(s.list, func(k *Component) bool { return k.cfg.Domain == domain })
	if i < 0 {
		return false
	}
	s.list[i].mu.Lock()
	defer s.list[i].mu.Unlock()
	return s.list[i].conn != nil
}

// HandleStanza implements xmpp.Handler.
func (k *Component) HandleStanza(st *stanza.Stanza) {
	if !k.send(st) {
		k.s.bounce(st, &stanza.Error{Type: "wait", Condition: "service-unavailable", Text: "The service is not connected"})
	}
}

// send queues st for the component; false: it is not connected.
func (k *Component) send(st *stanza.Stanza) bool {
	k.mu.Lock()
	c := k.conn
	k.mu.Unlock()
	return c != nil && c.push(st)
}

func (s *Service) bounce(st *stanza.Stanza, e *stanza.Error) {
	if st.Kind == stanza.Presence && st.Type != "" {
		return
	}
	if r := st.ErrorReply(e); r != nil {
		s.srv.Route(r)
	}
}

// Counters are numbers for metrics; connected is a gauge.
func (s *Service) Counters() map[string]uint64 {
	n := uint64(0)
	for _, k := range s.list {
		k.mu.Lock()
		if k.conn != nil {
			n++
		}
		k.mu.Unlock()
	}
	c := &s.count
	return map[string]uint64{
		"connected": n, "accepted_total": c.accepted.Load(), "refused_total": c.refused.Load(), "stanzas_in_total": c.in.Load(), "stanzas_out_total": c.out.Load(),
		"overflow_total": c.overflow.Load(), "forged_total": c.forged.Load(), "privileged_total": c.privileged.Load(), "forbidden_total": c.forbidden.Load(),
		"delegated_total": c.delegated.Load(),
	}
}
