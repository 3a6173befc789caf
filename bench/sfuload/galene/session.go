package galene

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"konzil/bench/sfuload"
)

// session is one participant. Its reader goroutine handles every message of the server.
type session struct {
	ws     *websocket.Conn
	p      *sfuload.Participant
	c      sfuload.Connector
	group  string
	id     string          // of the client
	ctx    context.Context // of reads and writes, ends with the session
	cancel context.CancelFunc
	ready  chan struct{} // closed when the server has taken the participant in
	done   chan struct{} // closed by the reader when it ends

	mu      sync.Mutex // guards what follows
	err     error
	left    bool // Leave was called
	isReady bool
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
	s := &session{ws: ws, p: p, c: c, group: group, id: rand.Text(), ready: make(chan struct{}), done: make(chan struct{}),
		ups: map[string]*up{}, downs: map[string]*down{}, heights: map[string]int{}, want: p.Want}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Done implements sfuload.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements sfuload.Session.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Leave implements sfuload.Session. It closes the connection, as a browser's tab does: Galene 1.1 ends with a nil pointer when somebody says
// leave while there is still something to tell them.
func (s *session) Leave(context.Context) error {
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
	s.end(nil)
	<-s.done
	s.closeAll()
	return nil
}

// end makes the reader stop. The first error stays.
func (s *session) end(err error) {
	s.mu.Lock()
	if s.err == nil && !s.left {
		s.err = err
	}
	s.mu.Unlock()
	s.cancel()
}

func (s *session) closeAll() {
	_ = s.ws.CloseNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again != nil {
		s.again.Stop()
	}
	for _, u := range s.ups {
		u.t.Close()
	}
	for _, d := range s.downs {
		d.t.Close()
	}
}

func (s *session) read() {
	defer close(s.done)
	name, none := s.p.Name, ""
	err := s.write(s.ctx, message{Type: "handshake", Version: []string{version}, ID: s.id})
	if err == nil {
		err = s.write(s.ctx, message{Type: "join", Kind: "join", Group: s.group, Username: &name, Password: &none, Data: &userData{Height: s.height()}})
	}
	for err == nil {
		var b []byte
		var m *message
		if _, b, err = s.ws.Read(s.ctx); err == nil {
			if m, err = decode(b); err == nil {
				err = s.handle(m)
			}
		}
	}
	s.end(err)
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
	s.mu.Lock()
	defer s.mu.Unlock()
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
		return s.write(s.ctx, message{Type: "pong"})
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
	if s.isReady || len(s.ups) > 0 {
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
		s.setReady()
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
	return s.write(s.ctx, message{Type: "offer", ID: id, Label: label, Source: s.id, Username: &name, SDP: sfuload.WriteSDP(t.Local(), "actpass", 1, sections)})
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
	s.setReady()
	return nil
}

func (s *session) setReady() {
	if !s.isReady {
		s.isReady = true
		close(s.ready)
	}
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
		d.t.AddCandidates(ap)
	}
	return nil
}
