package sfu

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
)

// Config says where the SFU listens and what it allows. DefaultConfig has values for all fields.
type Config struct {
	// Listen are the UDP addresses of media. An unspecified address (0.0.0.0, ::) stands for each address of the
	// machine's interfaces, each with a socket of its own, so that answers leave from the address that was asked.
	Listen []netip.AddrPort
	// ListenTCP are the TCP addresses of ICE (RFC 6544), expanded as Listen is; empty: none.
	ListenTCP []netip.AddrPort
	// STUN are the servers (host:port) that are asked for the public address of each UDP socket; see nat.go. Empty: none.
	STUN []string
	// Advertise are further public addresses under which the first listening port is reached, for NAT 1:1; they are
	// told to clients as server reflexive candidates.
	Advertise []netip.Addr
	// Shards is the number of media workers, each with its own sockets; 0 is one per core (GOMAXPROCS).
	Shards int
	// ConsentTimeout ends an endpoint's transport when no STUN check came through for so long (RFC 7675 §5.1 says 30 s).
	ConsentTimeout time.Duration
	// InactivityTimeout is the silence (media, RTCP and checks) after which an endpoint counts as inactive.
	InactivityTimeout time.Duration
	// HandshakeTimeout bounds DTLS, counted from the moment both descriptions are there.
	HandshakeTimeout time.Duration

	// MaxConferences and MaxEndpoints (per conference) bound memory.
	MaxConferences int
	MaxEndpoints   int
	// MaxSSRCs bounds the signalled SSRCs of one endpoint, repair flows included (jitsi-meet allows 20 sources).
	MaxSSRCs int
	// MaxMessage is the largest bridge channel message in bytes, as told to browsers.
	MaxMessage int
	// SendQueue is how many bridge channel messages may wait for a slow endpoint; further ones are refused.
	SendQueue int
	// ShardSpill is how many endpoints of one conference share its home shard before others are spread.
	ShardSpill int
	// InboxPackets bounds the packets one shard may hold for another; further ones are dropped and counted.
	InboxPackets int
	// SocketBuffer is asked of the kernel for each socket and direction, in bytes.
	SocketBuffer int
	// LoudestN forwards only so many audio sources of a conference at a time, the loudest ones; 0 is all, as Jitsi's bridge does by default. Without the
	// audio level extension a source is always forwarded.
	LoudestN int
	// NoKeyframeCache asks the sender for a keyframe whenever somebody begins to see a layer, instead of repeating the last one.
	NoKeyframeCache bool
	// ChannelPorts are the UDP ports for channels of translators (OpenTranslator), first and last; 0: the kernel chooses.
	ChannelPorts [2]uint16
	// NoOffload keeps away from UDP_SEGMENT and UDP_GRO.
	NoOffload bool
}

// DefaultConfig is a bridge on UDP port 10000 of all interfaces.
func DefaultConfig() Config {
	return Config{
		Listen:            []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:10000")},
		ConsentTimeout:    30 * time.Second,
		InactivityTimeout: 8 * time.Second,
		HandshakeTimeout:  60 * time.Second,
		MaxConferences:    10000,
		MaxEndpoints:      1000,
		MaxSSRCs:          40,
		MaxMessage:        262144,
		SendQueue:         512,
		ShardSpill:        64,
		InboxPackets:      2048,
		SocketBuffer:      4 << 20,
	}
}

// check fills what may be left zero and refuses what cannot work.
func (c *Config) check() error {
	if len(c.Listen) == 0 {
		return errors.New("sfu: no listen address")
	}
	if c.Shards < 0 {
		return fmt.Errorf("sfu: %d shards", c.Shards)
	}
	if n := runtime.GOMAXPROCS(0); c.Shards == 0 {
		c.Shards = n
	}
	c.Shards = min(c.Shards, maxShards)
	d := DefaultConfig()
	setDuration(&c.ConsentTimeout, d.ConsentTimeout)
	setDuration(&c.InactivityTimeout, d.InactivityTimeout)
	setDuration(&c.HandshakeTimeout, d.HandshakeTimeout)
	for _, f := range []struct {
		v *int
		d int
	}{
		{&c.MaxConferences, d.MaxConferences}, {&c.MaxEndpoints, d.MaxEndpoints}, {&c.MaxSSRCs, d.MaxSSRCs},
		{&c.MaxMessage, d.MaxMessage}, {&c.SendQueue, d.SendQueue}, {&c.ShardSpill, d.ShardSpill},
		{&c.InboxPackets, d.InboxPackets}, {&c.SocketBuffer, d.SocketBuffer},
	} {
		if *f.v <= 0 {
			*f.v = f.d
		}
	}
	return nil
}

func setDuration(v *time.Duration, d time.Duration) {
	if *v <= 0 {
		*v = d
	}
}
