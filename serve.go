package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"konzil/internal/archive"
	"konzil/internal/auth"
	"konzil/internal/certs"
	"konzil/internal/httpd"
	"konzil/internal/ledger"
	"konzil/internal/logfile"
	"konzil/internal/oops"
	"konzil/internal/store"
	"konzil/internal/token"
	"konzil/internal/webhook"
	"konzil/sfu"
	"konzil/signaling"
	"konzil/signaling/brewery"
	"konzil/signaling/bridge"
	"konzil/signaling/colibri1"
	"konzil/signaling/pool"
	"konzil/turn"
	"konzil/xmpp"
	"konzil/xmpp/component"
	"konzil/xmpp/events"
	"konzil/xmpp/ext"
	"konzil/xmpp/mam"
	"konzil/xmpp/pubsub"
	"konzil/xmpp/push"
	"konzil/xmpp/register"
	"konzil/xmpp/roster"
	"konzil/xmpp/s2s"
	"konzil/xmpp/stanza"
)

// burstSeconds is for how many seconds a client may cause at once what it may for long.
const burstSeconds = 10

// drainTime is how long a stopping server may take to say goodbye: proxies and init systems wait about 10 s.
const drainTime = 8 * time.Second

// server is the program running: every room, built in this order and stopped in reverse.
type server struct {
	cfg Config
	log *slog.Logger

	logFile *logfile.File // nil: standard error

	db       *store.DB
	certs    *certs.Source
	acme     *certs.Manager // nil unless certificates are got by ACME
	local    *auth.Local
	tokens   *auth.Tokens
	accounts xmpp.Accounts
	logins   func() map[string]uint64 // what accounts counts

	sfu        *sfu.SFU
	turn       *turn.Server // nil when off
	turnKey    []byte       // of turnUser
	xmpp       *xmpp.Server
	roster     *roster.Roster
	offline    *ext.Offline
	archive    *archive.Archive
	ledger     *ledger.Ledger
	mam        *mam.Service
	pubsub     *pubsub.Engine
	push       *push.Service
	sharing    sharing
	federation *s2s.Service
	components *component.Service
	meetings   meetings
	jwt        *token.Verifier // nil when off
	events     *events.Watcher // likewise, as the next
	hooks      *webhook.Sender
	bridge     *bridge.Bridge
	end        context.CancelFunc // of a bridge alone
	relayID    string             // of the bridge for others of the same conference, "": it works alone
	breweries  []*brewery.Member  // where it offers itself
	pool       *pool.Pool         // of bridges elsewhere, nil for none
	desktop    *colibri1.Service  // for Jitsi Desktop, nil when off
	load       load
	focus      *signaling.Focus
	http       *httpd.Server

	directory  *auth.LDAP   // nil without one
	people     *auth.People // of the directory who were here
	search     *ext.Search  // for people of the directory
	blocking   *ext.Blocking
	private    *ext.Private
	vcards     *ext.VCards
	avatars    *pubsub.Avatars
	pings      *pinger
	register   *register.Service
	lastLogins *logins
	operator   *operator
	photos     chan struct{}  // bounds what reads pictures of the directory
	background sync.WaitGroup // goroutines that end by themselves

	quit  func()                  // ends the program
	again atomic.Bool             // start it again then
	stops []func(context.Context) // in the order of building
}

// serve runs the program until ctx ends. demo is a start without a configuration file.
func serve(ctx context.Context, c Config, demo bool, out, errOut io.Writer) error {
	s := &server{cfg: c}
	ctx, s.quit = context.WithCancel(ctx)
	defer s.quit()
	defer s.stop()
	if err := s.openLog(errOut); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		s.openData, // folder, database, accounts, certificate
		s.openMedia,
		s.openTURN,
		s.openXMPP, // server, features, rooms
		s.openBridge,
		s.openBrewery,
		s.openDesktop,
		s.openFocus,
		s.restore, // sessions from before the start
		s.openHTTP,
		s.listenComponents,
		s.listenXMPP, // last: who connects finds everything
		s.followDirectory,
		s.renewCertificate,
		s.expireMessages,
		s.publishInfo,
		s.joinBreweries,
		s.openControl,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := s.announce(ctx, demo, out); err != nil {
		return err
	}
	<-ctx.Done()
	s.log.Info("stopping")
	if s.again.Load() {
		return errRestart
	}
	return nil
}

