package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"konzil/internal/httpd"
	"konzil/internal/web"
)

// newHTTP opens the listeners of the HTTPS server, for the whole program or a bridge alone; its routes come next, then Start.
func (s *server) newHTTP() (err error) {
	c := httpd.DefaultConfig()
	c.Setting, c.TLS = "http.port", s.certs.Config()
	if s.cfg.HTTP.Port != 0 {
		c.Listen = s.present(s.cfg.addrs(s.cfg.HTTP.Port))
	}
	for _, a := range s.cfg.HTTP.Admin {
		c.Admin = append(c.Admin, netip.MustParseAddrPort(a))
	}
	if s.turnHTTPS() != 0 {
		c.STUN = s.turn.ServeConn
	}
	if s.http, err = httpd.New(c, s.log.With("part", "httpd")); err != nil {
		return err
	}
	s.onStop(func(ctx context.Context) { s.http.Shutdown(ctx) })
	return nil
}

// openHTTP opens the HTTPS server and its route table: everything that is reached by a URL stands here.
func (s *server) openHTTP(context.Context) (err error) {
	if err = s.newHTTP(); err != nil {
		return err
	}
	page := web.Config{
		Domain: s.cfg.Domain, MUC: s.meetings.rooms.Domain(), Focus: "focus." + s.cfg.Domain,
		GuestDomain: s.cfg.anonymousDomain(), SSRCRewriting: s.cfg.Meetings.SSRCRewriting, P2P: true, BOSH: true, Tenants: s.cfg.Meetings.Tenants,
	}
	s.http.Handle("/xmpp-websocket", s.xmpp.WebSocketHandler())
	s.http.Handle("GET /"+invitePath+"{token}", http.HandlerFunc(s.serveInvitation))
	s.http.Handle("/http-bind", s.xmpp.BOSHHandler())
	s.http.Handle("/colibri-ws/", s.bridge.WebSocketHandler())
	s.http.Handle("/conference-request/v1", s.focus.HTTPHandler())
	if s.sharing.upload != nil {
		s.http.Handle("/upload/{id}/{name}", s.sharing.upload.Handler())
	}
	if err := s.openWellKnown(); err != nil {
		return err
	}
	if err := s.openPage(page); err != nil {
		return err
	}

	s.openAPI()
	s.http.HandlePrivate("GET /debug/conferences", http.HandlerFunc(s.explain))
	s.openDrain()
	s.openStatistics()
	s.openREST()
	if s.turn != nil {
		s.http.HandlePrivate("POST /debug/turn/drain", s.drainTURN(true))
		s.http.HandlePrivate("DELETE /debug/turn/drain", s.drainTURN(false))
	}

	s.http.AddCheck("store", func(ctx context.Context) error { return s.db.Read().PingContext(ctx) })
	if s.turn != nil {
		s.http.AddCheck("turn", s.turn.Check)
	}
	for part, counters := range s.counters() {
		s.http.AddMetrics(part, counters, gauges...)
	}
	s.http.Start()
	return nil
}

// openPage serves the built-in page, or the stock client that the operator has put there, whose tenants have paths of their own.
func (s *server) openPage(page web.Config) error {
	if s.cfg.HTTP.Site == "" {
		s.http.Handle("/", s.tenantPaths(web.Handler(page)))
		return nil
	}
	site, err := web.OpenSite(s.cfg.HTTP.Site, s.cfg.HTTP.SiteConfig, page)
	if err != nil {
		return fmt.Errorf("http.site: %w", err)
	}
	s.onStop(func(context.Context) { site.Close() })
	s.http.Handle("/", site)
	for name, h := range s.belowTenants() {
		site.HandleTenant(name, h)
	}
	return nil
}

// belowTenants is what clients of a tenant ask for at /TENANT/name.
func (s *server) belowTenants() map[string]http.Handler {
	return map[string]http.Handler{"xmpp-websocket": s.xmpp.WebSocketHandler(), "http-bind": s.xmpp.BOSHHandler(), "conference-request/v1": s.focus.HTTPHandler()}
}

// tenantPaths serves below /TENANT/ what clients of tenants ask for there, and everything else by next.
func (s *server) tenantPaths(next http.Handler) http.Handler {
	if !s.cfg.Meetings.Tenants {
		return next
	}
	below := s.belowTenants()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if h := below[rest]; h != nil && tenant != "" {
			web.PassTenant(w, r, tenant, h)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// explain shows what each receiver of each conference gets and why; ?id= picks conferences.
func (s *server) explain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(s.sfu.Explain(r.URL.Query()["id"]...)); err != nil {
		s.log.Debug("debug page not sent", "err", err)
	}
}
