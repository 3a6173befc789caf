package livekit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protowire"

	"konzil/bench/sfuload"
)

// writeTime bounds one write: a server that does not read for so long is broken.
const writeTime = 10 * time.Second

// session is one participant. Its reader goroutine handles every message of the server; the pinger keeps the connection alive.
type session struct {
	sfuload.Link
	p *sfuload.Participant
	c sfuload.Connector

	// All below is guarded by Mu.
	pub     sfuload.Transport
	sub     sfuload.Receiver
	offered []sfuload.Section
	waiting map[string]bool // cids of tracks that the server has yet to take
	want    sfuload.Want
	remote  map[string]*remoteTrack // by sid
	auto    bool                    // the server subscribes us to everything by itself
}

func newSession(ws *websocket.Conn, p *sfuload.Participant, c sfuload.Connector, auto bool) *session {
	s := &session{p: p, c: c, sub: sfuload.Receiver{Connector: c, Label: "sub"}, waiting: map[string]bool{}, want: p.Want,
		remote: map[string]*remoteTrack{}, auto: auto}
	s.Open(ws, maxFrame, s.closeAll)
	return s
}

// Leave implements sfuload.Session.
func (s *session) Leave(ctx context.Context) error {
	return s.Leaving(func() error { return s.send(ctx, reqLeave, message(nil).num(2, reasonClientInitiated)) })
}

func (s *session) closeAll() {
	if s.pub != nil {
		s.pub.Close()
	}
	s.sub.Close()
}

// send writes a SignalRequest.
func (s *session) send(ctx context.Context, kind protowire.Number, m message) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := s.WS.Write(ctx, websocket.MessageBinary, message(nil).sub(kind, m)); err != nil {
		return fmt.Errorf("livekit: %w", err)
	}
	return nil
}

