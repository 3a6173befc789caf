package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"konzil/internal/oops"
	"konzil/internal/web"
)

func (s *server) openHTTP(context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/xmpp-websocket", s.xmpp.WebSocketHandler())
	mux.Handle("/colibri-ws/", s.bridge.WebSocketHandler())
	mux.Handle("/conference-request/v1", s.focus.HTTPHandler())
	guest := ""
	if s.cfg.XMPP.Guests {
		guest = "guest." + s.cfg.Domain
	}
	mux.Handle("/", web.Handler(web.Config{Domain: s.cfg.Domain, GuestDomain: guest, MUC: "conference." + s.cfg.Domain, Focus: "focus." + s.cfg.Domain, SSRCRewriting: s.cfg.Meetings.SSRCRewriting, P2P: true}))
	srv := &http.Server{Handler: mux, TLSConfig: s.certs.Config("http/1.1"), ReadHeaderTimeout: 10 * time.Second}
	for _, a := range s.present(s.cfg.addrs(s.cfg.HTTP.Port)) {
		ln, err := net.Listen("tcp", a.String())
		if err != nil {
			return oops.Listen("httpd", a.String(), "http.port", err)
		}
		go srv.ServeTLS(ln, "", "")
	}
	s.onStop(func(ctx context.Context) { srv.Close() })
	return nil
}
