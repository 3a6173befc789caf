package galene

import (
	"context"
	"fmt"
	"strings"
	"time"

	"konzil/bench/sfuload"
)

// down is a stream of somebody else.
type down struct {
	rx     sfuload.Receiver
	source string // client id
	name   string // of the participant
	asked  string // what was last requested of it, "" for what is requested of all
}

// Want implements sfuload.Session.
func (s *session) Want(_ context.Context, w sfuload.Want) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.want = w
	return s.tune()
}

// offered answers an offer: of a new stream, or the next one of a stream that we have.
func (s *session) offered(m *message) error {
	if old := s.downs[m.Replace]; m.Replace != "" && old != nil {
		old.rx.Close()
		delete(s.downs, m.Replace)
	}
	d := s.downs[m.ID]
	if d == nil {
		d = &down{source: m.Source}
		if m.Username != nil {
			d.name = *m.Username
		}
		d.rx = sfuload.Receiver{Connector: s.c, Label: "sub-" + d.name}
		s.downs[m.ID] = d
	}
	sdp, offer, err := d.rx.Answer(m.SDP)
	if err != nil {
		return err
	}
	if err := s.write(s.Ctx, message{Type: "answer", ID: m.ID, SDP: sdp}); err != nil {
		return err
	}
	if err := d.rx.Connect(offer); err != nil {
		return err
	}
	return s.tune()
}

// againAfter is how long after an empty stream all are requested once more.
const againAfter = 300 * time.Millisecond

// closed ends a stream. Galene also closes a stream that it has not opened: one that has no tracks yet when we request it. It then tells
// those of the tracks who were there when the stream was offered, 200 ms later; who came between must ask again.
func (s *session) closed(id string) {
	if d := s.downs[id]; d != nil {
		d.rx.Close()
		delete(s.downs, id)
		return
	}
	if s.again != nil {
		s.again.Stop()
	}
	s.again = time.AfterFunc(againAfter, func() {
		s.Mu.Lock()
		var err error
		if s.Ctx.Err() == nil {
			s.asked = ""
			err = s.tune()
		}
		s.Mu.Unlock()
		if err != nil {
			s.End(err)
		}
	})
}

// tune requests what is wanted: of all streams, then of each for which it differs.
func (s *session) tune() error {
	general := kinds(s.want, "", 0)
	if all := strings.Join(general, " "); all != s.asked {
		s.asked = all
		if err := s.write(s.Ctx, message{Type: "request", Request: map[string][]string{"": general}}); err != nil {
			return err
		}
	}
	for id, d := range s.downs {
		want := kinds(s.want, d.name, s.heights[d.source])
		text := strings.Join(want, " ")
		if d.asked == "" && text == s.asked || text == d.asked {
			continue
		}
		d.asked = text
		if err := s.write(s.Ctx, message{Type: "requestStream", ID: id, Request: want}); err != nil {
			return fmt.Errorf("galene: %w", err)
		}
	}
	return nil
}

// kinds is what is requested of the streams of a participant whose highest layer is so tall; without a name, of all.
func kinds(w sfuload.Want, name string, height int) []string {
	k := []string{}
	if !w.NoAudio {
		k = append(k, "audio")
	}
	switch {
	case w.NoVideo, w.Only != "" && name != "" && name != w.Only:
	case w.MaxHeight > 0 && height > w.MaxHeight:
		k = append(k, "video-low")
	default:
		k = append(k, "video")
	}
	return k
}
