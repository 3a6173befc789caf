package sfu

import (
	"net/netip"

	"konzil/sfu/keying"
)

// MediaKind is audio or video.
type MediaKind uint8

// The two kinds of media.
const (
	Audio MediaKind = iota + 1
	Video
)

// VideoType is what a video source shows.
type VideoType uint8

// Video types; Desktop prefers resolution to frame rate, DesktopHighFPS the reverse, NoVideo is a source that is off.
const (
	Camera VideoType = iota
	Desktop
	DesktopHighFPS
	NoVideo
)

// Codec is one payload type as negotiated with an endpoint.
type Codec struct {
	Kind        MediaKind
	PayloadType uint8
	Name        string // lower case: opus, red, vp8, vp9, h264, av1, rtx
	ClockRate   uint32
	APT         uint8 // for rtx: the payload type it repairs
	NACK        bool
	PLI         bool
	FIR         bool
	TWCC        bool // transport-cc feedback wanted
}

// Extension is one RTP header extension as negotiated with an endpoint (RFC 8285).
type Extension struct {
	ID  uint8
	URI string
}

// Transport is one side of ICE and DTLS.
type Transport struct {
	Ufrag, Pwd   string
	Fingerprints []Fingerprint
	Setup        string // actpass, active, passive (RFC 8842)
	Candidates   []Candidate
	Generation   int // ICE generation, grows with each restart
}

// Fingerprint is of a DTLS certificate.
type Fingerprint = keying.Fingerprint

// Candidate is one ICE candidate (RFC 8839 §5.1).
type Candidate struct {
	Foundation string
	Component  int
	Protocol   string // udp, tcp
	Priority   uint32
	Addr       netip.AddrPort
	Type       string // host, srflx, prflx, relay
	Related    netip.AddrPort
	TCPType    string
}

// EndpointConfig is what an endpoint can do.
type EndpointConfig struct {
	ID            string
	Codecs        []Codec     // the union over audio and video
	Extensions    []Extension // one id space for the bundle
	SSRCRewriting bool        // map sources onto slots of SSRCs instead of the sources' own
	MIDDemux      bool        // stamp a MID per slot
	DataChannel   bool        // take an SCTP association and its one bridge channel
	Controlling   bool        // ICE role
	Relay         bool        // it is another bridge of the same conference (relay.go)
	ChannelClient bool        // of DataChannel: we open the association and the channel; else the peer does
	Acks          Acks        // whether AckSources will be called; without SSRCRewriting
}

// Acks is what the acknowledgement of a source by a client means (Endpoint.AckSources).
type Acks uint8

// NoAcks: none will come. AckReceived: the client knows of the source and renegotiates in a moment, as Jitsi's clients do. AckApplied: it has
// renegotiated, and takes the source's RTP.
const (
	NoAcks Acks = iota
	AckReceived
	AckApplied
)

// Source is one audio or video source that an endpoint sends.
type Source struct {
	Name  string // <endpoint>-a0, <endpoint>-v1
	Owner string // whose it is at the other end of a relay; else ""
	Kind  MediaKind
	Video VideoType
	SSRCs []uint32 // one, or the simulcast layers low to high; the first is what receivers without rewriting see
	RTX   []uint32 // repair flows of SSRCs by position, 0: none; may be shorter
	FEC   uint32   // what the SFU sends FlexFEC under that protects the first of SSRCs, to receivers that have negotiated flexfec-03; 0: none
}

// Constraint is what a receiver wants of a source. MaxHeight 0 is nothing, negative is unlimited; it concerns the smaller side of the picture.
type Constraint struct {
	MaxHeight    int
	MaxFrameRate float64 // <= 0: no limit
}

// VideoConstraints is a receiver's wish for all sources. LastN -1 is unlimited.
type VideoConstraints struct {
	LastN    int
	OnStage  []string
	Selected []string
	Default  Constraint
	Sources  map[string]Constraint
}

// AudioSubscription chooses audio sources. The zero value takes all.
type AudioSubscription struct {
	None    bool     // nothing but Include
	Include []string // with None: these
	Exclude []string // without None: all but these
}

// SourceMapping says which source travels on a slot.
type SourceMapping struct {
	Source string
	Owner  string
	SSRC   uint32
	RTX    uint32 // 0: none
	Video  VideoType
	MID    string
}

// TransportState is the state of an endpoint's path.
type TransportState uint8

// Transport states in the order they are usually passed.
const (
	TransportNew TransportState = iota
	TransportConnected
	TransportFailed
	TransportClosed
)

// Events is what a conference tells whoever made it. All methods are called from the conference's one control goroutine, in
// order, and must not block nor call back into the Conference or its Endpoints synchronously (queue it).
type Events interface {
	// Transport: ICE and DTLS are up, or have failed for good (consent lost for Config.ConsentTimeout, DTLS refused).
	Transport(endpoint string, state TransportState)
	// ChannelOpen: the bridge channel over SCTP is open; Endpoint.SendMessage works from now on.
	ChannelOpen(endpoint string)
	// ChannelMessage: one text message came in over SCTP. msg is the receiver's to keep.
	ChannelMessage(endpoint string, msg []byte)
	// ChannelClosed: the SCTP channel is gone.
	ChannelClosed(endpoint string)
	// Active: something was heard from the endpoint again, or nothing for Config.InactivityTimeout.
	Active(endpoint string, active bool)
	// DominantSpeaker changed; previous are the last speakers, newest first, at most 10.
	DominantSpeaker(endpoint string, previous []string, silence bool)
	// ForwardedSources is the full list of video sources that now reach endpoint; sent when it changes.
	ForwardedSources(endpoint string, sources []string)
	// SenderConstraint: the tallest that anybody wants of endpoint's own source; 0 nobody wants it, -1 unlimited.
	SenderConstraint(endpoint, source string, maxHeight int)
	// VideoMappings and AudioMappings: changed slots of an endpoint with SSRCRewriting, told before media flows on them.
	VideoMappings(endpoint string, changed []SourceMapping)
	AudioMappings(endpoint string, changed []SourceMapping)
	// Estimate is the downlink estimate, bits per second, about every 10 s.
	Estimate(endpoint string, bps uint64)
}
