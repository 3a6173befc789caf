package turn

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Config is what the server listens on and whom it serves.
type Config struct {
	UDP []netip.AddrPort // listen addresses; port 0 lets the kernel choose
	TCP []netip.AddrPort

	Realm  string            // shown to clients (RFC 8489 §14.9)
	Secret string            // keys time-limited credentials; empty: random, good until the server ends
	Users  map[string]string // static users: name to password

	Relays           []RelayAddress // where relayed addresses are; empty: the listen addresses
	PortMin, PortMax uint16         // UDP ports of relayed addresses, both included; 0: the kernel chooses

	Allow []netip.Prefix // peers that may be reached although the default list says no
	Deny  []netip.Prefix // more peers that may not be reached; weighs more than Allow

	Shards      int           // sockets for each UDP address, each with its goroutine; 0: one per core
	MaxLifetime time.Duration // longest time between two refreshes of an allocation; 0: an hour, which is also the most

	Bandwidth int // bytes a second of one allocation, in each direction; 0: no cap

	MaxAllocations int // at a time, in all
	PerUser        int // allocations at a time of one user, by all its credentials
	PerAddress     int // allocations, and as many connections, at a time of one client address
	MaxStreams     int // TCP and TLS connections at a time

	IdleTimeout  time.Duration // a connection without an allocation is closed after this silence
	WriteTimeout time.Duration // a connection that takes no data for this long is closed
}

// RelayAddress is an address on which relay sockets are opened.
type RelayAddress struct {
	Bind     netip.Addr // of this machine
	Announce netip.Addr // what clients and peers are told, when a NAT stands before us; invalid: Bind
}

// DefaultConfig listens on all IPv4 interfaces.
func DefaultConfig() Config {
	all := []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:3478")} // RFC 8656 §3
	return Config{
		UDP: all, TCP: all,
		Realm:   "konzil",
		PortMin: 49152, PortMax: 65535, // RFC 8656 §7.2: the dynamic ports
		MaxAllocations: 4000, // below the number of file descriptors a service gets as a rule, and of ports in the range
		PerUser:        10,   // a meeting takes 1 to 4: by IPv4 and IPv6, to the SFU and to one peer
		PerAddress:     100,  // many people can sit behind one NAT
		MaxStreams:     4000,
		IdleTimeout:    30 * time.Second, // far longer than a client takes from connecting to its allocation
		WriteTimeout:   5 * time.Second,  // media that is older is of no use
	}
}

func (c *Config) check() error {
	if len(c.UDP)+len(c.TCP) == 0 {
		return errors.New("turn: no address to listen on")
	}
	if c.Realm == "" || len(c.Realm) > 127 {
		return errors.New("turn: the realm has to have 1 to 127 characters (RFC 8489 §14.9)")
	}
	if c.PortMin > c.PortMax || c.PortMin == 0 && c.PortMax != 0 {
		return fmt.Errorf("turn: %d to %d is no range of ports", c.PortMin, c.PortMax)
	}
	for _, n := range []int{c.MaxAllocations, c.PerUser, c.PerAddress, c.MaxStreams} {
		if n < 1 {
			return errors.New("turn: a limit is below 1")
		}
	}
	if c.MaxLifetime != 0 && (c.MaxLifetime < time.Second || c.MaxLifetime > time.Hour) {
		return errors.New("turn: the longest lifetime is from a second to an hour")
	}
	if c.Shards < 0 || c.Bandwidth < 0 {
		return errors.New("turn: a number is below 0")
	}
	if c.IdleTimeout <= 0 || c.WriteTimeout <= 0 {
		return errors.New("turn: a timeout is not above 0")
	}
	return nil
}

// ListenError says which address could not be opened.
type ListenError struct {
	Network string // udp or tcp
	Addr    netip.AddrPort
	Err     error
}

// Error names the address.
func (e *ListenError) Error() string { return fmt.Sprintf("turn: %s %s: %v", e.Network, e.Addr, e.Err) }

// Unwrap gives the system's error.
func (e *ListenError) Unwrap() error { return e.Err }