// errRestart is what serve returns when an administrator wants the program started anew.
var errRestart = errors.New("to be started again")

// stop ends the rooms in reverse order of building.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i](ctx)
	}
}

func (s *server) onStop(f func(context.Context)) { s.stops = append(s.stops, f) }

// openFolder makes the data folder.
func (s *server) openFolder(context.Context) error {
	if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
		return oops.File("data", s.cfg.Data, "set data to a folder that this user may write", err)
	}
	return nil
}

func (s *server) openData(ctx context.Context) (err error) {
	if err := s.openFolder(ctx); err != nil {
		return err
	}
	if s.db, err = store.Open(ctx, s.cfg.Data, s.log); err != nil {
		return err
	}
	s.onStop(func(context.Context) { s.db.Close() })
	if s.archive, err = archive.Open(ctx, s.db, s.log.With("part", "archive")); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	s.onStop(func(ctx context.Context) { _ = s.archive.Close(ctx) }) // what it could not move is in its journal
	if s.ledger, err = ledger.Open(s.cfg.Data, s.log.With("part", "ledger")); err != nil {
		return err
	}
	s.onStop(func(context.Context) { _ = s.ledger.Close() })
	if s.local, err = auth.NewLocal(ctx, s.db, s.cfg.Domain, s.cfg.Auth.Iterations); err != nil {
		return err
	}
	s.tokens = auth.NewTokens(s.db)
	s.accounts, s.logins = s.local, s.local.Stats
	if s.cfg.Auth.LDAP.Enabled() {
		s.directory, err = auth.NewLDAP(s.cfg.Auth.LDAP, s.cfg.Domain, s.log)
		if err != nil {
			return err
		}
		s.people = auth.NewPeople(s.db, s.directory, s.log.With("part", "directory"))
		all := auth.NewCombined(s.local, s.directory, s.people)
		s.onStop(func(context.Context) { all.Close() })
		s.accounts, s.logins = all, all.Stats
	}
	return s.openCertificate()
}

func (s *server) openMedia(context.Context) (err error) {
	c := sfu.DefaultConfig()
	c.Listen, c.Shards = s.present(s.cfg.addrs(s.cfg.Media.Port)), s.cfg.Media.Shards
	c.ChannelPorts = [2]uint16{uint16(s.cfg.Media.ChannelMin), uint16(s.cfg.Media.ChannelMax)}
	c.LoudestN, c.STUN = s.cfg.Media.LoudestN, s.cfg.Media.STUN
	if s.cfg.Media.TCP {
		c.ListenTCP = c.Listen
	}
	for _, a := range s.cfg.Media.Advertise {
		c.Advertise = append(c.Advertise, netip.MustParseAddr(a))
	}
	s.sfu, err = sfu.New(c, s.log.With("part", "sfu"))
	switch {
	case errors.Is(err, sfu.ErrTCP):
		return oops.Listen("sfu", fmt.Sprintf("TCP %s port %d", strings.Join(s.cfg.Listen, ", "), s.cfg.Media.Port), "media.tcp or media.port", err)
	case err != nil:
		return oops.Listen("sfu", fmt.Sprintf("UDP %s port %d", strings.Join(s.cfg.Listen, ", "), s.cfg.Media.Port), "media.port or listen", err)
	}
	s.onStop(func(context.Context) { s.sfu.Close() })
	return nil
}

