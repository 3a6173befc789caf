package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"konzil/signaling/bridge"
)

// serveBridge runs a bridge alone: media, its channel over WebSocket, and the rooms where a focus finds it.
func serveBridge(ctx context.Context, c Config, out, errOut io.Writer) error {
	if len(c.Bridge.Join) == 0 && c.Bridge.REST == "off" {
		return errors.New("bridge.join: a bridge alone needs a room where a focus finds it, or bridge.rest")
	}
	s := &server{cfg: c}
	ctx, s.end = context.WithCancel(ctx)
	defer s.end()
	defer s.stop()
	if err := s.openLog(errOut); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		s.openFolder,
		func(context.Context) error { return s.openCertificate() },
		s.openMedia,
		s.openBridge,
		s.openBridgeHTTP,
		s.joinBreweries,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "Konzil's bridge is ready.")
	s.untilEnd(ctx)
	s.log.Info("stopping")
	return nil
}

// untilEnd waits for ctx, or for the last conference once the bridge is retired.
func (s *server) untilEnd(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			if s.load.retired.Load() && s.bridge.Counters()["conferences"] == 0 {
				return
			}
		}
	}
}

// shutdown is POST /colibri/shutdown of a bridge alone: {"graceful-shutdown": true} takes no new conferences and ends with the last, false
// ends now.
func (s *server) shutdown(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Graceful *bool `json:"graceful-shutdown"`
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		http.Error(w, "the body is application/json", http.StatusUnsupportedMediaType) // no page of another origin can send that
		return
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&ask); err != nil || ask.Graceful == nil {
		http.Error(w, "graceful-shutdown is true or false", http.StatusBadRequest)
		return
	}
	s.log.Info("shutdown asked for", "graceful", *ask.Graceful)
	s.load.retired.Store(true)
	s.bridge.Retire()
	if !*ask.Graceful {
		s.end()
	}
}

// openBridgeHTTP is the HTTPS server of a bridge alone.
func (s *server) openBridgeHTTP(context.Context) (err error) {
	if err = s.newHTTP(); err != nil {
		return err
	}
	s.http.Handle(bridge.WebSocketPath, s.bridge.WebSocketHandler())
	s.http.HandlePrivate("GET /debug/conferences", http.HandlerFunc(s.explain))
	s.openDrain()
	s.openStatistics()
	s.openREST()
	s.http.HandlePrivate("POST /colibri/shutdown", http.HandlerFunc(s.shutdown))
	s.http.AddMetrics("sfu", s.sfu.Counters, gauges...)
	s.http.AddMetrics("bridge", s.bridge.Counters, gauges...)
	s.http.AddMetrics("brewery", s.breweryCounters, gauges...)
	s.http.Start()
	return nil
}
