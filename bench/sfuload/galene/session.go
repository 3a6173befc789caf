package galene

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// session is one participant. Its reader goroutine handles every message of the server.
type session struct {
	sfuload.Link
	p     *sfuload.Participant
	c     sfuload.Connector
	group string
	id    string // of the client

	// All below is guarded by Mu.
	ups     map[string]*up
	downs   map[string]*down
	heights map[string]int // of the highest layer, by client id
	want    sfuload.Want
	asked   string // what was last requested of all streams
	again   *time.Timer
}

// up is a stream that we publish.
type up struct {
	t        sfuload.Transport
	tracks   []*sfuload.Track
	answered bool
}

func newSession(ws *websocket.Conn, p *sfuload.Participant, c sfuload.Connector, group string) *session {
	s := &session{p: p, c: c, group: group, id: rand.Text(), ups: map[string]*up{}, downs: map[string]*down{}, heights: map[string]int{}, want: p.Want}
	s.Open(ws, maxFrame, s.closeAll)
	return s
}

// Leave implements sfuload.Session. It closes the connection, as a browser's tab does: Galene 1.1 ends with a nil pointer when somebody says
// leave while there is still something to tell them.
func (s *session) Leave(context.Context) error {
	return s.Leaving(func() error { return nil })
}

func (s *session) closeAll() {
	if s.again != nil {
		s.again.Stop()
	}
	for _, u := range s.ups {
		u.t.Close()
	}
	for _, d := range s.downs {
		d.rx.Close()
	}
}

func (s *session) read() error {
	name, none := s.p.Name, ""
	err := s.write(s.Ctx, message{Type: "handshake", Version: []string{version}, ID: s.id})
	if err == nil {
		err = s.write(s.Ctx, message{Type: "join", Kind: "join", Group: s.group, Username: &name, Password: &none, Data: &userData{Height: s.height()}})
	}
	for err == nil {
		var b []byte
		var m *message
		if _, b, err = s.WS.Read(s.Ctx); err == nil {
			if m, err = decode(b); err == nil {
				err = s.handle(m)
			}
		}
	}
	return err
}

// height of the highest video layer that we publish, 0 without video.
func (s *session) height() (h int) {
	for _, t := range s.p.Publish {
		for _, l := range t.Layers {
			h = max(h, l.Height)
		}
	}
	return h
}

func (s *session) handle(m *message) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	switch m.Type {
	case "handshake":
		if !slices.Contains(m.Version, version) {
			return fmt.Errorf("galene: the server speaks version %v of the protocol, not %s", m.Version, version)
		}
		s.c.Step("login")
	case "joined":
		return s.joined(m)
	case "user":
		if m.Data != nil {
			s.heights[m.ID] = m.Data.Height
		}
		return s.tune()
	case "answer":
		return s.answered(m)
	case "offer":
		return s.offered(m)
	case "ice":
		return s.ice(m)
	case "close":
		s.closed(m.ID)
	case "abort":
		if s.ups[m.ID] != nil {
			return fmt.Errorf("galene: the server does not take the stream: %s", m.text())
		}
	case "usermessage":
		if m.Kind == "error" || m.Kind == "kicked" {
			return fmt.Errorf("galene: %s: %s", m.Kind, m.text())
		}
	case "ping":
		return s.write(s.Ctx, message{Type: "pong"})
	}
	return nil // chat and what else does not concern media
}

func (s *session) joined(m *message) error {
	switch m.Kind {
	case "join":
	case "change":
		return nil
	default:
		return fmt.Errorf("galene: join: %s %s %s", m.Kind, m.Error, m.text())
	}
	if s.IsReady() || len(s.ups) > 0 {
		return nil
	}
	if len(s.p.Publish) > 0 && !slices.Contains(m.Permissions, "present") {
		return fmt.Errorf("galene: group %s does not let us present", s.group)
	}
	s.c.Step("joined")
	if err := s.tune(); err != nil {
		return err
	}
	if len(s.p.Publish) == 0 {
		s.Ready()
		return nil
	}
	s.c.Step("offer")
	var camera []*sfuload.Track
	for _, t := range s.p.Publish {
		if !t.Screen {
			camera = append(camera, t)
		} else if err := s.publish("screenshare", t); err != nil {
			return err
		}
	}
	if len(camera) > 0 {
		return s.publish("camera", camera...)
	}
	return nil
}

// publish offers a stream. Galene wants the layers of simulcast with the highest first.
func (s *session) publish(label string, tracks ...*sfuload.Track) error {
	t, err := s.c.Transport("pub-" + label)
	if err != nil {
		return err
	}
	id := rand.Text()
	s.ups[id] = &up{t: t, tracks: tracks}
	sections := make([]sfuload.Section, len(tracks))
	for i, tr := range tracks {
		down := *tr
		down.Layers = slices.Clone(tr.Layers)
		slices.Reverse(down.Layers)
		sections[i] = sfuload.Section{
			Media: sfuload.Media{MID: strconv.Itoa(i), Kind: tr.Kind, Direction: "sendonly", Codecs: sfuload.DefaultCodecs(tr.Codec), Exts: sfuload.DefaultExts(tr.Kind)},
			Track: &down, UseRIDs: true,
		}
	}
	name := s.p.Name
	return s.write(s.Ctx, message{Type: "offer", ID: id, Label: label, Source: s.id, Username: &name, SDP: sfuload.WriteSDP(t.Local(), "actpass", 1, sections)})
}

func (s *session) answered(m *message) error {
	u := s.ups[m.ID]
	if u == nil {
		return fmt.Errorf("galene: answer for an unknown stream")
	}
	d, err := sfuload.ParseSDP(m.SDP)
	if err != nil {
		return err
	}
	if len(d.Media) != len(u.tracks) {
		return fmt.Errorf("galene: answer with %d sections, offered were %d", len(d.Media), len(u.tracks))
	}
	for i, t := range u.tracks {
		md := &d.Media[i]
		if _, _, ok := md.Codec(t.Codec); md.Rejected || !ok {
			return fmt.Errorf("galene: the server does not take %s", t.Codec)
		}
		if err := u.t.Send(t, md); err != nil {
			return err
		}
	}
	if err := u.t.Start(d.Remote(true)); err != nil {
		return err
	}
	u.answered = true
	for _, u := range s.ups {
		if !u.answered {
			return nil
		}
	}
	s.c.Step("answer")
	s.Ready()
	return nil
}

func (s *session) ice(m *message) error {
	if m.Candidate == nil {
		return nil
	}
	ap, ok := sfuload.ParseCandidate(m.Candidate.Candidate)
	if !ok {
		return nil
	}
	if u := s.ups[m.ID]; u != nil {
		u.t.AddCandidates(ap)
	} else if d := s.downs[m.ID]; d != nil {
		return d.rx.AddCandidates(ap)
	}
	return nil
}