func (s *server) openXMPP(context.Context) (err error) {
	c := xmpp.DefaultConfig()
	c.Domain, c.TLS = s.cfg.Domain, s.certs.Config()
	if s.cfg.XMPP.Guests {
		c.GuestDomain, c.AnonymousOnMain = s.cfg.guestDomain(), true
		c.GuestDoors, c.GuestName = s.cfg.guestDoors(), s.promisedName
	}
	c.Tokens, c.Upgrades = s.tokens, s.local
	if c.ClientCAs, err = certificatePool(s.cfg.XMPP.ClientCA, "xmpp.client_ca"); err != nil {
		return err
	}
	if s.cfg.Tokens.Enabled() {
		s.jwt = token.New(s.cfg.Tokens, s.log.With("part", "tokens"))
		c.Admit = s.admit
	}
	c.Ledger = s.ledger
	c.Services, c.ServiceLogin = s.serviceDomains(), s.serviceLogin
	c.Limits.PostAuth.Bytes = s.cfg.XMPP.MaxStanzaBytes
	c.Limits.RateBytes, c.Limits.RateBurst = s.cfg.XMPP.RateBytesPerSec, max(c.Limits.RateBurst, s.cfg.XMPP.MaxStanzaBytes)
	c.Limits.SessionsPerAccount = s.cfg.XMPP.SessionsPerUser
	c.Limits.FanoutRate, c.Limits.FanoutBurst = s.cfg.XMPP.FanoutPerSecond, burstSeconds*s.cfg.XMPP.FanoutPerSecond
	c.Limits.ResumeTimeout = s.cfg.XMPP.ResumeTime
	if s.xmpp, err = xmpp.New(c, s.accounts, s.log.With("part", "xmpp")); err != nil {
		return err
	}
	s.onStop(func(ctx context.Context) {
		s.xmpp.Shutdown(ctx)
		if s.offline != nil {
			s.offline.Wait()
		}
		s.background.Wait()
	})
	if err := s.attachFeatures(); err != nil {
		return err
	}
	if err := s.openFederation(context.Background()); err != nil {
		return err
	}
	return s.operator.applyLists(s.operator.Settings())
}

func (s *server) openFocus(context.Context) (err error) {
	m := s.cfg.Meetings
	c := signaling.Config{
		Domain: s.cfg.Domain, AuthRequired: m.RequireAccount || s.jwt != nil, Authenticated: s.authenticated, Owner: s.ownsMeetings,
		AuthenticatedRequest: s.authenticatedRequest, LoginURL: s.loginURL, AcceptMUC: s.tenantRooms,
		JibriBrewery: s.brewery(s.cfg.Services.Jibri), JigasiBrewery: s.brewery(s.cfg.Services.Jigasi), MayUse: s.mayUseIn, Recorded: s.recorded, Service: s.isRecorder,
		DisableAutoOwner:     !m.AutoOwner,
		Breakout:             s.meetings.breakoutRooms.Domain(),
		DisableSSRCRewriting: !m.SSRCRewriting, DisableFEC: !m.FlexFEC, MinParticipants: m.MinParticipants, Version: version(),
	}
	if s.meetings.audience != nil {
		c.Audience = s.meetings.audience
	}
	if s.focus, err = signaling.New(c, s.xmpp, s.bridges(), s.log.With("part", "focus")); err != nil {
		return err
	}
	s.onStop(func(ctx context.Context) { s.focus.Shutdown(ctx) })
	s.xmpp.Mount("focus."+s.cfg.Domain, s.focus)
	s.xmpp.Mount("auth."+s.cfg.Domain, s.focus)
	s.focus.Start()
	return nil
}

// restore brings back what was under way when the program ended: sessions first, and links to other servers before anything is said on them; then who is where,
// of whom some have gone; then what was on its way.
func (s *server) restore(ctx context.Context) error {
	waiting, err := s.mam.Undelivered(ctx)
	if err != nil {
		return err
	}
	s.xmpp.Restore()
	s.federation.Restore()
	s.meetings.rooms.Restore(func(j stanza.JID) bool { return s.xmpp.Session(j) != nil })
	waiting.Deliver(s.meetings.rooms.Redeliver, s.xmpp.Served)
	s.xmpp.EndLost()
	waiting.Done()
	if err := s.offline.Resume(ctx); err != nil {
		return err
	}
	s.ledger.Started()
	return nil
}

