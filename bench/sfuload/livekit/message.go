package livekit

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message under construction.
type message []byte

func (m message) str(n protowire.Number, v string) message {
	if v == "" {
		return m
	}
	return protowire.AppendString(protowire.AppendTag(m, n, protowire.BytesType), v)
}

func (m message) num(n protowire.Number, v uint64) message {
	if v == 0 {
		return m
	}
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), v)
}

func (m message) flag(n protowire.Number, v bool) message { return m.num(n, protowire.EncodeBool(v)) }

func (m message) sub(n protowire.Number, v message) message {
	return protowire.AppendBytes(protowire.AppendTag(m, n, protowire.BytesType), v)
}

// fields calls f for each field of a message: num for varints, b for what has a length. Other wire types are skipped.
func fields(in []byte, f func(n protowire.Number, num uint64, b []byte) error) error {
	for len(in) > 0 {
		n, typ, l := protowire.ConsumeTag(in)
		if l < 0 {
			return fmt.Errorf("livekit: %w", protowire.ParseError(l))
		}
		in = in[l:]
		var num uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			num, l = protowire.ConsumeVarint(in)
		case protowire.BytesType:
			b, l = protowire.ConsumeBytes(in)
		default:
			l = protowire.ConsumeFieldValue(n, typ, in)
		}
		if l < 0 {
			return fmt.Errorf("livekit: %w", protowire.ParseError(l))
		}
		in = in[l:]
		if typ == protowire.VarintType || typ == protowire.BytesType {
			if err := f(n, num, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// Values of enum fields: SignalTarget, TrackType, TrackSource, VideoLayer.Mode, DisconnectReason.
const (
	targetPublisher, targetSubscriber           = 0, 1
	typeAudio, typeVideo                        = 0, 1
	sourceCamera, sourceMicrophone, sourceShare = 1, 2, 3
	modeLayerPerStream, modeLayersInStream      = 1, 2
	reasonClientInitiated                       = 1
)

// Field numbers of SignalRequest's oneof.
const (
	reqOffer, reqAnswer, reqAddTrack                    protowire.Number = 1, 2, 4
	reqSubscription, reqTrackSetting, reqLeave, reqPing protowire.Number = 6, 7, 8, 16
)

// description is SessionDescription. The server's id of an offer comes back in the answer.
type description struct {
	Type, SDP string
	ID        uint64
}

func (d description) encode() message {
	return message(nil).str(1, d.Type).str(2, d.SDP).num(3, d.ID)
}

func decodeDescription(in []byte) (d description, err error) {
	err = fields(in, func(n protowire.Number, num uint64, b []byte) error {
		switch n {
		case 1:
			d.Type = string(b)
		case 2:
			d.SDP = string(b)
		case 3:
			d.ID = num
		}
		return nil
	})
	return d, err
}

// layer is VideoLayer.
type layer struct {
	Quality, Width, Height, Bitrate, SSRC uint64
	Spatial                               uint64
	RID                                   string
	Repair                                uint64
}

func (l layer) encode() message {
	return message(nil).num(1, l.Quality).num(2, l.Width).num(3, l.Height).num(4, l.Bitrate).num(5, l.SSRC).num(6, l.Spatial).str(7, l.RID).num(8, l.Repair)
}

func decodeLayer(in []byte) (l layer, err error) {
	err = fields(in, func(n protowire.Number, num uint64, _ []byte) error {
		switch n {
		case 1:
			l.Quality = num
		case 2:
			l.Width = num
		case 3:
			l.Height = num
		}
		return nil
	})
	return l, err
}

// addTrack is AddTrackRequest. Codec is the name in a MIME type, in lower case, "" for audio.
type addTrack struct {
	CID, Name     string
	Type, Source  uint64
	Width, Height uint64
	Layers        []layer
	Codec         string
	Mode          uint64
}

func (a addTrack) encode() message {
	m := message(nil).str(1, a.CID).str(2, a.Name).num(3, a.Type).num(4, a.Width).num(5, a.Height).num(8, a.Source)
	for _, l := range a.Layers {
		m = m.sub(9, l.encode())
	}
	if a.Codec != "" {
		c := message(nil).str(1, a.Codec).str(2, a.CID)
		for _, l := range a.Layers {
			c = c.sub(4, l.encode())
		}
		m = m.sub(10, c.num(5, a.Mode))
	}
	return m.flag(13, true) // RED would be more bytes for the same audio
}

// track is TrackInfo, as far as a subscriber needs it.
type track struct {
	SID    string
	Type   uint64
	Layers []layer
}

func decodeTrack(in []byte) (t track, err error) {
	err = fields(in, func(n protowire.Number, num uint64, b []byte) error {
		switch n {
		case 1:
			t.SID = string(b)
		case 2:
			t.Type = num
		case 10:
			l, err := decodeLayer(b)
			t.Layers = append(t.Layers, l)
			return err
		}
		return nil
	})
	return t, err
}

// participant is ParticipantInfo.
type participant struct {
	SID, Identity string
	State         uint64
	Tracks        []track
}

// stateDisconnected is ParticipantInfo.State of somebody who has left.
const stateDisconnected = 3

func decodeParticipant(in []byte) (p participant, err error) {
	err = fields(in, func(n protowire.Number, num uint64, b []byte) error {
		switch n {
		case 1:
			p.SID = string(b)
		case 2:
			p.Identity = string(b)
		case 3:
			p.State = num
		case 4:
			t, err := decodeTrack(b)
			p.Tracks = append(p.Tracks, t)
			return err
		}
		return nil
	})
	return p, err
}

// response is SignalResponse: the one message of its oneof that is set.
type response struct {
	Join      *joined
	Answer    *description
	Offer     *description
	Trickle   *trickle
	Update    []participant
	Published string // cid of a track that the server has taken
	Leave     *leave
	Refused   string // what RequestResponse says when it is not "ok"
}

type joined struct {
	Participant  participant
	Others       []participant
	PingInterval uint64 // seconds
	Version      string // of the server
}

type trickle struct {
	Candidate string // JSON of an RTCIceCandidateInit
	Target    uint64
}

type leave struct{ Reason, Action uint64 }

var errEmpty = errors.New("livekit: empty signal response")

// Field numbers of SignalResponse's oneof.
const (
	respJoin, respAnswer, respOffer, respTrickle, respUpdate protowire.Number = 1, 2, 3, 4, 5
	respPublished, respLeave, respRequest                    protowire.Number = 6, 8, 22
)

// decode reads a SignalResponse. Kinds that are not in use leave it empty.
func decode(in []byte) (r response, err error) {
	if len(in) == 0 {
		return r, errEmpty
	}
	err = fields(in, func(n protowire.Number, _ uint64, b []byte) (err error) {
		switch n {
		case respJoin:
			r.Join, err = decodeJoin(b)
		case respAnswer, respOffer:
			var d description
			d, err = decodeDescription(b)
			if n == respAnswer {
				r.Answer = &d
			} else {
				r.Offer = &d
			}
		case respTrickle:
			r.Trickle = &trickle{}
			err = fields(b, func(n protowire.Number, num uint64, b []byte) error {
				switch n {
				case 1:
					r.Trickle.Candidate = string(b)
				case 2:
					r.Trickle.Target = num
				}
				return nil
			})
		case respUpdate:
			r.Update, err = decodeParticipants(b, 1)
		case respPublished:
			err = fields(b, func(n protowire.Number, _ uint64, b []byte) error {
				if n == 1 {
					r.Published = string(b)
				}
				return nil
			})
		case respLeave:
			r.Leave = &leave{}
			err = fields(b, func(n protowire.Number, num uint64, _ []byte) error {
				switch n {
				case 2:
					r.Leave.Reason = num
				case 3:
					r.Leave.Action = num
				}
				return nil
			})
		case respRequest:
			r.Refused, err = decodeRequestResponse(b)
		}
		return err
	})
	return r, err
}

func decodeParticipants(in []byte, field protowire.Number) (list []participant, err error) {
	err = fields(in, func(n protowire.Number, _ uint64, b []byte) error {
		if n != field {
			return nil
		}
		p, err := decodeParticipant(b)
		list = append(list, p)
		return err
	})
	return list, err
}

func decodeJoin(in []byte) (*joined, error) {
	j := &joined{}
	err := fields(in, func(n protowire.Number, num uint64, b []byte) (err error) {
		switch n {
		case 2:
			j.Participant, err = decodeParticipant(b)
		case 4:
			j.Version = string(b)
		case 11:
			j.PingInterval = num
		}
		return err
	})
	if err == nil {
		j.Others, err = decodeParticipants(in, 3)
	}
	return j, err
}

// decodeRequestResponse is "" for reason OK and QUEUED.
func decodeRequestResponse(in []byte) (refused string, err error) {
	var reason uint64
	var text string
	err = fields(in, func(n protowire.Number, num uint64, b []byte) error {
		switch n {
		case 2:
			reason = num
		case 3:
			text = string(b)
		}
		return nil
	})
	if reason == 0 || reason == 4 {
		return "", err
	}
	return fmt.Sprintf("reason %d %s", reason, text), err
}