func (s *session) read() error {
	for {
		typ, b, err := s.WS.Read(s.Ctx)
		if err == nil && typ != websocket.MessageBinary {
			err = errors.New("livekit: text frame")
		}
		var r response
		if err == nil {
			r, err = decode(b)
		}
		if err == nil {
			err = s.handle(r)
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) handle(r response) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	switch {
	case r.Join != nil:
		return s.joined(r.Join)
	case r.Published != "":
		return s.published(r.Published)
	case r.Answer != nil:
		return s.answered(r.Answer)
	case r.Offer != nil:
		return s.answer(r.Offer)
	case r.Trickle != nil:
		return s.trickled(r.Trickle)
	case r.Update != nil:
		return s.update(r.Update)
	case r.Refused != "":
		return fmt.Errorf("livekit: request refused: %s", r.Refused)
	case r.Leave != nil:
		return fmt.Errorf("livekit: the server ended the session: reason %d, action %d", r.Leave.Reason, r.Leave.Action)
	}
	return nil
}

func (s *session) joined(j *joined) (err error) {
	s.c.Step("joined")
	s.Work.Add(1)
	go s.ping(time.Duration(max(j.PingInterval, 1)) * time.Second)
	if len(s.p.Publish) == 0 {
		s.Ready()
		return s.update(j.Others)
	}
	if s.pub, err = s.c.Transport("pub"); err != nil {
		return err
	}
	for _, t := range s.p.Publish {
		s.waiting[cid(t)] = true
		if err := s.send(s.Ctx, reqAddTrack, addRequest(t).encode()); err != nil {
			return err
		}
	}
	return s.update(j.Others)
}

// cid is the client's id of a track: the server finds the track in the offer by it.
func cid(t *sfuload.Track) string { return "cid-" + t.Name }

// addRequest announces a track. One layer has quality HIGH (2); of several the lowest is LOW (0).
func addRequest(t *sfuload.Track) addTrack {
	a := addTrack{CID: cid(t), Name: t.Name, Type: typeAudio, Source: sourceMicrophone}
	if t.Kind == sfuload.Audio {
		return a
	}
	a.Type, a.Source, a.Mode, a.Codec = typeVideo, sourceCamera, modeLayerPerStream, mimeName(t.Codec)
	if t.Screen {
		a.Source = sourceShare
	}
	if t.SVC != "" {
		a.Mode = modeLayersInStream
	}
	for i, l := range t.Layers {
		q := i
		if len(t.Layers) == 1 {
			q = 2
		}
		a.Width, a.Height = uint64(l.Width), uint64(l.Height)
		a.Layers = append(a.Layers, layer{Quality: uint64(q), Width: uint64(l.Width), Height: uint64(l.Height), Bitrate: uint64(l.Bitrate),
			SSRC: uint64(l.SSRC), Repair: uint64(l.RTX), Spatial: uint64(i), RID: l.RID})
	}
	return a
}

// mimeName is the codec as LiveKit names it in SimulcastCodec.
func mimeName(codec string) string {
	return map[string]string{"VP8": "vp8", "VP9": "vp9"}[codec]
}

// published counts the tracks that the server has taken; after the last one comes the offer.
func (s *session) published(id string) error {
	if !s.waiting[id] {
		return nil
	}
	delete(s.waiting, id)
	if len(s.waiting) > 0 {
		return nil
	}
	for i, t := range s.p.Publish {
		s.offered = append(s.offered, sfuload.Section{
			Media: sfuload.Media{MID: fmt.Sprint(i), Kind: t.Kind, Direction: "sendonly", Codecs: sfuload.DefaultCodecs(t.Codec), Exts: sfuload.DefaultExts(t.Kind),
				StreamID: s.p.Name, TrackID: cid(t)},
			Track: t, UseRIDs: true,
		})
	}
	s.c.Step("offer")
	return s.send(s.Ctx, reqOffer, description{Type: "offer", SDP: sfuload.WriteSDP(s.pub.Local(), "actpass", 1, s.offered), ID: 1}.encode())
}

func (s *session) answered(d *description) error {
	sd, err := sfuload.ParseSDP(d.SDP)
	if err != nil {
		return err
	}
	if len(sd.Media) != len(s.offered) || s.pub == nil {
		return fmt.Errorf("livekit: answer with %d sections, offered were %d", len(sd.Media), len(s.offered))
	}
	for i, t := range s.p.Publish {
		m := &sd.Media[i]
		if _, _, ok := m.Codec(t.Codec); m.Rejected || !ok {
			return fmt.Errorf("livekit: the server does not take %s", t.Codec)
		}
		if err := s.pub.Send(t, m); err != nil {
			return err
		}
	}
	if err := s.pub.Start(sd.Remote(true)); err != nil {
		return err
	}
	s.c.Step("answer")
	s.Ready()
	return nil
}

// answer accepts an offer of the subscribing peer connection.
func (s *session) answer(d *description) error {
	sdp, offer, err := s.sub.Answer(d.SDP)
	if err != nil {
		return err
	}
	reply := description{Type: "answer", SDP: sdp, ID: d.ID}
	if err := s.send(s.Ctx, reqAnswer, reply.encode()); err != nil {
		return err
	}
	return s.sub.Connect(offer)
}

func (s *session) trickled(t *trickle) (err error) {
	ap, ok, err := parseCandidate(t.Candidate)
	if err != nil || !ok {
		return err
	}
	switch {
	case t.Target == targetPublisher && s.pub != nil:
		s.pub.AddCandidates(ap)
	case t.Target == targetSubscriber:
		return s.sub.AddCandidates(ap)
	}
	return nil
}

// parseCandidate reads an RTCIceCandidateInit. It is false for a candidate of no use.
func parseCandidate(text string) (ap netip.AddrPort, ok bool, err error) {
	var init struct {
		Candidate string `json:"candidate"`
	}
	if err := json.Unmarshal([]byte(text), &init); err != nil {
		return ap, false, fmt.Errorf("livekit: candidate: %w", err)
	}
	ap, ok = sfuload.ParseCandidate(init.Candidate)
	return ap, ok, nil
}

// ping keeps the signalling alive: the server ends a session that is silent for its ping timeout.
func (s *session) ping(every time.Duration) {
	defer s.Work.Done()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-s.Ctx.Done():
			return
		case now := <-t.C:
			ms := uint64(now.UnixMilli())
			err := s.send(s.Ctx, reqPing, message(nil).num(1, ms))
			if err != nil {
				s.End(err)
				return
			}
		}
	}
}
