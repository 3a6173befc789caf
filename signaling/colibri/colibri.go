// Package colibri is what a focus asks of a bridge, in COLIBRI2 terms as neutral structs (colibri.go): conference-modify and
// conference-modified; xml.go is how they look on the wire. A Bridge may be the engine in this process or another machine reached over XMPP; the focus does
// not know which.
package colibri

import (
	"context"

	"konzil/signaling/jingle"
)

// Bridge carries media of conferences. Modify may take as long as ctx; calls for one meeting come one after another.
// Refusals are of type *Error, anything else means that the bridge could not be asked.
type Bridge interface {
	Modify(ctx context.Context, m *ConferenceModify) (*ConferenceModified, error)
}

// Notifier is a Bridge that tells unasked when it has lost something; others are found out by the next request, with ReasonUnknownEndpoint.
type Notifier interface {
	AddListener(Listener)
}

// Protector is a Bridge that sends repair packets (flexfec-03) of sources under the SSRCs that FEC-FR groups name. Others are told of no such groups.
type Protector interface {
	SendsFEC() bool
}

// Listener is told about losses. It must not block nor call the bridge synchronously.
type Listener interface {
	// EndpointLost: the endpoint's transport failed for good; it has not been expired.
	EndpointLost(meetingID, endpoint string)
}

// RelayListener is a Listener that hears of relays too.
type RelayListener interface {
	Listener
	// RelayLost: the transport to another bridge failed for good; the relay has not been expired.
	RelayLost(meetingID, relay string)
}

// Capabilities of an endpoint.
const (
	CapSourceNames   = "source-names" // mandatory
	CapSSRCRewriting = "ssrc-rewriting"
	CapMIDDemux      = "rtp-mid-demux"
	CapAcks          = "source-acks"         // ours: Acked will tell which sources the client has read of
	CapAcksApplied   = "source-acks-applied" // ours: and has renegotiated for
)

// ConferenceModify creates, changes or ends a conference and its endpoints.
type ConferenceModify struct {
	MeetingID string
	Name      string // room address, for logs
	Create    bool   // it is an error if it exists
	Expire    bool
	Endpoints []Endpoint
	Relays    []Relay
}

// Endpoint is one endpoint's part of a request. Nil fields keep what they were.
type Endpoint struct {
	ID           string
	StatsID      string
	Visitor      bool
	Region       string // of the client, for who chooses a bridge; bridges are not told
	Create       bool
	Expire       bool
	Capabilities []string             // with Create
	Media        []jingle.Description // with Create: what is offered
	Transport    *Transport
	Sources      *jingle.SourceSet // replaces the whole set
	Acked        []uint32          // SSRCs of others that the client has acknowledged, besides those before
	ForceMute    *ForceMute
	LastN        *int // initial-last-n
}

// Transport is what is asked of an endpoint's transport.
type Transport struct {
	ICEControlling bool // with Create
	SCTP           bool // with Create: take an association for the bridge channel
	SCTPRole       SCTPRole
	ICERestart     bool
	Remote         *jingle.Transport // the client's side
}

// SCTPRole tells who opens an association. With clients the bridge is the server, always.
type SCTPRole string

// Roles of SCTP.
const (
	SCTPClient SCTPRole = "client"
	SCTPServer SCTPRole = "server"
)

// Relay is another bridge that carries a part of the same conference. Nil fields keep what they were.
type Relay struct {
	ID        string // relay id of the other bridge
	MeshID    string
	Create    bool
	Expire    bool
	Media     []jingle.Description // with Create
	Transport *Transport
	Endpoints []Endpoint // those at the other end that come, change or (Expire) go; of each only id, stats id, create, expire and sources
}

// ForceMute drops an endpoint's media at the bridge whatever it sends.
type ForceMute struct{ Audio, Video bool }

// ConferenceModified is the answer.
type ConferenceModified struct {
	Endpoints []EndpointModified
	Relays    []RelayModified
	Sources   jingle.SourceSet // the bridge's feedback sources, when something was created
}

// EndpointModified is the answer about one endpoint.
type EndpointModified struct {
	ID        string
	Transport *jingle.Transport // the bridge's side, when created or restarted
}

// RelayModified is the answer about one relay.
type RelayModified struct {
	ID        string
	Transport *jingle.Transport
	SCTPRole  SCTPRole
}

// Reason is why a bridge refused.
type Reason string

// Reasons of COLIBRI2 errors.
const (
	ReasonConferenceExists    Reason = "conference_already_exists"
	ReasonConferenceNotFound  Reason = "conference_not_found"
	ReasonUnknownEndpoint     Reason = "unknown_endpoint"
	ReasonGracefulShutdown    Reason = "graceful_shutdown"
	ReasonFeatureNotSupported Reason = "feature_not_implemented"
	ReasonBadRequest          Reason = "bad_request"
	ReasonLimit               Reason = "limit_reached" // of conferences or endpoints
	ReasonInternal            Reason = "internal_error"
)

// Error is a bridge's refusal.
type Error struct {
	Reason   Reason
	Endpoint string // which one it concerns, "": the conference
	Text     string
}

func (e *Error) Error() string {
	s := "colibri: " + string(e.Reason)
	if e.Endpoint != "" {
		s += " (" + e.Endpoint + ")"
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}
