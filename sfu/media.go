package sfu

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"konzil/sfu/bwe"
	"konzil/sfu/dd"
	"konzil/sfu/history"
	"konzil/sfu/nack"
	"konzil/sfu/red"
	"konzil/sfu/rewrite"
	"konzil/sfu/seal"
	"konzil/sfu/twcc"
)

// codecID is a codec by name, the same for all endpoints.
type codecID uint8

// The codecs that are told apart. A name that is not listed is dropped: nobody could be told what it is.
const (
	codecNone codecID = iota
	codecOpus
	codecRED
	codecVP8
	codecVP9
	codecH264
	codecH265
	codecAV1
	codecDTMF
	codecPCMU
	codecPCMA
	codecG722
	codecCN
	codecISAC
	codecILBC
	codecSpeex
	codecFlexFEC // repair packets of ours
	codecRTX
	numCodecs
)

var codecNames = [numCodecs]string{
	"", "opus", "red", "vp8", "vp9", "h264", "h265", "av1", "telephone-event", "pcmu", "pcma", "g722", "cn", "isac", "ilbc",
	"speex", "flexfec-03", "rtx",
}

func codecByName(name string) codecID {
	for i := range numCodecs {
		if codecNames[i] == name {
			return i
		}
	}
	return codecNone
}

// URIs of the header extensions that are read or written.
const (
	uriAudioLevel  = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	uriMID         = "urn:ietf:params:rtp-hdrext:sdes:mid"
	uriTWCC        = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	uriAbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	uriOrientation = "urn:3gpp:video-orientation"
	uriPlayout     = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	uriDD          = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)

// extensionIDs are the negotiated ids of one endpoint, 0 where there is none.
type extensionIDs struct {
	level, mid, twcc, abs, orientation, dd, playout uint8
}

// payload is what an endpoint's payload type means.
type payload struct {
	codec codecID
	apt   uint8
	clock uint32
	kind  MediaKind
	nack  bool
	pli   bool
	fir   bool
}

const noPT = 0xff

// media is the packet state of one endpoint. The mu of its shard guards it.
type media struct {
	// What each packet sent needs comes first, mediaLines cache lines.
	path    atomic.Pointer[path] // where to send; nil without a valid pair. Needs no lock.
	sealer  *seal.Sealer
	first   int32 // datagrams of this batch in shard.queued, by position; 0: none
	last    int32
	twccOut uint16
	ext     extensionIDs
	playout uint8 // least playout delay of video, in rtp.PlayoutUnit
	lossy   bool  // packets are lost: some are sent a second time (second.go)
	out     [numCodecs]uint8
	pacer   pacer
	probe   probing

	sentBytes [Video + 1]uint64 // by kind, repetitions and probes included
	sent      twcc.Sent

	opener *seal.Opener
	pt     [128]payload     // incoming payload types
	rtx    [numCodecs]uint8 // payload type that repairs the codec
	muted  [Video + 1]bool

	tracks map[uint32]*track // by incoming SSRC, repair flows too
	newest *track            // of tracks: that of the last packet, see track
	sends  map[uint32]*send  // by outgoing SSRC, repair flows too
	list   []*track          // media tracks only, for the timer

	rtxBytes  uint64 // of sentBytes repetitions that were asked for,
	fecBytes  uint64 // repair packets, and
	probBytes uint64 // what filled probes
	est       *bwe.Estimator
	loss      lossMeter
	recorder  twcc.Recorder
	twccSSRC  uint32 // of the last packet that carried the extension
	unfed     int    // packets since the last feedback
	resent    int    // packets repeated since the last tick
	seconds   []second
	fedBack   int64 // when feedback was last sent
	reported  int64 // when receiver reports were last sent
	firSeq    uint8
	rtt       int64 // ns, 0 unknown
	gone      bool
	proved    bool   // something of the peer's was opened: it has finished the handshake, too
	seen      uint64 // the estimate as the control loop saw it last, or was told that it fell to
}

// track is one incoming SSRC of a source; its endpoint's shard guards it.
type track struct {
	ep    *Endpoint
	src   *source
	ssrc  uint32
	rtx   uint32
	layer int
	seen  observed // the control goroutine's own
	media *track   // for a repair flow: what it repairs

	hist  *history.Log
	gen   nack.Generator
	stats nack.Stats
	codec codecID
	clock uint32

	started     bool
	lastTS      uint32 // of the newest packet
	lastRTP     int64  // s.now of the last packet with payload
	wantKey     bool
	lastKey     int64 // when a keyframe began
	lastAsk     int64 // when one was asked for
	asks        int   // since the last keyframe
	key         keyCache
	heard       hearing   // audio
	kept        *red.Ring // audio: for redundancy
	sealedUntil int64     // audio: looks encrypted end to end
	nackable    bool
	bytes       rates[uint64]   // since the control loop looked
	frames      rates[uint32]   // of the spatial layer itself
	heights     [maxSID + 1]int // smaller sides by spatial layer, 0 unknown
	svc         bool            // has its layers in one SSRC,
	apart       bool            // which do not refer to each other
	dd, ddOld   *dd.Structure   // in force, and the one before; they do not change
	active      uint32          // decode targets that the sender has active
	levels      [levelRing]levelAt
	levelHead   int
	levelTail   int
}

// maxTID is the highest temporal layer that is told apart.
const maxTID = 3

// levelRing holds the audio levels between two looks of the control loop: 320 ms at 20 ms packets, it looks each 100 ms.
const levelRing = 16

