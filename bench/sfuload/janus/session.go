package janus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// keepAlive is how often a session says that it is there; Janus ends one that is silent for 60 s.
const keepAlive = 25 * time.Second

// session is one participant. Its reader goroutine handles every message of the server; the pinger keeps the session alive.
type session struct {
	sfuload.Link
	p *sfuload.Participant
	c sfuload.Connector

	// All below is guarded by Mu.
	last    int                           // transaction
	open    map[string]func(*event) error // what to do with the answer to a transaction
	id      uint64                        // of the session
	room    uint64
	pubH    uint64 // handle of the publisher
	subH    uint64 // handle of the subscriber, 0 before it is attached
	pub     sfuload.Transport
	sub     sfuload.Receiver
	offered []sfuload.Section

	// Of subscribe.go.
	feeds    map[uint64]*feed
	have     map[source]*received
	want     sfuload.Want
	busy     bool // a change of the subscription is under way
	attached bool // the subscriber has joined the room
}

func newSession(ws *websocket.Conn, p *sfuload.Participant, c sfuload.Connector) *session {
	s := &session{p: p, c: c, sub: sfuload.Receiver{Connector: c, Label: "sub"}, open: map[string]func(*event) error{}, room: roomID(p.Room),
		feeds: map[uint64]*feed{}, have: map[source]*received{}, want: p.Want}
	s.Open(ws, maxFrame, s.closeAll)
	return s
}

// Leave implements sfuload.Session.
func (s *session) Leave(ctx context.Context) error {
	return s.Leaving(func() error {
		s.Mu.Lock()
		s.last++
		r := request{Janus: "destroy", Session: s.id, Transaction: strconv.Itoa(s.last)}
		s.Mu.Unlock()
		return s.write(ctx, r)
	})
}

func (s *session) closeAll() {
	if s.pub != nil {
		s.pub.Close()
	}
	s.sub.Close()
}

func (s *session) read() error {
	s.Mu.Lock()
	err := s.ask(request{Janus: "create"}, false, s.created)
	s.Mu.Unlock()
	for err == nil {
		var b []byte
		_, b, err = s.WS.Read(s.Ctx)
		if err == nil {
			err = s.handle(b)
		}
	}
	return err
}

func (s *session) handle(b []byte) error {
	e, err := decode(b)
	if err != nil {
		return err
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if e.Janus == "ack" {
		return nil // the event comes later, with the same transaction
	}
	if then := s.open[e.Transaction]; then != nil {
		delete(s.open, e.Transaction)
		return then(e)
	}
	switch e.Janus {
	case "event":
		return s.told(e)
	case "trickle":
		return s.trickled(e)
	case "timeout":
		return errors.New("janus: the session timed out")
	case "hangup":
		return fmt.Errorf("janus: peer connection closed: %s", e.Reason)
	case "error":
		return e.fault()
	}
	return nil // webrtcup, media, slowlink, keepalive's ack, detached
}

func (s *session) created(e *event) error {
	s.id = e.Data.ID
	s.c.Step("login")
	s.Work.Add(1)
	go s.ping()
	return s.ask(request{Janus: "attach", Plugin: plugin}, false, func(e *event) error {
		s.pubH = e.Data.ID
		return s.join(true)
	})
}

// join enters the room, and makes it when it is not there.
func (s *session) join(mayMake bool) error {
	b := map[string]any{"request": "join", "ptype": "publisher", "room": s.room, "display": s.p.Name}
	return s.ask(request{Janus: "message", Handle: s.pubH, Body: b}, true, func(e *event) error {
		err := e.fault()
		var re *roomError
		switch {
		case err == nil:
			return s.joined(e)
		case mayMake && errors.As(err, &re) && re.Code == errNoRoom:
			return s.ask(request{Janus: "message", Handle: s.pubH, Body: newRoom(s.p.Room)}, true, func(e *event) error {
				if err := e.fault(); err != nil && !(errors.As(err, &re) && re.Code == errRoomExists) { // somebody else may have been faster
					return err
				}
				return s.join(false)
			})
		}
		return err
	})
}

func (s *session) joined(e *event) (err error) {
	s.c.Step("joined")
	s.published(e.Plugin.Data.Publishers)
	if len(s.p.Publish) == 0 {
		s.Ready()
		return s.sync()
	}
	if s.pub, err = s.c.Transport("pub"); err != nil {
		return err
	}
	var about []map[string]string
	for i, t := range s.p.Publish {
		mid := strconv.Itoa(i)
		s.offered = append(s.offered, sfuload.Section{
			Media: sfuload.Media{MID: mid, Kind: t.Kind, Direction: "sendonly", Codecs: sfuload.DefaultCodecs(t.Codec), Exts: sfuload.DefaultExts(t.Kind)},
			Track: t, UseRIDs: true,
		})
		about = append(about, map[string]string{"mid": mid, "description": describe(t)})
	}
	offer := &jsep{Type: "offer", SDP: sfuload.WriteSDP(s.pub.Local(), "actpass", 1, s.offered), RIDOrder: "lmh"}
	s.c.Step("offer")
	if err := s.body(s.pubH, map[string]any{"request": "publish", "display": s.p.Name, "descriptions": about}, offer, s.configured); err != nil {
		return err
	}
	return s.sync()
}

// describe lists the heights of a track's layers, lowest first, for subscribers.
func describe(t *sfuload.Track) string {
	h := make([]string, len(t.Layers))
	for i, l := range t.Layers {
		h[i] = strconv.Itoa(l.Height)
	}
	return strings.Join(h, ",")
}

func (s *session) configured(e *event) error {
	if e.JSEP == nil {
		return errors.New("janus: no answer to the offer")
	}
	d, err := sfuload.ParseSDP(e.JSEP.SDP)
	if err != nil {
		return err
	}
	if len(d.Media) != len(s.offered) {
		return fmt.Errorf("janus: answer with %d sections, offered were %d", len(d.Media), len(s.offered))
	}
	for i, t := range s.p.Publish {
		m := &d.Media[i]
		if _, _, ok := m.Codec(t.Codec); m.Rejected || !ok {
			return fmt.Errorf("janus: the server does not take %s", t.Codec)
		}
		if err := s.pub.Send(t, m); err != nil {
			return err
		}
	}
	if err := s.pub.Start(d.Remote(true)); err != nil {
		return err
	}
	s.c.Step("answer")
	s.Ready()
	return nil
}

// trickled takes a candidate that Janus sends after its description, when it is configured for full trickle.
func (s *session) trickled(e *event) error {
	var c struct {
		Candidate string `json:"candidate"`
	}
	if err := json.Unmarshal(e.Candidate, &c); err != nil {
		return fmt.Errorf("janus: candidate: %w", err)
	}
	ap, ok := sfuload.ParseCandidate(c.Candidate)
	switch {
	case !ok:
	case e.Sender == s.pubH && s.pub != nil:
		s.pub.AddCandidates(ap)
	case e.Sender == s.subH:
		return s.sub.AddCandidates(ap)
	}
	return nil
}

// ping keeps the session alive.
func (s *session) ping() {
	defer s.Work.Done()
	t := time.NewTicker(keepAlive)
	defer t.Stop()
	for {
		select {
		case <-s.Ctx.Done():
			return
		case <-t.C:
			s.Mu.Lock()
			err := s.ask(request{Janus: "keepalive"}, false, nil)
			s.Mu.Unlock()
			if err != nil {
				s.End(err)
				return
			}
		}
	}
}
