package meet

import (
	"log/slog"
	"strings"
	"time"
)

// Config says who joins what, and how.
type Config struct {
	URL    string // wss://host/xmpp-websocket; ?room= is added
	Domain string // XMPP domain of the services
	Guest  string // domain for anonymous users, "": Domain
	MUC    string // "": conference.Domain
	Focus  string // "": focus.Domain
	Room   string // node of the room
	Nick   string // display name

	User, Password string // SASL PLAIN on Domain; "": ANONYMOUS on Guest

	Insecure    bool // accept any certificate
	AnyTarget   bool // allow media WebSockets that are not on this machine
	NoSM        bool // no stream management
	NoRewriting bool // do not announce SSRC rewriting
	XMLSources  bool // do not announce sources in JSON
	NoAudio     bool
	NoVideo     bool
	NoSimulcast bool // one layer of 720p

	LossUp, LossDown float64 // share of packets to lose on purpose, 0..1

	Constraints ReceiverConstraints      // what to ask of the bridge first
	Speaks      func(now time.Time) bool // whether the microphone hears speech now; nil: always
	Logger      *slog.Logger             // nil: discard

	// Media takes the media of the client instead of a PeerConnection. The client then knows no more of the room than it needs to stay in it,
	// so that many of them are cheap, and opens the bridge channel over WebSocket.
	Media Media
	Video string            // codec that Media sends and takes: VP8 (also ""), VP9
	Step  func(name string) // is told of each milestone, once; may be nil
}

// Media is what a client hands its session's media to. Its methods are called from one goroutine.
type Media interface {
	// Start begins with what the focus offers, for the client with that endpoint id. It returns the own side and what is sent.
	Start(id string, s *Session) (Transport, []LocalSource, error)
	// Limit says how many lines of an own source the bridge wants, 0 for nothing.
	Limit(source string, maxHeight int)
	// Stop ends what Start began.
	Stop()
}

func (c *Config) muc() string { return or(c.MUC, "conference."+c.Domain) }

func (c *Config) focus() string { return or(c.Focus, "focus."+c.Domain) }
func (c *Config) room() string  { return strings.ToLower(c.Room) + "@" + c.muc() }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// checkURL refuses targets that are not on this machine unless the user has said that they are theirs.
func (c *Config) checkURL(raw string) error {
	if c.AnyTarget {
		return nil
	}
	return Loopback(raw)
}
