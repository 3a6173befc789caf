package brewery

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"konzil/internal/random"
	"konzil/signaling/colibri"
	"konzil/xmpp/stanza"
)

const (
	nsMUC   = "http://jabber.org/protocol/muc"
	nsUser  = nsMUC + "#user"
	nsOwner = nsMUC + "#owner"
)

// Account is where and as whom a bridge logs in.
type Account struct {
	Server         string // host:port; "": the account's domain, port 5222
	JID, Password  string // bare address
	Room           string // where bridges are found, such as jvbbrewery@internal.example.org
	Nick           string // in the room; "": made up
	Roots          *x509.CertPool
	AnyCertificate bool // the server's certificate is not looked at
}

// Config is what a Member has to know beside its account. Zero durations take the defaults.
type Config struct {
	Account
	Stats    func() Stats  // how the bridge is now
	Version  string        // of the program; a focus puts only bridges of one version into one conference
	Release  string        // a name of the release, "": none
	Region   string        // "": none
	RelayID  string        // address of this bridge for others, "": it takes no relays
	Interval time.Duration // between presences; default 5 s
	Retry    time.Duration // longest wait between attempts to connect; default 30 s

	RequestTimeout time.Duration // for the bridge to do what is asked; default 10 s
}

// Member is a bridge in a brewery. Run owns it.
type Member struct {
	cfg    Config
	bridge colibri.Bridge
	log    *slog.Logger
	room   stanza.JID
	home   stanza.JID // the account's domain, which asks for pings and disco
	work   serial
	out    atomic.Pointer[func(*stanza.Stanza)] // to the server, nil: there is no connection
	lost   losses
	joined atomic.Bool
	count  struct{ connects, failures, requests, refused, overflow atomic.Uint64 }
}

// New makes a member; the error is for an address that is none.
func New(b colibri.Bridge, cfg Config, log *slog.Logger) (*Member, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Second
	}
	if cfg.Retry == 0 {
		cfg.Retry = 30 * time.Second
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 10 * time.Second
	}
	if cfg.Nick == "" {
		cfg.Nick = "konzil_" + random.Hex(6)
	}
	m := &Member{cfg: cfg, bridge: b, log: log.With("room", cfg.Room)}
	var err error
	if m.room, err = stanza.ParseJID(cfg.Room); err != nil || m.room.Local() == "" {
		return nil, fmt.Errorf("%q is no room's address", cfg.Room)
	}
	jid, err := stanza.ParseJID(cfg.JID)
	if err != nil {
		return nil, fmt.Errorf("%q is no account's address", cfg.JID)
	}
	m.home, err = stanza.ParseJID(jid.Domain())
	return m, err
}

// Run serves until ctx ends.
func (m *Member) Run(ctx context.Context) {
	defer m.work.wait()
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, m.cfg.Retry) {
		began := time.Now()
		err := m.once(ctx)
		if ctx.Err() != nil {
			return
		}
		m.count.failures.Add(1)
		m.log.Warn("not in the brewery", "err", err, "again_in", wait)
		if time.Since(began) > m.cfg.Retry {
			wait = time.Second // it went well for a while
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// once is one connection, from login to its end.
func (m *Member) once(ctx context.Context) error {
	s, err := dial(ctx, m.cfg.Account)
	if err != nil {
		return err
	}
	m.count.connects.Add(1)
	send := func(st *stanza.Stanza) {
		if st != nil {
			_ = s.send(st) // a broken stream is seen by who reads
		}
	}
	m.out.Store(&send)
	defer m.out.Store(nil)
	stop := context.AfterFunc(ctx, s.close)
	ticks := make(chan struct{})
	beat := make(chan struct{})
	go func() {
		defer close(beat)
		m.present(s, ticks)
	}()
	defer func() {
		m.joined.Store(false)
		close(ticks)
		<-beat
		if stop() {
			s.close()
		}
	}()
	for {
		st, err := s.next()
		if err != nil {
			return err
		}
		switch {
		case st.Kind == stanza.IQ:
			m.answer(st, send)
		case st.Kind == stanza.Presence && st.From.Bare() == m.room && st.From.Resource() == m.cfg.Nick:
			if st.Type != "" {
				return fmt.Errorf("the room did not keep us: %s %s", st.Type, colibri.ParseError(st).Text)
			}
			if !m.joined.Swap(true) {
				m.log.Info("in the brewery", "as", m.cfg.Nick)
				m.unlock(s, st)
			}
		}
	}
}

// unlock opens a room that our coming has made (XEP-0045 §10.1.2): until then a server may keep others, the focus too, outside.
func (m *Member) unlock(s *stream, own *stanza.Stanza) {
	for _, status := range own.Child(nsUser, "x").ChildrenNamed(nsUser, "status") {
		if status.Attr("code") == "201" {
			form := stanza.NewElement(nsOwner, "query").Add(stanza.NewElement("jabber:x:data", "x", "type", "submit"))
			_ = s.send(stanza.NewIQ("set", "open", stanza.JID{}, m.room, form)) // a broken stream is seen by who reads
		}
	}
}

// present joins the room, and says how the bridge is, until stop closes or the stream breaks.
func (m *Member) present(s *stream, stop <-chan struct{}) {
	to, err := m.room.WithResource(m.cfg.Nick)
	if err != nil {
		m.log.Error("the nick is none", "err", err)
		s.conn.Close()
		return
	}
	tick := time.NewTicker(m.cfg.Interval)
	defer tick.Stop()
	for {
		p := stanza.NewPresence("", stanza.JID{}, to, m.cfg.Stats().element(&m.cfg, time.Now()))
		if !m.joined.Load() {
			p = p.WithAdded(stanza.NewElement(nsMUC, "x").Add(stanza.NewElement(nsMUC, "history", "maxstanzas", "0")))
		}
		if s.send(p) != nil {
			s.conn.Close() // who reads sees it
			return
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// Counters are totals since the start, by name; joined is 0 or 1.
func (m *Member) Counters() map[string]uint64 {
	joined := uint64(0)
	if m.joined.Load() {
		joined = 1
	}
	return map[string]uint64{
		"joined":               joined,
		"connects_total":       m.count.connects.Load(),
		"failures_total":       m.count.failures.Load(),
		"requests_total":       m.count.requests.Load(),
		"refused_total":        m.count.refused.Load(),
		"queue_overflow_total": m.count.overflow.Load(),
	}
}
