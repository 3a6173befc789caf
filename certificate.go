package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"konzil/internal/certs"
	"konzil/internal/oops"
)

// questionTime bounds one request on the port for the authority's questions.
const questionTime = 10 * time.Second

// openCertificate loads the certificate of all services: the operator's files, the authority's, or a self-signed one.
func (s *server) openCertificate() (err error) {
	c := s.cfg.TLS
	switch {
	case c.Cert != "":
		s.certs, err = certs.Load(c.Cert, c.Key, s.log)
	case c.ACME.Enabled():
		names := slices.Concat([]string{s.cfg.dnsName(), s.cfg.host()}, s.cfg.below())
		s.certs, s.acme, err = certs.NewACME(c.ACME, s.cfg.Data, names, s.log.With("part", "certs"))
	default:
		s.certs, err = certs.LoadOrCreate(s.cfg.Data, []string{s.cfg.dnsName()}, s.log)
	}
	return err
}

// renewCertificate gets the certificate by ACME and renews it, until the server stops. The listeners are open: the authority asks them.
func (s *server) renewCertificate(context.Context) error {
	if s.acme == nil {
		return nil
	}
	s.acme.Resolver = s.cfg.resolver()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s.onStop(func(context.Context) { cancel(); wg.Wait() })
	if port := s.cfg.TLS.ACME.HTTPPort; port != 0 {
		web := &http.Server{Handler: s.acme, ReadTimeout: questionTime, WriteTimeout: questionTime, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
		s.onStop(func(ctx context.Context) { _ = web.Shutdown(ctx) }) // what is cut off is asked again
		for _, a := range s.present(s.cfg.addrs(port)) {
			ln, err := listenTCP(a)
			if err != nil {
				return oops.Listen("certs", a.String(), "tls.acme.http_port", err)
			}
			wg.Go(func() { s.serveQuestions(web, ln) })
		}
	}
	wg.Go(func() { s.acme.Run(ctx) })
	return nil
}

func (s *server) serveQuestions(web *http.Server, ln net.Listener) {
	if err := web.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("the authority's questions are not answered any more", "err", err)
	}
}

// certificatePool reads a PEM file of authorities; nil for no file.
func certificatePool(file, setting string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, oops.File(setting, file, "let this user read it", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, oops.New(setting, file+" holds no certificate", "give a PEM file", nil)
	}
	return pool, nil
}
