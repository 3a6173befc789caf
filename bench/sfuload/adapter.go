package sfuload

import (
	"context"
	"log/slog"
	"net/netip"
)

// Adapter is the signalling of one kind of server. Its methods may be called from several goroutines at once.
type Adapter interface {
	// Join brings a participant into its room. It opens as many transports as the server wants, negotiates and starts them, and returns when
	// the server has taken the participant in; transports that come up later (subscriptions) are the session's own business, as is every
	// later change of the room. It need not wait for ICE or DTLS. On an error it has undone what it did.
	Join(ctx context.Context, p *Participant, c Connector) (Session, error)
}

// Session is a participant that an Adapter has joined. It follows what others publish until Leave.
type Session interface {
	// Want changes what the participant receives. Before the first call Participant.Want holds.
	Want(ctx context.Context, w Want) error
	// Leave ends the session, closes its transports and waits for its goroutines.
	Leave(ctx context.Context) error
	// Done is closed when the session has ended; Err then says why, nil after Leave.
	Done() <-chan struct{}
	Err() error
}

// Participant is one simulated client.
type Participant struct {
	Name    string // unique in the run, letters and digits, good as an identity or display name
	Room    string // letters and digits, lower case
	Publish []*Track
	Want    Want
	Logger  *slog.Logger
}

// Kind of media.
type Kind string

// The kinds, as SDP names them.
const (
	Audio Kind = "audio"
	Video Kind = "video"
)

// Track is something that a participant sends. The engine has chosen its SSRCs; the adapter announces them.
type Track struct {
	Name   string // unique in the participant: a0, v0, v1
	Kind   Kind
	Codec  string // opus, VP8, VP9: the name in an rtpmap
	Screen bool   // a shared screen, else a camera or microphone
	Layers []Layer
	SVC    string // scalability mode of a track with one layer that holds several ("L3T3_KEY"), else ""
}

// Layer is one encoding of a track, lowest first. A track without simulcast has one.
type Layer struct {
	RID           string // rid of a simulcast layer: "q", "h", "f"; "" when there is one
	SSRC, RTX     uint32 // RTX is 0 for audio
	Width, Height int    // 0 for audio
	Bitrate       int    // bit/s
	FrameRate     int    // 0 for audio
}

// Want is what a participant wants to receive.
type Want struct {
	NoAudio, NoVideo bool
	MaxHeight        int    // lines of each video, 0: no limit. Adapters choose the layer by it: the highest that is not taller.
	Only             string // name of the one participant whose video is wanted, "": everybody's. With it MaxHeight holds for that one.
}

// Connector is the engine's side of one participant, handed to Adapter.Join.
type Connector interface {
	// Transport opens a socket with its own ICE credentials. Nothing is sent before Start. label tells transports of one participant apart
	// in notes: "pub", "sub", "sub-p3".
	Transport(label string) (Transport, error)
	// Step notes a milestone of the join when it is reached first: "dial", "login", "joined", "offer", ... The engine adds "ice", "dtls",
	// "first packet", "first audio", "decodable video" (the first packet of the first whole keyframe) and "first keyframe" (its last one) itself.
	Step(name string)
}

// Transport is one ICE and DTLS transport with everything bundled on it. Its methods may be called from any goroutine.
type Transport interface {
	// Local is what the other side must be told.
	Local() Local
	// Start begins ICE and DTLS with what the other side said. It does not wait.
	Start(r Remote) error
	// AddCandidates takes what came by trickling. It may be called before and after Start.
	AddCandidates(c ...netip.AddrPort)
	// Connected is closed when ICE and DTLS are up, Done when the transport has ended or failed; Err then says why.
	Connected() <-chan struct{}
	Done() <-chan struct{}
	Err() error
	// Send binds a published track to this transport: payload type and header extensions by the names in m, which is what both sides agreed
	// on for that section. It may be called before the transport is connected; packets start when it is. Called again it changes the numbers.
	Send(t *Track, m *Media) error
	// Limit says that the other side wants at most that many lines of a track: layers above are not sent. 0: nothing; negative: no limit.
	Limit(t *Track, maxHeight int)
	// Receive says what payload types and extensions mean in what comes; SSRCs need not be announced. It adds to earlier calls.
	Receive(m *Media) error
	// Close releases the socket.
	Close()
}

