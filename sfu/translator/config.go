package translator

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"konzil/sfu/keying"
)

// Config bounds a Server. Zero values take DefaultConfig's.
type Config struct {
	// Listen are the addresses that channels get their ports on; the first is that of channels that name none.
	Listen []netip.Addr
	// PortMin and PortMax are the ports to take, both included; 0: the kernel chooses.
	PortMin, PortMax uint16
	// Workers share the groups.
	Workers int
	// MaxGroups and MaxChannels (of a group) bound sockets and memory: a channel takes two sockets.
	MaxGroups, MaxChannels int
	// MaxRate and MaxPackets bound what one end may send, per second, in bits and in packets; a fifth of a second of it may come at once.
	MaxRate    uint64
	MaxPackets uint64
	// LatchWindow is how long after it was made, or told of a remote, a raw channel may latch.
	LatchWindow time.Duration
	// Rebind is the silence after which another port of the same address may take over.
	Rebind time.Duration
	// Expire ends a channel that was silent for so long, unless ChannelConfig or Channel.SetExpire says otherwise.
	Expire time.Duration
	// SocketBuffer is asked of the kernel for each socket and direction, in bytes.
	SocketBuffer int
	// Identity is what channels with DTLS prove; without one there are none.
	Identity keying.Identity
	// NoOffload keeps away from UDP_SEGMENT and UDP_GRO.
	NoOffload bool
}

// DefaultConfig is on no address. 60 s are XEP-0340's default expiry; 20 Mbit/s is twice the best 1080p of a desktop's encoder.
func DefaultConfig() Config {
	return Config{
		Workers: 1, MaxGroups: 1000, MaxChannels: 32, MaxRate: 20e6, MaxPackets: 5000,
		LatchWindow: 60 * time.Second, Rebind: 5 * time.Second, Expire: 60 * time.Second, SocketBuffer: 256 << 10,
	}
}

// Errors that callers tell apart.
var (
	ErrClosed = errors.New("translator: closed")
	ErrLimit  = errors.New("translator: limit reached")
	ErrPorts  = errors.New("translator: no free pair of ports")
	ErrMixed  = errors.New("translator: the group's other channels are protected in another way")
	ErrRemote = errors.New("translator: bad remote description")
	ErrBundle = errors.New("translator: no transport to be shared")

	ErrNotOpen = errors.New("translator: the text channel is not open")
	ErrFull    = errors.New("translator: the end does not read its text channel")
)

func (c *Config) check() error {
	if len(c.Listen) == 0 {
		return errors.New("translator: no listen address")
	}
	if c.PortMin > c.PortMax || c.PortMin == 0 && c.PortMax != 0 {
		return fmt.Errorf("translator: ports %d to %d", c.PortMin, c.PortMax)
	}
	d := DefaultConfig()
	orElse(&c.Workers, d.Workers)
	orElse(&c.MaxGroups, d.MaxGroups)
	orElse(&c.MaxChannels, d.MaxChannels)
	orElse(&c.MaxRate, d.MaxRate)
	orElse(&c.MaxPackets, d.MaxPackets)
	orElse(&c.LatchWindow, d.LatchWindow)
	orElse(&c.Rebind, d.Rebind)
	orElse(&c.Expire, d.Expire)
	orElse(&c.SocketBuffer, d.SocketBuffer)
	return nil
}

func orElse[T int | uint64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