// listenXMPP opens the client ports.
func (s *server) listenXMPP(context.Context) error {
	all := append([]listener{{s.cfg.XMPP.Port, "xmpp.port", s.xmpp.ServeTCP}, {s.cfg.XMPP.TLSPort, "xmpp.tls_port", s.xmpp.ServeTLS}}, s.federationListeners()...)
	for _, p := range all {
		if p.port == 0 {
			continue
		}
		for _, a := range s.present(s.cfg.addrs(p.port)) {
			ln, err := listenTCP(a)
			if err != nil {
				return oops.Listen("xmpp", a.String(), p.setting, err)
			}
			s.onStop(func(context.Context) { ln.Close() }) // first of all: nobody new while the rooms end
			go p.serve(ln)
		}
	}
	s.federation.Start()
	return nil
}

// listenTCP listens on one family alone: both may be listed.
func listenTCP(a netip.AddrPort) (net.Listener, error) {
	network := "tcp6"
	if a.Addr().Unmap().Is4() {
		network = "tcp4"
	}
	return net.Listen(network, a.String())
}

// present leaves out loopback addresses of a family that the machine does not have: the default listens on 127.0.0.1 and ::1.
func (s *server) present(addrs []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range addrs {
		if a.Addr().IsLoopback() && len(addrs) > 1 {
			probe, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), 0)))
			if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
				s.log.Debug("no such address on this machine, left out", "address", a.Addr())
				continue
			}
			if err == nil {
				probe.Close()
			}
		}
		out = append(out, a)
	}
	return out
}

// webSocketURL is wss://host:port/path as people reach us, "" without HTTP.
func (s *server) webSocketURL(path string) string {
	if s.cfg.HTTP.Port == 0 && s.cfg.HTTP.PublicURL == "" {
		return ""
	}
	return "ws" + strings.TrimPrefix(s.cfg.publicURL(), "http") + path
}

// openLog begins the log; it ends last.
func (s *server) openLog(errOut io.Writer) error {
	c := s.cfg.Log
	if c.File == "" {
		s.log = logger(c, logfile.Shortener{To: errOut})
		return nil
	}
	f, err := logfile.Open(logfile.Config{Path: c.File, MaskAfter: c.MaskAfter, Keep: c.Keep}, errOut)
	if err != nil {
		return oops.File("log", c.File, "set log.file to one that this user may write", err)
	}
	s.logFile, s.log = f, logger(c, f)
	s.onStop(func(context.Context) { _ = f.Close() })
	return nil
}

// logger writes to w as the operator wants.
func logger(c LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	level.UnmarshalText([]byte(c.Level)) // checked by Config.check
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// announce prints where to go.
func (s *server) announce(ctx context.Context, demo bool, out io.Writer) error {
	c := s.cfg
	fmt.Fprintln(out, "Konzil is ready.")
	if c.HTTP.Port != 0 {
		note := ""
		if c.TLS.Cert == "" && !c.TLS.ACME.Enabled() {
			note = "   (self-signed certificate: let your browser accept it once)"
		}
		fmt.Fprintf(out, "  meet     %s%s\n", c.publicURL(), note)
	}
	var ports []string
	for _, p := range []struct {
		port int
		how  string
	}{{c.XMPP.Port, "STARTTLS"}, {c.XMPP.TLSPort, "TLS"}} {
		if p.port != 0 {
			ports = append(ports, fmt.Sprintf("%d (%s)", p.port, p.how))
		}
	}
	if len(ports) > 0 {
		fmt.Fprintf(out, "  chat     %s, with any XMPP client: port %s\n", c.Domain, strings.Join(ports, " or "))
	}
	if !demo {
		return nil
	}
	accounts, err := s.local.EnsureDemo(ctx, c.Data)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		password := "password " + a.Password
		if a.Password == "" {
			password = "(its password was changed)"
		}
		fmt.Fprintf(out, "           %s@%s   %s\n", a.User, c.Domain, password)
	}
	fmt.Fprintln(out, "  next     konzil config  prints every setting; konzil -config FILE  uses them; README.md has the map")
	return nil
}