type levelAt struct {
	at    int64
	level uint8
}

// source is one source of an endpoint. The upper fields do not change after it is made.
type source struct {
	ep       *Endpoint
	by       *voice // whose it is
	name     string
	kind     MediaKind
	tracks   []*track
	fec      uint32                 // SSRC of repair packets for receivers without rewriting, 0: none
	fan      atomic.Pointer[fanout] // written by the control loop
	redUntil atomic.Int64           // payloads are kept until then: a receiver wants redundancy
	redDeep  atomic.Int64           // and two packets repeated

	// The control goroutine's own.
	video   VideoType
	retyped bool  // since the last allocation
	created int64 // when it was signalled
}

// fanout is the immutable list of who gets a source, by shard.
type fanout struct {
	byShard [][]link
}

type link struct {
	ep  *Endpoint
	out *send
}

// send is one outgoing SSRC of a receiver; its shard guards it. It lives as long as the DTLS session, whatever source it
// carries, so that no packet index is used twice.
type send struct {
	// What each packet needs comes first, sendLines cache lines.
	src           *source // what it carries now
	hold          int64   // live packets wait for a repetition from the cache, at most until then; 0: none
	ssrc, rtxSSRC uint32
	held          uint32 // the SSRC of hold
	target        uint32 // layer wanted now
	kind          MediaKind
	active        bool    // something was sent
	codec         codecID // of the newest packet
	playout       playout
	packets       uint32
	octets        uint32
	tailAt        uint32 // octets from which the end of a picture may be repeated
	midBytes      []byte
	exts          []sentExt   // what plain retransmissions must repeat, nil with RTX
	protection    *protection // nil: the receiver does not want it
	index         seal.Index
	stream        rewrite.Stream

	rtxIndex seal.Index
	rtxSeq   uint16
	answers  *nack.Answers // nil until something was asked for
	replayed int64         // when the last repetition began
	srs      [2]sentSR     // the last ones, the newest first: a report about one may cross the next
}

// sentSR is a sender report that was passed on.
type sentSR struct {
	mid uint32 // the middle bits of its NTP time, 0: none
	at  int64  // when
}

// sentExt is what changes from sending to sending in a packet's extensions: a plain retransmission must be identical.
type sentExt struct {
	seq  uint16
	used bool
	twcc uint16
	abs  [3]byte
}

// plainRing is how many packets can be repeated without RTX.
const plainRing = 512

const (
	audioWindow = 128 // packets of reordering for audio
	videoWindow = 512 // packets that NACKs can reach back to: more than a second at 4 Mb/s; 10 KB a receiver and source
	firstWindow = 32  // most streams need less: 64 packets are a second of audio, 256 one of 2 Mb/s
)

func newSend(ssrc, rtx uint32, kind MediaKind) *send {
	o := &send{ssrc: ssrc, rtxSSRC: rtx, kind: kind, rtxSeq: uint16(rand.Uint32N(1 << 14))}
	o.stream.Window, o.stream.First = videoWindow, firstWindow
	if kind == Audio {
		o.stream.Window = audioWindow
	}
	// In the lower half, so that the receiver's first guess of the roll-over counter is right (RFC 3711 §3.3.1).
	o.stream.Reset(uint16(rand.Uint32N(1<<14))+1, rand.Uint32())
	return o
}

// configure fills the tables from what was negotiated.
func (m *media) configure(cfg *EndpointConfig) {
	for i := range m.out {
		m.out[i], m.rtx[i] = noPT, noPT
	}
	for _, c := range cfg.Codecs {
		if c.PayloadType > 127 {
			continue
		}
		id := codecByName(c.Name)
		if id == codecNone {
			continue
		}
		m.pt[c.PayloadType] = payload{
			codec: id, apt: c.APT & 127, clock: c.ClockRate, kind: c.Kind, nack: c.NACK, pli: c.PLI, fir: c.FIR,
		}
		if id != codecRTX && m.out[id] == noPT {
			m.out[id] = c.PayloadType
		}
	}
	for _, c := range cfg.Codecs {
		if codecByName(c.Name) != codecRTX || c.PayloadType > 127 {
			continue
		}
		if p := m.pt[c.APT&127]; p.codec != codecNone && m.out[p.codec] == c.APT {
			m.rtx[p.codec] = c.PayloadType
		}
	}
	for _, x := range cfg.Extensions {
		switch x.URI {
		case uriAudioLevel:
			m.ext.level = x.ID
		case uriMID:
			m.ext.mid = x.ID
		case uriTWCC:
			if !cfg.Relay { // servers do not estimate the path between them
				m.ext.twcc = x.ID
			}
		case uriAbsSendTime:
			m.ext.abs = x.ID
		case uriOrientation:
			m.ext.orientation = x.ID
		case uriPlayout:
			if !cfg.Relay {
				m.ext.playout = x.ID
			}
		case uriDD:
			m.ext.dd = x.ID
		}
	}
	m.tracks = map[uint32]*track{}
	m.sends = map[uint32]*send{}
}

// track finds the track of an incoming SSRC, which mostly is that of the packet before.
func (m *media) track(ssrc uint32) *track {
	if tr := m.newest; tr != nil && tr.ssrc == ssrc {
		return tr
	}
	m.newest = m.tracks[ssrc]
	return m.newest
}

func ssrcOf(pkt []byte) uint32 { return binary.BigEndian.Uint32(pkt[8:]) }