// Local describes a transport to the other side.
type Local struct {
	Ufrag, Pwd  string
	Candidate   netip.AddrPort // the one host candidate
	Hash, Print string         // "sha-256" and the fingerprint in upper case hex with colons
}

// Role is who begins the DTLS handshake, as we see it.
type Role int

// Roles. With RoleActive the engine is the DTLS client ("a=setup:active" in what we say).
const (
	RoleActive Role = iota
	RolePassive
)

// Remote is the other side of a transport.
type Remote struct {
	Ufrag, Pwd  string
	Candidates  []netip.AddrPort // UDP, component 1; the first that answers is used
	Hash, Print string
	Role        Role // ours
	Lite        bool // the other side is ICE-lite
	Controlling bool // we are the controlling side (we made the offer, or the other side is lite)
}

// Media is one media section as both sides agreed: the numbers in use.
type Media struct {
	MID    string
	Kind   Kind
	Codecs []Codec
	Exts   []Ext

	// What follows is of a remote description.
	Direction string   // sendrecv, sendonly, recvonly, inactive: as its writer sees it
	Rejected  bool     // port 0 outside a bundle
	Sources   []Source // announced SSRCs
	RIDs      []string // rids of a=simulcast
	StreamID  string   // first part of a=msid
	TrackID   string   // second part of a=msid
}

// Codec is a payload type.
type Codec struct {
	PT       uint8
	Name     string // as in the rtpmap: opus, VP8, rtx
	Clock    uint32
	Channels int      // 0 or 1 for one
	Params   string   // fmtp: "minptime=10;useinbandfec=1", "apt=96"
	Feedback []string // rtcp-fb: "nack", "nack pli", "transport-cc", "goog-remb"
}

// Ext is an RTP header extension.
type Ext struct {
	ID  int
	URI string
}

// Source is an announced SSRC with its repair flow.
type Source struct {
	SSRC, RTX uint32
	CName     string
}

// Header extensions that the engine fills and reads.
const (
	ExtAudioLevel  = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"                                             // RFC 6464
	ExtTWCC        = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"               //
	ExtAbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"                              //
	ExtMID         = "urn:ietf:params:rtp-hdrext:sdes:mid"                                                     // RFC 9143 §14
	ExtRID         = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"                                           // RFC 8852
	ExtRepairedRID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"                                  // RFC 8852
	ExtDD          = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension" // AV1 RTP §A
)

// DefaultExts are the extensions that an offer of ours asks for, with the numbers that libwebrtc gives them.
func DefaultExts(k Kind) []Ext {
	e := []Ext{{2, ExtAbsSendTime}, {3, ExtTWCC}, {4, ExtMID}}
	if k == Audio {
		return append(e, Ext{1, ExtAudioLevel})
	}
	return append(e, Ext{10, ExtRID}, Ext{11, ExtRepairedRID})
}

// DefaultCodecs are the payload types that an offer of ours has for a codec (opus, VP8, VP9), with the numbers and feedback of libwebrtc.
func DefaultCodecs(name string) []Codec {
	video := []string{"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"}
	switch name {
	case "opus":
		return []Codec{{111, "opus", 48000, 2, "minptime=10;useinbandfec=1", []string{"transport-cc"}}}
	case "VP8":
		return []Codec{{96, "VP8", 90000, 0, "", video}, {97, "rtx", 90000, 0, "apt=96", nil}}
	case "VP9":
		return []Codec{{98, "VP9", 90000, 0, "profile-id=0", video}, {99, "rtx", 90000, 0, "apt=98", nil}}
	}
	return nil
}
